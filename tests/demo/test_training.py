"""The training program: batches that depend on seed and number alone, weights, optimiser. Needs PyTorch."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

torch = pytest.importorskip("torch", reason="training needs PyTorch (pip install refgguf[train])")
pytest.importorskip("tokenizers", reason="training needs tokenizers (pip install refgguf[train])")

from refgguf.demo.split import mark  # noqa: E402
from refgguf.demo.training.batches import Batches, marked_tokens  # noqa: E402
from refgguf.demo.training.bpe import BOS_ID, EOS_ID, train_bpe  # noqa: E402
from refgguf.demo.training.evaluate import document_bias, head_scores  # noqa: E402
from refgguf.demo.training.muon import orthogonal  # noqa: E402
from refgguf.demo.training.net import Net, Shape  # noqa: E402
from refgguf.demo.training.start import start  # noqa: E402
from refgguf.demo.training.train import begin_with  # noqa: E402


@pytest.fixture(scope="module")
def tokenizer(tmp_path_factory: pytest.TempPathFactory):
    """A tokenizer trained on a little of the corpus."""
    return train_bpe(tmp_path_factory.mktemp("bpe") / "tokenizer.json", 600, 500)


def test_a_batch_depends_on_seed_and_number_alone(tokenizer):
    """Batch 7 is the same whether or not others were made before, so training can go on anywhere."""
    one, other = Batches(tokenizer, 1), Batches(tokenizer, 1)
    other.make(3, 2, 128)
    for name in ("ids", "document", "weight"):
        assert np.array_equal(getattr(one.make(7, 4, 128), name), getattr(other.make(7, 4, 128), name))
    assert not np.array_equal(one.make(7, 4, 128).ids, Batches(tokenizer, 2).make(7, 4, 128).ids)


def test_drills_change_the_batches_and_leave_the_plain_ones_as_they_were(tokenizer):
    """A share of drills gives other rows with more to answer; a share of zero gives the very rows as before."""
    plain = Batches(tokenizer, 1).make(7, 8, 128)
    drilled = Batches(tokenizer, 1, drills=1.0).make(7, 8, 128)
    assert np.array_equal(plain.ids, Batches(tokenizer, 1, drills=0.0).make(7, 8, 128).ids)
    assert (drilled.weight == 3).sum() > 1.5 * (plain.weight == 3).sum()


def test_rows_are_whole_documents(tokenizer):
    """Every document in a row starts with BOS; what is filled up has no weight."""
    batch = Batches(tokenizer, 1).make(0, 8, 256)
    for ids, number, weight in zip(batch.ids, batch.document, batch.weight, strict=True):
        starts = np.flatnonzero(np.diff(number, prepend=-2) > 0)
        filled = number >= 0
        assert (ids[starts[filled[starts]]] == BOS_ID).all()
        assert (weight[~filled] == 0).all() and filled.mean() > 0.5


def test_answers_weigh_more(tokenizer):
    """Just the marked tokens have the larger weight, and the marks themselves are not in the text."""
    ids, weights = marked_tokens(tokenizer, "It was" + mark(" green") + ". So.", 3.0)
    assert ids[0] == BOS_ID and ids[-1] == EOS_ID
    assert tokenizer.decode(ids[1:-1]) == "It was green. So."
    heavy = [token for token, weight in zip(ids, weights, strict=True) if weight == 3.0]
    assert tokenizer.decode(heavy) == " green"


def test_documents_do_not_see_each_other():
    """A token sees itself and earlier tokens of its own document only."""
    bias = document_bias(np.array([[0, 0, 1, 1]], np.int16))[0, 0]
    seen = (bias == 0).numpy()
    assert seen.tolist() == [[1, 0, 0, 0], [1, 1, 0, 0], [0, 0, 1, 0], [0, 0, 1, 1]]


def test_packed_documents_give_the_logits_of_single_ones():
    """A document packed behind another has the logits it has alone: positions only count relative to each other."""
    torch.manual_seed(0)
    net = Net(Shape(vocab=300, n_layers=2))
    start(net)
    first, second = torch.randint(2, 300, (1, 9)), torch.randint(2, 300, (1, 12))
    bias = document_bias(np.array([[0] * 9 + [1] * 12], np.int16))
    with torch.no_grad():
        packed, alone = net(torch.cat((first, second), 1), bias)[:, 9:], net(second)
    # float32 rounding of angles and sums: a few units in the last place of logits of size one
    assert torch.allclose(packed, alone, atol=2e-4)


def test_muon_makes_matrices_nearly_orthogonal():
    """All singular values come out between 0.6 and 1.3, whatever they were, for wide and for tall matrices."""
    torch.manual_seed(0)
    for shape in ((2, 32, 64), (2, 64, 32)):
        values = torch.linalg.svdvals(orthogonal(torch.randn(shape)))
        assert values.min() > 0.6 and values.max() < 1.3


def test_the_start_has_the_circuit_it_promises():
    """Before training, head 0 of layer 0 looks one back and head 0 of layer 1 finds copies; no other does."""
    torch.manual_seed(1)
    net = Net(Shape())
    start(net)
    scores = head_scores(net, rows=2)
    assert scores["previous"][0, 0] > 0.9
    assert scores["induction"][1, 0] > 0.4
    assert np.delete(scores["induction"].ravel(), net.shape.n_heads).max() < 0.1


def test_the_exported_file_has_the_logits_of_the_network(tokenizer, tmp_path: Path):
    """An exported file gives refgguf the same tokens and logits, and training can go on from its weights."""
    import refgguf
    from refgguf.demo.training.export import export, round_to_bf16

    torch.manual_seed(2)
    net = Net(Shape(vocab=tokenizer.get_vocab_size(), n_layers=2))
    start(net)
    round_to_bf16(net)
    facts = {"corpus": "0" * 64, "step": 1, "tokens": 2, "loss": 3.0}
    export(net, tokenizer, facts, {"accuracy.sums": 0.5}, tmp_path / "out.gguf")
    model = refgguf.load(tmp_path / "out.gguf")
    text = 'Mia gave the red kite to Tom. "Thank you," said Tom (who\'s 12).\n'
    ids = [BOS_ID, *tokenizer.encode(text).ids]
    assert model.tokenize(text) == ids
    with torch.no_grad():
        theirs = net(torch.tensor([ids]))[0].numpy()
    # two orders of float32 sums over rows of at most 512 values, logits of size one
    assert np.abs(model.logits(ids) - theirs).max() < 1e-4
    assert "sums" in model.file.metadata["general.description"]

    other = Net(net.shape)
    assert begin_with(other, tmp_path / "out.gguf") == {"earlier_steps": 1, "tokens": 2}
    for name, weight in net.state_dict().items():
        assert torch.equal(weight, other.state_dict()[name]), name

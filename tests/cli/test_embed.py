"""`refgguf embed`: vectors and how alike they are, ranks, what it saves and what it refuses."""

from __future__ import annotations

import json
import re

import numpy as np
import pytest

from refgguf.cli import call
from tests.support.encoders import ENCODERS, GOLDEN

BY_NAME = {case.name: case for case in ENCODERS}
BERT, RANKER = BY_NAME["nomic-bert"], BY_NAME["neo-bert, reranker"]
IDS = ["--ids", "1,2,3", "--ids", "4,5"]


@pytest.fixture(scope="module")
def files(tmp_path_factory):
    """An encoder and a reranker."""
    return {
        name: str(case.write(tmp_path_factory.mktemp(name)))
        for name, case in (("bert", BERT), ("ranker", RANKER))
    }


def test_json_holds_the_vector_that_llama_cpp_gives(files, capsys):
    """Without normalization the vector is llama.cpp's golden one, to float32 rounding; its length stands beside."""
    ids = ",".join(map(str, BERT.tokens))
    assert call(["embed", files["bert"], "--ids", ids, "--normalize", "-1", "--json"]) == 0
    found = json.loads(capsys.readouterr().out)
    with np.load(GOLDEN) as golden:
        expected = golden[BERT.name]
    assert found["pooling"] == "mean" and found["architecture"] == "nomic-bert"
    assert np.allclose(found["texts"][0]["vector"], expected, atol=1e-5)
    assert found["texts"][0]["length"] == pytest.approx(np.linalg.norm(expected), rel=1e-5)


def test_similarities_are_the_cosines_of_the_vectors(files, capsys):
    """The matrix is that of the normalized vectors' products, and 1 on its diagonal."""
    assert call(["embed", files["bert"], *IDS, "--json"]) == 0
    found = json.loads(capsys.readouterr().out)
    vectors = np.array([text["vector"] for text in found["texts"]])
    assert np.allclose(found["cosine_similarities"], vectors @ vectors.T, atol=1e-6)
    assert np.allclose(np.diag(found["cosine_similarities"]), 1)


def test_the_tables_name_texts_poolings_and_cosines(files, capsys):
    """People see the pooling, each text, and a matrix; a single text has no matrix."""
    assert call(["embed", files["bert"], *IDS, "--pooling", "cls"]) == 0
    out = capsys.readouterr().out
    assert "pooling cls" in out and "ids 1,2,3" in out and "cosine similarities" in out and "1.000" in out
    assert call(["embed", files["bert"], *IDS[:2]]) == 0
    assert "cosine" not in capsys.readouterr().out


def test_without_pooling_every_token_has_a_vector(files, capsys):
    """--pooling none gives as many vectors as tokens."""
    assert call(["embed", files["bert"], *IDS, "--pooling", "none", "--json"]) == 0
    found = json.loads(capsys.readouterr().out)
    assert [np.shape(text["vector"]) for text in found["texts"]] == [(3, 48), (2, 48)]
    assert call(["embed", files["bert"], *IDS, "--pooling", "none"]) == 0
    assert "3 × 48" in capsys.readouterr().out


def test_a_reranker_prints_scores(files, capsys):
    """The file's own pooling is its classification head, whose score is llama.cpp's."""
    ids = ",".join(map(str, RANKER.tokens))
    assert call(["embed", files["ranker"], "--ids", ids, "--json"]) == 0
    with np.load(GOLDEN) as golden:
        assert np.allclose(
            json.loads(capsys.readouterr().out)["texts"][0]["scores"], golden[RANKER.name], atol=1e-5
        )
    assert call(["embed", files["ranker"], *IDS]) == 0
    assert "score" in capsys.readouterr().out


def test_vectors_are_saved_whole_or_not_at_all(files, tmp_path, capsys):
    """-o writes a row a text; another suffix is refused before anything runs."""
    target = tmp_path / "vectors.npy"
    assert call(["embed", files["bert"], *IDS, "-o", str(target)]) == 0
    assert np.load(target).shape == (2, 48)
    assert call(["embed", files["bert"], *IDS, "-o", str(tmp_path / "vectors.txt")]) == 2
    assert call(["embed", files["bert"], *IDS, "--pooling", "none", "-o", str(tmp_path / "two.npy")]) == 2
    assert "different lengths" in capsys.readouterr().err
    assert sorted(path.name for path in tmp_path.iterdir()) == ["vectors.npy"]


@pytest.mark.parametrize(
    ("args", "message"),
    [
        ([], "no text; give at least one"),
        (["--ids", "1", "--pooling", "rank"], "no classification head"),
        (["--ids", "1", "--query", "q"], "leave --ids and --pooling away"),
        (["--ids", "999"], "outside the vocabulary"),
        (["-f", "/nonexistent/file"], "no such file"),
        (["a text"], "no vocabulary to read text with"),
    ],
)
def test_what_is_wrong_is_said_in_one_line(files, args, message, capsys):
    """Every wrong call ends with exit code 2 and one line."""
    assert call(["embed", files["bert"], *args]) == 2
    err = capsys.readouterr().err
    assert re.search(message, err), err
    assert err.count("\n") == 1


def test_run_says_what_to_use_instead(files, capsys):
    """`run` on an encoder names the command for it, and prints nothing else."""
    assert call(["run", files["bert"], "--ids", "1,2"]) == 2
    captured = capsys.readouterr()
    assert "refgguf embed MODEL TEXT" in captured.err and captured.out == ""


def test_a_decoder_embeds_too(capsys):
    """The embedded model's last token stands for a text."""
    assert call(["embed", "demo", "a cat", "a dog", "--pooling", "last", "--json"]) == 0
    found = json.loads(capsys.readouterr().out)
    assert np.shape(found["cosine_similarities"]) == (2, 2)

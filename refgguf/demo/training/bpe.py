"""The byte-level BPE of the embedded model, trained on its corpus with the `tokenizers` package."""

from __future__ import annotations

from itertools import islice
from pathlib import Path

from tokenizers import Tokenizer, decoders, models, pre_tokenizers, trainers

from refgguf.demo.corpus import documents

BOS, EOS = "<s>", "</s>"
BOS_ID, EOS_ID = 0, 1


def train_bpe(path: Path, vocab: int = 2048, n_documents: int = 60_000) -> Tokenizer:
    """Train the tokenizer on the first documents of seed `bpe` and save it as `tokenizer.json`.

    Args:
        path: the file to write.
        vocab: how many tokens at most, the two control tokens and 256 bytes included.
        n_documents: how much text to look at.
    """
    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(
        add_prefix_space=False, trim_offsets=False, use_regex=True
    )
    tokenizer.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=vocab,
        special_tokens=[BOS, EOS],
        initial_alphabet=sorted(pre_tokenizers.ByteLevel.alphabet()),
        show_progress=False,
        min_frequency=3,
    )
    tokenizer.train_from_iterator(islice(documents("bpe"), n_documents), trainer)
    tokenizer.save(str(path))
    return tokenizer


def load_bpe(path: Path) -> Tokenizer:
    """The tokenizer saved at `path`; trained first when there is none yet."""
    return Tokenizer.from_file(str(path)) if path.exists() else train_bpe(path)

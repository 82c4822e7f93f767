"""llama.cpp's own tokenizers, through llama-cpp-python: the oracle."""

from __future__ import annotations

import ctypes
import importlib.util
import time
from functools import cache
from pathlib import Path

import pytest


@cache
def _library():
    if importlib.util.find_spec("llama_cpp") is None:
        pytest.skip(
            "llama-cpp-python is not installed; pip install llama-cpp-python to compare with llama.cpp"
        )
    import llama_cpp

    @llama_cpp.llama_log_callback
    def silent(level, text, user_data):
        pass

    llama_cpp.llama_log_set(silent, ctypes.c_void_p(0))
    llama_cpp.llama_backend_init()
    return llama_cpp, silent  # the callback must live as long as the library


class LlamaVocab:
    """A vocabulary as llama.cpp loads it."""

    def __init__(self, path: Path):
        self._llama, _ = _library()
        parameters = self._llama.llama_model_default_params()
        parameters.vocab_only = True
        self._model = self._llama.llama_model_load_from_file(str(path).encode(), parameters)
        assert self._model, f"llama.cpp cannot load {path}"
        self._vocab = self._llama.llama_model_get_vocab(self._model)
        self.n_tokens = self._llama.llama_vocab_n_tokens(self._vocab)

    def encode(self, raw: bytes, add_special: bool, parse_special: bool) -> list[int]:
        """Return llama_tokenize's ids."""
        most = 4 * len(raw) + 64
        ids = (ctypes.c_int32 * most)()
        n = self._llama.llama_tokenize(self._vocab, raw, len(raw), ids, most, add_special, parse_special)
        assert n >= 0
        return list(ids[:n])

    def seconds(self, raw: bytes) -> float:
        """Return the processor's seconds of one llama_tokenize."""
        most = 4 * len(raw) + 64
        ids = (ctypes.c_int32 * most)()
        start = time.process_time()
        n = self._llama.llama_tokenize(self._vocab, raw, len(raw), ids, most, False, False)
        taken = time.process_time() - start
        assert n >= 0
        return taken

    def decode(self, ids: list[int], special: bool) -> str:
        """Return llama_detokenize's text with all tokens kept; wrong UTF-8 as U+FFFD."""
        array = (ctypes.c_int32 * len(ids))(*ids)
        buffer = ctypes.create_string_buffer(1024 * len(ids) + 4096)
        n = self._llama.llama_detokenize(self._vocab, array, len(ids), buffer, len(buffer), False, special)
        assert n >= 0
        return buffer.raw[:n].decode("utf-8", "replace")

    def piece(self, id: int) -> bytes:
        """Return a token's bytes, special ones as their texts."""
        buffer = ctypes.create_string_buffer(4096)
        n = self._llama.llama_token_to_piece(self._vocab, id, buffer, len(buffer), 0, True)
        return buffer.raw[:n]

    def attributes(self, id: int) -> int:
        """Return a token's attribute bits."""
        return self._llama.llama_vocab_get_attr(self._vocab, id)

    def is_end(self, id: int) -> bool:
        """Tell whether a token ends generation."""
        return self._llama.llama_vocab_is_eog(self._vocab, id)

    def close(self) -> None:
        """Free the model."""
        self._llama.llama_model_free(self._model)

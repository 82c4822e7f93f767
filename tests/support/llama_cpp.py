"""llama.cpp as an oracle: the logits of a whole prompt, as near to plain float32 as its CPU backend goes.

It runs in a process of its own, because it ends the process where it finds a model impossible.
"""

from __future__ import annotations

import importlib.util
import multiprocessing
import os
from collections.abc import Callable
from concurrent.futures import ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
import pytest

import refgguf
from refgguf.trace import Trace

# read by ggml when it is loaded
SETTINGS = {"GGML_CPU_TILED_MM": "0", "GGML_CPU_DISABLE_FUSION": "1"}
_silent: list[object] = []  # keeps what llama.cpp calls alive
_worker: list[ProcessPoolExecutor] = []


def logits(path: Path, tokens: list[int], *, n_ctx: int = 256, flash: bool = False) -> np.ndarray:
    """Return (token, vocab) float32 scores; skip the test where llama-cpp-python is not installed.

    Args:
        path: the model.
        tokens: the prompt.
        n_ctx: context length, by which llama.cpp chooses RoPE factors.
        flash: with flash attention, without which it leaves some models' choice of keys out.

    Raises:
        RuntimeError: llama.cpp does not run the model.
    """
    return _submit(_logits, str(path), tokens, n_ctx, flash)


def _submit(work: Callable, path: str, *rest: object) -> Any:
    if importlib.util.find_spec("llama_cpp") is None:
        pytest.skip("llama-cpp-python is not installed")
    if not _worker:
        context = multiprocessing.get_context("spawn")
        _worker.append(ProcessPoolExecutor(1, mp_context=context, initializer=_prepare))
    try:
        return _worker[0].submit(work, path, *rest).result(timeout=120)
    except BrokenProcessPool:
        _worker.clear()
        raise RuntimeError(f"llama.cpp ended its process over {path}") from None


def embedding(path: Path, tokens: list[int], pooling: int) -> np.ndarray:
    """Return what llama.cpp pools the tokens to, as it stands; skip the test where llama-cpp-python is not installed.

    Args:
        path: the model.
        tokens: the text.
        pooling: its number in llama.h.

    Returns:
        (d_model,) float32; (token, d_model) for 0, no pooling; (label,) for 4, rank.

    Raises:
        RuntimeError: llama.cpp does not run the model.
    """
    return _submit(_embedding, str(path), tokens, pooling)


def translated(path: Path, source: list[int], target: list[int]) -> tuple[np.ndarray, np.ndarray]:
    """Return what llama.cpp's encoder makes of a text and what its decoder scores; skip the test where it is not there.

    Args:
        path: a model with an encoder and a decoder.
        source: what the encoder reads.
        target: what the decoder reads, its start token included.

    Returns:
        (source, d_model) and (target, vocab) float32.
    """
    return _submit(_translated, str(path), source, target)


def traced(path: Path, tokens: list[int], target: list[int] | None = None) -> dict[str, np.ndarray]:
    """Return llama.cpp's intermediate tensors by our names of taps; skip the test where it is not installed."""
    return _submit(_traced, str(path), tokens, target)


def run_of(path: Path, tokens: list[int]) -> Trace:
    """Return llama.cpp's own run of a model as a trace; skip the test where it is not installed."""
    model, values = refgguf.load(path), traced(path, tokens)
    return Trace(values, model.taps, tokens, [""] * len(tokens), None)


def close() -> None:
    """End the process."""
    while _worker:
        _worker.pop().shutdown()


def _prepare() -> None:
    os.environ.update(SETTINGS)
    import llama_cpp as lib

    _silent.append(lib.llama_log_callback(lambda level, text, data: None))
    lib.llama_log_set(_silent[0], None)


def _traced(path: str, tokens: list[int], target: list[int] | None) -> dict[str, np.ndarray]:
    import refgguf
    from refgguf.engines.llama_cpp import capture

    return dict(capture(refgguf.load(path), tokens, target=target))


def _embedding(path: str, tokens: list[int], pooling: int) -> np.ndarray:
    import llama_cpp as lib

    model, context = _run(lib, path, tokens, 256, pooling)
    if pooling == 0:
        width = lib.llama_model_n_embd(model)
        rows = (lib.llama_get_embeddings_ith(context, i) for i in range(len(tokens)))
        found = np.stack([np.ctypeslib.as_array(row, (width,)).copy() for row in rows])
    else:
        width = lib.llama_model_n_cls_out(model) if pooling == 4 else lib.llama_model_n_embd(model)
        found = np.ctypeslib.as_array(lib.llama_get_embeddings_seq(context, 0), (width,)).copy()
    lib.llama_free(context)
    lib.llama_model_free(model)
    return found


def _translated(path: str, source: list[int], target: list[int]) -> tuple[np.ndarray, np.ndarray]:
    import llama_cpp as lib

    model, context = _open(lib, path, 256, None)
    width = lib.llama_model_n_embd(model)
    n_vocab = lib.llama_vocab_n_tokens(lib.llama_model_get_vocab(model))
    batch = _batch(lib, source)
    if lib.llama_encode(context, batch) != 0:
        raise RuntimeError(f"llama.cpp does not encode with {path}")
    encoded = np.ctypeslib.as_array(lib.llama_get_embeddings(context), (len(source), width)).copy()
    lib.llama_batch_free(batch)
    batch = _batch(lib, target)
    if lib.llama_decode(context, batch) != 0:
        raise RuntimeError(f"llama.cpp does not decode with {path}")
    lib.llama_batch_free(batch)
    rows = (lib.llama_get_logits_ith(context, i) for i in range(len(target)))
    scores = np.stack([np.ctypeslib.as_array(row, (n_vocab,)).copy() for row in rows])
    lib.llama_free(context)
    lib.llama_model_free(model)
    return encoded, scores


def _logits(path: str, tokens: list[int], n_ctx: int, flash: bool) -> np.ndarray:
    import llama_cpp as lib

    model, context = _run(lib, path, tokens, n_ctx, flash=flash)
    n_vocab = lib.llama_vocab_n_tokens(lib.llama_model_get_vocab(model))
    rows = (
        np.ctypeslib.as_array(lib.llama_get_logits_ith(context, i), (n_vocab,)) for i in range(len(tokens))
    )
    scores = np.stack([row.copy() for row in rows])
    lib.llama_free(context)
    lib.llama_model_free(model)
    return scores


def _run(
    lib: ModuleType,
    path: str,
    tokens: list[int],
    n_ctx: int,
    pooling: int | None = None,
    *,
    flash: bool = False,
) -> tuple[Any, Any]:
    """Load a model and run tokens; returns it and the context that holds what came out."""
    model, context = _open(lib, path, n_ctx, pooling, flash=flash)
    batch = _batch(lib, tokens)
    encoder = lib.llama_model_has_encoder(model) and not lib.llama_model_has_decoder(model)
    if not context or (lib.llama_encode if encoder else lib.llama_decode)(context, batch) != 0:
        raise RuntimeError(f"llama.cpp does not run {path}")
    lib.llama_batch_free(batch)
    return model, context


def _open(
    lib: ModuleType, path: str, n_ctx: int, pooling: int | None, *, flash: bool = False
) -> tuple[Any, Any]:
    """Return a model and a context for it."""
    model_settings = lib.llama_model_default_params()
    model_settings.use_extra_bufts, model_settings.n_gpu_layers = False, 0
    model = lib.llama_model_load_from_file(os.fsencode(path), model_settings)
    if not model:
        raise RuntimeError(f"llama.cpp does not load {path}")
    settings = lib.llama_context_default_params()
    settings.n_ctx, settings.n_batch, settings.n_ubatch = n_ctx, n_ctx, n_ctx
    settings.n_threads = settings.n_threads_batch = settings.n_seq_max = 1
    settings.type_k = settings.type_v = 0  # float32 cache
    settings.flash_attn_type = int(flash)
    settings.op_offload = False
    if pooling is not None:
        settings.embeddings, settings.pooling_type = True, pooling
    return model, lib.llama_init_from_model(model, settings)


def _batch(lib: ModuleType, tokens: list[int]) -> Any:
    """Return a batch of tokens, all of whose results are wanted."""
    batch = lib.llama_batch_init(len(tokens), 0, 1)
    batch.n_tokens = len(tokens)
    for i, token in enumerate(tokens):
        batch.token[i], batch.pos[i], batch.n_seq_id[i], batch.logits[i] = token, i, 1, 1
        batch.seq_id[i][0] = 0
    return batch

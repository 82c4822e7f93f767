"""llama.cpp's own intermediate tensors, through the evaluation callback of llama-cpp-python.

    trace = capture(model, ids)     a Trace like any other: save it, compare it, view it

llama.cpp runs with the settings that come nearest to plain float32: float32 keys and values, no flash attention, no
repacked weights, no fused operations, one thread. What it computes inside one operation, or under names that no tap
has, is left out.
"""

from __future__ import annotations

import contextlib
import ctypes
import os
from collections.abc import Iterator, Sequence
from functools import cache
from types import ModuleType

import numpy as np

from refgguf.engines.matching import Node, matched
from refgguf.engines.provenance import Provenance, origins_wanted
from refgguf.errors import EngineError
from refgguf.model import Model
from refgguf.taps import Tap
from refgguf.trace import Trace

ENGINE = "llama.cpp"
# settings that ggml reads from the environment
PLAIN_KERNELS = {"GGML_CPU_TILED_MM": "0", "GGML_CPU_DISABLE_FUSION": "1", "LLAMA_ATTN_ROT_DISABLE": "1"}
GGML_TYPE_F32, GGML_TYPE_I32 = 0, 26
MAX_DIMS, MAX_SOURCES, NAME_BYTES, OP_PARAM_WORDS = 4, 10, 64, 16


class _Tensor(ctypes.Structure):
    """The beginning of ggml's struct ggml_tensor (ggml/include/ggml.h)."""

    _fields_ = (
        ("type", ctypes.c_int32),
        ("buffer", ctypes.c_void_p),
        ("ne", ctypes.c_int64 * MAX_DIMS),
        ("nb", ctypes.c_size_t * MAX_DIMS),
        ("op", ctypes.c_int32),
        ("op_params", ctypes.c_int32 * OP_PARAM_WORDS),
        ("flags", ctypes.c_int32),
        ("src", ctypes.c_void_p * MAX_SOURCES),
        ("view_src", ctypes.c_void_p),
        ("view_offs", ctypes.c_size_t),
        ("data", ctypes.c_void_p),
        ("name", ctypes.c_char * NAME_BYTES),
    )


def _library() -> ModuleType:
    try:
        import llama_cpp
    except ImportError:
        raise EngineError(
            "llama.cpp is not installed; `pip install llama-cpp-python` builds it (a C++ compiler and minutes needed)"
        ) from None
    return llama_cpp


def capture(
    model: Model,
    ids: Sequence[int],
    taps: Sequence[str] | None = None,
    target: Sequence[int] | None = None,
) -> Trace:
    """Run tokens through llama.cpp and keep every tensor that has a tap.

    Args:
        model: the model, for its file and its taps.
        ids: token ids.
        taps: canonical names to keep; all that llama.cpp shows if None.
        target: what a decoder has written so far, where an encoder reads `ids`; as in `Model.trace`.

    Returns:
        A Trace with numerics "llama.cpp"; `trace.model["engine"]` says where it comes from.

    Raises:
        EngineError: llama-cpp-python is not installed, or cannot load or run the file.
    """
    texts = texts_of(model, ids, target)
    values = values_of(model, texts)
    return as_trace(model, texts, {n: x for n, x in values.items() if taps is None or n in taps})


def texts_of(model: Model, ids: Sequence[int], target: Sequence[int] | None) -> list[list[int]]:
    """Return what llama.cpp is to read: the tokens; with an encoder and a decoder, what each of them reads."""
    read, own = model.check_tokens(ids, target)
    return [part.tolist() for part in (read, own) if part is not None]


def values_of(model: Model, texts: list[list[int]]) -> dict[str, np.ndarray]:
    """Run the tokens and return llama.cpp's tensors by the names of taps, in their axes.

    Raises:
        EngineError: llama-cpp-python is not installed, or cannot load or run the file.
    """
    encoder, shapes, values = model.network.encoder, _shapes(model, texts), {}
    read = {tap.name for tap in encoder.taps()} if encoder and len(texts) > 1 else set()
    own = [tap for tap in model.taps.values() if tap.name not in read]
    stacks = [[model.taps[name] for name in model.taps if name in read], own] if read else [own]
    for taps, nodes in zip(stacks, _evaluate(model, texts), strict=True):
        values |= matched(taps, shapes, nodes)
    return values


@cache
def _silent(lib: ModuleType) -> object:
    """Return what llama.cpp calls in place of printing; it goes on calling it after a capture, so it is kept."""
    return lib.llama_log_callback(lambda level, text, data: None)


@contextlib.contextmanager
def _plain_kernels() -> Iterator[None]:
    before = {name: os.environ.get(name) for name in PLAIN_KERNELS}
    os.environ.update(PLAIN_KERNELS)
    try:
        yield
    finally:
        for name, value in before.items():
            if value is None:
                os.environ.pop(name, None)
            else:
                os.environ[name] = value


def _evaluate(model: Model, texts: list[list[int]]) -> list[dict[str, list[Node]]]:
    """Return what the callback was shown of each text, by llama.cpp's name, in order of execution."""
    with _plain_kernels():
        lib = _library()
        lib.llama_log_set(_silent(lib), None)
        operation = lib.llama_cpp._lib.ggml_op_name  # the binding leaves it out
        operation.argtypes, operation.restype = [ctypes.c_int], ctypes.c_char_p
        shown: list[dict[str, list[Node]]] = []
        wanted = {tap.llama_cpp for tap in model.taps.values() if tap.llama_cpp}
        unnamed = origins_wanted(model.taps)
        origins: list[Provenance] = []  # one for each graph that runs
        told: dict[int, str] = {}  # taps of tensors without a name, by address

        @lib.ggml_backend_sched_eval_callback
        def look(pointer: int, ask: bool, data: int) -> bool:
            tensor = _at(pointer)
            name = _name(tensor)
            if not shown:
                return False
            if len(origins) < len(shown):
                origins.append(Provenance(unnamed, model.file.tensors))
                told.clear()
            if ask:
                sources = [(p, _name(_at(p))) for p in tensor.src if p]
                tap = origins[-1].name_of(pointer, name, sources)
                if tap is not None:
                    told[pointer] = tap
                return name in wanted or tap is not None
            name = told.get(pointer, name)
            if name in wanted or pointer in told:
                node = Node(operation(tensor.op).decode(), _copied(tensor))
                shown[-1].setdefault(name, []).append(node)
            return True

        _run(lib, model, texts, look, shown)
    return shown


def _at(pointer: int) -> _Tensor:
    return ctypes.cast(pointer, ctypes.POINTER(_Tensor)).contents


def _name(tensor: _Tensor) -> str:
    return tensor.name.decode("utf-8", "replace")


def _copied(tensor: _Tensor) -> np.ndarray:
    kinds = {GGML_TYPE_F32: np.float32, GGML_TYPE_I32: np.int32}
    shape, strides = tuple(tensor.ne)[::-1], tuple(tensor.nb)[::-1]
    if tensor.type not in kinds or not tensor.data:
        return np.empty(0, np.float32)
    last = sum((n - 1) * s for n, s in zip(shape, strides, strict=True)) + 4
    memory = np.ctypeslib.as_array(ctypes.cast(tensor.data, ctypes.POINTER(ctypes.c_uint8)), (last,))
    return np.lib.stride_tricks.as_strided(memory.view(kinds[tensor.type]), shape, strides).copy()


def _run(lib: ModuleType, model: Model, texts: list[list[int]], look: object, shown: list[dict]) -> None:
    """Run each text; what the callback `look` is shown of it goes into a new entry of `shown`."""
    settings = lib.llama_model_default_params()
    settings.use_extra_bufts = False
    settings.n_gpu_layers = 0
    loaded = lib.llama_model_load_from_file(os.fsencode(model.file.parts[0]), settings)
    if not loaded:
        raise EngineError(f"{model.path}: llama.cpp cannot load this file")
    try:
        context = _context(lib, loaded, model, max(map(len, texts)), look)
        encodes = bool(lib.llama_model_has_encoder(loaded))
        decodes = bool(lib.llama_model_has_decoder(loaded))
        calls = [call for call, there in ((lib.llama_encode, encodes), (lib.llama_decode, decodes)) if there]
        try:
            for call, ids in zip(calls, texts, strict=True):
                shown.append({})
                batch = lib.llama_batch_init(len(ids), 0, 1)
                try:
                    _fill(batch, ids)
                    if call(context, batch) != 0:
                        raise EngineError(f"{model.path}: llama.cpp cannot run these {len(ids)} tokens")
                finally:
                    lib.llama_batch_free(batch)
        finally:
            lib.llama_free(context)
    finally:
        lib.llama_model_free(loaded)


def _context(lib: ModuleType, loaded: object, model: Model, n_tokens: int, look: object) -> object:
    settings = lib.llama_context_default_params()
    settings.n_ctx = min(model.config.context_length, max(n_tokens, 256))
    settings.n_batch = settings.n_ubatch = max(n_tokens, 32)
    settings.n_seq_max = 1
    settings.n_threads = settings.n_threads_batch = 1
    settings.type_k = settings.type_v = GGML_TYPE_F32
    settings.flash_attn_type = 0
    settings.op_offload = False
    settings.no_perf = True
    settings.cb_eval = look
    if not model.network.scores_vocabulary:
        settings.embeddings = True  # pooled as the file says
    context = lib.llama_init_from_model(loaded, settings)
    if not context:
        raise EngineError(f"{model.path}: llama.cpp cannot make a context of {settings.n_ctx} tokens")
    return context


def _fill(batch: object, ids: list[int]) -> None:
    batch.n_tokens = len(ids)
    for i, token in enumerate(ids):
        batch.token[i], batch.pos[i] = token, i
        batch.n_seq_id[i], batch.seq_id[i][0] = 1, 0
        batch.logits[i] = 1  # with fewer, the last layer keeps only the rows that are asked for


def as_trace(model: Model, texts: list[list[int]], values: dict[str, np.ndarray]) -> Trace:
    """Return such tensors as a trace."""
    ids = texts[-1]
    about = {
        "name": model.name,
        "architecture": model.file.architecture,
        "file": model.path.name,
        "engine": ENGINE,
        **({"source": texts[0]} if len(texts) > 1 else {}),
    }
    return Trace(
        {name: values[name] for name in model.taps if name in values},
        model.taps,
        ids,
        [model.token_text(token) for token in ids],
        None,
        ENGINE,
        about,
        model_hash=lambda: model.sha256,
    )


def _shapes(model: Model, texts: list[list[int]]) -> dict[str, tuple[int, ...]]:
    """Return the shape of every tap, by running the tokens."""
    found: dict[str, tuple[int, ...]] = {}

    def note(x: np.ndarray, tap: Tap) -> None:
        found[tap.name] = x.shape

    with model.hooks(dict.fromkeys(model.taps, note)):
        model.trace(texts[0], (), target=texts[1][1:] if len(texts) > 1 else None)
    return found

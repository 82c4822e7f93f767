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
    read, own = model.check_tokens(ids, target)
    texts = [part.tolist() for part in (read, own) if part is not None]
    return _as_trace(model, texts, _evaluate(model, texts), taps)


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


def _evaluate(model: Model, texts: list[list[int]]) -> dict[str, list[np.ndarray]]:
    """Return what the callback was shown: arrays in NumPy order by llama.cpp's name, in order of execution."""
    with _plain_kernels():
        lib = _library()
        lib.llama_log_set(_silent(lib), None)
        nodes: dict[str, list[np.ndarray]] = {}
        wanted = {tap.llama_cpp for tap in model.taps.values() if tap.llama_cpp}

        @lib.ggml_backend_sched_eval_callback
        def look(pointer: int, ask: bool, data: int) -> bool:
            tensor = ctypes.cast(pointer, ctypes.POINTER(_Tensor)).contents
            name = tensor.name.decode("utf-8", "replace")
            if name in wanted:
                if ask:
                    return True
                nodes.setdefault(name, []).append(_copied(tensor))
            return not ask

        _run(lib, model, texts, look)
    return nodes


def _copied(tensor: _Tensor) -> np.ndarray:
    kinds = {GGML_TYPE_F32: np.float32, GGML_TYPE_I32: np.int32}
    shape, strides = tuple(tensor.ne)[::-1], tuple(tensor.nb)[::-1]
    if tensor.type not in kinds or not tensor.data:
        return np.empty(0, np.float32)
    last = sum((n - 1) * s for n, s in zip(shape, strides, strict=True)) + 4
    memory = np.ctypeslib.as_array(ctypes.cast(tensor.data, ctypes.POINTER(ctypes.c_uint8)), (last,))
    return np.lib.stride_tricks.as_strided(memory.view(kinds[tensor.type]), shape, strides).copy()


def _run(lib: ModuleType, model: Model, texts: list[list[int]], look: object) -> None:
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


def _as_trace(
    model: Model, texts: list[list[int]], nodes: dict[str, list[np.ndarray]], taps: Sequence[str] | None
) -> Trace:
    sharing: dict[str, list[Tap]] = {}
    for tap in model.taps.values():
        if tap.llama_cpp in nodes:
            sharing.setdefault(tap.llama_cpp, []).append(tap)
    ids, values = texts[-1], {}
    lengths = {tap: _lengths(tap, model, texts) for tap in model.taps.values()}
    for name, owners in sharing.items():
        # one name stands for several steps in a row (product, bias, reshape, RoPE): the last belongs to the last tap
        arrays = list(nodes[name])
        for tap in reversed(owners):
            while len(owners) > 1 and arrays and not _may_be(arrays[-1], tap, model, lengths[tap][0]):
                arrays.pop()
            shaped = _in_axes(arrays.pop(), tap, model, *lengths[tap]) if arrays else None
            if shaped is not None and (taps is None or tap.name in taps):
                values[tap.name] = shaped
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


def _lengths(tap: Tap, model: Model, texts: list[list[int]]) -> tuple[int, int]:
    """Return how many tokens a tap has, and how many these look at."""
    read, own = len(texts[0]), len(texts[-1])
    encoder = model.network.encoder
    if tap.axes[0] == "source" or (encoder and tap.name.startswith(encoder.prefix)):
        return read, read
    return own, read if "source" in tap.axes else own


def _may_be(array: np.ndarray, tap: Tap, model: Model, n_tokens: int) -> bool:
    """Say whether the tap's weight gives arrays of this width, or of a multiple of it."""
    shapes = (model.file.tensors[name].shape for name in tap.weights if name in model.file.tensors)
    first = next(iter(shapes), ())
    n_tokens = 1 if tap.axes[0] == "text" else n_tokens
    return len(first) not in (1, 2) or array.size // n_tokens % first[0] == 0


def _in_axes(array: np.ndarray, tap: Tap, model: Model, n_tokens: int, n_keys: int) -> np.ndarray | None:
    """Return the array with the tap's axes, or None where it does not have them."""
    if tap.axes[0] == "head" and tap.axes[-1] in ("key", "source"):
        # ggml pads the key axis; what lies beyond the last token is masked
        return array.reshape(array.shape[-3:])[:, :n_tokens, :n_keys].copy() if array.ndim >= 3 else None
    if tap.axes[0] == "text" and array.size:  # one vector for all tokens
        return array.reshape(1, -1)
    if array.size == 0 or array.size % n_tokens:
        return None
    flat = array.reshape(n_tokens, -1)
    if tap.axes[0] not in ("token", "source"):
        return None
    shape = _sizes(tap, model, flat.shape[1])
    return None if shape is None else flat.reshape(n_tokens, *shape)


def _sizes(tap: Tap, model: Model, width: int) -> tuple[int, ...] | None:
    """Return the sizes of all axes but the first, whose product is `width`."""
    if len(tap.axes) == 2:
        return (width,)
    encoder = model.network.encoder
    network = encoder if encoder and tap.name.startswith(encoder.prefix) else model.network
    layer = network.layers[tap.layer or 0]
    for block in layer.blocks if tap.layer is not None or tap.axes[1] == "stream" else ():
        part = getattr(block, "selector", None) or getattr(block, "indexer", None)
        sizes = {
            "indexer_head": getattr(part, "n_heads", None),
            "stream": getattr(layer, "n_streams", None),
            "head": getattr(block, "n_heads", None),
            "kv_head": getattr(block, "n_kv_heads", None),
            "slot": getattr(block, "n_used", None),
        }
        first = sizes.get(tap.axes[1])
        if first and width % first == 0:
            return (first, width // first)
    return None

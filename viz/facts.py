"""What the title says of a model and a trace, read off the file, the taps and the shapes."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING

from refgguf.gguf.roles import layer_of, role_of
from refgguf.taps import Tap
from refgguf.trace import Trace
from refgguf.viz.contributions import reader_of
from refgguf.viz.scene.anatomy import anatomy_of
from refgguf.viz.scene.overlay import scaled
from refgguf.viz.state import Facts, Shown, ShownFile

if TYPE_CHECKING:
    from refgguf.gguf.reader import GGUFFile
    from refgguf.model import Model

MOST_TYPES = 2  # tensor types named in the title
MOST_LAYERS = 10_000  # of which counts of heads are kept; a name may say any number
LEAST_SHARE = 0.05  # of the file's bytes that a type must have to be named after the first


def shown_of_model(model: Model, trace: Trace, prompt: str = "", **options) -> Shown:
    """Show a trace of a model that is at hand.

    Args:
        model: the model.
        trace: its trace.
        prompt: the text that ran; put together from the tokens if empty.
        options: layers, token, marked, theme of `Shown`.
    """
    details = (*shape_words(trace, model.taps), *file_words(model.file), *_numerics_word(trace))
    name, source = model.name, trace.model.get("source")
    if source is not None:  # of two texts the one that is read, and the one that is written
        read = prompt or " ".join(model.token_text(int(i)) for i in source).strip()
        prompt = f"{read} → {joined(trace)}"
    return Shown(
        trace,
        Facts(name, details, prompt or joined(trace)),
        taps=model.taps,
        text_of=model.token_text,
        lens=model.lens if model.network.scores_vocabulary else None,
        reads=reader_of(model) if model.network.scores_vocabulary else None,
        weights=model.file.tensors,
        **options,
    )


def shown_of_trace(trace: Trace, **options) -> Shown:
    """Show a trace that was loaded from a file: no tokenizer, no tensors, only what the trace says itself."""
    name = str(trace.model.get("name") or trace.model.get("file") or "trace")
    details = (*shape_words(trace, trace.taps), *_numerics_word(trace))
    return Shown(trace, Facts(name, details, joined(trace)), **options)


def shape_words(trace: Trace, taps: Mapping[str, Tap]) -> tuple[str, ...]:
    """Describe the model by its architecture and the shapes of its tensors."""
    anatomy = anatomy_of(taps, traced=trace.names)
    words = [str(trace.model["architecture"])] if trace.model.get("architecture") else []
    layers = trace.model.get("n_layers") or len(anatomy.layers)
    if anatomy.encoder:
        words.append(f"{len(anatomy.encoder.layers)} + {_counted(len(anatomy.layers), 'layer')}")
    else:
        words.append(_counted(layers, "layer"))
    heads = [h for layer in anatomy.layers for h in layer.heads]
    if heads:
        n_heads = trace.tensor(heads[0].pattern).values.shape[0]
        groups = trace.tensor(heads[0].k).values.shape[1] if heads[0].k else n_heads
        shared = f" ({groups} for keys and values)" if groups < n_heads else ""
        words.append(f"{_counted(n_heads, 'head')}{shared}")
    experts = [layer.router for layer in anatomy.layers if layer.router]
    if experts:
        words.append(_counted(trace.tensor(experts[0]).values.shape[1], "expert"))
    return tuple(words)


def file_words(file: GGUFFile) -> tuple[str, ...]:
    """Describe a file's size: parameters, the tensor types that make up most of it, bits per weight."""
    bytes_of: dict[str, int] = {}
    n_values = 0
    for tensor in file.tensors.values():
        bytes_of[tensor.type] = bytes_of.get(tensor.type, 0) + tensor.nbytes
        n_values += tensor.n_values
    if not n_values:
        return ()
    return (
        f"{scaled(n_values)} parameters",
        f"{type_words(bytes_of)}, {8 * sum(bytes_of.values()) / n_values:.3g} bits",
    )


def type_words(bytes_of: Mapping[str, int]) -> str:
    """Name the tensor types that make up most of a file: "Q4_K", "Q4_K + Q6_K", "Q4_K + Q6_K + …"."""
    total = sum(bytes_of.values())
    named = sorted(bytes_of, key=lambda t: (-bytes_of[t], t))
    kept = [t for i, t in enumerate(named) if i == 0 or bytes_of[t] >= LEAST_SHARE * total]
    more = " + …" if len(kept) > MOST_TYPES else ""
    return " + ".join(kept[:MOST_TYPES]) + more


def joined(trace: Trace) -> str:
    """Return the text of a trace's tokens, without the special ones at its beginning."""
    texts = list(trace.token_texts)
    while len(texts) > 1 and texts[0].startswith("<") and texts[0].endswith(">"):
        texts.pop(0)
    separate = all(t.startswith("#") for t in texts)
    return (" " if separate else "").join(texts).strip()


def _counted(number: object, word: str) -> str:
    return f"{number} {word}{'' if number == 1 else 's'}"


def _numerics_word(trace: Trace) -> tuple[str, ...]:
    return () if trace.numerics == "exact" else (f"{trace.numerics} numerics",)


def shown_of_file(file: GGUFFile, taps: Mapping[str, Tap] | None = None, **options) -> ShownFile:
    """Show a file's tensors, nothing run.

    Args:
        file: the open file.
        taps: those of the model, if it can be run.
        options: layers, colour, theme of `ShownFile`.
    """
    name = file.metadata.get("general.name")
    words = [file.architecture] if file.architecture else []
    layers = {layer_of(n) for n in file.tensors} - {None}
    words.append(_counted(len(layers), "layer"))
    n_layers = min(max(layers, default=-1) + 1, MOST_LAYERS)
    heads, kv_heads = (_per_layer(file, key, n_layers) for key in ("head_count", "head_count_kv"))
    kv_heads = kv_heads or heads
    without = _without_heads(file)
    heads, kv_heads = (
        tuple(n * (layer not in without) for layer, n in enumerate(counts)) for counts in (heads, kv_heads)
    )
    if any(heads):
        shared = f" ({max(kv_heads)} for keys and values)" if max(kv_heads) < max(heads) else ""
        words.append(f"{_counted(max(heads), 'head')}{shared}")
    words.append(_counted(len(file.tensors), "tensor"))
    facts = Facts(
        name if isinstance(name, str) and name else Path(file.path).stem, (*words, *file_words(file))
    )
    return ShownFile(file, facts, taps or {}, n_heads=heads, n_kv_heads=kv_heads, **options)


def _without_heads(file: GGUFFile) -> set[int]:
    """Return the layers that mix tokens by a recurrence alone, whatever the file says of heads."""
    roles: dict[int | None, set[str]] = {}
    for name in file.tensors:
        roles.setdefault(layer_of(name), set()).add(role_of(name))
    return {
        n for n, have in roles.items() if n is not None and "recurrent" in have and "attention" not in have
    }


def _per_layer(file: GGUFFile, key: str, n_layers: int) -> tuple[int, ...]:
    """Return a count for each layer: metadata has one number for all, or an array."""
    value = file.metadata.get(f"{file.architecture}.attention.{key}")
    if isinstance(value, int) and not isinstance(value, bool):
        return (value,) * n_layers
    try:
        counts = tuple(int(v) for v in value) if value is not None else ()
    except (TypeError, ValueError):
        return ()
    return counts if len(counts) == n_layers else ()


def colours_are_fixed(shown: Shown | ShownFile | None) -> str:
    """Say why what the colours tell cannot be chosen; "" where it can be."""
    if isinstance(shown, ShownFile) and shown.reference is None:
        return ""
    what = "errors against the reference" if isinstance(shown, ShownFile) else "what was computed"
    return f"colours show {what}; they can be chosen where weights are shown alone"

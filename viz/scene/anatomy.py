"""The anatomy of a model as its taps tell it: spine, heads, neurons, experts, states of each layer.

Everything is read off the taps (kind, axes, inputs), so that an architecture nobody thought of is drawn too; what
fits no other role is drawn as a plain slab.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace

from refgguf.taps import STACK, Tap
from refgguf.viz.contributions import end_of_stream
from refgguf.viz.scene.graph import nearest_of

SPINE = ("resid_pre", "resid_attn", "resid_mid", "resid_post")
# the same of layers around several streams, and what their branches read of them
STREAMS_SPINE = ("altup_predicted", "ple_out", "resid_pre", "hc_attn_in", "resid_mid", "hc_ffn_in")
STREAMS_SPINE += ("resid_late", "resid_post")
STREAMS = ("token", "stream", "d_model")
# how much is read of each stream, or written to it; how much each passes on to each
NUMBERS = (("token", "stream"), ("token", "stream", "stream"))
ENCODER = "enc."  # what the names of an encoder's taps begin with, where a decoder writes another text
PATTERN_AXES, BLOCK_AXES = ("head", "query", "key"), ("head", "query", "block")


@dataclass(frozen=True)
class Heads:
    """The taps of one multi-head attention; any but the pattern may be missing.

    The mask says which keys each query may take from, where an indexer chooses them; it is shown in the pattern. Where
    queries see compressed blocks of tokens too, `blocks` is the pattern over them, `block_k` their keys and values, and
    `block_mask` says which of them were chosen.
    """

    pattern: str
    q: str | None = None
    k: str | None = None
    v: str | None = None
    z: str | None = None
    mask: str | None = None
    blocks: str | None = None
    block_k: str | None = None
    block_mask: str | None = None

    def names(self) -> Iterator[str]:
        """Iterate over the taps that exist."""
        found = (self.q, self.k, self.v, self.block_k, self.pattern, self.blocks, self.z)
        return (n for n in found if n is not None)


@dataclass(frozen=True)
class LayerAnatomy:
    """What is drawn of one layer.

    Attributes:
        layer: its number.
        spine: residual stream: entering (where that is no copy of what is drawn already), between, leaving.
        heads: its attentions.
        neurons: (token, d_ff) activations of the feed-forward network.
        router: (token, expert) shares.
        topk: (token, slot) numbers of the chosen experts; not drawn, but needed to tell the experts apart.
        experts: (token, slot, d_ff) activations of the chosen experts.
        others: what else is worth a slab: recurrent states and their like.
        before: what is made of the stream between mixing and network, and feeds the network or its gate.
        beside: the streams that leave the layer beside the one that the spine ends with, where they have a tap of
            their own.
        numbers: by which streams are read, written and mixed, where there are several.
    """

    layer: int
    spine: tuple[str, ...]
    heads: tuple[Heads, ...]
    neurons: tuple[str, ...]
    router: str | None
    topk: str | None
    experts: tuple[str, ...]
    others: tuple[str, ...]
    before: tuple[str, ...] = ()
    beside: str | None = None
    numbers: tuple[str, ...] = ()

    def names(self) -> Iterator[str]:
        """Iterate over the taps that are drawn."""
        yield from self.spine
        if self.beside:
            yield self.beside
        yield from self.numbers
        for heads in self.heads:
            yield from heads.names()
        yield from self.neurons
        if self.router:
            yield self.router
        yield from self.experts
        yield from self.others
        yield from self.before


@dataclass(frozen=True)
class Anatomy:
    """What is drawn of a model.

    Attributes:
        embeddings: what tokens start as; the first is the head of the spine, the others are added to it.
        layers: in order.
        logits: scores of the next token, or None.
        ends: what an encoder makes of the whole text: the pooled vector, scores of classes; of one that a decoder
            attends to, the vectors of its tokens.
        encoder: what reads the text, where this is a decoder that writes another.
        streams: those that stand beside the embedding, where there are several, with a tap of their own.
        merged: what the output reads of several streams, with the numbers that it is mixed by behind it.
    """

    embeddings: tuple[str, ...]
    layers: tuple[LayerAnatomy, ...]
    logits: str | None
    ends: tuple[str, ...] = ()
    encoder: Anatomy | None = None
    streams: str | None = None
    merged: tuple[str, ...] = ()

    def drawn(self) -> tuple[str, ...]:
        """Return the names of all taps that are drawn."""
        names = [*self.embeddings, *([self.streams] if self.streams else [])]
        names += [*(n for layer in self.layers for n in layer.names()), *self.merged]
        own = (*names, *self.ends) if self.logits is None else (*names, *self.ends, self.logits)
        return (*self.encoder.drawn(), *own) if self.encoder else own

    def needed(self) -> tuple[str, ...]:
        """Return the names of all taps whose values the picture needs."""
        heads = [h for layer in self.layers for h in layer.heads]
        masks = dict.fromkeys(m for h in heads for m in (h.mask, h.block_mask) if m)
        topk = (layer.topk for layer in self.layers if layer.topk and layer.experts)
        return (*self.drawn(), *topk, *masks)


def anatomy_of(
    taps: Mapping[str, Tap], layers: Collection[int] | None = None, traced: Collection[str] | None = None
) -> Anatomy:
    """Find out what to draw of a model.

    Args:
        taps: every tap by canonical name, in order of execution.
        layers: numbers of the layers to draw; all if None.
        traced: names of the taps that have values; all if None.
    """
    read, written = two_stacks(taps)
    if read:
        encoder = _of_stack(read, layers, traced)
        return replace(_of_stack(written, layers, traced), encoder=encoder if encoder.drawn() else None)
    return _of_stack({n: t for n, t in taps.items() if "source" not in t.axes}, layers, traced)


def two_stacks(taps: Mapping[str, Tap]) -> tuple[dict[str, Tap], dict[str, Tap]]:
    """Return the taps of what reads a text, and of what writes another; none and all where there is one text.

    Positions of the text that is read are the encoder's own tokens, and what the decoder's cross attention calls keys.
    """
    # an encoder alone calls its positions tokens
    two = any(n.startswith(ENCODER) and t.axes[0] == "source" for n, t in taps.items())
    read = {n: replace(t, axes=_as_tokens(t.axes)) for n, t in taps.items() if two and n.startswith(ENCODER)}
    return read, {
        n: replace(t, axes=_as_tokens(t.axes)) if read else t for n, t in taps.items() if n not in read
    }


def _as_tokens(axes: tuple[str, ...]) -> tuple[str, ...]:
    if axes[:1] == ("head",) and axes[-1] == "source":
        return PATTERN_AXES
    return tuple("token" if axis == "source" else axis for axis in axes)


def _of_stack(
    taps: Mapping[str, Tap], layers: Collection[int] | None, traced: Collection[str] | None
) -> Anatomy:
    have = {n: t for n, t in taps.items() if traced is None or n in traced}
    by_layer: dict[int, dict[str, Tap]] = {}
    for name, tap in have.items():
        if tap.layer is not None and (layers is None or tap.layer in layers):
            by_layer.setdefault(tap.layer, {})[name] = tap
    embeddings = tuple(n for n, t in have.items() if t.kind == "embedding" and t.layer is None)
    embeddings = tuple(n for n in embeddings if not any(n in taps[m].inputs for m in embeddings))
    ends = tuple(n for n, t in have.items() if t.layer is None and t.axes[:1] == ("text",))
    if not ends and all(n.startswith(ENCODER) for n in taps):
        ends = tuple(n for n in have if local(n) == "final_norm")
    logits = [n for n, t in have.items() if t.kind == "logits" and t.layer is None and n not in ends]
    known = set(embeddings)
    found = []
    for layer in sorted(by_layer):
        found.append(_layer(layer, by_layer[layer], taps, known))
        known.update(found[-1].spine)
    streams, merged = None, ()
    if any(layer.beside or _several(layer.spine, taps) for layer in found):
        streams = next(
            (n for n, t in have.items() if t.axes == STREAMS and t.layer is None and t.weights), None
        )
        streams = streams if streams and set(taps[streams].inputs) <= {*embeddings} else None
        end = end_of_stream(taps)
        read = [
            n for n in _numbers({n: t for n, t in have.items() if t.layer is None}) if feeds(taps, n, end)
        ]
        merged = (end, *read) if end in have and taps[end].layer is None else ()
    return Anatomy(embeddings, tuple(found), logits[-1] if logits else None, ends, None, streams, merged)


def _several(spine: Iterable[str], taps: Mapping[str, Tap]) -> bool:
    return any(taps[n].axes == STREAMS for n in spine)


def _numbers(own: Mapping[str, Tap]) -> tuple[str, ...]:
    """Return the numbers that streams are read, written and mixed by, but for those that others are made of."""
    found = [n for n, t in own.items() if is_number(t) and t.kind in ("residual", "router")]
    return tuple(n for n in found if not any(n in own[m].inputs for m in found))


def is_number(tap: Tap) -> bool:
    """Tell whether streams are read, written or mixed by a tap: one number for each, or a gate over all of them."""
    name = local(tap.name)
    wide = tap.axes == ("token", "channel") and "hc_" in name and name.endswith("_gate")
    return tap.axes in NUMBERS or wide


def _layer(
    layer: int, own: Mapping[str, Tap], taps: Mapping[str, Tap], known: Collection[str]
) -> LayerAnatomy:
    several = any(t.axes == STREAMS and local(n) in STREAMS_SPINE for n, t in own.items())
    parts = STREAMS_SPINE if several else SPINE
    spine = tuple(n for n in own if local(n) in parts and not _is_copy(taps[n], known))
    heads = tuple(_heads(own, taps))
    taken = {n for h in heads for n in h.names()}
    topk, experts = _experts(own, taps)
    scores = [n for n, t in own.items() if t.kind == "router" and t.axes == ("token", "expert")]
    chosen_by = [n for n in scores if topk and feeds(taps, n, topk)]
    beside = [n for n in scores if chosen_by and not any(feeds(taps, m, n) for m in chosen_by)]
    router = _last(own, "router", "expert", but={*beside} - {*chosen_by})  # not the gate of a shared expert
    ffn = [n for n, t in own.items() if t.kind == "ffn" and t.axes[-1] == "d_ff"]
    final = [n for n in ffn if not any(feeds(taps, n, m) for m in ffn if m != n)]
    neurons = tuple(n for n in final if own[n].axes == ("token", "d_ff"))
    others = tuple(n for n in own if n not in taken and _stands_alone(own[n], taken, taps))
    before = _before(others, own, neurons, taps)
    others = tuple(n for n in others if n not in before)
    one = spine and own[spine[-1]].axes == ("token", "d_model")
    beside = next((n for n, t in own.items() if one and local(n) == "streams" and len(t.axes) == 3), None)
    numbers = _numbers(own) if several else ()
    return LayerAnatomy(layer, spine, heads, neurons, router, topk, experts, others, before, beside, numbers)


def _stands_alone(tap: Tap, taken: Collection[str], taps: Mapping[str, Tap]) -> bool:
    """Tell whether a tap mixes tokens in another way than the heads do: it neither flows into them nor from them."""
    if tap.kind not in ("state", "qkv") or len(tap.axes) < 2:
        return False
    return not any(feeds(taps, tap.name, n) or feeds(taps, n, tap.name) for n in taken)


def _before(
    others: Sequence[str], own: Mapping[str, Tap], neurons: Sequence[str], taps: Mapping[str, Tap]
) -> tuple[str, ...]:
    """Return those of `others` that are made of the stream after mixing; what neurons are made of comes last."""
    middle = [n for n in own if local(n) == "resid_mid"]
    late = [n for n in others if any(feeds(taps, m, n) for m in middle)]
    return tuple(sorted(late, key=lambda n: any(feeds(taps, n, m) for m in neurons)))


def local(name: str) -> str:
    """Return a tap's name within its layer: "blk.3.attn_q" → "attn_q"."""
    name = STACK.sub("", name)
    return name.split(".", 2)[-1] if name.startswith("blk.") else name


def stack_words(name: str) -> str:
    """Say which of two stacks of layers a tap belongs to: "encoder ", "decoder ", or "" where there is one."""
    found = STACK.match(name)
    return "" if found is None else f"{found[1]}oder "


def _is_copy(tap: Tap, known: Collection[str]) -> bool:
    """Tell whether a tap only hands on what is drawn already: what enters a layer is what left the last."""
    return local(tap.name) == "resid_pre" and len(tap.inputs) == 1 and tap.inputs[0] in known


def _heads(own: Mapping[str, Tap], taps: Mapping[str, Tap]) -> Iterator[Heads]:
    patterns = [n for n, t in own.items() if t.kind == "attention" and t.axes == PATTERN_AXES]
    stream = [n for n, t in own.items() if t.kind == "residual"]  # what comes after it is another attention
    before = {m: nearest_of(taps, m, [*patterns, *stream]) for m in patterns}
    patterns = [n for n in patterns if not any(n in before[m] for m in patterns)]
    qkv = [n for n, t in own.items() if t.kind == "qkv" and len(t.axes) == 3]
    for pattern in patterns:
        before = nearest_of(taps, pattern, qkv)
        k = next((n for n in before if local(n).startswith("attn_k") or "kv_head" in own[n].axes), None)
        q = next((n for n in before if n != k), None)
        z = next((n for n in qkv if pattern in nearest_of(taps, n, (*patterns, *qkv))), None)
        # what patterns are computed from, such as an indexer's queries, is no value that they mix
        before_z = (
            nearest_of(taps, z, [n for n, t in own.items() if t.kind in ("qkv", "attention")]) if z else ()
        )
        values = [n for n in before_z if own[n].kind == "qkv" and own[n].axes[0] != "block"]
        values = [n for n in values if n not in (q, k)]
        v = next(iter(values), None)  # may be shared by all heads: (token, rank)
        yield Heads(pattern, q, k, v, z, _mask(taps, pattern), *_blocks(own, taps, pattern))


def _blocks(own: Mapping[str, Tap], taps: Mapping[str, Tap], pattern: str) -> tuple[str | None, ...]:
    """Return the pattern over blocks that was normed together with another, the blocks' keys, and which were chosen."""
    alike = [n for n, t in own.items() if t.axes == BLOCK_AXES and set(t.inputs) == set(taps[pattern].inputs)]
    if not alike:
        return None, None, None
    keys = [n for n, t in own.items() if t.kind == "qkv" and t.axes[0] == "block"]
    near = [i for n in taps[alike[0]].inputs if n in taps for i in taps[n].inputs]
    mask = next((i for i in near if i.endswith("mask") and taps[i].axes == BLOCK_AXES[1:]), None)
    return alike[0], next(iter(nearest_of(taps, alike[0], keys)), None), mask


def _mask(taps: Mapping[str, Tap], pattern: str) -> str | None:
    """Return the tap that says which keys were chosen for a pattern; it may belong to an earlier layer."""
    scores = [i for i in taps[pattern].inputs if i in taps]
    near = [i for name in (pattern, *scores) for i in taps[name].inputs if i in taps]
    return next((i for i in near if i.endswith("mask") and taps[i].axes[-2:] == PATTERN_AXES[1:]), None)


def _experts(own: Mapping[str, Tap], taps: Mapping[str, Tap]) -> tuple[str | None, tuple[str, ...]]:
    """Return the tap that says which experts were chosen, and their neurons; of experts behind experts the first."""
    slots = [n for n, t in own.items() if t.kind == "router" and t.axes == ("token", "slot")]
    slots = [n for n in slots if "weights" not in local(n)]
    each = {n: t for n, t in own.items() if t.kind == "ffn" and t.axes == ("token", "slot", "d_ff")}
    by_slots: dict[str, str | None] = {}
    for name, tap in each.items():  # the gated unit stands behind gates and inputs, which know their experts
        known = [i for i in tap.inputs if i in slots] or [by_slots.get(i) for i in tap.inputs]
        by_slots[name] = next((s for s in known if s), None)
    first = next((s for s in by_slots.values() if s), slots[-1] if slots else None)
    own_experts = [n for n in each if by_slots[n] in (first, None)]
    final = [n for n in own_experts if not any(feeds(taps, n, m) for m in own_experts if m != n)]
    return first, tuple(final) if first else ()


def _last(own: Mapping[str, Tap], kind: str, axis: str, but: Iterable[str]) -> str | None:
    but = set(but)
    names = [n for n, t in own.items() if t.kind == kind and t.axes == ("token", axis) and n not in but]
    return names[-1] if names else None


def feeds(taps: Mapping[str, Tap], source: str, target: str) -> bool:
    """Tell whether `target` is computed from `source` within the same layer."""
    waiting, seen = [target], set()
    while waiting:
        name = waiting.pop()
        if name in seen or name not in taps:
            continue
        seen.add(name)
        if source in taps[name].inputs:
            return True
        waiting.extend(i for i in taps[name].inputs if i in taps and taps[i].layer == taps[source].layer)
    return False

"""What a tensor of a file is for, in one sentence: what it makes, or why nothing reads it."""

from __future__ import annotations

from collections.abc import Mapping

from refgguf.gguf.roles import role_of
from refgguf.taps import Tap

# role → what a tensor is where nothing is known of the operations, because the model cannot be run
FOR = {
    "vision": "belongs to the part that sees pictures or hears sound",
    "norm": "weights of a norm: what brings a vector to a usual size",
    "residual": "takes part in how blocks are joined to the residual stream",
    "router": "scores experts, of which each token is sent to a few",
    "experts": "matrices of the experts, one for each",
    "shared experts": "matrix of the expert that sees every token",
    "ffn": "matrix of the feed-forward network",
    "attention": "matrix of the attention",
    "recurrent": "takes part in a recurrent mixer: what is kept of the tokens before",
    "embedding": "a row for each token: what it starts as",
    "output": "turns the residual stream into scores of tokens or classes",
    "other": "is of a name that is not known",
}
UNREAD = "no operation reads it here"
# why that may be: role → words
BECAUSE = {
    "vision": "it belongs to pictures, and only text runs",
    "router": "this layer has no experts, or they are chosen in another way",
    "experts": "this layer has no experts",
    "ffn": "this layer has experts instead, or another form of the same weights",
    "attention": "this layer uses the keys and values of another, or none",
    "norm": "what it would norm is not made in this layer",
    "recurrent": "another tensor holds the same, or this layer goes without",
    "output": "the scores of tokens come from another matrix",
    "residual": "this layer goes without",
}
SCALES = (".input_scale", ".scale")


def weight_meaning(name: str, taps: Mapping[str, Tap]) -> str:
    """Say what a tensor of a file is for.

    Args:
        name: its name.
        taps: every tap of the model; empty if it cannot be run.

    Returns:
        One sentence without a full stop.
    """
    made = [tap for tap in taps.values() if name in tap.weights]
    if made:
        more = f", and {len(made) - 1} more" if len(made) > 1 else ""
        return f"makes {made[0].name}{more}: {made[0].meaning}"
    role = role_of(name)
    if not taps:
        return FOR[role]
    if name.removesuffix(".bias").endswith("_vl"):
        return f"{UNREAD}: {BECAUSE['vision']}"
    if name.endswith(SCALES):
        return f"{UNREAD}: it is meant for hardware that multiplies in few bits"
    return f"{UNREAD}: {BECAUSE[role]}" if role in BECAUSE else UNREAD

"""What RWKV's layers share, and their mixing over channels (Peng et al. 2024, 2025).

Every input is a mixture of the token and the one before:   xᵢ = x + (x₋₁ − x) · μᵢ

channels    out = relu(xk Wk)² Wv          in RWKV-6 times σ(xr Wr)
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np

from refgguf.blocks.block import Block
from refgguf.blocks.memory import Memory
from refgguf.blocks.scope import Need, Scope, linear_needs, linear_weights
from refgguf.kernels.ops.activation import activation
from refgguf.kernels.ops.norm import layer_norm
from refgguf.taps import Tap, Word, declare

HEAD_NORM_EPS = 64e-5  # of the norm of each head's result, in no metadata
HEADS = "token head d_head"
WORDS = {
    "sx": Word("token d_model", "state", "the token before, less this one"),
    "shift_state": Word("d_model", "state", "the last token, for the next one"),
    "xx": Word("token d_model", "qkv", "token and the one before, for the mixture"),
    "mix": Word("token channel", "qkv", "hidden channels of what decides the mixture"),
    "x": Word("token d_model", "qkv", "mixture of the token and the one before"),
    "r": Word(HEADS, "qkv", "receptance: what each token reads from the state"),
    "w_in": Word("token rank", "qkv", "hidden channels of the decay"),
    "w": Word(HEADS, "qkv", "decay: how much of each state is kept"),
    "k_in": Word("token d_model", "qkv", "keys before they are corrected"),
    "k": Word(HEADS, "qkv", "keys: where each token writes"),
    "kk": Word(HEADS, "qkv", "where each token removes what is there"),
    "v_in": Word("token d_model", "qkv", "values before the first layer's join"),
    "v_rank": Word("token rank", "qkv", "hidden channels of the share of the first layer's values"),
    "v_share": Word("token d_model", "qkv", "share of the first layer's values"),
    "v": Word(HEADS, "qkv", "values: what each token writes"),
    "a_in": Word("token rank", "qkv", "hidden channels of the learning rate"),
    "a": Word(HEADS, "qkv", "learning rate: how much of what is there is removed"),
    "g_in": Word("token channel", "qkv", "hidden channels of the gate"),
    "g": Word("token d_model", "qkv", "gate of the result"),
    "state": Word("head d_head d_head", "state", "what is remembered after the last token"),
    "wkv": Word(HEADS, "qkv", "what each token reads from the state"),
    "ln": Word("token d_model", "qkv", "what is read, each head normed"),
    "bonus": Word("token d_model", "qkv", "what each token reads from itself"),
    "gated": Word("token d_model", "qkv", "what is read, gated"),
    "out": Word("token d_model", "residual", "what mixing over time adds"),
    "hidden": Word("token d_ff", "ffn", "input of each neuron"),
    "act": Word("token d_ff", "ffn", "activation of each neuron"),
    "down": Word("token d_model", "ffn", "result before its gate"),
    "gate": Word("token d_model", "ffn", "gate of the result"),
}


def time_mixed_tap(name: str, layer: int) -> Tap:
    """Declare what mixing over time adds to the residual stream, under the name that the layer gives it."""
    return declare(
        name,
        inputs=["time_mix_gated"],
        weights=linear_weights("time_mix_output"),
        formula="y · Woᵀ",
        layer=layer,
        word=WORDS["out"],
    )


def mix_tap(prefix: str, name: str, word: str, layer: int, inputs: str, formula: str, *weights: str) -> Tap:
    """Declare a tap; `inputs` are local names of this block, or full ones behind a slash, or > for the source."""
    names = [i[1:] if i.startswith(">") else i if i.startswith("/") else prefix + i for i in inputs.split()]
    word = WORDS[word]
    return declare(prefix + name, inputs=names, formula=formula, weights=weights, layer=layer, word=word)


def shift(x: np.ndarray, s: Scope, prefix: str) -> np.ndarray:
    """Return the token before each, less the token itself, (token, d_model)."""
    sx = s.tap(prefix + "sx", np.concatenate([s.state["shift"][None], x[:-1]]) - x)
    s.state["shift"] = s.tap(prefix + "shift_state", x[-1].copy())
    return sx


def shift_taps(prefix: str, layer: int, source: str) -> Iterator[Tap]:
    """Declare the taps of `shift`."""
    yield mix_tap(prefix, "sx", "sx", layer, f">{source}", "x₋₁ − x")
    yield mix_tap(prefix, "shift_state", "shift_state", layer, f">{source}", "the last token's x")


def new_memory(d_model: int, d_head: int) -> Memory:
    """Return an empty memory of the last token and of all before."""
    wkv = np.zeros((d_model // d_head, d_head, d_head), np.float32)
    return Memory(shift=np.zeros(d_model, np.float32), wkv=wkv)


def head_norm(y: np.ndarray, s: Scope) -> np.ndarray:
    """Norm each head: (token, head, d_head) → (token, d_model)."""
    y = layer_norm(y, None, None, HEAD_NORM_EPS, s.numerics).reshape(len(y), -1)
    return s.tap("time_mix_ln", y * s.vector("time_mix_ln.weight") + s.vector("time_mix_ln.bias"))


@dataclass(frozen=True)
class ChannelMix(Block):
    """RWKV's mixing over channels: relu(xk Wk)² Wv, in RWKV-6 times σ(xr Wr).

    Attributes:
        d_model: channels of the residual stream.
        d_ff: neurons.
        gated: the result has a gate.
        out: name of the result's tap.
    """

    d_model: int
    d_ff: int
    gated: bool
    out: str = "ffn_out"

    def needs(self) -> list[Need]:
        """Return the tensors that it works with."""
        d, p = self.d_model, "channel_mix_"
        needs = [Need(f"{p}lerp_k.weight", (d,))]
        if self.gated:
            needs += [Need(f"{p}lerp_r.weight", (d,)), *linear_needs(f"{p}receptance", d, d)]
        return needs + linear_needs(f"{p}key", self.d_ff, d) + linear_needs(f"{p}value", d, self.d_ff)

    def taps(self, layer: int, source: str) -> Iterator[Tap]:
        """Declare its taps, in order of execution."""

        def tap(name: str, word: str, inputs: str, formula: str, *weights: str) -> Tap:
            weights = [f"channel_mix_{w}" for w in weights]
            return mix_tap("channel_mix_", name, word, layer, inputs, formula, *weights)

        yield from shift_taps("channel_mix_", layer, source)
        yield tap("xk", "x", f">{source} sx", "x + sx · λ", "lerp_k.weight")
        yield tap("key", "hidden", "xk", "x · Wkᵀ", *linear_weights("key"))
        yield tap("act", "act", "key", "relu(k)²")
        weights = linear_weights("channel_mix_value")
        inputs, formula = ["channel_mix_act"], "act · Wvᵀ"
        if self.gated:
            yield tap("value", "down", "act", formula, *linear_weights("value"))
            yield tap("xr", "x", f">{source} sx", "x + sx · λ", "lerp_r.weight")
            yield tap("r", "gate", "xr", "σ(x · Wrᵀ)", *linear_weights("receptance"))
            inputs, weights, formula = ["channel_mix_value", "channel_mix_r"], (), "value · r"
        yield declare(self.out, inputs=inputs, weights=weights, formula=formula, layer=layer, llama_cpp="")

    def new_state(self) -> Memory:
        """Return an empty memory."""
        return Memory(shift=np.zeros(self.d_model, np.float32))

    def __call__(self, x: np.ndarray, s: Scope) -> np.ndarray:
        """Work on each token and the one before: (token, d_model) → (token, d_model) float32."""
        relu_squared, sigmoid = (activation(name, s.numerics) for name in ("relu_squared", "sigmoid"))
        sx = shift(x, s, "channel_mix_")
        xk = s.tap("channel_mix_xk", x + sx * s.vector("channel_mix_lerp_k.weight").reshape(-1))
        k = s.tap("channel_mix_act", relu_squared(s.tap("channel_mix_key", s.linear(xk, "channel_mix_key"))))
        y = s.linear(k, "channel_mix_value")
        if self.gated:
            y = s.tap("channel_mix_value", y)
            xr = s.tap("channel_mix_xr", x + sx * s.vector("channel_mix_lerp_r.weight").reshape(-1))
            y = y * s.tap("channel_mix_r", sigmoid(s.linear(xr, "channel_mix_receptance")))
        return s.tap(self.out, y)

"""Multi-head attention with grouped queries (Vaswani et al. 2017; Ainslie et al. 2023).

q, k, v = x Wq, x Wk, x Wv          one row a token, split into heads
q, k    = norm, then RoPE           where the model has them, or RoPE, then norm
scores  = q kᵀ · scale              over the keys that a token may see, or those that a part of it chooses
probs   = softmax(scores)
z       = probs v                   times a gate of x, or normed, where the model has that
out     = z Wo
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field, replace

import numpy as np

from refgguf.blocks.attend import Attend
from refgguf.blocks.attention_switches import Gate, Temperature
from refgguf.blocks.keyvalues import KeyValues
from refgguf.blocks.mask import Mask
from refgguf.blocks.norm import HeadNorm, Norm
from refgguf.blocks.rope import Rope
from refgguf.blocks.scope import Need, Scope, linear_needs, linear_weights
from refgguf.blocks.selector import Selector
from refgguf.kernels.ops.activation import activation
from refgguf.taps import LAYER_WORDS, Tap, declare

PARTS = (("attn_q", "q"), ("attn_k", "k"), ("attn_v", "v"))


@dataclass(frozen=True)
class Attention(Attend):
    """Multi-head attention.

    Attributes:
        d_model: channels of the residual stream.
        n_heads: query heads.
        n_kv_heads: heads of keys and values; each serves n_heads / n_kv_heads query heads.
        d_head: channels of a query or key.
        d_head_v: channels of a value.
        scale: multiplies the scores.
        scaled: what it multiplies in llama.cpp, which rounds once more or less: "scores", "queries", or "capped" for
            the scores together with the division by their soft cap.
        rope: position embedding of queries and keys, or None.
        q_norm: norm of the queries, or None.
        k_norm: norm of the keys, or None.
        v_norm: norm of the values, or None.
        values_from_keys: the file has no matrix of values; what the matrix of keys gives serves as values too.
        norm_after_rope: those norms come after RoPE.
        fused_qkv: the file has one matrix attn_qkv instead of three.
        biased: the file has biases for queries, keys and values.
        clamp: queries, keys and values are cut to ± this; 0 for not at all.
        mask: which keys a query may see.
        softcap: scores are bent to softcap · tanh(scores / softcap); 0 for not at all.
        alibi: span of ALiBi's slopes: scores fall with distance (Press et al. 2022); 0 for no ALiBi.
        sinks: each head has a score that joins the sum of softmax and takes nothing.
        temperature: growth of the queries with position, or None.
        gate: gate of the mixed values, or None.
        sub_norm: norm of the mixed values, all heads together, or None.
        selector: what chooses among the keys that the mask allows, or None.
        matrix: name of the output matrix.
        out: name of the result's tap.
    """

    d_model: int
    n_heads: int
    n_kv_heads: int
    d_head: int
    d_head_v: int
    scale: float
    rope: Rope | None = None
    q_norm: HeadNorm | None = None
    k_norm: HeadNorm | None = None
    v_norm: HeadNorm | None = None
    values_from_keys: bool = False
    norm_after_rope: bool = False
    fused_qkv: bool = False
    biased: bool = False
    clamp: float = 0.0
    mask: Mask = field(default_factory=Mask)
    softcap: float = 0.0
    alibi: float = 0.0
    sinks: bool = False
    temperature: Temperature | None = None
    gate: Gate | None = None
    sub_norm: Norm | None = None
    selector: Selector | None = None
    scaled: str = "scores"
    matrix: str = "attn_output"
    out: str = "attn_out"

    @property
    def widths(self) -> tuple[int, int, int]:
        """Channels of all queries, all keys and all values of a token."""
        return self.n_heads * self.d_head, self.n_kv_heads * self.d_head, self.n_kv_heads * self.d_head_v

    @property
    def keys(self) -> str:
        """Local name of the tap of the keys that queries meet."""
        steps = [("attn_k_norm", self.k_norm), ("attn_k_rope", self.rope)]
        names = [name for name, there in (reversed(steps) if self.norm_after_rope else steps) if there]
        return names[-1] if names else "attn_k"

    @property
    def values(self) -> str:
        """Local name of the tap of the values that are mixed."""
        return "attn_v_norm" if self.v_norm else "attn_v"

    @property
    def _joint(self) -> bool:
        return bool(self.gate and self.gate.joint)

    def needs(self) -> list[Need]:
        """Return the tensors that it works with."""
        d_z = self.n_heads * self.d_head_v
        needs = [
            n
            for name, d in zip(PARTS, self.widths, strict=True)
            for n in linear_needs(name[0], d * (2 if self._joint and name[1] == "q" else 1), self.d_model)
            if not (self.values_from_keys and name[1] == "v")
        ]
        if self.fused_qkv:  # an old file may have biases of their own for the three parts
            biases = [Need(n.name, n.shape, optional=True) for n in needs if n.name.endswith(".bias")]
            needs = linear_needs("attn_qkv", sum(self.widths), self.d_model) + biases
        needs += self.q_norm.needs("attn_q_norm", self.n_heads, self.d_head) if self.q_norm else []
        needs += self.k_norm.needs("attn_k_norm", self.n_kv_heads, self.d_head) if self.k_norm else []
        needs += self.v_norm.needs("attn_v_norm", self.n_kv_heads, self.d_head_v) if self.v_norm else []
        needs += self.rope.needs() if self.rope else []
        needs += [Need("attn_sinks.weight", (self.n_heads,))] if self.sinks else []
        if self.gate and not self._joint:
            needs += linear_needs("attn_gate", self.n_heads if self.gate.per_head else d_z, self.d_model)
        needs += self.sub_norm.needs("attn_sub_norm", d_z) if self.sub_norm else []
        needs += self.selector.needs() if self.selector else []
        return needs + linear_needs(self.matrix, self.d_model, d_z)

    def taps(self, layer: int, source: str) -> Iterator[Tap]:
        """Declare its taps, in order of execution."""
        yield from self._project_taps(layer, source)
        names = {"q": "attn_q", "k": "attn_k"}
        for step in (
            (self._rope_taps, self._norm_taps) if self.norm_after_rope else (self._norm_taps, self._rope_taps)
        ):
            yield from step(layer, names)
        if self.temperature:
            formula = f"q · (1 + {self.temperature.scale:g} · log(⌊position / {self.temperature.step}⌋ + 1))"
            yield declare("attn_q_temp", inputs=[names["q"]], formula=formula, layer=layer)
            names["q"] = "attn_q_temp"
        if self.v_norm:
            weights, formula = self.v_norm.weights("attn_v_norm"), self.v_norm.formula
            yield declare("attn_v_norm", inputs=["attn_v"], weights=weights, formula=formula, layer=layer)
        if self.selector:
            yield from self.selector.taps(layer, source, source)
        yield from self._mix_taps(layer, names)
        yield from self._output_taps(layer, source)

    def _project_taps(self, layer: int, source: str) -> Iterator[Tap]:
        bias = " + b" if self.biased else ""
        cut = f", cut to ±{self.clamp:g}" if self.clamp else ""
        if self.fused_qkv:
            weights = linear_weights("attn_qkv") + tuple(f"{name}.bias" for name, _ in PARTS)
            foreign = "wqkv_b" if self.biased else "wqkv"
            yield declare(
                "attn_qkv",
                inputs=[source],
                weights=weights,
                formula="x · Wqkvᵀ" + bias,
                layer=layer,
                llama_cpp=foreign,
            )
            if self.clamp:
                yield declare("attn_qkv_clamped", inputs=["attn_qkv"], formula="qkv" + cut, layer=layer)
        if self._joint:
            weights, formula = linear_weights("attn_q"), "x · Wqᵀ, split into heads"
            yield declare("attn_q_gate", inputs=[source], weights=weights, formula=formula, layer=layer)
        for name, sign in PARTS:
            if self._joint and sign == "q":
                formula = "first half of each head of attn_q_gate"
                yield declare(name, inputs=["attn_q_gate"], formula=formula, layer=layer)
            elif self.fused_qkv:
                source = "attn_qkv_clamped" if self.clamp else "attn_qkv"
                formula = f"the {sign} columns of qkv, split into heads"
                yield declare(name, inputs=[source], formula=formula, layer=layer)
            elif self.values_from_keys and sign == "v":
                yield declare(name, inputs=["attn_k"], formula="k, as it comes", layer=layer, llama_cpp="")
            else:
                formula = f"x · W{sign}ᵀ{bias}, split into heads" + cut
                foreign = f"{sign.upper()}cur_clamped" if self.clamp else None
                yield declare(
                    name,
                    inputs=[source],
                    weights=linear_weights(name),
                    formula=formula,
                    layer=layer,
                    llama_cpp=foreign,
                )

    def _norm_taps(self, layer: int, names: dict[str, str]) -> Iterator[Tap]:
        for sign, norm in (("q", self.q_norm), ("k", self.k_norm)):
            if norm:
                name = f"attn_{sign}_norm"
                yield declare(
                    name, inputs=[names[sign]], weights=norm.weights(name), formula=norm.formula, layer=layer
                )
                names[sign] = name

    def _rope_taps(self, layer: int, names: dict[str, str]) -> Iterator[Tap]:
        for sign in names if self.rope else ():
            name = f"attn_{sign}_rope"
            yield declare(
                name,
                inputs=[names[sign]],
                weights=self.rope.weights(),
                formula=self.rope.formula,
                layer=layer,
            )
            names[sign] = name

    def _mix_taps(self, layer: int, names: dict[str, str]) -> Iterator[Tap]:
        formula = f"q · kᵀ · {self.scale:.4g}"
        formula = f"{self.softcap:g} · tanh({formula} / {self.softcap:g})" if self.softcap else formula
        formula += " − slope · distance" if self.alibi else ""
        chosen, which = ([self.selector.mask], ", where the mask is 1") if self.selector else ([], "")
        yield declare(
            "attn_scores",
            inputs=[names["q"], names["k"], *chosen],
            formula=f"{formula}; each token sees {self.mask.formula}{which}",
            layer=layer,
        )
        meaning = None if self.mask.causal else "attention pattern: how much each token takes from each one"
        probs = declare(
            "attn_probs",
            inputs=["attn_scores"],
            meaning=meaning,
            weights=["attn_sinks.weight"] if self.sinks else [],
            formula="softmax over keys" + (" and the head's sink" if self.sinks else ""),
            layer=layer,
        )
        yield replace(probs, window=self.mask.noted)
        yield declare(
            "attn_z", inputs=["attn_probs", self.values], formula="Σ over keys: probs · v", layer=layer
        )

    def _output_taps(self, layer: int, source: str) -> Iterator[Tap]:
        z = "attn_z"
        if self.gate:
            gate, act = (
                replace(LAYER_WORDS[name], axes="token head" if self.gate.per_head else "token head d_head")
                for name in ("attn_gate", "attn_gate_act")
            )
            weights, formula = linear_weights("attn_gate"), "x · Wgateᵀ"
            if self._joint:
                source, weights, formula = "attn_q_gate", (), "second half of each head of attn_q_gate"
            yield declare(
                "attn_gate", inputs=[source], weights=weights, formula=formula, layer=layer, word=gate
            )
            formula = f"{self.gate.act}(gate)"
            yield declare("attn_gate_act", inputs=["attn_gate"], formula=formula, layer=layer, word=act)
            yield declare("attn_gated", inputs=[z, "attn_gate_act"], formula="z · gate", layer=layer)
            z = "attn_gated"
        if self.sub_norm:
            weights = self.sub_norm.weights("attn_sub_norm")
            yield declare(
                "attn_sub_norm", inputs=[z], weights=weights, formula=self.sub_norm.formula, layer=layer
            )
            z = "attn_sub_norm"
        formula = "z (heads side by side) · Woᵀ"
        yield declare(self.out, inputs=[z], weights=linear_weights(self.matrix), formula=formula, layer=layer)

    def new_state(self) -> KeyValues:
        """Return an empty store of keys and values."""
        beside = self.selector.new_state() if self.selector else None
        return KeyValues(self.n_kv_heads, self.d_head, self.d_head_v, beside)

    def __call__(self, x: np.ndarray, s: Scope) -> np.ndarray:
        """Mix tokens.

        Args:
            x: (token, d_model) float32.
            s: weights, taps, state, positions.

        Returns:
            (token, d_model) float32.
        """
        full = self._queries_and_gates(x, s) if self._joint else None  # (token, head, 2 · d_head)
        q, k, v = self._project(
            x, s, full
        )  # (token, head, d_head), (token, kv_head, d_head), (token, kv_head, d_head_v)
        for step in (self._rope, self._norm) if self.norm_after_rope else (self._norm, self._rope):
            q, k = step(q, k, s)
        if self.temperature:
            q = s.tap("attn_q_temp", q * self.temperature.factors(s.positions)[:, None, None])
        if self.v_norm:
            v = s.tap("attn_v_norm", self.v_norm(v, s, "attn_v_norm"))
        n_keys = s.state.store(s.n_past, k, v)
        s.common[f"{s.prefix}keyvalues"] = s.state  # for later layers without keys and values of their own
        z = s.tap("attn_z", self._attend(q, n_keys, s, self._chosen(x, x, s)))  # (token, head, d_head_v)
        if self.gate:
            z = s.tap("attn_gated", z * self._gate(x, s, full))  # (token, head, d_head_v)
        z = z.reshape(len(z), -1)
        if self.sub_norm:
            z = s.tap("attn_sub_norm", self.sub_norm(z, s, "attn_sub_norm"))
        return s.tap(self.out, s.linear(z, self.matrix))  # (token, d_model)

    def _queries_and_gates(self, x: np.ndarray, s: Scope) -> np.ndarray:
        """Return each head's query and, after it, the gate of its values, (token, head, 2 · d_head)."""
        return s.tap("attn_q_gate", s.linear(x, "attn_q").reshape(len(x), self.n_heads, -1))

    def _project(
        self, x: np.ndarray, s: Scope, full: np.ndarray | None
    ) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """Return queries (token, head, d_head), keys and values (token, kv_head, d_head)."""
        if self.fused_qkv:
            parts = np.split(self._fused(x, s), np.cumsum(self.widths)[:2], axis=1)
            parts = [s.adapted(part, x, name) for part, (name, _) in zip(parts, PARTS, strict=True)]
        else:
            names = PARTS[full is not None : 2 if self.values_from_keys else 3]
            parts = [self._clamped(s.linear(x, name)) for name, _ in names]
            parts = parts if full is None else [full[:, :, : self.d_head], *parts]
        heads = (
            (self.n_heads, self.d_head),
            (self.n_kv_heads, self.d_head),
            (self.n_kv_heads, self.d_head_v),
        )
        found = [
            s.tap(name, np.ascontiguousarray(part).reshape(len(x), *shape))
            for (name, _), part, shape in zip(PARTS, parts, heads, strict=not self.values_from_keys)
        ]
        if self.values_from_keys:
            found.append(s.tap("attn_v", found[1]))
        return tuple(found)

    def _fused(self, x: np.ndarray, s: Scope) -> np.ndarray:
        """Return queries, keys and values of each token side by side, (token, qkv)."""
        qkv = s.linear(x, "attn_qkv")
        biases = [s.optional(f"{name}.bias") for name, _ in PARTS]
        if not s.has("attn_qkv.bias") and all(bias is not None for bias in biases):
            qkv = qkv + np.concatenate(biases)
        qkv = s.tap("attn_qkv", qkv)
        return s.tap("attn_qkv_clamped", self._clamped(qkv)) if self.clamp else qkv

    def _clamped(self, x: np.ndarray) -> np.ndarray:
        return np.clip(x, np.float32(-self.clamp), np.float32(self.clamp)) if self.clamp else x

    def _norm(self, q: np.ndarray, k: np.ndarray, s: Scope) -> tuple[np.ndarray, np.ndarray]:
        if self.q_norm:
            q = s.tap("attn_q_norm", self.q_norm(q, s, "attn_q_norm"))  # (token, head, d_head)
        if self.k_norm:
            k = s.tap("attn_k_norm", self.k_norm(k, s, "attn_k_norm"))  # (token, kv_head, d_head)
        return q, k

    def _rope(self, q: np.ndarray, k: np.ndarray, s: Scope) -> tuple[np.ndarray, np.ndarray]:
        if not self.rope:
            return q, k
        angles = self.rope.angles(s)
        q = s.tap("attn_q_rope", self.rope(q, angles, s))  # (token, head, d_head)
        return q, s.tap("attn_k_rope", self.rope(k, angles, s))  # (token, kv_head, d_head)

    def _gate(self, x: np.ndarray, s: Scope, full: np.ndarray | None) -> np.ndarray:
        """Return the gate of each head's values, (token, head, 1) or (token, head, d_head_v)."""
        gate = s.linear(x, "attn_gate") if full is None else full[:, :, self.d_head :].copy()
        gate = gate if self.gate.per_head else gate.reshape(len(x), self.n_heads, -1)
        gate = s.tap("attn_gate_act", activation(self.gate.act, s.numerics)(s.tap("attn_gate", gate)))
        return gate[:, :, None] if self.gate.per_head else gate

    def _chosen(self, x: np.ndarray, short: np.ndarray, s: Scope) -> np.ndarray | None:
        """Return which keys each query sees, (query, key) or (kv_head, query, key); None for all that it may."""
        return self.selector(x, short, s.with_state(s.state.beside)) if self.selector else None

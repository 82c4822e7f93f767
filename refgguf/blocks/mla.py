"""Multi-head latent attention: keys and values of all heads come from one short vector a token (DeepSeek-AI 2024).

c       = norm(x Wkv_a)[: rank]             what is kept of a token, with
k_pe    = RoPE(x Wkv_a [rank :])            one key for positions, which all heads share; in some models normed before,
                                            or not turned
q       = x Wq, or norm(x Wq_a) Wq_b        split into heads, and each into q_nope and q_pe; q_pe turned by RoPE

unfolded      k, v of each head = c Wkv_b   then attention as ever, with keys (k_nope, k_pe)
absorbed      q_nope Wk_bᵀ                  in place of keys: queries against c itself, whose mix each head then
                                            turns into values: (Σ probs · c) Wv_bᵀ
z       times a gate of x                   where the model has one

The two give the same; the absorbed form keeps rank + d_pe numbers a token, whatever the number of heads.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np

from refgguf.blocks.attention import Attention
from refgguf.blocks.norm import Norm
from refgguf.blocks.scope import Need, Scope, linear_needs, linear_weights
from refgguf.taps import Tap, Word, declare

NORMED_KEY = Word("token d_head", "qkv", "key that knows the position, of all heads, normed", "k_pe")


@dataclass(frozen=True)
class LatentAttention(Attention):
    """Multi-head latent attention.

    The attributes of `Attention` say how it attends: absorbed, n_kv_heads is 1, d_head is rank + d_pe and d_head_v is
    rank; unfolded, they are those of the heads.

    Attributes:
        rank: channels of what is kept of a token.
        q_rank: channels of the queries' short vector; 0 if they are computed at once.
        d_nope: channels of a head's query that meet the key unfolded from c.
        d_pe: channels of a head's query that meet the key which all heads share; none if 0. RoPE turns them.
        d_value: channels of a head's value.
        absorbed: see above.
        latent_norm: norm of the short vectors.
        pe_norm: norm of the key that all heads share, or None.
    """

    rank: int = 0
    q_rank: int = 0
    d_nope: int = 0
    d_pe: int = 0
    d_value: int = 0
    absorbed: bool = True
    latent_norm: Norm | None = None
    pe_norm: Norm | None = None

    def needs(self) -> list[Need]:
        """Return the tensors that it works with."""
        d_queries = self.n_heads * (self.d_nope + self.d_pe)
        if self.q_rank:
            needs = linear_needs("attn_q_a", self.q_rank, self.d_model)
            needs += self.latent_norm.needs("attn_q_a_norm", self.q_rank)
            needs += linear_needs("attn_q_b", d_queries, self.q_rank)
        else:
            needs = linear_needs("attn_q", d_queries, self.d_model)
        needs += linear_needs("attn_kv_a_mqa", self.rank + self.d_pe, self.d_model)
        needs += self.latent_norm.needs("attn_kv_a_norm", self.rank)
        if self.absorbed:
            needs.append(Need("attn_k_b.weight", (self.n_heads, self.rank, self.d_nope)))
            needs.append(Need("attn_v_b.weight", (self.n_heads, self.d_value, self.rank)))
        else:
            needs += linear_needs("attn_kv_b", self.n_heads * (self.d_nope + self.d_value), self.rank)
        needs += self.pe_norm.needs("attn_k_norm", self.d_pe) if self.pe_norm else []
        needs += self.rope.needs() if self.rope else []
        needs += [Need("attn_sinks.weight", (self.n_heads,))] if self.sinks else []
        needs += self.selector.needs() if self.selector else []
        d_z = self.n_heads * self.d_value
        if self.gate:
            needs += linear_needs("attn_gate", self.n_heads if self.gate.per_head else d_z, self.d_model)
        return needs + linear_needs("attn_output", self.d_model, d_z)

    def taps(self, layer: int, source: str) -> Iterator[Tap]:
        """Declare its taps, in order of execution."""
        yield from self._latent_taps(layer, source)
        yield from self._absorbed_taps(layer) if self.absorbed else self._unfolded_taps(layer)
        queries, keys = self._met
        if self.temperature:
            formula = f"q · (1 + {self.temperature.scale:g} · log(⌊position / {self.temperature.step}⌋ + 1))"
            yield declare("attn_q_temp", inputs=[queries], formula=formula, layer=layer)
            queries = "attn_q_temp"
        if self.selector:
            yield from self.selector.taps(layer, source, "attn_q_a_norm" if self.q_rank else source)
        mixed = self._mix_taps(layer, {"q": queries, "k": keys})
        if not self.absorbed:
            yield from mixed
        else:
            scores, probs, _ = mixed
            yield scores
            yield probs
            inputs, formula = ["attn_probs", "attn_kv_a_norm"], "Σ over keys: probs · c"
            yield declare("attn_z_latent", inputs=inputs, formula=formula, layer=layer)
            weights = ["attn_v_b.weight"]
            formula = "z · Wv_bᵀ, each head by its own"
            yield declare("attn_z", inputs=["attn_z_latent"], weights=weights, formula=formula, layer=layer)
        yield from self._output_taps(layer, source)

    @property
    def _met(self) -> tuple[str, str]:
        """Local names of the taps of the queries and keys that meet."""
        if self.d_pe:
            return "attn_q_full", "attn_k"
        return ("attn_q_absorbed", "attn_kv_a_norm") if self.absorbed else ("attn_q", "attn_k")

    def _latent_taps(self, layer: int, source: str) -> Iterator[Tap]:
        """Declare queries, the short vector and the key for positions."""
        norm = self.latent_norm

        def linear(name: str, tensor: str, inputs: list[str], formula: str) -> Tap:
            return declare(
                name, inputs=inputs, weights=linear_weights(tensor), formula=formula, layer=layer, **queries
            )

        queries = {"llama_cpp": "q"}
        if self.q_rank:
            yield linear("attn_q_a", "attn_q_a", [source], "x · Wq_aᵀ")
            weights = norm.weights("attn_q_a_norm")
            yield declare(
                "attn_q_a_norm", inputs=["attn_q_a"], weights=weights, formula=norm.formula, layer=layer
            )
            yield linear("attn_q", "attn_q_b", ["attn_q_a_norm"], "x · Wq_bᵀ, split into heads")
        else:
            yield linear("attn_q", "attn_q", [source], "x · Wqᵀ, split into heads")
        queries = {}
        yield linear("attn_kv_a", "attn_kv_a_mqa", [source], "x · Wkv_aᵀ")
        turned, weights = (f": {self.rope.formula}", self.rope.weights()) if self.rope else ("", ())
        rope = {"weights": weights, "formula": f"last {self.d_pe} channels{turned}", "layer": layer}
        shared = "attn_kv_a"
        if self.pe_norm:
            yield declare(
                "attn_k_norm",
                inputs=["attn_kv_a"],
                weights=self.pe_norm.weights("attn_k_norm"),
                formula=f"last {self.d_pe} channels: {self.pe_norm.formula}",
                layer=layer,
                word=NORMED_KEY,
            )
            shared = "attn_k_norm"
        if self.d_pe:
            yield declare("attn_k_pe", inputs=[shared], **rope)
        formula = f"first {self.rank} channels: {norm.formula}"
        weights = norm.weights("attn_kv_a_norm")
        yield declare("attn_kv_a_norm", inputs=["attn_kv_a"], weights=weights, formula=formula, layer=layer)
        if self.d_pe:
            yield declare("attn_q_pe", inputs=["attn_q"], **rope)

    def _absorbed_taps(self, layer: int) -> Iterator[Tap]:
        weights = ["attn_k_b.weight"]
        formula = f"first {self.d_nope} channels of q · Wk_bᵀ, each head by its own"
        yield declare("attn_q_absorbed", inputs=["attn_q"], weights=weights, formula=formula, layer=layer)
        if self.d_pe:
            inputs, formula = ["attn_q_absorbed", "attn_q_pe"], "(q absorbed, q_pe)"
            yield declare("attn_q_full", inputs=inputs, formula=formula, layer=layer)
            yield declare("attn_k", inputs=["attn_kv_a_norm", "attn_k_pe"], formula="(c, k_pe)", layer=layer)

    def _unfolded_taps(self, layer: int) -> Iterator[Tap]:
        weights = linear_weights("attn_kv_b")
        formula = "c · Wkv_bᵀ, split into heads"
        yield declare("attn_kv_b", inputs=["attn_kv_a_norm"], weights=weights, formula=formula, layer=layer)
        if self.d_pe:
            inputs, formula = ["attn_q", "attn_q_pe"], "(q_nope, q_pe)"
            yield declare("attn_q_full", inputs=inputs, formula=formula, layer=layer)
        inputs = [*(["attn_kv_b"] if self.d_nope else []), *(["attn_k_pe"] if self.d_pe else [])]
        yield declare("attn_k", inputs=inputs, formula="(k_nope, k_pe)", layer=layer)
        formula = f"last {self.d_value} channels of each head"
        yield declare("attn_v", inputs=["attn_kv_b"], formula=formula, layer=layer)

    def __call__(self, x: np.ndarray, s: Scope) -> np.ndarray:
        """Mix tokens: (token, d_model) → (token, d_model) float32."""
        short, q, c, q_pe, k_pe = self._latents(x, s)
        q, k, v = (self._absorb if self.absorbed else self._unfold)(q[:, :, : self.d_nope], c, q_pe, k_pe, s)
        if self.temperature:
            q = s.tap("attn_q_temp", q * self.temperature.factors(s.positions)[:, None, None])
        n_keys = s.state.store(s.n_past, k, v)
        z = self._attend(q, n_keys, s, self._chosen(x, short, s))  # (token, head, d_head_v)
        if self.absorbed:
            z = _by_head(s.tap("attn_z_latent", z), "attn_v_b", s)  # (token, head, d_value)
        z = s.tap("attn_z", z)
        if self.gate:
            z = s.tap("attn_gated", z * self._gate(x, s, None))  # (token, head, d_value)
        return s.tap(self.out, s.linear(z.reshape(len(z), -1), "attn_output"))  # (token, d_model)

    def _latents(self, x: np.ndarray, s: Scope) -> tuple[np.ndarray, ...]:
        """Return what each part is made of.

        Returns:
            The short vector of the queries (token, q_rank), or x where there is none; the queries (token, head, d_nope
            + d_pe); c (token, rank); q_pe and k_pe (token, head, d_pe), turned.
        """
        short = x
        if self.q_rank:
            short = s.tap("attn_q_a", s.linear(x, "attn_q_a"))
            short = s.tap("attn_q_a_norm", self.latent_norm(short, s, "attn_q_a_norm"))
        q = s.linear(short, "attn_q_b" if self.q_rank else "attn_q")
        q = s.tap("attn_q", q.reshape(len(x), self.n_heads, -1))
        both = s.tap("attn_kv_a", s.linear(x, "attn_kv_a_mqa"))
        angles = self.rope.angles(s) if self.rope else None
        k_pe = both[:, self.rank :]
        if self.pe_norm:
            k_pe = s.tap("attn_k_norm", self.pe_norm(np.ascontiguousarray(k_pe), s, "attn_k_norm"))
        k_pe = self._turned(k_pe[:, None], angles, s)  # (token, 1, d_pe)
        if self.d_pe:
            k_pe = s.tap("attn_k_pe", k_pe[:, 0])[:, None]
        c = np.ascontiguousarray(both[:, : self.rank])
        c = s.tap("attn_kv_a_norm", self.latent_norm(c, s, "attn_kv_a_norm"))
        q_pe = self._turned(q[:, :, self.d_nope :], angles, s)
        q_pe = s.tap("attn_q_pe", q_pe) if self.d_pe else q_pe
        return short, q, c, q_pe, k_pe

    def _turned(self, x: np.ndarray, angles: np.ndarray | None, s: Scope) -> np.ndarray:
        x = np.ascontiguousarray(x)
        return x if angles is None else self.rope(x, angles, s)

    def _absorb(
        self, q: np.ndarray, c: np.ndarray, q_pe: np.ndarray, k_pe: np.ndarray, s: Scope
    ) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """Return queries (token, head, rank + d_pe), a key (token, 1, rank + d_pe) and c as the value of all heads."""
        q = s.tap("attn_q_absorbed", _by_head(q, "attn_k_b", s, alone=True))  # (token, head, rank)
        c = c[:, None, :]
        if not self.d_pe:
            return q, c, c
        q = s.tap("attn_q_full", np.concatenate([q, q_pe], axis=2))
        return q, s.tap("attn_k", np.concatenate([c, k_pe], axis=2)), c

    def _unfold(
        self, q: np.ndarray, c: np.ndarray, q_pe: np.ndarray, k_pe: np.ndarray, s: Scope
    ) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """Return queries and keys (token, head, d_nope + d_pe) and values (token, head, d_value)."""
        kv = s.linear(c, "attn_kv_b").reshape(len(c), self.n_heads, -1)
        kv = s.tap("attn_kv_b", kv)  # (token, head, d_nope + d_value)
        if self.d_pe:
            q = s.tap("attn_q_full", np.concatenate([q, q_pe], axis=2))
        k_pe = np.broadcast_to(k_pe, q_pe.shape)
        k = s.tap("attn_k", np.concatenate([kv[:, :, : self.d_nope], k_pe], axis=2))
        return q, k, s.tap("attn_v", np.ascontiguousarray(kv[:, :, self.d_nope :]))


def _by_head(x: np.ndarray, name: str, s: Scope, *, alone: bool = False) -> np.ndarray:
    """Multiply each head of x, (token, head, d_in), by its matrix of a stack: (token, head, d_out) float32."""
    return np.stack([s.linear(x[:, head], name, head, alone=alone) for head in range(x.shape[1])], axis=1)

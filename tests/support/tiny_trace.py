"""A small transformer in plain NumPy that leaves a real Trace: grouped queries, gated neurons or experts.

It needs no kernels, so that the viewer can be tested without them. Weights come from a fixed random stream.
"""

from __future__ import annotations

import numpy as np

from refgguf.taps import Tap, declare
from refgguf.trace import Trace

WORDS = ["<s>", " Once", " upon", " a", " time", " there", " was", " a", " little", " girl", "\n", " "]


class TinyTransformer:
    """A transformer with random weights.

    Args:
        n_layers: layers.
        n_heads: query heads.
        n_kv_heads: key/value heads.
        d_model: channels.
        d_ff: neurons, or neurons of an expert.
        n_experts: experts; 0 for a dense feed-forward network.
        n_used: experts for each token.
        n_vocab: vocabulary.
        parallel: attention and feed-forward network read the same input.
    """

    def __init__(
        self,
        n_layers: int = 2,
        n_heads: int = 4,
        n_kv_heads: int = 2,
        d_model: int = 16,
        d_ff: int = 24,
        n_experts: int = 0,
        n_used: int = 2,
        n_vocab: int = 40,
        parallel: bool = False,
        seed: int = 1,
    ):
        self.n_layers, self.n_heads, self.n_kv_heads = n_layers, n_heads, n_kv_heads
        self.d_model, self.d_head, self.d_ff = d_model, d_model // n_heads, d_ff
        self.n_experts, self.n_used, self.n_vocab, self.parallel = n_experts, n_used, n_vocab, parallel
        self.random = np.random.default_rng(seed)
        self.taps: dict[str, Tap] = {}
        self.values: dict[str, np.ndarray] = {}

    def _matrix(self, n_in: int, n_out: int) -> np.ndarray:
        return (self.random.standard_normal((n_in, n_out)) / np.sqrt(n_in)).astype(np.float32)

    def _tap(self, name: str, values: np.ndarray, inputs: list[str], layer: int | None = None) -> np.ndarray:
        tap = declare(name, inputs=inputs, formula="", layer=layer)
        values = np.ascontiguousarray(values, np.float32 if values.dtype.kind == "f" else np.int32)
        self.taps[tap.name], self.values[tap.name] = tap, values
        return values

    def trace(self, n_tokens: int = 8) -> Trace:
        """Run n_tokens tokens and keep every tensor."""
        tokens = np.arange(n_tokens) % self.n_vocab
        x = self._tap("embed", self.random.standard_normal((n_tokens, self.d_model)) * 0.5, [])
        source = "/embed"
        for layer in range(self.n_layers):
            x = self._layer(x, layer, source)
            source = f"/blk.{layer}.resid_post"
        x = self._tap("final_norm", _norm(x), [source])
        self._tap("logits", x @ self._matrix(self.d_model, self.n_vocab) * 2, ["final_norm"])
        texts = [WORDS[t % len(WORDS)] for t in tokens]
        return Trace(self.values, self.taps, tokens, texts, model={"name": "tiny"})

    def _layer(self, x: np.ndarray, layer: int, source: str) -> np.ndarray:
        x = self._tap("resid_pre", x, [source], layer)
        y = self._tap("attn_norm", _norm(x), ["resid_pre"], layer)
        attended = self._attention(y, layer)
        if self.parallel:
            mixed = self._feed_forward(y, "attn_norm", layer)
            return self._tap("resid_post", x + attended + mixed, ["resid_pre", "attn_out", "ffn_out"], layer)
        x = self._tap("resid_mid", x + attended, ["resid_pre", "attn_out"], layer)
        y = self._tap("ffn_norm", _norm(x), ["resid_mid"], layer)
        return self._tap(
            "resid_post", x + self._feed_forward(y, "ffn_norm", layer), ["resid_mid", "ffn_out"], layer
        )

    def _attention(self, y: np.ndarray, layer: int) -> np.ndarray:
        n, wide = len(y), self.n_kv_heads * self.d_head
        q = (y @ self._matrix(self.d_model, self.d_model)).reshape(n, self.n_heads, -1)
        k = (y @ self._matrix(self.d_model, wide)).reshape(n, self.n_kv_heads, -1)
        v = (y @ self._matrix(self.d_model, wide)).reshape(n, self.n_kv_heads, -1)
        for name, values in (("attn_q", q), ("attn_k", k), ("attn_v", v)):
            self._tap(name, values, ["attn_norm"], layer)
        per = self.n_heads // self.n_kv_heads
        k, v = np.repeat(k, per, axis=1), np.repeat(v, per, axis=1)
        scores = np.einsum("qhd,khd->hqk", q, k) / np.sqrt(self.d_head)
        scores = np.where(np.tril(np.ones((n, n), bool)), scores, -np.inf)
        scores = self._tap("attn_scores", scores, ["attn_q", "attn_k"], layer)
        weights = np.exp(scores - scores.max(axis=-1, keepdims=True))
        probs = self._tap("attn_probs", weights / weights.sum(axis=-1, keepdims=True), ["attn_scores"], layer)
        z = self._tap("attn_z", np.einsum("hqk,khd->qhd", probs, v), ["attn_probs", "attn_v"], layer)
        return self._tap(
            "attn_out", z.reshape(n, -1) @ self._matrix(self.d_model, self.d_model), ["attn_z"], layer
        )

    def _feed_forward(self, y: np.ndarray, source: str, layer: int) -> np.ndarray:
        if self.n_experts:
            return self._experts(y, source, layer)
        gate = self._tap("ffn_gate", y @ self._matrix(self.d_model, self.d_ff), [source], layer)
        up = self._tap("ffn_up", y @ self._matrix(self.d_model, self.d_ff), [source], layer)
        act = self._tap("ffn_act", gate / (1 + np.exp(-gate)) * up, ["ffn_gate", "ffn_up"], layer)
        return self._tap("ffn_out", act @ self._matrix(self.d_ff, self.d_model), ["ffn_act"], layer)

    def _experts(self, y: np.ndarray, source: str, layer: int) -> np.ndarray:
        logits = self._tap("router_logits", y @ self._matrix(self.d_model, self.n_experts), [source], layer)
        shares = np.exp(logits) / np.exp(logits).sum(axis=1, keepdims=True)
        probs = self._tap("router_probs", shares, ["router_logits"], layer)
        topk = np.argsort(-probs, axis=1, kind="stable")[:, : self.n_used]
        self._tap("router_topk", topk, ["router_probs"], layer)
        weights = np.take_along_axis(probs, topk, axis=1)
        self._tap("router_weights", weights, ["router_probs", "router_topk"], layer)
        into = np.stack([self._matrix(self.d_model, self.d_ff) for _ in range(self.n_experts)])
        out = np.stack([self._matrix(self.d_ff, self.d_model) for _ in range(self.n_experts)])
        act = np.maximum(np.einsum("td,tsdf->tsf", y, into[topk]), 0)
        act = self._tap("ffn_act_exps", act, [source, "router_topk"], layer)
        down = np.einsum("tsf,tsfd->tsd", act, out[topk]) * weights[:, :, None]
        down = self._tap("ffn_weighted_exps", down, ["ffn_act_exps", "router_weights"], layer)
        return self._tap("ffn_out", down.sum(axis=1), ["ffn_weighted_exps"], layer)


def _norm(x: np.ndarray) -> np.ndarray:
    return x / np.sqrt((x * x).mean(axis=1, keepdims=True) + 1e-5)


def scaled(trace: Trace, factor: float) -> Trace:
    """Return a trace whose numbers are so many times as large; what is chosen stays chosen."""
    values = {n: v * np.float32(factor) if v.dtype.kind == "f" else v for n, v in trace.items()}
    return Trace(values, trace.taps, trace.tokens, trace.token_texts, model=trace.model)

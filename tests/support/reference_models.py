"""The families' forward passes in float64 NumPy, written from the papers: slow, short and independent of refgguf."""

from __future__ import annotations

import numpy as np

from tests.support.models import TinyModel


def _rms(x, w, eps):
    return x / np.sqrt((x**2).mean(-1, keepdims=True) + eps) * w


def _layer_norm(x, w, b, eps):
    return (x - x.mean(-1, keepdims=True)) / np.sqrt(x.var(-1, keepdims=True) + eps) * w + b


def _rope(x, base, split):
    """Turn (token, head, channel) by complex numbers."""
    n, _, d = x.shape
    angle = np.arange(n)[:, None, None] * base ** (-2 * np.arange(d // 2) / d)
    a, b = (x[..., : d // 2], x[..., d // 2 :]) if split else (x[..., ::2], x[..., 1::2])
    turned = (a + 1j * b) * np.exp(1j * angle)
    out = np.empty_like(x)
    if split:
        out[..., : d // 2], out[..., d // 2 :] = turned.real, turned.imag
    else:
        out[..., ::2], out[..., 1::2] = turned.real, turned.imag
    return out


def _attention(q, k, v, scale, window=10**9):
    n, heads, _ = q.shape
    out = np.zeros((n, heads, v.shape[2]))
    for h in range(heads):
        g = h // (heads // k.shape[1])
        for t in range(n):
            seen = slice(max(0, t - window + 1), t + 1)
            scores = k[seen, g] @ q[t, h] * scale
            weights = np.exp(scores - scores.max())
            out[t, h] = weights / weights.sum() @ v[seen, g]
    return out.reshape(n, -1)


def _silu(x):
    return x / (1 + np.exp(-x))


def _gelu(x):
    return 0.5 * x * (1 + np.tanh(np.sqrt(2 / np.pi) * (x + 0.044715 * x**3)))


def _reader(tiny: TinyModel):
    w = {name: values.astype(np.float64) for name, values in tiny.tensors.items()}
    prefix = f"{tiny.architecture}."
    hp = {key.removeprefix(prefix): value for key, value in tiny.metadata.items()}
    return w, hp


def _experts(x, w, p, used=2):
    scores = x @ w[p + "ffn_gate_inp.weight"].T
    probs = np.exp(scores) / np.exp(scores).sum(-1, keepdims=True)
    out = np.zeros_like(x)
    for t in range(len(x)):
        best = np.argsort(-probs[t])[:used]
        for e in best:
            gate = _silu(w[p + "ffn_gate_exps.weight"][e] @ x[t])
            neurons = gate * (w[p + "ffn_up_exps.weight"][e] @ x[t])
            out[t] += probs[t, e] / probs[t, best].sum() * (w[p + "ffn_down_exps.weight"][e] @ neurons)
    return out


def rms_family(tiny: TinyModel, tokens: list[int]) -> np.ndarray:
    """Llama, Mixtral, Qwen3 and Gemma 3."""
    w, hp = _reader(tiny)
    gemma, split = tiny.architecture == "gemma3", tiny.architecture != "llama"
    eps = hp["attention.layer_norm_rms_epsilon"]
    heads, kv_heads = hp["attention.head_count"], hp["attention.head_count_kv"]
    d = hp.get("attention.key_length", hp["embedding_length"] // heads)
    n, act = len(tokens), _gelu if gemma else _silu
    x = w["token_embd.weight"][tokens] * (np.sqrt(hp["embedding_length"]) if gemma else 1)
    for layer in range(hp["block_count"]):
        p = f"blk.{layer}."
        local = gemma and layer % 6 < 5
        y = _rms(x, w[p + "attn_norm.weight"], eps)
        q = (y @ w[p + "attn_q.weight"].T).reshape(n, heads, d)
        k = (y @ w[p + "attn_k.weight"].T).reshape(n, kv_heads, d)
        v = (y @ w[p + "attn_v.weight"].T).reshape(n, kv_heads, d)
        if p + "attn_q_norm.weight" in w:
            q, k = _rms(q, w[p + "attn_q_norm.weight"], eps), _rms(k, w[p + "attn_k_norm.weight"], eps)
        base = 10000.0 if local else hp["rope.freq_base"]
        q, k = _rope(q, base, split), _rope(k, base, split)
        y = _attention(q, k, v, d**-0.5, hp["attention.sliding_window"] if local else 10**9)
        y = y @ w[p + "attn_output.weight"].T
        x = x + (_rms(y, w[p + "post_attention_norm.weight"], eps) if gemma else y)
        y = _rms(x, w[p + "ffn_norm.weight"], eps)
        if p + "ffn_gate_inp.weight" in w:
            y = _experts(y, w, p)
        else:
            y = (act(y @ w[p + "ffn_gate.weight"].T) * (y @ w[p + "ffn_up.weight"].T)) @ w[
                p + "ffn_down.weight"
            ].T
        x = x + (_rms(y, w[p + "post_ffw_norm.weight"], eps) if gemma else y)
    return _rms(x, w["output_norm.weight"], eps) @ w.get("output.weight", w["token_embd.weight"]).T


def gpt2(tiny: TinyModel, tokens: list[int]) -> np.ndarray:
    """GPT-2."""
    w, hp = _reader(tiny)
    eps, heads, n = hp["attention.layer_norm_epsilon"], hp["attention.head_count"], len(tokens)
    d = hp["embedding_length"]

    def linear(x, name):
        return x @ w[name + ".weight"].T + w[name + ".bias"]

    def norm(x, name):
        return _layer_norm(x, w[name + ".weight"], w[name + ".bias"], eps)

    x = w["token_embd.weight"][tokens] + w["position_embd.weight"][:n]
    for layer in range(hp["block_count"]):
        p = f"blk.{layer}."
        q, k, v = np.split(linear(norm(x, p + "attn_norm"), p + "attn_qkv"), 3, axis=1)
        q, k, v = (y.reshape(n, heads, d // heads) for y in (q, k, v))
        x = x + linear(_attention(q, k, v, (d // heads) ** -0.5), p + "attn_output")
        x = x + linear(_gelu(linear(norm(x, p + "ffn_norm"), p + "ffn_up")), p + "ffn_down")
    return norm(x, "output_norm") @ w["token_embd.weight"].T


REFERENCES = {
    "llama": rms_family,
    "mixtral": rms_family,
    "qwen3": rms_family,
    "gemma3": rms_family,
    "gpt2": gpt2,
}

"""The network in PyTorch: a Llama, with the rotary convention that llama.cpp uses for `llama` files."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.nn import functional


@dataclass(frozen=True)
class Shape:
    """Sizes of the network. Every matrix row (d_model, d_ff, n_heads * d_head) is a multiple of 256."""

    vocab: int = 2048
    n_layers: int = 4
    d_model: int = 256
    n_heads: int = 8
    n_kv_heads: int = 4
    d_head: int = 32
    d_ff: int = 512
    context: int = 512
    rope_base: float = 10000.0
    eps: float = 1e-5


def rotary(shape: Shape, n: int) -> tuple[Tensor, Tensor]:
    """Cosines and sines (n, d_head / 2) of the rotary embedding."""
    half = torch.arange(0, shape.d_head, 2, dtype=torch.float64)
    angle = torch.arange(n, dtype=torch.float64)[:, None] * shape.rope_base ** (-half / shape.d_head)
    return angle.cos().float(), angle.sin().float()


def rotate(x: Tensor, cos: Tensor, sin: Tensor) -> Tensor:
    """Turn adjacent pairs (0, 1), (2, 3) … of x (batch, head, token, d_head) by the angle of their position.

    Adjacent pairs are what llama.cpp turns in `llama` files, so the weights need no permutation on export.
    """
    a, b = x.float().unflatten(-1, (-1, 2)).unbind(-1)
    return torch.stack((a * cos - b * sin, a * sin + b * cos), -1).flatten(-2).to(x.dtype)


class Block(nn.Module):
    """One layer: grouped-query attention, then SwiGLU."""

    def __init__(self, shape: Shape) -> None:
        super().__init__()
        d, q, kv = shape.d_model, shape.n_heads * shape.d_head, shape.n_kv_heads * shape.d_head
        self.shape = shape
        self.attn_norm, self.ffn_norm = nn.RMSNorm(d, eps=shape.eps), nn.RMSNorm(d, eps=shape.eps)
        self.attn_q, self.attn_k = nn.Linear(d, q, bias=False), nn.Linear(d, kv, bias=False)
        self.attn_v, self.attn_output = nn.Linear(d, kv, bias=False), nn.Linear(q, d, bias=False)
        self.ffn_gate, self.ffn_up = (
            nn.Linear(d, shape.d_ff, bias=False),
            nn.Linear(d, shape.d_ff, bias=False),
        )
        self.ffn_down = nn.Linear(shape.d_ff, d, bias=False)

    def forward(self, x: Tensor, bias: Tensor, cos: Tensor, sin: Tensor) -> Tensor:
        """One layer on x (batch, token, d_model); bias is added to the attention scores."""
        shape = self.shape
        h = self.attn_norm(x)
        q, k, v = (
            part(h).unflatten(-1, (-1, shape.d_head)).transpose(1, 2)
            for part in (self.attn_q, self.attn_k, self.attn_v)
        )
        q, k = rotate(q, cos, sin), rotate(k, cos, sin)
        group = shape.n_heads // shape.n_kv_heads
        k, v = k.repeat_interleave(group, 1), v.repeat_interleave(group, 1)
        # Written out: at these sizes it is faster on a CPU than PyTorch's fused attention, and compiles better.
        probs = (q * shape.d_head**-0.5 @ k.mT + bias).softmax(-1)
        x = x + self.attn_output((probs.to(v.dtype) @ v).transpose(1, 2).flatten(2))
        h = self.ffn_norm(x)
        return x + self.ffn_down(functional.silu(self.ffn_gate(h)) * self.ffn_up(h))


class Net(nn.Module):
    """The whole network; the embedding is also the output matrix."""

    def __init__(self, shape: Shape) -> None:
        super().__init__()
        self.shape = shape
        self.token_embd = nn.Embedding(shape.vocab, shape.d_model)
        self.blk = nn.ModuleList(Block(shape) for _ in range(shape.n_layers))
        self.output_norm = nn.RMSNorm(shape.d_model, eps=shape.eps)
        cos, sin = rotary(shape, shape.context)
        self.register_buffer("cos", cos, persistent=False)
        self.register_buffer("sin", sin, persistent=False)

    def forward(self, ids: Tensor, bias: Tensor | None = None) -> Tensor:
        """Logits (batch, token, vocab) of ids (batch, token).

        `bias` (batch, 1, query, key) is 0 where a token may look and -inf elsewhere; without it, it may look at
        itself and everything before.
        """
        n = ids.shape[1]
        if bias is None:
            bias = torch.full((n, n), -torch.inf, device=ids.device).triu(1)
        x = self.token_embd(ids)
        for block in self.blk:
            x = block(x, bias, self.cos[:n], self.sin[:n])
        return self.output_norm(x) @ self.token_embd.weight.T

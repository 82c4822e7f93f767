"""Where the weights start: random, with one circuit already sketched in.

A network this small needs tens of millions of tokens before it finds out by itself that one may look up what came
after an earlier copy of a token (Olsson et al. 2022, "In-context learning and induction heads"). So that it can be
trained on two processor cores, head 0 of layer 0 starts by looking at the token before, and head 0 of layer 1 by
looking for what followed an earlier copy. Everything else is random, and training is free to change it all.
"""

from __future__ import annotations

import math

import torch

from refgguf.demo.training.net import Net, rotary

EMBEDDING = 0.1  # standard deviation of the embedding: large beside one step of Adam
OUTPUT_NORM = 0.2  # keeps the first logits small, as the embedding is also the output matrix
CONSTANT = 8.0  # the first number of every embedding, in the same unit: something to tell position from
SHARP = 7.5  # length of query and key in each fast rotary pair: nearly all attention on the token before
FAST = 5  # rotary pairs that tell neighbours apart; slower ones would only add noise
FIRST_SLOW_PAIR = 7  # rotary pairs from here on turn little within 50 tokens
MATCH = 2.2  # a matching earlier token scores about 8 more than another
WRITE = 0.3  # what head 0 of layer 0 adds, beside an embedding of about 1.6
COPY = 0.8  # what head 0 of layer 1 adds: strong enough that copying helps from the first step on


@torch.no_grad()
def start(net: Net) -> None:
    """Fill the weights from the current random state of PyTorch."""
    for name, weight in net.named_parameters():
        if weight.ndim == 2:
            last = name.endswith(("attn_output.weight", "ffn_down.weight"))
            torch.nn.init.normal_(weight, std=EMBEDDING if "embd" in name else (0.01 if last else 0.04))
    net.token_embd.weight[:, 0] = CONSTANT * EMBEDDING
    net.output_norm.weight.fill_(OUTPUT_NORM)
    sketch = _orthonormal(net)
    written = _orthonormal(net)
    _look_one_back(net, sketch, written)
    _look_for_a_copy(net, sketch, written)


def _orthonormal(net: Net) -> torch.Tensor:
    """Rows (d_head, d_model) at right angles to each other that do not see the constant."""
    rows = torch.randn(net.shape.d_model, net.shape.d_head)
    rows[0] = 0
    return torch.linalg.qr(rows)[0].T


def _look_one_back(net: Net, sketch: torch.Tensor, written: torch.Tensor) -> None:
    """Head 0 of layer 0: query and key come from the constant and fit best one position apart."""
    block, n = net.blk[0], net.shape.d_head
    seen = CONSTANT / math.sqrt(1 + CONSTANT**2 / net.shape.d_model)  # the constant after RMSNorm
    cos, sin = rotary(net.shape, 2)
    query, key = torch.zeros(n), torch.zeros(n)
    fast = slice(0, 2 * FAST, 2)
    query[fast] = SHARP / seen
    key[0::2], key[1::2] = cos[1] * SHARP / seen, sin[1] * SHARP / seen
    key[2 * FAST :] = 0
    for part, first in ((block.attn_q, query), (block.attn_k, key)):
        part.weight[:n] *= 0.25
        part.weight[:n, 0] = first
    block.attn_v.weight[:n] = sketch
    block.attn_output.weight[:, :n] = WRITE * written.T


def _look_for_a_copy(net: Net, sketch: torch.Tensor, written: torch.Tensor) -> None:
    """Head 0 of layer 1: the query is this token, the key the token before, the value what it copies."""
    block, n = net.blk[1], net.shape.d_head
    slow = torch.arange(n) >= 2 * FIRST_SLOW_PAIR
    block.attn_q.weight[:n] *= 0.25
    block.attn_k.weight[:n] *= 0.25
    block.attn_q.weight[:n][slow] = MATCH * sketch[slow]
    block.attn_k.weight[:n][slow] = MATCH * written[slow]
    copied = _orthonormal(net)
    block.attn_v.weight[:n] = copied
    block.attn_output.weight[:, :n] = COPY * copied.T

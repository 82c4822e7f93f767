"""How good is the network? Tasks by greedy decoding, loss on held-out text, head scores (PyTorch side)."""

from __future__ import annotations

import numpy as np
import torch
from tokenizers import Tokenizer

from refgguf.demo.tasks import TASKS, prompts
from refgguf.demo.training.batches import FIRST_TOKEN, Batches
from refgguf.demo.training.bpe import BOS_ID
from refgguf.demo.training.net import Net, rotate


@torch.no_grad()
def task_accuracy(net: Net, tokenizer: Tokenizer, n: int = 100, seed: int = 0) -> dict[str, float]:
    """Share of fresh prompts per task whose whole answer is what greedy decoding writes."""
    result = {}
    for name in TASKS:
        items = prompts(name, n, seed)
        before = [[BOS_ID, *tokenizer.encode(item.prompt).ids] for item in items]
        whole = [[BOS_ID, *tokenizer.encode(item.prompt + item.answer).ids] for item in items]
        width = max(map(len, whole))
        ids = torch.tensor([row + [0] * (width - len(row)) for row in whole])
        best = net(ids).argmax(-1)
        # Greedy decoding writes the answer just when each of its tokens is best after the right ones.
        right = [
            row[: len(start)] == start
            and best[i, len(start) - 1 : len(row) - 1].tolist() == row[len(start) :]
            for i, (start, row) in enumerate(zip(before, whole, strict=True))
        ]
        result[name] = float(np.mean(right))
    return result


def document_bias(document: np.ndarray) -> torch.Tensor:
    """The bias (row, 1, query, key) that lets a token see itself and what stands before it in its document."""
    number = torch.from_numpy(document)
    n = number.shape[1]
    seen = (number[:, :, None] == number[:, None, :]) & torch.ones(n, n, dtype=torch.bool).tril()
    return torch.zeros(seen.shape).masked_fill_(~seen, -torch.inf)[:, None]


@torch.no_grad()
def held_out_loss(net: Net, tokenizer: Tokenizer, batches: int = 4) -> float:
    """Mean loss (nats) per token of documents kept for testing."""
    source = Batches(tokenizer, "held-out", test=True, answer_weight=1.0)
    total = count = 0.0
    for i in range(batches):
        batch = source.make(i, 16, 256)
        ids, weight = torch.from_numpy(batch.ids), torch.from_numpy(batch.weight)[:, 1:]
        logits = net(ids[:, :-1], document_bias(batch.document[:, :-1])).float()
        loss = torch.nn.functional.cross_entropy(logits.flatten(0, 1), ids[:, 1:].flatten(), reduction="none")
        total += float((loss * weight.flatten()).sum())
        count += float(weight.sum())
    return total / count


@torch.no_grad()
def head_scores(net: Net, n: int = 50, rows: int = 8, seed: int = 0) -> dict[str, np.ndarray]:
    """Previous-token and induction score (layer, head) on random tokens told twice.

    Previous token: mean attention to the token before. Induction: mean attention, in the second half, to the
    token that came after this one's first copy.
    """
    shape = net.shape
    generator = torch.Generator().manual_seed(seed)
    half = torch.randint(FIRST_TOKEN, shape.vocab, (rows, n), generator=generator)
    ids = torch.cat((torch.full((rows, 1), BOS_ID), half, half), 1)
    length = ids.shape[1]
    query = torch.arange(length)
    bias = torch.full((length, length), -torch.inf).triu(1)
    x = net.token_embd(ids)
    cos, sin = net.cos[:length], net.sin[:length]
    previous, induction = [], []
    for block in net.blk:
        h = block.attn_norm(x)
        q, k = (
            rotate(p(h).unflatten(-1, (-1, shape.d_head)).transpose(1, 2), cos, sin)
            for p in (block.attn_q, block.attn_k)
        )
        k = k.repeat_interleave(shape.n_heads // shape.n_kv_heads, 1)
        probs = (q @ k.mT * shape.d_head**-0.5 + bias).softmax(-1).mean(0)
        previous.append(probs[:, query[1:], query[1:] - 1].mean(-1))
        late = query[n + 1 :]
        induction.append(probs[:, late, late - n + 1].mean(-1))
        x = block(x, bias, cos, sin)
    return {"previous": torch.stack(previous).numpy(), "induction": torch.stack(induction).numpy()}


@torch.no_grad()
def write(net: Net, tokenizer: Tokenizer, prompt: str, n: int, temperature: float, seed: int) -> str:
    """A text that goes on from `prompt`, for reading."""
    generator = torch.Generator().manual_seed(seed)
    ids = [BOS_ID, *tokenizer.encode(prompt).ids]
    for _ in range(n):
        logits = net(torch.tensor([ids]))[0, -1].float()
        if temperature > 0:
            token = int(torch.multinomial((logits / temperature).softmax(-1), 1, generator=generator))
        else:
            token = int(logits.argmax())
        if token < FIRST_TOKEN:
            break
        ids.append(token)
    return tokenizer.decode(ids)

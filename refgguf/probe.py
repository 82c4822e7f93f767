"""Ask a model what it can do: tasks with known answers, loss on held-out text, what its attention heads look at.

    report = probe(refgguf.load("model.gguf"), n=100)
    report.tasks["sums"].accuracy, report.tasks["sums"].interval
    report.heads["induction"]          # (layer, head)

The same seed asks every model the same, so that two reports can be compared question by question.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from itertools import islice
from typing import TYPE_CHECKING

import numpy as np

from refgguf.demo.corpus import documents
from refgguf.demo.tasks import TASKS, Item, prompts
from refgguf.errors import InputError

if TYPE_CHECKING:
    from refgguf.model import Model

Z95 = 1.959964  # the 97.5 % point of the normal distribution
HEAD_SCORES = {
    "previous": "attention to the token before",
    "duplicate": "attention to the earlier copy of this token",
    "induction": "attention to what followed the earlier copy of this token",
    "sink": "attention to the first token",
    "entropy": "how spread out the attention is: entropy as a share of the largest possible",
}


@dataclass(frozen=True)
class TaskResult:
    """The answers to one task.

    Attributes:
        task: its name.
        right: one bool for each prompt, in the order of `refgguf.demo.tasks.prompts`.
    """

    task: str
    right: tuple[bool, ...]

    @property
    def accuracy(self) -> float:
        """The share of right answers."""
        return sum(self.right) / len(self.right)

    @property
    def interval(self) -> tuple[float, float]:
        """The 95 % confidence interval of the accuracy."""
        return wilson(sum(self.right), len(self.right))


@dataclass(frozen=True)
class Loss:
    """How well held-out text is predicted.

    Attributes:
        nats: of each document, the sum over its tokens of -ln(probability).
        tokens: of each document, how many tokens were predicted.
        n_bytes: of each document, its length in UTF-8.
    """

    nats: tuple[float, ...]
    tokens: tuple[int, ...]
    n_bytes: tuple[int, ...]

    @property
    def per_token(self) -> float:
        """Nats per token."""
        return sum(self.nats) / sum(self.tokens)

    @property
    def bits_per_byte(self) -> float:
        """Bits per byte of text; comparable between models that cut text differently."""
        return sum(self.nats) / math.log(2) / sum(self.n_bytes)

    @property
    def error(self) -> float:
        """Standard error of `per_token`, from the spread between documents (a ratio estimator's)."""
        nats, tokens = np.array(self.nats), np.array(self.tokens)
        if len(nats) < 2:
            return math.inf
        rest = nats - self.per_token * tokens
        return float(np.sqrt((rest**2).sum() * len(nats) / (len(nats) - 1)) / tokens.sum())


@dataclass(frozen=True)
class Probe:
    """What was found out about one model.

    Attributes:
        name: of the model.
        tasks: results by task.
        loss: on held-out text; None if it was not asked for.
        heads: (layer, head) float64 by score; NaN in layers without attention.
    """

    name: str
    tasks: dict[str, TaskResult] = field(default_factory=dict)
    loss: Loss | None = None
    heads: dict[str, np.ndarray] = field(default_factory=dict)

    def best_head(self, score: str) -> tuple[int, int, float] | None:
        """Return layer, head and value of the highest score; None without attention."""
        values = self.heads.get(score)
        if values is None or values.size == 0 or np.isnan(values).all():
            return None
        layer, head = np.unravel_index(np.nanargmax(values), values.shape)
        return int(layer), int(head), float(values[layer, head])


def probe(
    model: Model,
    *,
    tasks: Iterable[str] | None = None,
    n: int = 100,
    n_documents: int = 30,
    seed: int = 0,
    progress: Callable[[int], None] | None = None,
) -> Probe:
    """Ask a model all tasks, held-out text and random tokens told twice.

    Args:
        model: any model with a tokenizer.
        tasks: names; all if None.
        n: prompts per task; 0 for none.
        n_documents: held-out documents; 0 for none.
        seed: which prompts.
        progress: called with the number of runs done so far.

    Returns:
        A Probe; of a model with an encoder and a decoder (T5), which answers texts and continues none, the tasks alone.

    Raises:
        InputError: there is no such task, or one has prompts longer than the model's context.
        TokenizerError: the model has no tokenizer.
    """
    names = list(TASKS) if tasks is None else list(tasks)
    for name in names:
        if name not in TASKS:
            raise InputError(f"there is no task {name!r}; there are {', '.join(TASKS)}")
    _check_room(model, names if n else (), n, seed)
    done = 0
    results = {}
    for name in names if n else ():
        right = []
        for item in prompts(name, n, seed):
            right.append(answers(model, item))
            done += 1
            if progress is not None:
                progress(done)
        results[name] = TaskResult(name, tuple(right))
    if model.network.encoder is not None:  # it answers texts and continues none
        return Probe(model.name, results)
    loss = held_out_loss(model, n_documents, seed) if n_documents else None
    return Probe(model.name, results, loss, head_scores(model, seed=seed))


def _check_room(model: Model, names: Iterable[str], n: int, seed: int) -> None:
    """Refuse tasks whose prompts are longer than the model's context, before any is asked."""
    room = model.config.context_length
    longest = {
        name: max(len(model.tokenize(item.prompt + item.answer)) for item in prompts(name, n, seed))
        for name in names
    }
    if (task := max(longest, key=longest.get, default=None)) is None or longest[task] <= room:
        return
    fit = [name for name in longest if longest[name] <= room]
    what = " ".join(f"--task {name}" for name in fit) if fit else "-n 0 for no tasks"
    raise InputError(
        f"{model.path.name} was made for {room} tokens, and task {task!r} has a prompt of {longest[task]}; "
        f"ask what fits: {what}"
    )


def n_runs(tasks: Iterable[str] | None, n: int) -> int:
    """Return how often `probe` will report progress."""
    return (len(TASKS) if tasks is None else len(list(tasks))) * n


def answers(model: Model, item: Item) -> bool:
    """Tell whether greedy decoding goes on from the prompt with the answer."""
    before, whole = model.tokenize(item.prompt), model.tokenize(item.prompt + item.answer)
    n = len(before)
    if model.network.encoder is None and whole[:n] == before and len(whole) > n:
        # Greedy decoding writes the answer just when each of its tokens is best after the right ones before it.
        best = model.logits(whole[:-1])[n - 1 :].argmax(-1)
        return best.tolist() == whole[n:]
    return _text_goes_on(model, before, item.answer)


def _text_goes_on(model: Model, before: list[int], answer: str) -> bool:
    """Decode greedily and compare text: for tokenizers that merge the answer's first letter with the prompt."""
    text = ""
    for step in model.generate(before, n=len(answer.encode()) + 1):
        text += step.text
        if text.strip().startswith(answer.strip()):
            return True
        if len(text.strip()) >= len(answer.strip()):
            return False
    return False


def held_out_loss(model: Model, n: int = 30, seed: int = 0) -> Loss:
    """Predict documents of the part of the small world that was kept for testing, or what of them the context holds."""
    nats, tokens, n_bytes, room = [], [], [], model.config.context_length
    for text in islice(documents(f"probe/{seed}", test=True), n):
        ids = model.tokenize(text)
        if len(ids) > room + 1:  # the last one is predicted and not read
            ids, text = ids[: room + 1], model.detokenize(ids[: room + 1])
        first = 0 if model.tokenizer.bos is not None and ids[0] == model.tokenizer.bos else 1
        scores = model.logits(ids[:-1]).astype(np.float64)
        scores -= scores.max(-1, keepdims=True)
        logs = scores - np.log(np.exp(scores).sum(-1, keepdims=True))
        wanted = np.array(ids[1:])
        nats.append(float(-logs[np.arange(len(wanted)), wanted].sum()))
        tokens.append(len(wanted))
        # Without a beginning token the first token is given, not predicted.
        n_bytes.append(len(text.encode()) - first * len(model.tokenizer.token_bytes(ids[0])))
    return Loss(tuple(nats), tuple(tokens), tuple(n_bytes))


def head_scores(model: Model, *, n: int = 50, rows: int = 4, seed: int = 0) -> dict[str, np.ndarray]:
    """Score what every attention head looks at on random tokens told twice.

    Args:
        model: the model.
        n: random tokens before they are told again; as many as fit if the context is shorter.
        rows: how many different rows to average over.
        seed: of the random tokens.

    Returns:
        By the names in `HEAD_SCORES`, (layer, head) float64: means over queries and rows. `previous`, `sink` and
        `entropy` over all queries but the first, `duplicate` and `induction` over the second telling.
    """
    start = [model.tokenizer.bos] if model.tokenizer.bos is not None else []
    n = min(n, (model.config.context_length - len(start)) // 2)
    names = [name for name in model.taps if name.endswith(".attn_probs")]
    usable = _ordinary_tokens(model)
    random = np.random.default_rng(seed)
    total: dict[str, np.ndarray] = {}
    for _ in range(rows):
        half = random.choice(usable, n).tolist()
        trace = model.trace(start + half + half, names)
        for name in names:
            found = _scores(np.asarray(trace[name], np.float64), n)
            total[name] = total.get(name, 0.0) + found / rows
    return _by_layer(model, total)


def _ordinary_tokens(model: Model) -> np.ndarray:
    """Return all ids that stand for text and end nothing."""
    tokenizer = model.tokenizer
    ids = range(model.config.n_vocab)
    usable = [i for i in ids if not tokenizer.is_end(i) and i != tokenizer.bos and tokenizer.token_bytes(i)]
    return np.array(usable or list(ids))


def _scores(probs: np.ndarray, n: int) -> np.ndarray:
    """Return (score, head) of one layer's attention (head, query, key) on tokens told twice."""
    length = probs.shape[1]
    query = np.arange(1, length)
    late = np.arange(length - n, length)
    spread = -np.where(probs > 0, probs * np.log(np.maximum(probs, 1e-300)), 0.0).sum(-1)[:, 1:]
    return np.stack(
        (
            probs[:, query, query - 1].mean(-1),
            probs[:, late, late - n].mean(-1),
            probs[:, late, late - n + 1].mean(-1),
            probs[:, query, 0].mean(-1),
            (spread / np.log(query + 1.0)).mean(-1),
        )
    )


def _by_layer(model: Model, total: dict[str, np.ndarray]) -> dict[str, np.ndarray]:
    n_layers = model.config.n_layers
    n_heads = max((found.shape[1] for found in total.values()), default=0)
    table = np.full((len(HEAD_SCORES), n_layers, n_heads), np.nan)
    for name, found in total.items():
        table[:, model.taps[name].layer, : found.shape[1]] = found
    return dict(zip(HEAD_SCORES, table, strict=True))


def wilson(right: int, n: int, z: float = Z95) -> tuple[float, float]:
    """Return the Wilson score interval of a share (Wilson 1927, doi:10.1080/01621459.1927.10502953)."""
    share, squared = right / n, z * z
    centre = (share + squared / (2 * n)) / (1 + squared / n)
    half = z / (1 + squared / n) * math.sqrt(share * (1 - share) / n + squared / (4 * n * n))
    return max(0.0, centre - half), min(1.0, centre + half)


def paired_p(reference: TaskResult, other: TaskResult) -> float:
    """Return how likely a difference this large is by chance: McNemar's exact test on the same prompts.

    Only prompts that one model has right and the other wrong count; by chance each falls either way alike.
    """
    lost = sum(a and not b for a, b in zip(reference.right, other.right, strict=True))
    won = sum(b and not a for a, b in zip(reference.right, other.right, strict=True))
    n = lost + won
    if n == 0:
        return 1.0
    tail = sum(math.comb(n, k) for k in range(min(lost, won) + 1)) / 2**n
    return min(1.0, 2 * tail)

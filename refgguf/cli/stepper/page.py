"""One page: an operation on a token, what it is, where it comes from, its numbers, and what follows."""

from __future__ import annotations

from collections.abc import Iterator
from textwrap import wrap
from typing import TYPE_CHECKING

from rich.cells import cell_len
from rich.style import Style
from rich.text import Text

from refgguf.cli.stepper import glyphs
from refgguf.cli.stepper.figures import figure
from refgguf.cli.stepper.glyphs import number, quoted, visible
from refgguf.cli.stepper.slices import numbers_of, shape_text
from refgguf.cli.stepper.worked import worked

if TYPE_CHECKING:
    from refgguf.cli.stepper.guesses import Guesses, Move, Reading
    from refgguf.cli.stepper.walk import Walk

BOLD, DIM, HERE = Style(bold=True), Style(dim=True), Style(bold=True, reverse=True)
INDENT = 8
METER = 14


def heading(walk: Walk, width: int) -> list[Text]:
    """Return where we are: the file, the tokens, the layers and this layer's operations."""
    model = walk.trace.model
    left = Text.assemble(
        ("refgguf step", BOLD), f"  {model.get('name', '')}  ", (f"{walk.trace.numerics}", DIM)
    )
    right = f"token {walk.token + 1}/{walk.n_tokens} · operation {walk.operation + 1}/{walk.n_operations}"
    left.truncate(width - len(right) - 1, overflow="ellipsis")
    left.append(" " * max(1, width - left.cell_len - len(right)))
    left.append(right, DIM)
    return [left, ribbon(walk, width), layers(walk, width), operations(walk, width), rule(width)]


def rule(width: int) -> Text:
    """Return a line across."""
    return Text("─" * width, style=DIM)


def ribbon(walk: Walk, width: int) -> Text:
    """Return the tokens in a row, the one looked at marked; what the model wrote itself in another colour."""
    words = [visible(text) for text in walk.text.labels]
    own, given = glyphs.hue("logits"), len(words) if walk.reads else walk.n_prompt
    parts = [(f" {w.strip() or w} ", own if i >= given else Style()) for i, w in enumerate(words)]
    return _around("reads" if walk.reads else "tokens", parts, walk.token, width)


def layers(walk: Walk, width: int) -> Text:
    """Return the stages of the model in a row, the one looked at marked."""
    stages: dict[object, str] = {}
    for place in walk.text.operations:
        tensor = walk.tensors[place]
        key = tensor.layer if tensor.layer is not None else tensor.name
        stages.setdefault(key, f" {key} " if tensor.layer is None else f" {tensor.layer} ")
    here = walk.current.layer if walk.current.layer is not None else walk.current.name
    keys = list(stages)
    return _around("layers", [(stages[k], Style()) for k in keys], keys.index(here), width)


def operations(walk: Walk, width: int) -> Text:
    """Return the operations of this layer in a row, the one looked at marked."""
    same = [n for n in walk.text.operations if walk.tensors[n].layer == walk.current.layer]
    names = [(f" {walk.tensors[n].name.rpartition('.')[2]} ", glyphs.hue(walk.tensors[n].kind)) for n in same]
    return _around("inside", names, same.index(walk.operation), width)


def _around(title: str, parts: list[tuple[str, Style]], here: int, width: int) -> Text:
    """Lay words out in one line so that the marked one is seen, with … where some are left out."""
    room = width - INDENT - 2
    first, last, used = here, here, cell_len(parts[here][0])
    while True:
        grown = False
        if first > 0 and used + cell_len(parts[first - 1][0]) <= room:
            first -= 1
            used += cell_len(parts[first][0])
            grown = True
        if last + 1 < len(parts) and used + cell_len(parts[last + 1][0]) <= room:
            last += 1
            used += cell_len(parts[last][0])
            grown = True
        if not grown:
            break
    line = Text.assemble((title.ljust(INDENT - 1), DIM))
    line.append("…" if first > 0 else " ", DIM)
    for i in range(first, last + 1):
        line.append(parts[i][0], parts[i][1] + HERE if i == here else parts[i][1])
    return line.append("…", DIM) if last + 1 < len(parts) else line


def body(walk: Walk, width: int, height: int = 1) -> list[Text]:
    """Return what the operation computed for this token, from what, and how."""
    tensor, here = walk.current, walk.slice(walk.current)
    hue = glyphs.hue(tensor.kind)
    lines = [Text.assemble((tensor.name, hue + BOLD), f"  {tensor.meaning}")]
    if tensor.formula:
        lines.append(_entry("how", Text(tensor.formula, style=BOLD)))
    lines += _sources(walk)
    lines.append(_entry("shape", Text(_shapes(walk))))
    if aliases := _aliases(walk):
        lines.append(_entry("also", Text(aliases, style=DIM)))
    lines.append(Text())
    lines += [_entry("", line) for line in figure(walk, here, width - INDENT, height)]
    lines.append(_entry("numbers", _numbers(walk)))
    example = worked(walk)
    if example:
        lines.append(Text())
        wrapped = [part for line in example for part in wrap(line, width - INDENT, subsequent_indent="  ")]
        lines += [_entry("e.g." if i == 0 else "", Text(line)) for i, line in enumerate(wrapped)]
    return lines


def _entry(title: str, content: Text) -> Text:
    return Text.assemble((title.ljust(INDENT), DIM), content)


def _sources(walk: Walk) -> Iterator[Text]:
    for i, name in enumerate(walk.current.inputs):
        line = Text(name.ljust(24))
        if (found := walk.tensor(name)) is not None:
            part = walk.slice(found)
            line.append(f"  {part.shape_text.ljust(26)}", DIM)
            if part.values.dtype.kind == "f":
                line.append(f"  |x| {number(numbers_of(part.values).norm).lstrip('+')}  ", DIM)
                line.append_text(glyphs.signs(part.values, found.kind, 24))
        yield _entry("from" if i == 0 else "", line)
    for i, name in enumerate(walk.current.weights):
        tensor = walk.model.file[name]
        shape = " × ".join(map(str, tensor.shape))
        yield _entry(
            "with" if i == 0 else "",
            Text.assemble(name.ljust(24), (f"  {shape.ljust(26)}  {tensor.type}", DIM)),
        )


def _shapes(walk: Walk) -> str:
    tensor, here = walk.current, walk.slice(walk.current)
    whole = shape_text(tensor.axes, tensor.values.shape)
    if here.axes == tensor.axes:
        return whole
    return f"{whole}; here, for {quoted(walk.label())}: {here.shape_text}"


def _aliases(walk: Walk) -> str:
    tensor = walk.current
    names = []
    if tensor.llama_cpp:
        names.append(f"{tensor.llama_cpp} (llama.cpp)")
    if tensor.transformer_lens:
        names.append(f"{tensor.transformer_lens} (TransformerLens)")
    return ", ".join(names)


def _numbers(walk: Walk) -> Text:
    here = walk.slice(walk.current)
    if here.values.dtype.kind in "iu":
        return Text(f"{here.values.size} whole numbers")
    found = numbers_of(here.values)
    if found.odd == found.count:
        return Text(f"{found.count} values, none of them finite")
    if found.count == 1:
        return Text(number(found.most))
    text = Text.assemble(
        f"{found.count} values  ",
        (f"max {number(found.most)}", glyphs.hue(walk.current.kind)),
        (f" at {here.place(found.at_most)}  ", DIM),
        (f"min {number(found.least)}", glyphs.hue(walk.current.kind, negative=True)),
        (f" at {here.place(found.at_least)}  ", DIM),
        f"mean {number(found.mean)}  |x| {number(found.norm).lstrip('+')}",
    )
    if found.odd:
        text.append(f"  {found.odd} not finite", BOLD)
    return text


def guess_lines(walk: Walk, guesses: Guesses, width: int) -> list[Text]:
    """Return what the model would say next if it stopped here, and how that came about layer by layer."""
    here = guesses.here(walk)
    if here is None:
        return []
    final = here.source == "logits"
    title = "the model's next token" if final else f"best guesses for the next token, read off {here.source}"
    lines = [Text.assemble((title, BOLD), _outcome(here))]
    lines.append(_candidates(here, width))
    if moves := guesses.moved(walk):
        lines.append(_moves(moves, width))
    history = guesses.by_layer(walk)
    if len(history) > 1:
        lines.append(_history(history, width))
    return lines


def _outcome(reading: Reading) -> tuple[str, Style]:
    if reading.actual is None:
        return "", DIM
    share = f"{reading.actual_probability:.1%}"
    return f"   what comes: {quoted(reading.actual)}, rank {reading.actual_rank}, {share}", DIM


def _candidates(reading: Reading, width: int) -> Text:
    line = Text(" " * 2)
    for guess in reading.best:
        part = Text.assemble((quoted(guess.text), BOLD), f" {guess.probability:.1%} ")
        part.append_text(glyphs.meter(guess.probability, METER, "logits")).append("  ")
        if line.cell_len + part.cell_len > width:
            break
        line.append_text(part)
    return line


def _moves(moves: list[Move], width: int) -> Text:
    """Return whose probability this addition changed most."""
    line = Text.assemble(("  this addition    ", DIM))
    for i, move in enumerate(moves):
        change = 100 * (move.after - move.before)
        if abs(change) < 0.05:
            break
        hue = glyphs.hue("residual", negative=change < 0)
        part = Text.assemble(" · " if i else "", f"{quoted(move.text)} ", (f"{change:+.1f} %", hue))
        if line.cell_len + part.cell_len > width:
            break
        line.append_text(part)
    return line


def _history(readings: list[Reading], width: int) -> Text:
    """Return the best guess after each stage; the latest ones where there is no room for all."""
    parts = []
    for reading in readings:
        stage = reading.source if reading.layer is None else str(reading.layer)
        best = reading.best[0]
        parts.append(
            Text.assemble((f"{stage} ", DIM), f"{quoted(best.text)} ", (f"{best.probability:.0%}", DIM))
        )
    line, title = Text(), "  after each layer  "
    used = len(title)
    kept: list[Text] = []
    for part in reversed(parts):
        if used + part.cell_len + 3 > width:
            kept.append(Text("…", style=DIM))
            break
        kept.append(part)
        used += part.cell_len + 3
    line.append(title, DIM)
    for i, part in enumerate(reversed(kept)):
        line.append(" › " if i else "", DIM)
        line.append_text(part)
    return line


def title(walk: Walk, width: int) -> Text:
    """Return the line above a token's pages, for printing."""
    which = "the encoder's token" if walk.reads else "token"
    text = f"━━ {which} {walk.token + 1} of {walk.n_tokens}: {quoted(walk.label())}, id {walk.text.ids[walk.token]} "
    return Text(text + "━" * max(0, width - cell_len(text)), style=BOLD)


def place(walk: Walk) -> Text:
    """Return the line above an operation's page, for printing."""
    return Text(f"[{walk.token + 1}/{walk.n_tokens}, {walk.operation + 1}/{walk.n_operations}]", style=DIM)

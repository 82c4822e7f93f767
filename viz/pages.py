"""What the inspector says, as HTML that both Qt and a browser understand: a tensor, a value, a weight's block."""

from __future__ import annotations

import html
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

import numpy as np

from refgguf.errors import RefggufError
from refgguf.trace import Trace, TracedTensor
from refgguf.viz.error_figures import block_error, error_figures, pair_at
from refgguf.viz.explain import weight_meaning
from refgguf.viz.inspect import Statistics, names_of, place_words, relative_words, shape_words, statistics
from refgguf.viz.routing import routed
from refgguf.viz.scene.build import Scene
from refgguf.viz.scene.errors import ErrorPlane
from refgguf.viz.scene.overlay import number
from refgguf.viz.scene.parts import pressed_words
from refgguf.viz.scene.picking import Hit
from refgguf.viz.scene.predictions import percent, quoted
from refgguf.viz.scene.weights import WeightPlane
from refgguf.viz.state import Shown, ShownFile
from refgguf.viz.sums import Sum, Term, attended, ingredients_of, sum_of
from refgguf.viz.worked import worked_out

if TYPE_CHECKING:
    from refgguf.weights.anatomy import BlockAnatomy

MOST_MEASURED = 4_000_000  # weights that figures are taken from
BYTES_A_LINE = 16
FIELD_NUMBERS = 6
SHOWN_BYTES = 224
FEW_HEADS = 4
BEGIN = (
    "<p>Point at a box to read a value, click it to take it apart.<br>Double click goes there, "
    "→ steps through the computation, ? shows the keys.</p>"
)
NOTHING_HERE = "<p>Nothing was computed here: the token went to other experts.</p>"


def scene_page(scene: Scene) -> str:
    """Return what a scene shows: the model, its size, the prompt and what comes next."""
    facts = scene.shown.facts
    lines = [html.escape(line) for line in facts.details]
    if facts.prompt:
        lines.append(f"“{html.escape(facts.prompt)}”")
    if facts.outcome:
        colour = "#{:02x}{:02x}{:02x}".format(*(round(255 * c) for c in scene.theme.hues["logits"]))
        lines.append(f"<b style='color:{colour}'>→ {html.escape(facts.outcome)}</b>")
    n_boxes = len(scene.pieces.boxes)
    lines.append(f"{n_boxes:,} box{'es' * (n_boxes != 1)} in the picture")
    flow = f"<p>{html.escape(scene.flow.note)}</p>" if scene.flow.note else ""
    return f"<h3 style='margin:0'>{html.escape(facts.name)}</h3>{_lines_of(lines)}{flow}"


def _lines_of(lines: Sequence[str]) -> str:
    """Return lines that each run in their own direction."""
    above = [12, *[0] * (len(lines) - 1)]
    return "".join(f"<p style='margin:{a}px 0 0 0'>{line}</p>" for a, line in zip(above, lines, strict=True))


def head_page(scene: Scene, hit: Hit) -> str:
    """Return name, shape, meaning and origin of the tensor that was hit."""
    box = scene.pieces.boxes[hit.box]
    if isinstance(scene.shown, ShownFile):
        return _weight_head(scene.shown, box.plane.tap) + _line("drawn", pressed_words(box.pressed))
    tensor = scene.shown.trace.tensor(box.plane.tap)
    names = [(vocabulary, f"<code>{html.escape(name)}</code>") for vocabulary, name in names_of(tensor)]
    return (
        f"<h3 style='margin:0'>{html.escape(box.title or tensor.name)}</h3><p>{html.escape(tensor.meaning)}</p>"
        f"{_table(names)}<p><b>{html.escape(shape_words(tensor))}</b></p>"
        f"{_line('how', tensor.formula)}{_line('from', ', '.join(tensor.inputs))}"
        f"{_line('with', ', '.join(tensor.weights))}{_line('drawn', pressed_words(box.pressed))}"
    )


def value_page(scene: Scene, hit: Hit, weights: Mapping) -> str:
    """Return the value that was hit, and how it came about.

    Args:
        scene: the scene.
        hit: what was hit.
        weights: the file's tensors by name; without them products stay unexplained.
    """
    box = scene.pieces.boxes[hit.box]
    if isinstance(scene.shown, ShownFile):
        place = ", ".join(str(i) for i in hit.index or ())
        said = "cannot be decoded" if hit.value is None else f"{hit.value:.6g}"
        if isinstance(box.plane, ErrorPlane):
            said = "nothing to compare with" if hit.value is None else f"{hit.value:.2%} of the RMS"
        errors = _error_here(box.plane, hit) if isinstance(box.plane, ErrorPlane) else ""
        block = _block_page(scene.shown.file[box.plane.tap], scene, hit)
        return f"<p>[{place}]<br>{_large(said)}</p>{errors}{block}"
    if hit.index is None:
        return NOTHING_HERE
    trace = scene.shown.trace
    tensor = trace.tensor(box.plane.tap)
    texts = trace.token_texts, scene.shown.source_texts
    place = html.escape(place_words(tensor, hit.index, *texts))
    keys = _keys_words(attended(tensor, hit.index, *texts), scene.theme.hues["attention"])
    parts = sum_of(trace, tensor.name, hit.index, weights, source_texts=texts[1])
    how = _sum_words(parts) if parts else _worked_words(trace, tensor.name, hit.index, weights)
    word = _word_of(scene, tensor, hit.index)
    chosen = _lines_words("what follows", routed(trace, tensor.name, hit.index, weights))
    return f"<p>{place}{word}<br>{_large(f'{hit.value:.6g}')}</p>{keys}{how}{chosen}"


def _word_of(scene: Scene, tensor: TracedTensor, index: tuple[int, ...]) -> str:
    """Return the word that a score is of, and its probability at that token; "" for other tensors."""
    if tensor.kind != "logits" or tensor.axes[-1] != "vocab":
        return ""
    text_of, entry = scene.shown.text_of, index[-1]
    scores = tensor.values[index[:-1]].astype(np.float64)
    text = quoted(text_of(entry)) if text_of else f"#{entry}"
    if not np.isfinite(scores).all():
        return html.escape(f" {text}, no probability: not all scores are finite")
    share = float(np.exp(scores[entry] - np.logaddexp.reduce(scores)))
    return html.escape(f" {text}, probability {percent(share)}")


def n_measured(scene: Scene, hit: Hit) -> int:
    """Return how many values `figures_of` takes its figures from."""
    plane = scene.pieces.boxes[hit.box].plane
    if not isinstance(scene.shown, ShownFile):
        return scene.shown.trace.tensor(plane.tap).values.size
    return _n_rows(plane) * plane.tensor.d_in


def _n_rows(plane: WeightPlane) -> int:
    return min(plane.n_rows, max(1, MOST_MEASURED // plane.tensor.d_in))


def figures_of(scene: Scene, hit: Hit) -> tuple[Statistics | None, str]:
    """Return figures of the tensor that was hit, and the same in words; None if it holds no finite number."""
    box = scene.pieces.boxes[hit.box]
    if not isinstance(scene.shown, ShownFile):
        tensor = scene.shown.trace.tensor(box.plane.tap)
        found = statistics(tensor.values)
        extremes = "" if found is None else _extremes(found, tensor, scene.shown)
        return found, _figures(found) + extremes
    tensor, plane = scene.shown.file[box.plane.tap], box.plane
    n_rows = _n_rows(plane)
    try:
        values = tensor.dequantize(slice(plane.first, plane.first + n_rows))
    except RefggufError as error:
        return None, f"<p>{html.escape(str(error))}</p>"
    found = statistics(values)
    words = _figures(found)
    if n_rows < plane.n_rows:
        words += f"<p>of the first {n_rows:,} of {plane.n_rows:,} rows</p>"
    if found is not None:
        places = (*found.highest, *reversed(found.lowest))
        rows = [
            (number(float(values[at])), f"row {plane.first + at[0]:,}, column {at[1]:,}") for at in places
        ]
        words += _titled("farthest out", rows)
    if isinstance(plane, ErrorPlane):
        words = _error_page(plane) + words
    return found, words


def _weight_head(shown: ShownFile, name: str) -> str:
    tensor = shown.file[name]
    shape = " × ".join(f"{n:,}" for n in tensor.shape)
    bits = f"{tensor.bits_per_value:.4g} bits a weight, " if tensor.bits_per_value else ""
    used = [t for t in shown.taps.values() if tensor.name in t.weights]
    names = [(word, f"<code>{html.escape(n)}</code>") for t in used[:1] for word, n in names_of(t)]
    return (
        f"<h3 style='margin:0'>{html.escape(tensor.name)}</h3>"
        f"<p>{html.escape(weight_meaning(tensor.name, shown.taps))}</p><p><b>{shape}</b><br>"
        f"{html.escape(tensor.type)}, {bits}{tensor.nbytes:,} bytes, at byte {tensor.offset:,} of the file</p>"
        f"{_line('makes', ', '.join(t.name for t in used))}"
        f"{_table(names) if len(names) > 1 else ''}{_line('how', used[0].formula if used else '')}"
    )


def _error_page(plane: ErrorPlane) -> str:
    """Return the figures of quantization of what was hit: RMS, relative error, SNR, worst place, worst blocks."""
    found = error_figures(plane)
    if found is None:
        return "<p>the reference has nothing to compare it with</p>"
    kind = html.escape(f"{plane.tensor.type} against {plane.reference.type}")
    if not found.rms:
        return f"<p>error of quantization, {kind}: none</p>"
    row, col = found.worst
    pair = f"{number(found.ours)} for {number(found.theirs)}"
    rows = [
        ("RMS error", number(found.rms)),
        ("relative error", f"{found.relative:.3%}"),
        ("signal to noise", f"{found.decibels:.1f} dB"),
        ("mean error", number(found.mean)),
        ("worst", f"{number(found.ours - found.theirs)} at row {row:,}, column {col:,}: {pair}"),
        ("median block", f"{number(found.median_block)} RMS"),
    ]
    blocks = [
        (
            f"{number(b.rms)} RMS",
            f"row {b.row:,}, columns {b.first:,} … {b.end - 1:,}, {relative_words(b.relative)}",
        )
        for b in found.blocks
    ]
    part = f"<p>of {found.n_rows:,} of {found.n_all:,} rows</p>" if found.n_rows < found.n_all else ""
    return _titled(f"error of quantization, {kind}", rows) + part + _titled("worst blocks", blocks)


def _error_here(plane: ErrorPlane, hit: Hit) -> str:
    """Return what quantization made of the weight that was hit, and of its block."""
    pair, block = pair_at(plane, hit.row, hit.col), block_error(plane, hit.row, hit.col)
    if pair is None or block is None:
        return ""
    ours, theirs = pair
    rows = [
        ("weight", f"{ours:.8g}"),
        ("reference", f"{theirs:.8g}"),
        ("error", number(ours - theirs)),
        (
            "its block",
            f"{number(block.rms)} RMS, {relative_words(block.relative)}, columns {block.first:,} … {block.end - 1:,}",
        ),
    ]
    return _table(rows)


def _block_page(tensor, scene: Scene, hit: Hit) -> str:
    """Return the block that a weight lies in: bytes, fields, arithmetic; nothing where it cannot be decoded."""
    from refgguf.weights.anatomy import (
        block_anatomy,
    )  # brings the kernels along, which take a second to import

    plane = scene.pieces.boxes[hit.box].plane
    try:
        found = block_anatomy(tensor, plane.first + hit.row, hit.col)
    except RefggufError as error:
        return f"<p>{html.escape(str(error))}</p>"
    quant = found.format
    last = found.first_col + quant.block_size - 1
    lies = (
        f"in the block of columns {found.first_col:,} … {last:,}, " if quant.block_size > 1 else ""
    ) + f"at byte {found.offset:,} of the file"
    parts = [
        (
            html.escape(part.name),
            f"{html.escape(str(part.value))} {_small(part.how) if part.at is None else ''}",
        )
        for part in found.weight.parts
    ]
    plain = found.arithmetic.strip("()") == str(found.weight.value)
    arithmetic = "" if plain else f"<br>= {html.escape(found.arithmetic)}"
    return (
        f"<p style='margin-bottom:2px'>{html.escape(quant.name)}: {html.escape(quant.summary)}; {lies}</p>"
        f"{_hex(found, scene)}"
        f"<p style='margin-bottom:0'>this weight</p>{_table(parts)}"
        f"<p><code>w = {html.escape(found.weight.formula)}{arithmetic}"
        f"<br>= <b>{html.escape(str(found.weight.value))}</b></code></p>{_fields(found)}"
    )


def _hex(found: BlockAnatomy, scene: Scene) -> str:
    """Return the block's bytes; those that the weight is read from stand out: code in one colour, scales in another."""
    code, scale = (_hex_colour(scene.theme.hues[kind]) for kind in ("ffn", "residual"))
    read: dict[int, str] = {}
    for part in found.weight.parts:
        if part.at is not None:
            for byte in range(part.at + part.low // 8, part.at + (part.low + part.count + 7) // 8):
                read[byte] = code if part.is_code else read.get(byte, scale)
    lines = []
    for first in range(0, min(len(found.raw), SHOWN_BYTES), BYTES_A_LINE):
        cells = []
        for at in range(first, min(first + BYTES_A_LINE, len(found.raw))):
            text = f"{found.raw[at]:02x}"
            cells.append(
                f"<b style='background-color:{read[at]};color:white'>{text}</b>" if at in read else text
            )
        lines.append(" ".join(cells))
    more = len(found.raw) - SHOWN_BYTES
    lines += [f"… {more:,} more bytes"] if more > 0 else []
    key = (
        f"<span style='color:{code}'>■</span> its code &nbsp; <span style='color:{scale}'>■</span> its scales"
    )
    bytes_ = "<br>".join(lines)
    key = f"<p style='margin:0'>{_small(key, raw=True)}</p>"
    return f"<pre style='font-size:small;margin:2px 0'>{bytes_}</pre>{key}"


def _fields(found: BlockAnatomy) -> str:
    rows = []
    for item in found.fields:
        numbers = [f"{n:.5g}" if isinstance(n, float) else str(n) for n in item.numbers]
        rest = " …" if len(numbers) > FIELD_NUMBERS else ""
        shown = html.escape(" ".join(numbers[:FIELD_NUMBERS]) + rest)
        rows.append(
            (f"<code>{html.escape(item.field.name)}</code>", f"{shown}<br>{_small(item.field.meaning)}")
        )
    return f"<p style='margin-bottom:0'>fields of the block</p>{_table(rows)}"


def _keys_words(keys: list[Term], hue: tuple[float, float, float]) -> str:
    """Write which tokens a query takes from, each with a bar as long as its share."""
    colour = _hex_colour(hue)
    rows = [
        (
            html.escape(quoted(t.name)),
            f"<span style='background-color:{colour}'>{'&nbsp;' * max(1, round(min(t.value, 1.0) * 30))}</span> "
            f"{html.escape(percent(t.value))}",
        )
        for t in keys
    ]
    return _titled("this token takes from", rows)


def _sum_words(parts: Sum) -> str:
    rows = [(number(t.value), html.escape(t.name)) for t in parts.terms]
    more = parts.n_terms - len(parts.terms)
    if more > 0:
        rows.append((number(parts.rest), f"{more:,} more"))
    rows.append((f"<b>{number(parts.total)}</b>", f"= the sum of all {parts.n_terms:,}"))
    heads = [(number(t.value), t.name) for t in parts.groups[:FEW_HEADS]]
    return _titled("the sum of", rows) + _titled("by head", heads)


def _worked_words(trace: Trace, name: str, index: tuple[int, ...], weights: Mapping) -> str:
    worked = _lines_words("worked out", worked_out(trace, name, index, weights))
    return worked + _computed_from(ingredients_of(trace, name, index, weights))


def _lines_words(title: str, lines: Sequence[str]) -> str:
    text = "<br>".join(html.escape(line) for line in lines)
    words = f"<p style='margin-bottom:0'>{title}</p><p style='margin-top:0'><code>{text}</code></p>"
    return words if lines else ""


def _computed_from(parts: Sequence[Term]) -> str:
    return _titled("computed from", [(number(t.value), f"<code>{html.escape(t.name)}</code>") for t in parts])


def _figures(found: Statistics | None) -> str:
    if found is None:
        return "<p>holds no finite number</p>"
    odd = f"<br>{found.n_nan:,} NaN, {found.n_infinite:,} infinite" if found.n_nan or found.n_infinite else ""
    return (
        f"<p>{number(found.minimum)} … {number(found.maximum)}, mean {number(found.mean)} ± {number(found.deviation)}, "
        f"{found.zeros:.1%} zero{odd}</p>"
    )


def _extremes(found: Statistics, tensor: TracedTensor, shown: Shown) -> str:
    places = (*found.highest, *reversed(found.lowest))
    texts = shown.trace.token_texts, shown.source_texts
    rows = [(number(float(tensor.values[at])), html.escape(place_words(tensor, at, *texts))) for at in places]
    return _titled("farthest out", rows)


def _titled(title: str, rows: Sequence[tuple[str, str]]) -> str:
    return f"<p style='margin-bottom:0'>{title}</p>{_table(rows)}" if rows else ""


def _table(rows: Sequence[tuple[str, str]]) -> str:
    cells = "".join(
        f"<tr><td align='right' style='padding-right:8px'>{a}</td><td>{b}</td></tr>" for a, b in rows
    )
    return f"<table>{cells}</table>"


def _line(word: str, text: str) -> str:
    return f"<p style='margin:2px 0'>{word}: <code>{html.escape(text)}</code></p>" if text else ""


def _large(text: str) -> str:
    return f"<b style='font-size:large'>{text}</b>"


def _small(text: str, *, raw: bool = False) -> str:
    return f"<span style='font-size:small;color:gray'>{text if raw else html.escape(text)}</span>"


def _hex_colour(hue: tuple[float, float, float]) -> str:
    return "#" + "".join(f"{round(255 * c):02x}" for c in hue)

"""The legend: whoever reads a colour off it, with the numbers printed below, finds the value."""

from __future__ import annotations

import numpy as np
import pytest

from refgguf.trace import Trace
from refgguf.viz.render import offscreen
from refgguf.viz.scene import colours
from refgguf.viz.scene.build import Look, build_scene, look_at
from refgguf.viz.scene.camera import parse_camera
from refgguf.viz.scene.overlay import NAMES, STEPS
from tests.support.scenes import shown, tiny_trace

pytestmark = pytest.mark.render
SIZE = (1920, 1080)


def look_on(trace: Trace, theme: str) -> Look:
    """See a trace as a whole."""
    return look_at(build_scene(shown(trace, theme=theme)), SIZE, *parse_camera("overview"))


def bars(look: Look, name: str) -> list:
    """Return the bars of a scale from left to right: what lies below it, the gradient, what lies above it."""
    return sorted((b for b in look.overlay.boxes if b.scale == name), key=lambda b: b.left)


def printed(look: Look, name: str) -> list[tuple[float, float]]:
    """Return the numbers below a scale's gradient from left to right, as (place on the picture, number)."""
    bar = max(bars(look, name), key=lambda b: b.size[0])
    found = []
    for label in look.overlay.labels:
        below = 0 < bar.bottom - label.at[1] < 22
        if below and bar.left - 12 <= label.at[0] <= bar.right + 12:
            text = label.text.replace("−", "-").lstrip("+")
            found.append((label.at[0], float(text)))
    return sorted(found)


def pixel(look: Look, picture: np.ndarray, x: float, bar) -> np.ndarray:
    """Return the colour at x in the middle of a bar."""
    return picture[int(look.size[1] - bar.middle[1]), int(x)].astype(int)


@pytest.mark.parametrize("theme", ["light", "dark"])
def test_a_colour_means_what_is_printed_below_it(theme):
    """Left of all is the least number, right of all the greatest, and cells between them have the colours between."""
    look = look_on(tiny_trace("four experts"), theme)
    picture = offscreen.render(look, samples=1)
    for name, scale in look.scene.scales.items():
        bar = max(bars(look, name), key=lambda b: b.size[0])
        numbers = printed(look, name)
        assert [n for _, n in numbers] == sorted(n for _, n in numbers)
        low, high = numbers[0][1], numbers[-1][1]
        assert (low, high) == pytest.approx((scale.low, scale.high), rel=0.006)
        cells = STEPS if scale.signed else STEPS - 1
        for cell in range(cells):
            value = low + (high - low) * cell / (cells - 1)
            expected = colours.colour_of(np.float32(value), scale, theme).astype(int)
            found = pixel(look, picture, bar.left + (cell + 0.5) * bar.size[0] / cells, bar)
            # two printed digits are up to a fiftieth of a step off, and 8-bit colours round
            assert np.abs(found - expected).max() <= 3, f"{NAMES[name]} at {value:.3g}"


def test_what_lies_beyond_has_a_colour_of_its_own_beside_the_bar():
    """With outliers on both sides a cap stands at either end, in the colours that outliers have in the picture."""
    trace = tiny_trace("grouped queries")
    values = dict(trace)
    values["embed"] = values["embed"].copy()
    values["embed"][0, :2] = 1e6, -1e6
    look = look_on(Trace(values, trace.taps, trace.tokens, trace.token_texts), "light")
    picture = offscreen.render(look, samples=1)
    scale = look.scene.scales["residual"]
    below, bar, above = bars(look, "residual")
    assert below.right < bar.left < bar.right < above.left
    table = colours.colour_map("light", scale.kind, scale.signed).astype(int)
    for cap, entry in ((below, colours.BELOW), (above, colours.ABOVE)):
        assert np.abs(pixel(look, picture, cap.middle[0], cap) - table[entry]).max() <= 1
    assert len(bars(look, "qkv")) == 1

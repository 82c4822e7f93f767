"""Colours: one hue per kind of tensor, zero the colour of empty paper, two themes.

A colour map is a table of N_ENTRIES colours: a gradient, then one colour each for values below the scale, above it,
NaN and infinity, so that nothing is clipped silently. Gradients are interpolated in Oklab, in which equal steps look
equal. Signed maps pair hues that stay apart for colour-blind eyes (blue/orange, teal/amber, purple/green …).

Source: Björn Ottosson, "A perceptual color space for image processing" (2020), for Oklab.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cache

import numpy as np

from refgguf.viz.scene.planes import ABSENT
from refgguf.viz.scene.scales import Scale
from refgguf.viz.scene.type_colours import type_colour

N_ENTRIES = 1024
N_GRADIENT = 1019  # entries 0 … 1018; zero of a signed scale falls on entry 509 exactly
BELOW, ABOVE, NAN, INFINITE, NOTHING = 1019, 1020, 1021, 1022, 1023

# part of a scale by which a value may pass its ends and still have their colour: drivers interpolate the ends
SLACK = np.float32(1e-6)

Colour = tuple[float, float, float]

# linear sRGB → LMS, LMS^(1/3) → Oklab (Ottosson 2020)
_TO_LMS = np.array(
    [
        [0.4122214708, 0.5363325363, 0.0514459929],
        [0.2119034982, 0.6806995451, 0.1073969566],
        [0.0883024619, 0.2817188376, 0.6299787005],
    ]
)
_TO_LAB = np.array(
    [
        [0.2104542553, 0.7936177850, -0.0040720468],
        [1.9779984951, -2.4285922050, 0.4505937099],
        [0.0259040371, 0.7827717662, -0.8086757660],
    ]
)


def rgb(text: str) -> Colour:
    """Return the sRGB components, 0 … 1, of a colour written as #rrggbb."""
    return tuple(int(text[i : i + 2], 16) / 255 for i in (1, 3, 5))


def oklab(colours: np.ndarray) -> np.ndarray:
    """Convert (…, 3) sRGB components to Oklab."""
    linear = np.where(colours <= 0.04045, colours / 12.92, ((colours + 0.055) / 1.055) ** 2.4)
    return np.cbrt(linear @ _TO_LMS.T) @ _TO_LAB.T


def from_oklab(lab: np.ndarray) -> np.ndarray:
    """Convert (…, 3) Oklab to sRGB components, clipped to what a screen has."""
    linear = np.clip((lab @ np.linalg.inv(_TO_LAB).T) ** 3 @ np.linalg.inv(_TO_LMS).T, 0, 1)
    return np.where(linear <= 0.0031308, linear * 12.92, 1.055 * linear ** (1 / 2.4) - 0.055)


def gradient(anchors: Sequence[str], n: int) -> np.ndarray:
    """Return n colours, (n, 3) sRGB, through equally spaced anchors, interpolated in Oklab."""
    lab = oklab(np.array([rgb(a) for a in anchors]))
    at = np.linspace(0, len(anchors) - 1, n)
    return from_oklab(np.stack([np.interp(at, np.arange(len(anchors)), lab[:, i]) for i in range(3)], axis=1))


@dataclass(frozen=True)
class MapSpec:
    """A kind's colours: negative arm (from the extreme to near zero), positive arm, and what lies beyond.

    Attributes:
        negative: anchors from the lowest value towards zero; of no use where a scale begins at zero.
        positive: anchors from near zero to the highest value.
        below: colour of values under the scale.
        above: colour of values over the scale.
    """

    negative: tuple[str, ...]
    positive: tuple[str, ...]
    below: str
    above: str


@dataclass(frozen=True)
class Theme:
    """Colours of everything; components are sRGB, 0 … 1.

    Attributes:
        name: "light" or "dark".
        ground: behind everything.
        card: floor cards and panels.
        rim: their outline.
        shadow: how dark contact shadows are, 0 … 1.
        ink: titles, outlines, cell borders.
        muted: lesser text.
        accent: selection.
        zero: colour of the value zero, which must look empty.
        nothing: colour of what was not computed.
        hues: main colour of each kind, for edges and names.
        maps: colour map of each kind.
    """

    name: str
    ground: Colour
    card: Colour
    rim: Colour
    shadow: float
    ink: Colour
    muted: Colour
    accent: Colour
    zero: str
    nothing: str
    hues: Mapping[str, Colour]
    maps: Mapping[str, MapSpec]


def _hues(**colours: str) -> dict[str, Colour]:
    return {kind: rgb(colour) for kind, colour in colours.items()}


LIGHT = Theme(
    name="light",
    ground=rgb("#f3f4f6"),
    card=rgb("#ffffff"),
    rim=rgb("#d3d7de"),
    shadow=0.22,
    ink=rgb("#20262f"),
    muted=rgb("#646c78"),
    accent=rgb("#f59e0b"),
    zero="#fbfaf8",
    nothing="#e9ebee",
    hues=_hues(
        residual="#4c6c96",
        qkv="#147780",
        attention="#6f4fb0",
        ffn="#2b7a44",
        router="#a3224f",
        state="#6f6a10",
        logits="#b04a1e",
    ),
    maps={
        "residual": MapSpec(
            ("#1d4f9f", "#6c9ad8", "#c8daf0"), ("#f6d6bf", "#e88f57", "#b9480f"), "#0b2259", "#5a1c03"
        ),
        "qkv": MapSpec(
            ("#07596b", "#4fa9ba", "#b9dfe8"), ("#f6e1ae", "#e0a437", "#99600a"), "#03363b", "#573500"
        ),
        "attention": MapSpec(
            ("#6e5a12", "#c0a64a", "#ece2b8"),
            ("#e4dcf4", "#a589d8", "#6b41b2", "#3a1378"),
            "#3a2f05",
            "#1b0540",
        ),
        "ffn": MapSpec(
            ("#7d1c80", "#c57cc8", "#ecd2ee"), ("#d4eac0", "#74b04a", "#2a6612"), "#4a0c4d", "#143a05"
        ),
        "router": MapSpec(
            ("#134a7c", "#6aa5d8", "#cbe0f2"),
            ("#fbd3cf", "#ee7f86", "#c92f52", "#850f3c"),
            "#0a2a4a",
            "#45031d",
        ),
        "state": MapSpec(
            ("#3f3a9e", "#8c89d6", "#d5d4f0"), ("#e6e8b5", "#b3b042", "#6d6a08"), "#1a1660", "#333100"
        ),
        "logits": MapSpec(
            ("#1f4b7a", "#7199c6", "#c6d9ee"), ("#f8d0b8", "#e5805c", "#ad3410"), "#0a2343", "#560f00"
        ),
    },
)
DARK = Theme(
    name="dark",
    ground=rgb("#0f1217"),
    card=rgb("#181d25"),
    rim=rgb("#2b323d"),
    shadow=0.62,
    ink=rgb("#e8ebf0"),
    muted=rgb("#949dab"),
    accent=rgb("#ffb224"),
    zero="#1d232c",
    nothing="#12161c",
    hues=_hues(
        residual="#86a9d8",
        qkv="#4fb9bf",
        attention="#a98be8",
        ffn="#63ba79",
        router="#ee6f97",
        state="#cdc457",
        logits="#ec8a5c",
    ),
    maps={
        "residual": MapSpec(
            ("#8cc1ff", "#3f7fd0", "#274468"), ("#63402c", "#cf7033", "#ffb27c"), "#e6f2ff", "#ffeadb"
        ),
        "qkv": MapSpec(
            ("#6fe3e6", "#23959c", "#204a50"), ("#594722", "#bf8a24", "#ffd579"), "#dcfdfd", "#fff5dc"
        ),
        "attention": MapSpec(
            ("#efdf95", "#a68c2e", "#4a4120"),
            ("#352b55", "#6545a8", "#a07ae8", "#e0d0ff"),
            "#fff9dd",
            "#ffffff",
        ),
        "ffn": MapSpec(
            ("#eba0ff", "#a552b8", "#4d2c58"), ("#2c4a22", "#5b9a33", "#b4ee7c"), "#fae6ff", "#efffe0"
        ),
        "router": MapSpec(
            ("#a5d4ff", "#3a83c4", "#1f3d5a"),
            ("#52242c", "#b0334f", "#f5677f", "#ffc2c8"),
            "#e6f4ff",
            "#ffffff",
        ),
        "state": MapSpec(
            ("#b3b0ff", "#625dcb", "#34335f"), ("#47461f", "#8f8c22", "#e6e26a"), "#ecebff", "#fdfcd8"
        ),
        "logits": MapSpec(
            ("#a9cdf5", "#5581b3", "#2c425e"), ("#603422", "#d0602f", "#ffa880"), "#eaf3fd", "#ffe9df"
        ),
    },
)
_THEMES = {theme.name: theme for theme in (LIGHT, DARK)}
# kinds that share the colours of another
SAME_AS = {"embedding": "residual", "norm": "residual", "other": "residual"}


def theme_of(name: str) -> Theme:
    """Return a theme by name."""
    return _THEMES[name]


def hue_kind(kind: str) -> str:
    """Return the kind whose colours a kind of tensor wears."""
    return SAME_AS.get(kind, kind)


@cache
def colour_map(theme: str, kind: str, signed: bool) -> np.ndarray:
    """Return the colour table of a kind, (N_ENTRIES, 3) uint8.

    Args:
        theme: name of the theme.
        kind: kind of tensor, or "type 3" for the colour of a tensor type.
        signed: the scale runs from -limit to +limit rather than from 0.
    """
    look = theme_of(theme)
    if kind.startswith("type "):
        one = type_colour(theme, int(kind.removeprefix("type ")))
        spec = MapSpec((one,), (one,), one, one)
    else:
        spec = look.maps[hue_kind(kind)]
    if signed:  # each arm has its own number of anchors; zero must stand exactly in the middle
        low = gradient((*spec.negative, look.zero), N_GRADIENT // 2 + 1)
        high = gradient((look.zero, *spec.positive), N_GRADIENT // 2 + 1)
        colours = np.concatenate([low[:-1], high])
    else:
        zero = () if kind.startswith("type ") else (look.zero,)
        colours = gradient((*zero, *spec.positive), N_GRADIENT)
    marks = [rgb(c) for c in (spec.below, spec.above, "#ff00c8", "#ffe000", look.nothing)]
    return np.rint(np.concatenate([colours, marks]) * 255).astype(np.uint8)


def entry_of(values: np.ndarray, scale: Scale) -> np.ndarray:
    """Return which entry of its colour table each value gets; the shader does the same arithmetic.

    Args:
        values: any shape, float32.
        scale: the scale of its kind.
    """
    values = scale.bend(np.asarray(values, np.float32))
    low, high = (np.float32(end) for end in scale.ends)
    with np.errstate(invalid="ignore", over="ignore"):
        share = (values - low) / (high - low)
        entry = np.floor(np.clip(share, 0, 1) * np.float32(N_GRADIENT - 1) + np.float32(0.5))
    entry = np.where(np.isnan(entry), NAN, entry).astype(np.int64)
    slack = SLACK * (high - low)
    entry = np.where(values < low - slack, BELOW, np.where(values > high + slack, ABOVE, entry))
    entry = np.where(np.isinf(values), INFINITE, entry)
    return np.where(values == ABSENT, NOTHING, entry)


def colour_of(values: np.ndarray, scale: Scale, theme: str) -> np.ndarray:
    """Return the colours in which values are drawn, (…, 3) uint8."""
    return colour_map(theme, scale.kind, scale.signed)[entry_of(values, scale)]

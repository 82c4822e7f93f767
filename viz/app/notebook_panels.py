"""The widget's parts around the picture, put in place, and what is written on them."""

from __future__ import annotations

import base64
import html
import io
from collections.abc import Callable, Sequence

import ipywidgets
import numpy as np
from PIL import Image

from refgguf.viz.app.frame import Frame
from refgguf.viz.distribution import Distribution
from refgguf.viz.heat_map import HeatMap
from refgguf.viz.scene.predictions import percent

SIDE = 350  # pixels of the panels beside the picture
NARROWEST = 560  # pixels of the picture, where it is wide enough at all
BEAT = 700  # milliseconds for each operation while playing
HOTTEST = 2.0  # temperature at the slider's right end
TALLEST, LOWEST = 190, 56  # pixels of the heat map
MOST_DEEDS = 4  # buttons for what can be done where something is selected
WIDE = {"flex": "1 1 300px", "max_width": "520px"}  # a line to type into: the buttons beside it come first
Deed = tuple[str, Callable[[], object]]


class NotebookPanels(ipywidgets.VBox):
    """A picture and its panels; what they do is said by the class that inherits it.

    Attributes:
        frame: the picture.
        view: camera and focus.
    """

    def __init__(self, width: int, height: int, *, runs: bool):
        self.frame = Frame(width, height)
        self.view = self.frame.view
        self._deeds: list[Callable[[], object]] = []
        self.words, self.operation, self.live, self.page = (ipywidgets.HTML() for _ in range(4))
        self.stop_button = ipywidgets.Button(description="Stop", layout={"width": "80px"})
        rows = [self._running()] if runs else []
        rows += [
            self._stepping(),
            self._picture(width, height),
            self._looking(),
            _row(self.stop_button, self.words),
        ]
        super().__init__(rows)

    def _running(self) -> ipywidgets.HBox:
        self.prompt = ipywidgets.Text(
            placeholder="Type a prompt, Enter runs it",
            description="Prompt",
            continuous_update=False,
            layout=WIDE,
        )
        self.target = ipywidgets.Text(description="Written", continuous_update=False, layout=WIDE)
        self.next_button = ipywidgets.Button(description="Next token", layout={"width": "100px"})
        self.go_button = ipywidgets.ToggleButton(description="Generate", layout={"width": "100px"})
        self.off_button = ipywidgets.Button(description="Switch all on", layout={"width": "120px"})
        self.temperature = ipywidgets.FloatSlider(
            0.0,
            min=0.0,
            max=HOTTEST,
            step=0.05,
            description="temperature",
            layout={"width": "230px"},
            style={"description_width": "initial"},
        )
        buttons = self.next_button, self.go_button, self.off_button
        return _row(self.prompt, self.target, *buttons, self.temperature)

    def _stepping(self) -> ipywidgets.HBox:
        self.slider = ipywidgets.IntSlider(-1, -1, 0, readout=False, layout={"width": "320px"})
        self.player = ipywidgets.Play(min=-1, max=0, value=-1, interval=BEAT)
        self.token_choice = ipywidgets.Dropdown(description="token", layout={"width": "230px"})
        self.step_row = _row(self.player, self.slider, self.token_choice, self.operation)
        return self.step_row

    def _picture(self, width: int, height: int) -> ipywidgets.HBox:
        # the picture gives way to the panels beside it, down to a width below which they come below it
        self.frame.layout.flex, self.frame.layout.max_width = f"1 1 {min(width, NARROWEST)}px", f"{width}px"
        self.frame.css_width = "100%"
        self.deed_buttons = [ipywidgets.Button(layout={"width": "auto"}) for _ in range(MOST_DEEDS)]
        for at, button in enumerate(self.deed_buttons):
            button.on_click(lambda _, at=at: self._deeds[at]())
        deeds = _row(*self.deed_buttons)
        side = ipywidgets.VBox([self.live, deeds, self.page])
        side.layout = {
            "width": f"{SIDE}px",
            "max_height": f"{height}px",
            "overflow": "auto",
            "padding": "0 8px",
            "flex": "0 1 auto",
        }
        self.live.layout.flex = deeds.layout.flex = self.page.layout.flex = "0 0 auto"
        return _row(self.frame, side)

    def _looking(self) -> ipywidgets.HBox:
        self.search = ipywidgets.Combobox(
            placeholder="Find a tensor", continuous_update=False, layout={"width": "230px"}
        )
        self.tools = [ipywidgets.Button(layout={"width": "auto"}) for _ in range(6)]
        self.heads_button = ipywidgets.ToggleButton(
            description="All heads", tooltip="All heads (M)", layout={"width": "auto"}
        )
        return _row(self.search, self.heads_button, *self.tools)

    def offer_tools(self, tools: Sequence[tuple[str, str, Callable[[], object]]]) -> None:
        """Let the buttons below the picture do something: words, key, action of each."""
        for button, (words, key, action) in zip(self.tools, tools, strict=True):
            button.description, button.tooltip = words, f"{words} ({key})"
            button.on_click(lambda _, action=action: action())

    def offer_deeds(self, deeds: Sequence[Deed]) -> None:
        """Offer what can be done where something is selected, in words; nothing takes the buttons away."""
        deeds = deeds[:MOST_DEEDS]
        self._deeds = [action for _, action in deeds]
        for at, button in enumerate(self.deed_buttons):
            button.layout.display = None if at < len(deeds) else "none"
            button.description = deeds[at][0] if at < len(deeds) else ""

    def close(self) -> None:
        """Take the widget out of the notebook, and give the memory of its picture and panels back."""
        for part in _parts(self):
            for also in (getattr(part, name, None) for name in ("layout", "style")):
                if isinstance(also, ipywidgets.Widget):
                    also.close()
            if part is not self:
                part.close()
                part.unobserve_all()
        super().close()


def _row(*parts: ipywidgets.Widget) -> ipywidgets.HBox:
    """Return parts beside each other, those below that have no room."""
    return ipywidgets.HBox(parts, layout={"flex_flow": "row wrap", "align_items": "flex-start"})


def _parts(widget: ipywidgets.Widget) -> list[ipywidgets.Widget]:
    """Return a widget and all that it holds."""
    return [widget, *(part for child in getattr(widget, "children", ()) for part in _parts(child))]


def page(text: str) -> str:
    """Return a page with lines as close as in the window, and long names broken where there is no room."""
    return f"<div style='line-height:1.35;overflow-wrap:anywhere'>{text}</div>"


def bars(found: Distribution, hue: Sequence[float]) -> str:
    """Return a distribution as a page: a bar for each token, an outline for what its probability was before."""
    colour = _colour(hue)
    rows = []
    for item in found.candidates:
        before = (
            "" if item.before is None else _bar(item.before, "border:1px dotted gray;top:-1px;height:13px")
        )
        bar = _bar(item.share, f"background:{colour};height:11px")
        rows.append(
            f"<tr><td align='right' style='white-space:pre;padding-right:8px'>{html.escape(item.text)}</td>"
            f"<td style='width:55%'><div style='position:relative;height:11px'>{bar}{before}</div></td>"
            f"<td style='padding-left:5px'>{html.escape(percent(item.share)) if item.share else '0'}</td></tr>"
        )
    words = html.escape(found.words).replace("\n", "<br>")
    return (
        f"<b>{html.escape(found.title)}</b><table style='width:100%;line-height:15px'>{''.join(rows)}</table>"
        f"<p style='line-height:1.3'>{words}</p>"
    )


def _bar(share: float, style: str) -> str:
    return (
        f"<div style='position:absolute;left:0;width:{100 * share:.2f}%;box-sizing:border-box;{style}'></div>"
    )


def heat_picture(found: HeatMap, cell: tuple[int, int], hue: Sequence[float]) -> str:
    """Return a heat map as a picture for a page, one of its cells framed."""
    data = io.BytesIO()
    Image.fromarray(np.ascontiguousarray(found.colours)).save(data, "PNG")
    rows, cols = found.colours.shape[:2]
    tall = int(np.clip((SIDE - 30) * rows / cols, LOWEST, TALLEST))
    frame = (
        f"left:{100 * cell[1] / cols:.2f}%;top:{100 * cell[0] / rows:.2f}%;width:{100 / cols:.2f}%;"
        f"height:{100 / rows:.2f}%;min-width:4px;min-height:4px;outline:2px solid {_colour(hue)}"
    )
    return (
        f"<div style='position:relative;height:{tall}px'><img style='width:100%;height:100%;image-rendering:pixelated' "
        f"src='data:image/png;base64,{base64.b64encode(data.getvalue()).decode()}'>"
        f"<div style='position:absolute;{frame}'></div></div>"
    )


def histogram(heights: np.ndarray, hue: Sequence[float]) -> str:
    """Return bars of heights from 0 to 1 as a picture for a page."""
    drawn = "".join(
        f"<rect x='{i}' y='{1 - height:.3f}' width='0.9' height='{height:.3f}'/>"
        for i, height in enumerate(heights)
    )
    return (
        f"<svg viewBox='0 0 {len(heights)} 1' preserveAspectRatio='none' width='100%' height='64' "
        f"fill='{_colour(hue)}'>{drawn}</svg>"
    )


def _colour(hue: Sequence[float]) -> str:
    return "#" + "".join(f"{round(255 * c):02x}" for c in hue)

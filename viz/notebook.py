"""The viewer in a notebook: the window's scene as a Jupyter widget, drawn without a screen by the same code.

Needs the extra `jupyter` (jupyter_rfb, ipywidgets). Pictures are drawn in the kernel, and the browser shows them.
"""

from __future__ import annotations

import html
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import ipywidgets
from PIL import Image

from refgguf.errors import InputError
from refgguf.gguf.reader import GGUFFile
from refgguf.model import Model
from refgguf.trace import Trace
from refgguf.viz.ablation import Ablation, ablations_for
from refgguf.viz.app.frame import Frame, running_loop
from refgguf.viz.facts import shown_of_file, shown_of_trace
from refgguf.viz.finding import find_box
from refgguf.viz.inspect import hit_words
from refgguf.viz.pages import figures_of, head_page, value_page
from refgguf.viz.places import Place, box_of_head, camera_of, deeper, outer
from refgguf.viz.render.picture import save_picture
from refgguf.viz.scene.arcs import read_arcs
from refgguf.viz.scene.build import Scene, build_scene, camera_at
from refgguf.viz.scene.camera import parse_camera
from refgguf.viz.scene.head_grid import has_heads
from refgguf.viz.scene.picking import Hit
from refgguf.viz.session import Session
from refgguf.viz.state import COLOURINGS, MOST_DECODED, THEMES, USUAL_ASPECT, Shown, ShownFile
from refgguf.viz.steps import around, steps_of

HELP = (
    "drag turns · Shift drag moves · wheel comes closer · click inspects, with Ctrl switches off · double click goes "
    "deeper, beside everything back · ← → step · W A S D Q E fly · O overview · M every head in one grid · "
    "K colours of weights · L light or dark"
)


class SceneWidget(ipywidgets.VBox):
    """A scene in a notebook.

    Attributes:
        session: the model and its tokens; None for a trace or a file.
        scene: what is shown.
        view: camera and focus.
        selected: what was clicked last, as a Hit; None at first.
        frame: the picture.
    """

    def __init__(self, shown: Shown | ShownFile, session: Session | None, width: int, height: int):
        self.session, self.selected, self.place = session, None, Place()
        self.frame = Frame(width, height)
        self.view = self.frame.view
        self.view.hovered, self.view.clicked = self._hovered, self._clicked
        self.frame.pressed = self._pressed
        self.steps: list = []
        self.words = ipywidgets.HTML(HELP)
        self.page = ipywidgets.HTML()
        self.page.layout = ipywidgets.Layout(
            width="350px", height=f"{height}px", overflow="auto", padding="0 8px"
        )
        self.slider = ipywidgets.IntSlider(-1, -1, 0, readout=False, layout=ipywidgets.Layout(width="320px"))
        self.player = ipywidgets.Play(min=-1, max=0, value=-1, interval=700)
        self.operation = ipywidgets.HTML()
        self.slider.observe(lambda change: self.step_to(change["new"]), "value")
        self.player.observe(lambda change: self.step_to(change["new"]), "value")
        self.heads_button = ipywidgets.ToggleButton(description="All heads", layout={"width": "100px"})
        self.heads_button.observe(lambda change: self._grid_clicked(change["new"]), "value")
        self._show(build_scene(shown))
        row = ipywidgets.HBox([self.player, self.slider, self.heads_button, self.operation])
        rows = [row, ipywidgets.HBox([self.frame, self.page]), self.words]
        super().__init__([self._asking(), *rows] if session is not None else rows)

    def _asking(self) -> ipywidgets.HBox:
        """Return a line to type a prompt into, and a button for the next token."""
        self.prompt = ipywidgets.Text(
            self.session.prompt, description="Prompt", continuous_update=False, layout={"width": "640px"}
        )
        self.next_button = ipywidgets.Button(description="Next token")
        self.prompt.observe(lambda change: self._typed(change["new"]), "value")
        self.next_button.on_click(lambda button: self.generate())
        return ipywidgets.HBox([self.prompt, self.next_button])

    def _typed(self, text: str) -> None:
        if text != self.session.prompt:
            self.run(text)

    def _show(self, scene: Scene, *, keep_camera: bool = False) -> None:
        self.scene, self.selected = scene, None
        self.view.show_scene(scene, keep_camera=keep_camera)
        self.steps = steps_of(scene) if isinstance(scene.shown, Shown) else []
        for control in (self.slider, self.player):
            control.max, control.value = max(len(self.steps) - 1, 0), -1
        self.heads_button.layout.display = "" if has_heads(scene.shown) else "none"
        self.heads_button.value = self._in_grid
        self.page.value = "<p>Click a value to take it apart.</p>"
        self.operation.value = ""

    # ---- what Python can do with it

    @property
    def value(self) -> float | None:
        """The value that was clicked last."""
        return None if self.selected is None else self.selected.value

    @property
    def tensor(self) -> str | None:
        """The name of the tensor that was clicked last."""
        return None if self.selected is None else self.scene.pieces.boxes[self.selected.box].plane.tap

    def run(self, prompt: str | Sequence[int]) -> None:
        """Run another prompt, text or token ids, and show it.

        Raises:
            InputError: there is no model.
        """
        session = self._need_session()
        session = session.with_text(prompt) if isinstance(prompt, str) else session.with_ids(prompt)
        self._run(session)

    def toggle(self, tap: str, index: int | None = None, axis: str = "") -> None:
        """Switch a part of the model off, or on again, and run anew.

        Args:
            tap: name of the tap, such as "blk.2.attn_z" or "blk.2.ffn_out".
            index: which head, neuron or expert; the whole tensor if None.
            axis: dimension word of `index`: "d_ff", "expert", "kv_head"; heads if "".

        Raises:
            InputError: there is no model, or it has no such tap.
        """
        session = self._need_session()
        if tap not in session.model.taps:
            raise InputError(f"there is no tap {tap!r}; the model's taps are in model.taps")
        self._run(session.toggled(Ablation(tap, index, axis)))

    def generate(self, n: int = 1, temperature: float = 0.0) -> None:
        """Draw tokens one after the other and run on with them.

        Args:
            n: how many.
            temperature: at which they are drawn; 0 takes the most likely.

        Raises:
            InputError: there is no model.
        """
        for _ in range(n):
            session = replace(self._need_session(), temperature=temperature)
            token = session.next_token(self.scene.shown.trace["logits"][-1])
            self._run(session.extended(token))

    def arcs(self, which: str | None = "mean") -> None:
        """Draw attention as arcs between tokens, as the command line names them: "mean", "2", "2.5", "2.5:value".

        Args:
            which: None for none.

        Raises:
            InputError: there is no such layer or head.
        """
        choice = None if which is None else read_arcs(which)
        self._show(build_scene(replace(self.scene.shown, arcs=choice)), keep_camera=True)

    @property
    def _in_grid(self) -> bool:
        return isinstance(self.scene.shown, Shown) and self.scene.shown.grid

    def grid(self, on: bool = True) -> None:
        """Show every head's attention pattern in one grid, layers by heads, or the whole pass again.

        Raises:
            InputError: there are no patterns to show.
        """
        if not has_heads(self.scene.shown):
            raise InputError("there are no attention patterns to show in a grid")
        if self.session is not None:
            self.session.options["grid"] = on
        width, height = self.frame.pixels()
        aspect = width / height if on else USUAL_ASPECT
        self._show(build_scene(replace(self.scene.shown, grid=on, aspect=aspect), self.scene.lasting))

    def _grid_clicked(self, on: bool) -> None:
        if on != self._in_grid:
            self.grid(on)

    def flow(self, by: str | None = "stream") -> None:
        """Weigh the edges into the residual stream.

        Args:
            by: "stream" for what they add to its length, "logit" to the best next token's score; None for not at all.
        """
        self._show(build_scene(replace(self.scene.shown, flow=by)), keep_camera=True)

    def step(self, by: int = 1) -> None:
        """Go on by so many operations."""
        self.step_to(self.slider.value + by)

    def step_to(self, number: int) -> None:
        """Let an operation and what flows into it glow; -1 for none."""
        number = min(max(number, -1), len(self.steps) - 1)
        self.slider.value = self.player.value = number
        if number < 0:
            self.view.set_focus(set(), set())
            self.operation.value = ""
            return
        step = self.steps[number]
        self.operation.value = f"{number + 1} / {len(self.steps)} &nbsp; {html.escape(step.words)}"
        self.view.set_focus(set(step.boxes), set(step.routes), set(step.inputs))

    def token(self, number: int) -> None:
        """Mark a token's rows and show what the model predicts after it."""
        self._show(build_scene(replace(self.scene.shown, token=number, marked=True)), keep_camera=True)

    def look(self, view: str) -> None:
        """Look from a camera as the command line names it: "overview", "front", "layer:2", "head:2.1", "-40,13".

        Raises:
            InputError: there is no such view.
        """
        camera, zoom, part = parse_camera(view)
        self._fly(camera_at(self.scene, self.frame.pixels(), camera, zoom, part))

    def find(self, name: str) -> None:
        """Go to the tensor that a name of any vocabulary, or a part of one, stands for.

        Raises:
            InputError: there is none.
        """
        number = find_box(self.scene, name)
        if number is None:
            raise InputError(f"nothing in the picture is called {name!r}")
        box = self.scene.pieces.boxes[number]
        self._select(Hit(number, 0, 0, box.plane.index(0, 0), box.plane.value(0, 0), 0.0))
        self._go_to(Place("box", box.layer, box.head, number))

    def picture(self) -> Image.Image:
        """Return what is seen as a picture of its own."""
        return Image.fromarray(self.view.picture())

    def save(self, path: str | Path) -> None:
        """Save what is seen.

        Raises:
            OutputError: the file cannot be written.
        """
        save_picture(self.view.picture(), path)

    # ---- what mouse and keys do

    def _need_session(self) -> Session:
        if self.session is None:
            raise InputError("nothing can be run here: this shows a trace or a file; give widget() a model")
        return self.session

    def _run(self, session: Session) -> None:
        scene = build_scene(session.run(), self.scene.lasting)  # the same colours as before, to compare with
        self.session = session
        self._show(scene, keep_camera=True)
        self.prompt.value = session.prompt
        off = f", {len(session.ablations)} switched off" if session.ablations else ""
        self.words.value = f"next token: {html.escape(scene.shown.facts.outcome)}{off}"

    def _hovered(self, hit: Hit | None) -> None:
        self.words.value = HELP if hit is None else html.escape(hit_words(self.scene, hit))
        if hit is not None and self.selected is not None and hit.box == self.selected.box:
            self._tell(hit)

    def _clicked(self, hit: Hit | None, how: str, ctrl: bool) -> None:
        self._select(hit)
        if how == "double" and hit is not None and self._in_grid:
            box = self.scene.pieces.boxes[hit.box]
            self.grid(False)
            near = box_of_head(self.scene, box.plane.tap, box.head)
            self._go_to(Place("head", box.layer, box.head, near=near))
        elif how == "double":
            self._go_to(Place() if hit is None else deeper(self.scene, self.place, hit))
        elif ctrl:
            self._toggle_selected()

    def _select(self, hit: Hit | None) -> None:
        self.selected = hit
        if hit is None:
            self.view.set_focus(set(), set())
            self.page.value = ""
            return
        boxes, routes = around(self.scene, hit.box)
        self.view.set_focus({hit.box}, routes, boxes - {hit.box})
        self._tell(hit)

    def _tell(self, hit: Hit) -> None:
        weights = dict(self.session.model.file.tensors) if self.session else {}
        _, figures = figures_of(self.scene, hit)
        self.page.value = head_page(self.scene, hit) + value_page(self.scene, hit, weights) + figures

    def _toggle_selected(self) -> None:
        found = ablations_for(self.scene, self.selected) if self.selected and self.session else []
        whole = [a for _, a in found if a.axis != "d_ff"]
        if whole:
            self._run(self.session.toggled(whole[0]))

    def _go_to(self, place: Place) -> None:
        self.place = place
        self._fly(camera_of(self.scene, place, self.frame.pixels()))

    def _fly(self, camera) -> None:
        self.view.look(camera, fly=running_loop() is not None)

    def _pressed(self, key: str) -> None:
        actions = {
            "ArrowRight": lambda: self.step(1),
            "ArrowLeft": lambda: self.step(-1),
            "Home": lambda: self.step_to(-1),
            "Backspace": lambda: self._go_to(outer(self.scene, self.place)),
            "0": lambda: self._go_to(Place()),
            "o": lambda: self._go_to(Place()),
            "z": self._toggle_selected,
            "l": self._other_theme,
            "k": self._other_colour,
            "m": lambda: has_heads(self.scene.shown) and self.grid(not self._in_grid),
        }
        actions.get(key, lambda: None)()

    def _other_theme(self) -> None:
        shown = self.scene.shown
        other = THEMES[(THEMES.index(shown.theme) + 1) % len(THEMES)]
        self._show(build_scene(replace(shown, theme=other)), keep_camera=True)

    def _other_colour(self) -> None:
        shown = self.scene.shown
        if isinstance(shown, ShownFile):
            self._show(build_scene(replace(shown, colour=shown.next_colour)), keep_camera=True)


def widget(
    what: Model | Trace | GGUFFile,
    prompt: str | Sequence[int] = "",
    *,
    width: int = 960,
    height: int = 600,
    theme: str = "light",
    colour: str | None = None,
) -> SceneWidget:
    """Show a model, a trace or a file in a notebook.

    Args:
        what: a model with a prompt to run; a model without, or an open file, to see its weights; a trace.
        prompt: text or token ids.
        width: of the picture, in the browser's pixels.
        height: likewise.
        theme: "light" or "dark".
        colour: of a file's weights: "values", "bits", "type" or "parameters"; if None values if few, else bits.

    Raises:
        InputError: a prompt for what cannot run one, or a colouring that there is not.
        NoGLError: there is no OpenGL to draw with.
    """
    if isinstance(what, Model) and len(prompt):
        text = prompt if isinstance(prompt, str) else ""
        ids = what.tokenize(prompt) if isinstance(prompt, str) else list(prompt)
        session = Session(what, ids, text, options={"theme": theme})
        return SceneWidget(session.run(), session, width, height)
    if len(prompt):
        raise InputError("a prompt needs a model: refgguf.load(path)")
    if isinstance(what, Trace):
        return SceneWidget(shown_of_trace(what, theme=theme), None, width, height)
    file, taps = (what.file, what.taps) if isinstance(what, Model) else (what, {})
    colour = colour or ("values" if file.n_values <= MOST_DECODED else "bits")
    if colour not in COLOURINGS:
        raise InputError(f"colour {colour!r} is none of {', '.join(COLOURINGS)}")
    return SceneWidget(shown_of_file(file, taps, colour=colour, theme=theme), None, width, height)

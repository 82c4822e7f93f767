"""What Python can do with the widget."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

from PIL import Image

from refgguf.errors import InputError
from refgguf.viz.ablation import Ablation
from refgguf.viz.app.notebook_scene import NotebookScene
from refgguf.viz.finding import find_name, remark_on
from refgguf.viz.places import Place
from refgguf.viz.render.picture import check_picture, free_picture, save_picture
from refgguf.viz.scene.arcs import read_arcs
from refgguf.viz.scene.build import camera_at
from refgguf.viz.scene.camera import parse_camera
from refgguf.viz.scene.head_grid import has_heads, why_no_grid
from refgguf.viz.scene.picking import cell_hit
from refgguf.viz.scene.predictions import scores_of
from refgguf.viz.session import NO_NEXT
from refgguf.viz.state import USUAL_ASPECT


class NotebookCommands(NotebookScene):
    """A scene in a notebook that does what Python tells it."""

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
        self._run(session.with_text(prompt) if isinstance(prompt, str) else session.with_ids(prompt))

    def write(self, text: str) -> None:
        """Go on from what a decoder has written of the prompt, and show it.

        Raises:
            InputError: there is no model, or one that reads a single text.
        """
        session = self._need_session()
        if session.target is None:
            raise InputError(f"{session.model.name} reads one text alone; it has written no other")
        self._run(session.with_target(text))

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

    def restore(self) -> None:
        """Switch everything on again."""
        if self.session is not None and self.session.ablations:
            self._run(replace(self.session, ablations=frozenset()))

    def generate(self, n: int = 1, temperature: float | None = None) -> None:
        """Draw tokens one after the other and run on with them.

        Args:
            n: how many.
            temperature: at which they are drawn, 0 takes the most likely; None for the one that is set.

        Raises:
            InputError: there is no model.
        """
        session = self._need_session()
        if temperature is not None:
            self.session = replace(session, temperature=temperature)
        for _ in range(n):
            self.append(self._next())

    def _next(self) -> int:
        """Draw the token after the one whose predictions are shown."""
        session, shown = self._need_session(), self.scene.shown
        if not session.scores_vocabulary:
            raise InputError(f"{session.model.name} {NO_NEXT}")
        return session.next_token(scores_of(shown)[shown.token_index])

    def append(self, token: int) -> None:
        """Append a token, after the marked one if one is marked, and run anew.

        Raises:
            InputError: there is no model.
        """
        shown = self.scene.shown
        self._run(self._need_session().extended(token, shown.token_index if shown.marked else None))

    def arcs(self, which: str | None = "mean") -> None:
        """Draw attention as arcs between tokens, as the command line names them: "mean", "2", "2.5", "2.5:value".

        Args:
            which: None for none.

        Raises:
            InputError: there is no such layer or head.
        """
        self._change(arcs=None if which is None else read_arcs(which))

    def grid(self, on: bool = True) -> None:
        """Show every head's attention pattern in one grid, layers by heads, or the whole pass again.

        Raises:
            InputError: there are no patterns to show.
        """
        if not has_heads(self.scene.shown):
            raise InputError(why_no_grid(self.scene.shown))
        width, height = self.frame.pixels()
        self._change(grid=on, aspect=width / height if on else USUAL_ASPECT)

    def flow(self, by: str | None = "stream") -> None:
        """Weigh the edges into the residual stream.

        Args:
            by: "stream" for what they add to its length, "logit" to the best next token's score; None for not at all.
        """
        self._change(flow=by)

    def token(self, number: int) -> None:
        """Mark a token's rows and show what the model predicts after it."""
        self._change(token=number, marked=True)

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
        found = find_name(self.scene, name)
        if found is None:
            raise InputError(f"nothing in the picture is called {name!r}")
        box = self.scene.pieces.boxes[found[1]]
        self._select(cell_hit(self.scene.pieces.boxes, found[1], 0, 0))
        self._go_to(Place("box", box.layer, box.head, found[1]))
        if remark := remark_on(self.scene, *found):
            self.say(remark)

    def picture(self) -> Image.Image:
        """Return what is seen as a picture of its own."""
        return Image.fromarray(self.view.picture())

    def save(self, path: str | Path | None = None) -> Path:
        """Save what is seen; the first free name in the current folder if none is given.

        Raises:
            OutputError: the file cannot be written.
        """
        path = Path(path) if path else free_picture(self.scene.shown.facts.name)
        check_picture(path)
        save_picture(self.view.picture(), path)
        self.say(f"saved {path.resolve()}")
        return path

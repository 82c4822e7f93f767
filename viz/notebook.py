"""The viewer in a notebook: the window's scene as a Jupyter widget, drawn without a screen by the same code.

Needs the extra `jupyter` (jupyter_rfb, ipywidgets). Pictures are drawn in the kernel, and the browser shows them.
"""

from __future__ import annotations

import html
from collections.abc import Callable, Sequence

import ipywidgets

from refgguf.errors import InputError
from refgguf.gguf.reader import GGUFFile
from refgguf.model import Model
from refgguf.trace import Trace
from refgguf.viz.ablation import NOTHING_TO_SWITCH, ablation_of
from refgguf.viz.app.frame import running_loop
from refgguf.viz.app.keys import KEYS, NOTEBOOK_COLUMNS, help_page
from refgguf.viz.app.notebook_commands import NotebookCommands
from refgguf.viz.app.notebook_panels import page
from refgguf.viz.facts import colours_are_fixed, shown_of_file, shown_of_trace
from refgguf.viz.inspect import hit_words
from refgguf.viz.places import NO_ARCS_IN_GRID, Place, arcs_at, deeper, following_words, outer
from refgguf.viz.scene.build import camera_at
from refgguf.viz.scene.camera import NAMED, Camera
from refgguf.viz.scene.picking import Hit
from refgguf.viz.session import Session
from refgguf.viz.state import COLOURINGS, MOST_DECODED, THEMES, Shown
from refgguf.viz.work import STOPPED, Result, Work, run_session
from refgguf.viz.work import show as show_work

BETWEEN = 60  # milliseconds that the picture of one token has before the next is drawn


class SceneWidget(NotebookCommands):
    """A scene in a notebook, turned by mouse and keys.

    Attributes:
        generating: whether token after token is drawn.
        helping: whether the page of keys is shown.
    """

    generating = helping = False

    def __init__(self, work: Callable[[Work], Result], width: int, height: int, *, runs: bool = False):
        super().__init__(work, width, height, runs=runs)
        self._connect()

    def _connect(self) -> None:
        self.view.hovered, self.view.clicked = self._hovered, self._clicked
        self.frame.pressed = self._pressed
        self._heed(self.slider, self.step_to)
        self._heed(self.player, self.step_to)
        self._heed(self.token_choice, self.token)
        self._heed(self.search, self._search)
        self._heed(self.heads_button, self.grid)
        self.stop_button.on_click(lambda _: self.cancel())
        self.offer_tools(
            (
                ("Overview", "O", self._guarded(self.reset)),
                ("Arcs", "C", self._guarded(self.toggle_arcs)),
                ("Colours", "K", self._guarded(self.other_colour)),
                ("Light or dark", "L", self._guarded(self.other_theme)),
                ("Save a picture", "P", self._guarded(self.save)),
                ("Keys", "?", self.show_help),
            )
        )
        if self.session is not None:
            self._heed(self.prompt, lambda text: self.run(text) if text != self.session.prompt else None)
            self._heed(self.target, self.write)
            self._heed(self.temperature, self._set_temperature)
            self._heed(self.go_button, self._generate)
            self.next_button.on_click(lambda _: self._guarded(self.next_token)())
            self.off_button.on_click(lambda _: self._guarded(self.restore)())

    def _heed(self, control: ipywidgets.Widget, action: Callable) -> None:
        """Do something whenever the user gives a control another value; not when the widget itself does."""

        def changed(change: dict) -> None:
            if not self._setting:
                self._guarded(lambda: action(change["new"]))()

        control.observe(changed, "value")

    def play(self) -> None:
        """Play the forward pass, or pause."""
        if self.number == len(self.steps) - 1:
            self.step_to(-1)
        self.player.playing = not self.player.playing

    def toggle_following(self) -> None:
        """Let the camera go along with what is played, or stay where it is."""
        self.following = not self.following
        self.say(following_words(self.following))

    def step_token(self, by: int) -> None:
        """Choose a neighbour of the token that is shown."""
        if isinstance(self.scene.shown, Shown):
            last = len(self.scene.shown.trace.tokens) - 1
            self.token(min(max(self.scene.shown.token_index + by, 0), last))

    def next_token(self) -> None:
        """Draw the next token and run on with it."""
        self.generate()

    def toggle_generation(self) -> None:
        """Generate token after token, or stop."""
        if self.session is not None:
            self.go_button.value = not self.generating

    def toggle_selected(self) -> None:
        """Switch the selected head, expert or network off, or on again, and run anew."""
        chosen = ablation_of(self._ablations())
        if chosen is None:
            self.say(NOTHING_TO_SWITCH)
        else:
            self._run(self.session.toggled(chosen))

    def type_prompt(self) -> None:
        """Let the keys write into the prompt."""
        if self.session is not None:
            self.prompt.focus()

    def begin_search(self) -> None:
        """Let the keys write into the search box."""
        self.search.focus()

    def reset(self) -> None:
        """Show everything as it is, from where it was seen first."""
        self.view.set_turntable(False)
        self.selected = None
        self.step_to(-1)
        self._go_to(Place())

    def fit(self) -> None:
        """Let what is selected fill the picture, or everything."""
        box = None if self.selected is None else self.scene.pieces.boxes[self.selected.box]
        self._go_to(Place() if box is None else Place("box", box.layer, box.head, self.selected.box))

    def look_from(self, name: str) -> None:
        """Fly to one of the named cameras."""
        self._fly(camera_at(self.scene, self.frame.pixels(), Camera(*NAMED[name])))

    def toggle_turntable(self) -> None:
        """Let the scene turn by itself, or stop it."""
        self.view.set_turntable(not self.view.turntable)

    def go_out(self) -> None:
        """Go one level back."""
        self._go_to(outer(self.scene, self.place))

    def toggle_arcs(self) -> None:
        """Draw attention as arcs: of the selected head or layer, or of every layer; or no longer."""
        shown = self.scene.shown
        if self.in_grid:
            self.say(NO_ARCS_IN_GRID)
        elif isinstance(shown, Shown):
            choice = arcs_at(self.scene, None if self.selected is None else self.selected.box)
            self._change(arcs=None if shown.arcs is not None else choice)

    def toggle_grid(self) -> None:
        """Show every head's pattern in one grid, or the whole pass again."""
        self.grid(not self.in_grid)

    def other_theme(self) -> None:
        """Change between light and dark."""
        at = THEMES.index(self.scene.shown.theme)
        self._change(theme=THEMES[(at + 1) % len(THEMES)])

    def other_colour(self) -> None:
        """Let the colours of a file's weights say something else."""
        if why := colours_are_fixed(self.scene.shown):
            self.say(why)
        else:
            self._change(colour=self.scene.shown.next_colour)

    def cancel(self) -> None:
        """Stop what runs, and take the page of keys away."""
        self._generate(False)
        if self._at is not None:
            self.stop()
            self.say(STOPPED)
        if self.helping:
            self.show_help()

    def show_help(self) -> None:
        """Show the keys, or take them away."""
        self.helping = not self.helping
        self.words.value = page(help_page(NOTEBOOK_COLUMNS)) if self.helping else html.escape(self._said)

    def close(self) -> None:
        """Take the widget out of the notebook, and give the memory of its picture back."""
        self.generating = False
        self.stop()
        super().close()
        self.view.renderer = self.view.scene = None

    def _fail(self, words: str) -> None:
        super()._fail(words)
        self._generate(False)

    def _set_temperature(self, value: float) -> None:
        self.session.temperature = value
        self._show_distribution()

    def _generate(self, on: bool) -> None:
        self.generating = on and self.session is not None
        if self.session is not None:
            with self._set():
                self.go_button.value = self.generating
        if self.generating and running_loop() is not None:
            self._guarded(self._draw_on)()

    def _draw_on(self) -> None:
        """Draw a token, and the next once that one is shown."""
        if self.generating:
            shown, token = self.scene.shown, self._next()
            self._run(
                self.session.extended(token, shown.token_index if shown.marked else None),
                lambda: self.frame.wait("generate", BETWEEN, self._guarded(self._draw_on)),
            )

    def _search(self, text: str) -> None:
        if text.strip():
            self.find(text)

    def _hovered(self, hit: Hit | None) -> None:
        if not self.helping:
            self.words.value = html.escape(self._said if hit is None else hit_words(self.scene, hit))
        if hit is not None and self.selected is not None and hit.box == self.selected.box:
            self._tell(hit)

    def _clicked(self, hit: Hit | None, how: str, ctrl: bool) -> None:
        self._select(hit)
        if how == "double" and hit is not None and self.in_grid:
            self._guarded(lambda: self.open_head(hit))()
        elif how == "double":
            self._go_to(Place() if hit is None else deeper(self.scene, self.place, hit))
        elif ctrl and hit is not None:
            self._guarded(self.toggle_selected)()

    def _pressed(self, key: str) -> None:
        action = KEYS.get(key) or KEYS.get(key.lower())
        if action is not None:
            self._guarded(lambda: action(self))()


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
        InputError: a prompt for what cannot run one, or a colouring or theme that there is not.
        NoGLError: there is no OpenGL to draw with.
    """
    if theme not in THEMES:
        raise InputError(f"theme {theme!r} is none of {', '.join(THEMES)}")
    if isinstance(what, Model) and len(prompt):
        text = prompt if isinstance(prompt, str) else ""
        ids = what.tokenize(prompt) if isinstance(prompt, str) else list(prompt)
        session = Session(what, ids, text, options={"theme": theme})
        return SceneWidget(run_session(session), width, height, runs=True)
    if len(prompt):
        raise InputError("a prompt needs a model: refgguf.load(path)")
    if isinstance(what, Trace):
        return SceneWidget(show_work(shown_of_trace(what, theme=theme)), width, height)
    file, taps = (what.file, what.taps) if isinstance(what, Model) else (what, {})
    colour = colour or ("values" if file.n_values <= MOST_DECODED else "bits")
    if colour not in COLOURINGS:
        raise InputError(f"colour {colour!r} is none of {', '.join(COLOURINGS)}")
    return SceneWidget(show_work(shown_of_file(file, taps, colour=colour, theme=theme)), width, height)

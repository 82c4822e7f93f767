"""Finding one's way in the window: places, cameras, kept views, the search box."""

from __future__ import annotations

from refgguf.errors import RefggufError
from refgguf.viz.app.running import Running
from refgguf.viz.finding import find_name, remark_on
from refgguf.viz.places import (
    Place,
    box_of_head,
    camera_of,
    following_words,
    outer,
    place_to_watch,
    place_words,
)
from refgguf.viz.scene.build import camera_at
from refgguf.viz.scene.camera import NAMED, Camera, CameraWords
from refgguf.viz.scene.head_grid import has_heads, why_no_grid
from refgguf.viz.scene.picking import Hit, cell_hit
from refgguf.viz.settings import Settings
from refgguf.viz.state import USUAL_ASPECT, Shown
from refgguf.viz.steps import Step


class Looking(Running):
    """A window in which one goes from place to place; what is selected on the way is said by the inheriting class.

    Attributes:
        place: what is looked at, as far as one of the window's own commands has gone there.
        first_view: from where the first scene is seen; as it usually is if None.
        bound: the value to go to once the whole pass is shown: tensor, head, row, column; None if none.
        settings: kept views.
    """

    def __init__(self):
        super().__init__()
        self.place = Place()
        self.bound: tuple[str, int | None, int, int] | None = None
        self.first_view: CameraWords | None = None
        self.settings = Settings()

    def _select(self, hit: Hit | None) -> None:
        raise NotImplementedError

    def find(self, text: str) -> None:
        """Go to the tensor that a text names."""
        if self.scene is None or not text.strip():
            return
        found = find_name(self.scene, text)
        if found is None:
            self.statusBar().showMessage(f"nothing in the picture is called {text!r}")
            return
        name, number = found
        box = self.scene.pieces.boxes[number]
        self._select(cell_hit(self.scene.pieces.boxes, number, 0, 0))
        self.go_to(Place("box", box.layer, box.head, number))
        if remark := remark_on(self.scene, name, number):
            self.statusBar().showMessage(remark)
        self.canvas.native.setFocus()

    def begin_search(self) -> None:
        """Let the keys write into the search box."""
        self.write_into(self.search)

    def go_to(self, place: Place) -> None:
        """Fly to a place."""
        if self.scene is not None:
            self.place = place
            known = self.view.home if place == Place() else None  # which takes long to be found anew
            self.view.look(known or camera_of(self.scene, place, self.canvas.pixels()))
            self.statusBar().showMessage(place_words(self.scene, place))

    def follow(self, step: Step) -> None:
        """Go where an operation that is played can be watched, unless it can be from here or a hand moves the eye."""
        if self.scene is None or self.view.held_by_hand or not self.timeline.following:
            return
        place = place_to_watch(self.scene, step.boxes, self.view.bound_for, self.canvas.pixels())
        if place is not None:
            self.go_to(place)

    def toggle_following(self) -> None:
        """Let the camera go along with what is played, or stay where it is."""
        self.timeline.follow_button.toggle()
        self.statusBar().showMessage(following_words(self.timeline.following))

    def toggle_grid(self) -> None:
        """Show every head's pattern in one grid, or the whole pass again."""
        shown = None if self.scene is None else self.scene.shown
        if not has_heads(shown):
            self.statusBar().showMessage(why_no_grid(shown))
        elif shown.grid:
            self.show_again(grid=False, aspect=USUAL_ASPECT)
        else:
            width, height = self.canvas.pixels()
            self.show_again(grid=True, aspect=width / height)
        self.grid_button.setChecked(isinstance(shown, Shown) and shown.grid)  # until it is shown

    def open_head(self, hit: Hit) -> None:
        """Leave the grid for the head that was hit, among everything else that is computed."""
        box = self.scene.pieces.boxes[hit.box]
        self.bound = box.plane.tap, box.head, hit.row, hit.col
        self.toggle_grid()

    def arrive(self) -> str:
        """Go to the head that was opened in a grid, now that it is there; returns what to say of it."""
        if self.bound is None or self.scene is None:
            return ""
        (tap, head, row, col), self.bound = self.bound, None
        number = box_of_head(self.scene, tap, head)
        if number is None:
            return ""
        boxes = self.scene.pieces.boxes
        place = Place("head", boxes[number].layer, head, near=number)
        self._select(cell_hit(boxes, number, row, col))
        self.go_to(place)
        return place_words(self.scene, place)

    def go_out(self) -> None:
        """Go one level back."""
        if self.scene is not None:
            self.go_to(outer(self.scene, self.place))

    def reset(self) -> None:
        """Show everything as it is, from where it was seen first."""
        self.toggle_turntable(False)
        self.timeline.go_to(-1)
        self._select(None)
        self.go_to(Place())

    def fit(self) -> None:
        """Let what is selected fill the picture, or everything."""
        box = (
            None
            if self.selected is None or self.scene is None
            else self.scene.pieces.boxes[self.selected.box]
        )
        self.go_to(Place() if box is None else Place("box", box.layer, box.head, self.selected.box))

    def look_first(self) -> None:
        """Look from where it was asked for, once the first scene is there; what is not there ends the window."""
        if self.first_view is None or self.scene is None:
            return
        try:
            camera, zoom, part = self.first_view
            self.view.look(camera_at(self.scene, self.canvas.pixels(), camera, zoom, part), fly=False)
        except RefggufError as error:
            self.failure = error
            self.close()

    def look_from(self, name: str) -> None:
        """Fly to one of the named cameras."""
        if self.scene is not None:
            self.view.look(camera_at(self.scene, self.canvas.pixels(), Camera(*NAMED[name])))

    def toggle_turntable(self, on: bool | None = None) -> None:
        """Let the scene turn by itself, or stop it."""
        self.view.set_turntable(not self.view.turntable if on is None else on)

    def use_slot(self, slot: str, *, keep: bool) -> None:
        """Keep the view under a number, or go to the one that is kept there."""
        if self.scene is None:
            return
        name = self.scene.shown.facts.name
        if keep:
            try:
                self.settings.keep_view(name, slot, self.view.camera)
                self.statusBar().showMessage(f"view {slot} kept; {slot} brings it back")
            except RefggufError as error:
                self.statusBar().showMessage(str(error))
            return
        camera = self.settings.view(name, slot)
        if camera is None:
            self.statusBar().showMessage(f"no view is kept under {slot}; Ctrl {slot} keeps this one")
        else:
            self.view.look(camera)

"""Work that takes a while: opening a file, loading a model, running it, laying a scene out; with a way to stop.

A window does it in a thread, a notebook in its kernel.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace

import numpy as np

from refgguf.errors import RefggufError
from refgguf.viz.scene.atlas import Atlas, build_atlas, detail_for
from refgguf.viz.scene.build import Scene, build_scene, with_token
from refgguf.viz.scene.camera import Camera
from refgguf.viz.scene.scales import Scale
from refgguf.viz.session import CancelledError, Session
from refgguf.viz.state import Shown, ShownFile

STOPPED = "stopped; what is shown is what was shown before"
Begin = Callable[[str], Session]
Eye = Callable[[Scene], tuple[Camera, tuple[int, int]]]
BOXES = 64  # boxes between two figures of progress


@dataclass(frozen=True, eq=False)
class Result:
    """What a piece of work has made.

    Attributes:
        scene: what to show.
        session: what it was run with, or None.
        whole: scores (token, vocab) of the same tokens with nothing switched off, where something is.
        remark: what to say of it, such as why a model cannot be run.
        then: the work of making more of it, which need not be waited for; None if there is none.
        begin: makes a session of a text, where only the file is shown so far; None where it cannot be run.
        atlas: the values of the first picture; None where nobody waits for it.
    """

    scene: Scene
    session: Session | None = None
    whole: np.ndarray | None = None
    remark: str = ""
    then: Callable[[Work], Result] | None = None
    begin: Begin | None = None
    atlas: Atlas | None = None


@dataclass(frozen=True, eq=False)
class Opened:
    """What opening a model has found: a session to run, or something to show at once.

    Attributes:
        session: to run.
        shown: to show at once.
        remark: what to say of it.
        then: finds more to show, and what to say of it, which is nothing if the model can be run; it takes longer,
            and is done once the first is seen.
        begin: makes a session of a text, should the model turn out to be one that can be run.
    """

    session: Session | None = None
    shown: Shown | ShownFile | None = None
    remark: str = ""
    then: Callable[[], tuple[Shown | ShownFile, str]] | None = None
    begin: Begin | None = None


class Work:
    """What a job can tell, and be told, while it works.

    Args:
        say: hears what is done, how much of it, of how much, and of what.
        sight: says from where, and in what size, a scene will be seen; None where nobody waits for the picture.
    """

    def __init__(self, say: Callable[[str, int, int, str], None], sight: Eye | None = None):
        self._say, self._sight = say, sight
        self.stop_asked = threading.Event()

    def say(self, words: str, done: int = 0, total: int = 0, of: str = "layers") -> None:
        """Tell how far the work is, and end it if that was asked for.

        Raises:
            CancelledError: it was.
        """
        self.go_on()
        self._say(words, done, total, of)

    def go_on(self, *_: int) -> None:
        """End the work if that was asked for; raises as `say` does."""
        if self.stop_asked.is_set():
            raise CancelledError

    def reading(self, what: str) -> Callable[[int, int], None]:
        """Return what hears how many boxes' values are read, of how many, and ends the work as `say` does."""

        def read(done: int, total: int) -> None:
            if done % BOXES == 0:
                self.say(f"reading weights for the {what}", done, total, "boxes")

        return read

    def atlas_of(self, scene: Scene) -> Atlas | None:
        """Pool the values that the first picture of a scene shows; None where nobody waits for it.

        Of a large run that takes seconds, as decoding weights does, and of a small one no time worth telling.
        """
        if self._sight is None:
            return None
        boxes = scene.pieces.boxes
        decoded = any(getattr(box.plane, "costly", 0.0) for box in boxes)
        tell = self.reading("picture") if decoded else self.go_on
        return build_atlas(boxes, *detail_for(boxes, *self._sight(scene)), tell)


def words_of(error: Exception) -> str:
    """Say in one sentence what has gone wrong while something was worked on."""
    if isinstance(error, RefggufError):
        return str(error)
    if isinstance(error, MemoryError):
        return (
            "there is not enough memory for all intermediate tensors; give a shorter prompt or fewer layers"
        )
    return f"this failed, which it should not: {type(error).__name__}: {error}"


def begin_session(begin: Begin, text: str, **options) -> Callable[[Work], Result]:
    """Return the work of making a session of a text and running it; options as for `Session`."""

    def work(at: Work) -> Result:
        at.say("loading the model")
        session = begin(text)
        session.options.update(options)
        return run_session(session)(at)

    return work


def run_session(session: Session, like: Mapping[str, Scale] | None = None) -> Callable[[Work], Result]:
    """Return the work of running a session and laying out what came of it; `like` as for `build_scene`."""

    def work(at: Work) -> Result:
        words = f"running {len(session.ids):,} tokens"
        at.say(words)
        shown = session.run(lambda done, total: at.say(words, done, total), at.stop_asked)
        whole = None
        if session.ablations and session.scores_vocabulary:
            whole = session.whole_logits(
                lambda done, total: at.say("running with nothing switched off", done, total), at.stop_asked
            )
        at.say("laying the scene out")
        scene = build_scene(shown, like)
        return Result(scene, session, whole, atlas=at.atlas_of(scene))

    return work


def show(
    shown: Shown | ShownFile,
    session: Session | None = None,
    whole=None,
    remark: str = "",
    like: Mapping[str, Scale] | None = None,
    begin: Begin | None = None,
) -> Callable[[Work], Result]:
    """Return the work of laying out what is there already; `like` as for `build_scene`."""

    def work(at: Work) -> Result:
        at.say("laying the scene out")
        scene = build_scene(shown, like, at.reading("scales"))
        return Result(scene, session, whole, remark, begin=begin, atlas=at.atlas_of(scene))

    return work


def open_first(opening: Callable[[Callable[[str], None]], Opened]) -> Callable[[Work], Result]:
    """Return the work of opening a model, and of running it if it can be run.

    Args:
        opening: opens it; is given a function to tell what it does.
    """

    def work(at: Work) -> Result:
        found = opening(at.say)
        if found.session is not None:
            return run_session(found.session)(at)
        first = found.shown
        if found.then is not None and isinstance(first, ShownFile) and first.reads_much:
            # the structure at once, its values when they are read
            first = replace(first, colour="bits", reference=None)
        result = show(first, remark=found.remark)(at)
        return result if found.then is None else replace(result, then=_more(found.then, found.begin))

    return work


def _more(then: Callable[[], tuple[Shown | ShownFile, str]], begin: Begin | None) -> Callable[[Work], Result]:
    def work(at: Work) -> Result:
        at.say("reading how the model computes")
        shown, remark = then()
        return show(shown, remark=remark, begin=None if remark else begin)(at)

    return work


def _shown_at(scene: Scene, result: Result, changes: Mapping) -> Callable[[Work], Result]:
    def work(at: Work) -> Result:
        other = with_token(scene, **changes)
        return replace(result, scene=other, then=None, atlas=at.atlas_of(other))

    return work


def changed(scene: Scene, result: Result, **changes) -> Callable[[Work], Result]:
    """Return the work of showing the same run with something changed about how it is shown."""
    if isinstance(scene.shown, Shown) and set(changes) == {"token", "marked"}:
        return _shown_at(scene, result, changes)
    shown = replace(scene.shown, **changes)
    like = scene.lasting if isinstance(shown, Shown) else None
    again = show(shown, result.session, result.whole, result.remark, like, result.begin)
    if result.then is None:
        return again

    def then(at: Work) -> Result:  # what is still to be found is shown with the same changes
        found = result.then(at)
        return changed(found.scene, found, **changes)(at)

    return lambda at: replace(again(at), then=then)

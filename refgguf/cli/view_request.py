"""What `refgguf view` was asked for, read and checked, and how it becomes something to show."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import refgguf
from refgguf.cli import options
from refgguf.cli.trace import trace_with_progress
from refgguf.errors import InputError, ModelError
from refgguf.gguf.roles import layer_of
from refgguf.viz.state import MOST_DECODED, USUAL_ASPECT

if TYPE_CHECKING:
    from refgguf.gguf.reader import GGUFFile
    from refgguf.model import Model
    from refgguf.viz.state import ArcChoice, Shown, ShownFile

TRACES = (".safetensors", ".npz")


@dataclass(frozen=True)
class Request:
    """What is to be shown.

    Attributes:
        model: a GGUF file, or a saved trace.
        prompt: what to run.
        layers: numbers of the layers to show; None for all.
        token: position whose predictions are shown and whose row is marked; None for the last, unmarked.
        theme: "light" or "dark".
        colour: of weights: "auto" or one of `viz.state.COLOURINGS`.
        numerics: with which the prompt runs.
        arcs: which attention is drawn as arcs; None for none.
        flow: what edges into the stream are weighed by; None for not at all.
        reference: file whose weights the model's are measured against; None for none.
        target: what a decoder has written so far; it writes by itself if this is not given.
        aspect: width over height of the picture that it is laid out for.
        grid: whether every head's pattern is shown in a grid instead of the whole pass.
        numerics_given: whether the user has chosen the numerics.
    """

    model: str
    prompt: options.Prompt
    layers: tuple[int, ...] | None = None
    token: int | None = None
    theme: str = "light"
    colour: str = "auto"
    numerics: str = "exact"
    arcs: ArcChoice | None = None
    flow: str | None = None
    reference: str | None = None
    target: options.Prompt = field(default_factory=options.Prompt)
    aspect: float = USUAL_ASPECT
    grid: bool = False
    numerics_given: bool = False

    @property
    def is_trace(self) -> bool:
        """Whether it is a saved trace rather than a model."""
        return Path(self.model).suffix in TRACES

    def check(self, *, picture: bool = False) -> None:
        """Refuse what does not go together.

        Args:
            picture: no prompt can be given later, as it can in a window.

        Raises:
            InputError: it does not.
        """
        runs = self.is_trace or self.prompt.given
        if runs and self.colour != "auto":
            raise InputError(
                f"--colour {self.colour} colours weights, and a run shows what was computed, each kind of tensor in "
                "colours of its own; leave --colour away, or "
                f"{'give the GGUF file' if self.is_trace else 'the prompt'}"
            )
        if self.grid and not runs:
            raise InputError(f"--grid needs a prompt: {options.NO_PROMPT}")
        if self.grid and (self.arcs or self.flow):
            raise InputError(
                f"--grid shows patterns alone, without a stream; leave {'--arcs' if self.arcs else '--flow'} away"
            )
        if self.numerics_given and self.is_trace:
            raise InputError(f"{self.model} is a trace, which has run already; leave --numerics away")
        if self.numerics_given and picture and not runs:
            raise InputError(f"--numerics needs a prompt: {options.NO_PROMPT}")
        if self.reference is not None and (self.is_trace or self.prompt.given):
            raise InputError("--reference compares weights; leave the prompt away, and give a GGUF file")
        if self.reference is not None and self.colour in ("type", "parameters"):
            raise InputError(
                f"--reference colours weights by their errors; leave --colour {self.colour} away"
            )
        if self.target.given and (self.is_trace or not self.prompt.given):
            raise InputError(
                "--target is what a decoder has written of a prompt; give a model and its prompt too"
            )

    def load(self) -> Shown | ShownFile:
        """Run the prompt, or read the trace, or open the file, and say what to show of it."""
        self.check()
        if self.is_trace:
            return self._trace()
        if not self.prompt.given:
            return self.file()
        model, ids = self.loaded()
        return self._run(model, ids)

    def loaded(self) -> tuple[Model, list[int]]:
        """Return the model and the ids of the prompt's tokens; nothing has run yet."""
        model = refgguf.load(self.model, numerics=self.numerics)
        return model, self.prompt.ids_for(model)

    def written(self, model: Model, ids: Sequence[int]) -> list[int] | None:
        """Return what a decoder has written of the prompt: what was given, or its own likeliest tokens.

        Returns:
            None where there is one text.

        Raises:
            InputError: a target was given, and the model has no decoder that reads another text.
        """
        from refgguf.viz.session import written

        if not self.target.given:
            return written(model, ids)
        if model.network.encoder is None:
            raise InputError(
                "--target: the model has no encoder, it reads one text alone; leave the target away"
            )
        return self.target.target_for(model)

    def look(self, n_tokens: int, layers: set[int | None]) -> dict[str, Any]:
        """Return the options of what is shown, checked against what there is.

        Args:
            n_tokens: how many tokens the trace has.
            layers: the layers that the model has.
        """
        return {
            "theme": self.theme,
            "aspect": self.aspect,
            "grid": self.grid,
            "layers": checked_layers(self.layers, layers),
            "token": checked_token(self.token, n_tokens),
            "marked": self.token is not None,
            "arcs": self.arcs,
            "flow": self.flow,
        }

    def _trace(self) -> Shown:
        from refgguf.viz import facts

        if self.prompt.given:
            raise InputError(f"{self.model} is a trace, which has its prompt in it; leave the prompt away")
        trace = refgguf.load_trace(self.model)
        return facts.shown_of_trace(trace, **self.look(len(trace.tokens), {t.layer for t in trace.tensors}))

    def _run(self, model: Model, ids: list[int]) -> Shown:
        from refgguf.viz import facts
        from refgguf.viz.contributions import stream_taps
        from refgguf.viz.memory import check_memory
        from refgguf.viz.scene.anatomy import anatomy_of
        from refgguf.viz.scene.head_grid import needed_for_grid

        self.check_grid(model)
        target = self.written(model, ids)
        n_tokens = len(ids) if target is None else 1 + len(target)
        look = self.look(n_tokens, {t.layer for t in model.taps.values()})
        anatomy = anatomy_of(model.taps, look["layers"])
        needed = set(needed_for_grid(anatomy) if self.grid else anatomy.needed())
        if self.flow:
            needed.update(stream_taps(model.taps))
        names = [name for name in model.taps if name in needed]
        check_memory(model, names, ids, ", or fewer layers with --layers 0-3")
        trace = trace_with_progress(model, ids, names, target)
        return facts.shown_of_model(model, trace, self.prompt.text or "", **look)

    def check_grid(self, model: Model) -> None:
        """Refuse a grid of a model that has no heads, before it is run.

        Raises:
            InputError: it has none.
        """
        from refgguf.viz.scene.anatomy import anatomy_of
        from refgguf.viz.scene.head_grid import check_grid

        if self.grid:
            check_grid(anatomy_of(model.taps, self.layers), model.name)

    def file(self) -> ShownFile:
        """Open a file to show its tensors, whether or not it can be run, and what flows where if it can."""
        return self.with_flow(self.tensors())[0]

    def with_flow(self, shown: ShownFile) -> tuple[ShownFile, str]:
        """Return a file with what flows from which tensor to which; if it cannot be run, as it is, and why not."""
        try:
            return replace(shown, taps=refgguf.load(self.model).taps), ""
        except ModelError as error:
            return shown, unrunnable(error)

    def tensors(self) -> ShownFile:
        """Open a file to show its tensors."""
        from refgguf.viz import facts

        for name, value in (("--token", self.token), ("--arcs", self.arcs), ("--flow", self.flow)):
            if value is not None and not self.prompt.given:
                raise InputError(f"{name} needs a prompt: {options.NO_PROMPT}")
        file = refgguf.open(self.model)
        layers = checked_layers(self.layers, {layer_of(name) for name in file.tensors})
        colour = self.colour
        if colour == "auto":
            colour = "values" if file.n_values <= MOST_DECODED else "bits"
        other = None if self.reference is None else self._other(file)
        return facts.shown_of_file(
            file, layers=layers, theme=self.theme, colour=colour, reference=other, aspect=self.aspect
        )

    def _other(self, file: GGUFFile) -> GGUFFile:
        """Open the reference, which must hold tensors of the same names and shapes."""
        other = refgguf.open(self.reference)
        if not any(n in other.tensors and other.tensors[n].shape == t.shape for n, t in file.tensors.items()):
            raise InputError(
                f"--reference {self.reference}: no tensor has the name and shape of one of {self.model}"
            )
        return other


def unrunnable(error: ModelError) -> str:
    """Say what is shown of a model that cannot be run, and why it cannot."""
    return f"tensors only, since this model cannot be run: {error}"


def read_ranges(text: str) -> tuple[int, ...]:
    """Read numbers and ranges such as "0-3,7".

    Raises:
        InputError: it is something else.
    """
    numbers: set[int] = set()
    for word in text.split(","):
        match = re.fullmatch(r"\s*(\d{1,4})(?:\s*-\s*(\d{1,4}))?\s*", word)
        if not match or int(match[2] or match[1]) < int(match[1]):
            raise InputError(f"--layers {text!r}: give numbers and ranges, such as 0-3,7")
        numbers.update(range(int(match[1]), int(match[2] or match[1]) + 1))
    return tuple(sorted(numbers))


def checked_layers(layers: Sequence[int] | None, have: set[int | None]) -> tuple[int, ...] | None:
    """Return the layers, or say which one the model lacks."""
    if layers is None:
        return None
    known = sorted(layer for layer in have if layer is not None)
    missing = [layer for layer in layers if layer not in known]
    if missing:
        raise InputError(f"--layers: there is no layer {missing[0]}; the model has {known[0]} to {known[-1]}")
    return tuple(layers)


def checked_token(token: int | None, n_tokens: int) -> int:
    """Return the position counted from the start, or say that there is no such."""
    place = -1 if token is None else token
    if not -n_tokens <= place < n_tokens:
        raise InputError(f"--token {token}: the prompt has {n_tokens} tokens, 0 to {n_tokens - 1}")
    return place % n_tokens

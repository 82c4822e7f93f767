"""Trace: every tapped tensor of one forward pass, in the order in which they were computed.

A trace never changes. It is saved as safetensors (one flat tensor per tap; tokens, axis names, model and numerics as
JSON in the file's metadata, so that any safetensors reader opens it) or as npz (the same JSON as bytes under
`__metadata__`); neither holds pickled objects. Traces of other engines need far less of it: docs/traces.md.
"""

from __future__ import annotations

import difflib
import json
import os
import re
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import asdict, dataclass, fields
from pathlib import Path
from types import MappingProxyType

import numpy as np

from refgguf import taps as tap_names
from refgguf.errors import OutputError, TapError, TraceError
from refgguf.output import atomic_output
from refgguf.taps import Tap

FORMAT = "refgguf-trace"
FORMAT_VERSION = 1
METADATA_KEY = "__metadata__"


@dataclass(frozen=True, eq=False)
class TracedTensor(Tap):
    """A tap together with the values that it had.

    Attributes:
        values: read-only array whose dimensions are `axes`.
    """

    values: np.ndarray = None


class Trace(Mapping[str, np.ndarray]):
    """The tapped tensors of one forward pass: a mapping from name to read-only array, ordered by execution.

    Names may be canonical (`blk.3.attn_probs`), llama.cpp's (`kq_soft_max-3`) or TransformerLens'
    (`blocks.3.attn.hook_pattern`).

    Attributes:
        tokens: (token,) int64, ids of the tokens that ran.
        token_texts: their texts.
        positions: (token,) int64, their places in the sequence.
        numerics: "exact" or "llama.cpp".
        model: what the trace was made with (name, architecture, file, sha256 …).

    Args:
        values: arrays by canonical tap name, in order of execution.
        taps: the tap of each, by canonical name.
        tokens: ids.
        token_texts: texts; "#17" stands for token 17 where there is no tokenizer.
        positions: places in the sequence; 0 … n-1 if None.
        numerics: which arithmetic was used.
        model: JSON-able facts about the model.
        model_hash: sha256 of the model file, or a function that computes it when it is first needed.

    Raises:
        TraceError: there are more or fewer tokens than texts or positions.
    """

    def __init__(
        self,
        values: Mapping[str, np.ndarray],
        taps: Mapping[str, Tap],
        tokens,
        token_texts=None,
        positions=None,
        numerics: str = "exact",
        model: Mapping[str, object] | None = None,
        model_hash: str | Callable[[], str] | None = None,
    ):
        self.tokens = _frozen(np.asarray(tokens, np.int64))
        self.token_texts = [f"#{t}" for t in self.tokens] if token_texts is None else list(token_texts)
        self.positions = _frozen(
            np.arange(len(self.tokens)) if positions is None else np.asarray(positions, np.int64)
        )
        self.numerics = numerics
        if self.tokens.ndim != 1 or not len(self.tokens) == len(self.token_texts) == len(self.positions):
            raise TraceError("a trace needs one text and one position for each of its tokens")
        self.model = MappingProxyType(dict(model or {}))
        self._model_hash = model_hash
        self._taps = {name: taps[name] for name in values}
        self._values = {name: _frozen(value) for name, value in values.items()}

    @property
    def model_hash(self) -> str | None:
        """Sha256 of the model file, hexadecimal; None if unknown. Large files take seconds the first time."""
        if callable(self._model_hash):
            self._model_hash = self._model_hash()
        return self._model_hash

    @property
    def names(self) -> list[str]:
        """Canonical names, in order of execution."""
        return list(self._values)

    @property
    def taps(self) -> Mapping[str, Tap]:
        """The taps by canonical name, in order of execution."""
        return MappingProxyType(self._taps)

    @property
    def tensors(self) -> tuple[TracedTensor, ...]:
        """Every tensor with its tap, in order of execution."""
        return tuple(self.tensor(name) for name in self._values)

    def tensor(self, name: str) -> TracedTensor:
        """Return one tensor with what is known of its tap.

        Raises:
            TapError: the trace holds no such tap.
        """
        name = tap_names.resolve(self._taps, name)
        tap = self._taps[name]
        return TracedTensor(**{f.name: getattr(tap, f.name) for f in fields(Tap)}, values=self._values[name])

    def find(self, pattern: str) -> list[str]:
        """Return the canonical names that a name or pattern (*, ?) stands for; none if nothing matches."""
        return tap_names.find(self._taps, pattern)

    def __getitem__(self, name: str) -> np.ndarray:
        return self._values[tap_names.resolve(self._taps, name)]

    def __contains__(self, name: object) -> bool:
        return isinstance(name, str) and (name in self._values or len(tap_names.find(self._taps, name)) == 1)

    def __iter__(self) -> Iterator[str]:
        return iter(self._values)

    def __len__(self) -> int:
        return len(self._values)

    def __repr__(self) -> str:
        size = sum(v.nbytes for v in self._values.values())
        return (
            f"<Trace of {len(self.tokens)} tokens: {len(self)} tensors, {size / 1e6:.1f} MB, {self.numerics}>"
        )

    def save(self, path: str | os.PathLike[str]) -> Path:
        """Write the trace to a file, complete or not at all.

        Args:
            path: ends in .safetensors or .npz.

        Raises:
            TraceError: the file name ends in something else.
            OutputError: the file cannot be written.
        """
        path = Path(path)
        if path.suffix not in (".safetensors", ".npz"):
            raise TraceError(
                f"{path}: a trace is saved as .safetensors or .npz, not {path.suffix or 'without suffix'!r}"
            )
        arrays = {name: np.ascontiguousarray(value) for name, value in self._values.items()}
        with atomic_output(path) as unfinished:
            if path.suffix == ".safetensors":
                _save_safetensors(arrays, unfinished, self._metadata(), path)
            else:
                note = np.frombuffer(json.dumps(self._metadata()).encode(), np.uint8)
                with open(unfinished, "wb") as file:
                    np.savez(file, **arrays, **{METADATA_KEY: note})
        return path

    def _metadata(self) -> dict[str, str]:
        """Return everything but the arrays, as safetensors wants it: strings by name."""
        return {
            "format": FORMAT,
            "format_version": str(FORMAT_VERSION),
            "numerics": self.numerics,
            "model": json.dumps(dict(self.model)),
            "model_sha256": self.model_hash or "",
            "tokens": json.dumps(self.tokens.tolist()),
            "token_texts": json.dumps(self.token_texts),
            "positions": json.dumps(self.positions.tolist()),
            "taps": json.dumps({name: asdict(tap) for name, tap in self._taps.items()}),
        }

    @classmethod
    def load(cls, path: str | os.PathLike[str]) -> Trace:
        """Read a trace from a file.

        Raises:
            TraceError: the file is not a trace, or not a sound one.
        """
        path = Path(path)
        if not path.is_file():
            raise TraceError(f"{path}: there is no such file")
        try:
            arrays, note = _read_npz(path) if path.suffix == ".npz" else _read_safetensors(path)
        except TraceError:
            raise
        except Exception as error:  # zip, header and dtype errors of two libraries have no common base
            raise TraceError(f"{path}: this is not a trace file ({error})") from error
        return cls._from_parts(path, arrays, note)

    @classmethod
    def _from_parts(cls, path: Path, arrays: dict[str, np.ndarray], note: Mapping[str, str]) -> Trace:
        if note.get("format") != FORMAT:
            raise TraceError(
                f"{path}: the file holds no refgguf trace (its metadata has no format {FORMAT!r})"
            )
        if note.get("format_version") != str(FORMAT_VERSION):
            raise TraceError(
                f"{path}: trace format {note.get('format_version')!r} is not {FORMAT_VERSION}; "
                "a newer refgguf may read it"
            )
        try:
            taps = _described(json.loads(note["taps"])) if "taps" in note else _known(arrays)
            if set(taps) != set(arrays):
                raise TraceError("the tensors in the file are not those that its metadata describes")
            for name, tap in taps.items():
                if len(tap.axes) != arrays[name].ndim:
                    raise TraceError(f"{name} has {arrays[name].ndim} dimensions, its axes are {tap.axes}")
            return cls(
                {name: arrays[name] for name in taps},
                taps,
                json.loads(note["tokens"]),
                json.loads(note.get("token_texts", "null")),
                json.loads(note.get("positions", "null")),
                note.get("numerics", "unknown"),
                json.loads(note.get("model", "{}")),
                note.get("model_sha256") or None,
            )
        except (TraceError, TapError) as error:
            raise TraceError(f"{path}: {error}") from error
        except (KeyError, TypeError, AttributeError, ValueError, OverflowError) as error:
            raise TraceError(f"{path}: the trace's metadata cannot be read ({error})") from error


def _known(names: Iterable[str]) -> dict[str, Tap]:
    """Return taps that are known by name alone, as another engine gives them, in the usual order of execution.

    Args:
        names: canonical names such as `embed` and `blk.3.attn_out`.

    Raises:
        TapError: a name is not in the table of names.
    """
    found = []
    for name in names:
        match = re.fullmatch(r"blk\.(\d{1,6})\.(.+)", name)
        local, words = (match[2], tap_names.LAYER_WORDS) if match else (name, tap_names.MODEL_WORDS)
        if local not in words:
            near = difflib.get_close_matches(local, words, 3)
            raise TapError(
                f"{name!r} is no tap's name"
                + (f"; did you mean {' or '.join(near)}?" if near else "")
                + " (describe other tensors under 'taps' in the file's metadata)"
            )
        layer = int(match[1]) if match else None
        at_end = match is None and local in ("final_norm", "logits_raw", "logits")
        place = (2 if at_end else 0 if match is None else 1, layer or 0, list(words).index(local))
        found.append((place, tap_names.declare(local, inputs=(), formula="", layer=layer)))
    return {tap.name: tap for _, tap in sorted(found, key=lambda entry: entry[0])}


def _described(notes: Mapping[str, Mapping[str, object]]) -> dict[str, Tap]:
    known = {f.name for f in fields(Tap)}
    return {
        name: Tap(**{k: tuple(v) if isinstance(v, list) else v for k, v in tap.items() if k in known})
        for name, tap in notes.items()
    }


def _frozen(values: np.ndarray) -> np.ndarray:
    view = values.view()
    view.flags.writeable = False
    return view


def _read_safetensors(path: Path) -> tuple[dict[str, np.ndarray], Mapping[str, str]]:
    from safetensors import safe_open

    with safe_open(path, framework="numpy") as file:
        return {name: file.get_tensor(name) for name in file.keys()}, file.metadata() or {}  # noqa: SIM118


def _read_npz(path: Path) -> tuple[dict[str, np.ndarray], Mapping[str, str]]:
    with open(path, "rb") as opened, np.load(opened, allow_pickle=False) as file:
        if METADATA_KEY not in file.files:
            raise TraceError(f"{path}: the file holds no refgguf trace (it has no {METADATA_KEY})")
        note = json.loads(file[METADATA_KEY].tobytes())
        return {name: file[name] for name in file.files if name != METADATA_KEY}, note


def _save_safetensors(
    arrays: Mapping[str, np.ndarray], path: Path, metadata: Mapping[str, str], target: Path
) -> None:
    from safetensors import SafetensorError
    from safetensors.numpy import save_file

    try:
        save_file(arrays, path, metadata=metadata)
    except SafetensorError as error:  # which a full disk becomes there: "… (os error 28)"
        number = re.search(r"os error (\d+)", str(error))
        why = os.strerror(int(number[1])).lower() if number else str(error)
        raise OutputError(f"{target}: cannot be written, {why}") from error

"""Model: a GGUF file that runs."""

from __future__ import annotations

import hashlib
import os
import threading
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import replace
from functools import cached_property
from pathlib import Path
from types import MappingProxyType

import numpy as np

from refgguf import taps as tap_names
from refgguf.arch import build, find_architecture
from refgguf.arch.hyper import HyperParameters
from refgguf.blocks.scope import Scope, Weights
from refgguf.embedding import TextVectors
from refgguf.errors import InputError, TokenizerError
from refgguf.forward import Cache, encode, forward
from refgguf.gguf.reader import GGUFFile, open_file
from refgguf.recorder import Hook, Recorder
from refgguf.sampling import Sampling, Step
from refgguf.taps import Tap
from refgguf.token_ids import checked_ids, divided
from refgguf.trace import Trace

NUMERICS = ("exact", "llama.cpp")


def load_model(
    path: str | os.PathLike[str], *, numerics: str = "exact", context_length: int | None = None
) -> Model:
    """Open a GGUF file as a model; `refgguf.load` is the public way here."""
    return Model(open_file(path), numerics=numerics, context_length=context_length)


class Model(TextVectors):
    """A GGUF file that runs: its tensors stay packed in the mapped file.

    Attributes:
        file: the GGUFFile.
        config: HyperParameters: n_layers, d_model, n_vocab, context_length …
        network: the blocks that it is made of.
        numerics: default arithmetic, "exact" or "llama.cpp".

    Args:
        file: an open GGUF file.
        numerics: "exact" or "llama.cpp".
        context_length: most tokens that a text may have; if None, what the model was made for. Matters beyond that
            for files with RoPE factors for short and for long contexts (longrope): see `HyperParameters`.

    Raises:
        UnknownArchitectureError: the architecture cannot be run.
        HyperParameterError: the metadata contradicts itself.
        MissingTensorError: a tensor is absent.
        ShapeMismatchError: a tensor's shape is not what the metadata says.
    """

    def __init__(self, file: GGUFFile, *, numerics: str = "exact", context_length: int | None = None):
        self.file = file
        self.numerics = _known_numerics(numerics)
        find_architecture(file.architecture)  # says so before any other complaint about the metadata
        self.config = HyperParameters(file.metadata, file.tensors, file.architecture, context_length)
        self.network = build(self.config)
        self._weights: dict[str, Weights] = {}
        self._of_thread = threading.local()

    def __repr__(self) -> str:
        size = f"{self.config.n_layers} layers, d_model {self.config.d_model}"
        return f"<Model {self.name}: {self.file.architecture}, {size}>"

    @property
    def path(self) -> Path:
        """Where the file is."""
        return Path(self.file.path)

    @property
    def name(self) -> str:
        """The model's name in the metadata, or the file's."""
        name = self.file.metadata.get("general.name")
        return name if isinstance(name, str) and name else self.path.stem

    @cached_property
    def taps(self) -> Mapping[str, Tap]:
        """Every tap by canonical name, in order of execution; nothing is run."""
        present = self.file.tensors
        declared = self.network.taps()
        return MappingProxyType({t.name: _with_weights(t, present) for t in declared})

    @cached_property
    def tokenizer(self):
        """The file's tokenizer.

        Raises:
            TokenizerError: the file has none, or an unknown or broken one.
        """
        from refgguf.tokenizer import load_tokenizer

        return load_tokenizer(self.file.metadata)

    @cached_property
    def sha256(self) -> str:
        """Hash of the file's bytes (of its parts one after the other), hexadecimal."""
        digest = hashlib.sha256()
        for part in self.file.parts:
            with open(part, "rb") as file:
                while chunk := file.read(1 << 22):
                    digest.update(chunk)
        return digest.hexdigest()

    def tokenize(
        self, text: str | bytes, *, add_special: bool = True, parse_special: bool = True
    ) -> list[int]:
        """Split text into token ids.

        Args:
            text: the text.
            add_special: put the beginning (and end) token where the file asks for it.
            parse_special: texts of special tokens, such as <|im_start|>, stand for those tokens.

        Raises:
            TokenizerError: the file has no usable tokenizer.
        """
        return self.tokenizer.encode(text, add_special=add_special, parse_special=parse_special)

    def detokenize(self, ids: Iterable[int], *, special: bool = False) -> str:
        """Return the text of token ids; special tokens are left out unless `special`."""
        return self.tokenizer.decode(list(ids), special=special)

    def token_text(self, token: int) -> str:
        """Return a token's text as a label; "#17" for token 17 of a model without tokenizer."""
        try:
            return self.tokenizer.token_text(int(token))
        except TokenizerError:
            return f"#{int(token)}"

    def new_cache(self) -> Cache:
        """Return an empty cache for a sequence of tokens."""
        return Cache(self.network.new_states())

    def check_tokens(
        self, ids: Iterable[int] | str, target: Iterable[int] | str | None = None
    ) -> tuple[np.ndarray | None, np.ndarray]:
        """Return what an encoder is to read and what the model itself runs, (token,) int64 each.

        Without an encoder that is followed by a decoder, the first is None and the second are the ids, or the tokens
        of the text; with one, the second are the decoder's start token and the target.

        Raises:
            InputError: there are none, or they are no whole numbers.
            TokenRangeError: an id lies outside the vocabulary.
            ContextOverflowError: there are more tokens than the model was made for.
        """
        return self._divided(ids, self.new_cache(), target)

    def logits(
        self,
        ids: Iterable[int] | str,
        *,
        target: Iterable[int] | str | None = None,
        numerics: str | None = None,
    ) -> np.ndarray:
        """Score every vocabulary entry as the next token, after each token.

        Args:
            ids: token ids, or a text; for an encoder with a decoder (T5), the text that the encoder reads.
            target: for such a model: what the decoder has written so far, without its start token.
            numerics: "exact" or "llama.cpp"; the model's default if None.

        Returns:
            (token, vocab) float32; with a decoder, after its start token and each token of the target.

        Raises:
            TokenRangeError: an id lies outside the vocabulary.
            ContextOverflowError: there are more tokens than the model was made for.
        """
        self._check_scores()
        return self._run(ids, target, numerics, self._recorder())[2]

    def trace(
        self,
        ids: Iterable[int] | str,
        taps: str | Iterable[str] = "all",
        *,
        target: Iterable[int] | str | None = None,
        numerics: str | None = None,
    ) -> Trace:
        """Run tokens and keep intermediate tensors.

        Args:
            ids: token ids, or a text; `ids` and `target` as for `logits`, and the trace's tokens are the decoder's.
            taps: which ones: "all", "summary", a name, a pattern (`blk.*.attn_probs`), or a list of them; canonical,
                llama.cpp and TransformerLens names.
            target: what a decoder has written so far.
            numerics: "exact" or "llama.cpp"; the model's default if None.

        Raises:
            TapError: a name or pattern stands for nothing.
            TokenRangeError: an id lies outside the vocabulary.
            ContextOverflowError: there are more tokens than the model was made for.
        """
        record = self._recorder(taps)
        source, tokens, _ = self._run(ids, target, numerics, record)
        return self._trace(tokens, 0, record, numerics, source)

    def lens(self, residual: np.ndarray) -> np.ndarray:
        """Read a residual stream as if it were the last layer's: the logit lens (nostalgebraist 2020).

        Args:
            residual: (token, d_model) float32; (token, stream, d_model) where there are several streams.

        Returns:
            (token, vocab) float32 scores; an InputError for an encoder, which has none.
        """
        self._check_scores()
        residual = np.ascontiguousarray(residual, np.float32)
        nothing = np.zeros(len(residual), np.int64)
        return self.network.score(residual, Scope(self._with(None), Recorder(self.taps), nothing, nothing))

    def generate(
        self,
        ids: Iterable[int] | str,
        n: int | None = 20,
        temperature: float = 0.0,
        *,
        top_k: int = 0,
        top_p: float = 1.0,
        min_p: float = 0.0,
        seed: int | None = None,
        taps: str | Iterable[str] | None = None,
        numerics: str | None = None,
        stop_at_end: bool = True,
        cache: Cache | None = None,
    ) -> Iterator[Step]:
        """Continue a text token by token.

        Args:
            ids: token ids, or a text; with a cache, those that follow what it holds. An encoder reads it, if the
                model has one, and the decoder answers.
            n: how many tokens to make at most; None for as many as the context holds.
            temperature: 0 always takes the best token; see `Sampling` for this and the next three.
            top_k: draw from the k best only.
            top_p: draw from the best that sum to this probability.
            min_p: drop what is less probable than this times the best.
            seed: of the random numbers; None for a new one each time.
            taps: intermediate tensors to keep for `Step.trace`; None for none.
            numerics: "exact" or "llama.cpp"; the model's default if None.
            stop_at_end: stop after a token that ends the text.
            cache: from `new_cache`, to go on with later; a new one if None.

        Yields:
            A Step for each new token.

        Raises:
            InputError: a sampling value is out of range.
            TapError: a name or pattern stands for nothing.
            TokenRangeError: an id lies outside the vocabulary.
            ContextOverflowError: the prompt is longer than the context.
        """
        self.check_writes()
        sampling = Sampling(temperature, top_k, top_p, min_p)
        cache = self.new_cache() if cache is None else cache
        texts = self._divided(ids, cache)
        weights = self._with(numerics)
        wanted = tap_names.select(self.taps, taps)
        random = np.random.default_rng(seed)
        return self._generate(*texts, n, sampling, random, wanted, weights, stop_at_end, cache)

    def _generate(
        self, source, tokens, n, sampling, random, wanted, weights, stop_at_end, cache
    ) -> Iterator[Step]:
        stream = self._stream()
        for before in [*cache.tokens, *tokens.tolist()] if stream and source is None else []:
            stream.feed(before)  # only a text's very beginning loses its space
        room = self.config.context_length - cache.n_tokens - len(tokens) + 1
        n = room if n is None else min(n, room)
        for number in range(n):
            record, n_past = self._recorder(wanted), cache.n_tokens
            if source is not None and number == 0:
                encode(self.network, weights, source, cache, record)
            logits = forward(self.network, weights, tokens, cache, record, last_only=True)[0]
            read = source if number == 0 else None
            trace = self._trace(tokens, n_past, record, weights.numerics, read) if wanted else None
            token, drawn_from = sampling.choose(logits, random)
            ends = stop_at_end and self._ends(token)
            text = "" if ends or stream is None else stream.feed(token)
            if stream is not None and (ends or number == n - 1):
                text += stream.flush()
            yield Step(token, text, logits, drawn_from, trace)
            if ends:
                return
            tokens = np.array([token])

    def _stream(self):
        try:
            return self.tokenizer.stream()
        except TokenizerError:
            return None

    def _ends(self, token: int) -> bool:
        try:
            return self.tokenizer.is_end(token)
        except TokenizerError:
            return False

    @contextmanager
    def hooks(self, hooks: Mapping[str, Hook]) -> Iterator[Model]:
        """Replace tapped tensors while the block runs, in its thread: ablation, patching, steering.

        Args:
            hooks: functions by tap name or pattern. Each is called as `hook(x, tap)` with the tensor (read-only) and
                its Tap, or as `hook(x, tap, positions)` if it has a third parameter: the tokens' places in the text,
                (token,) int64. The array that it returns replaces the tensor, None leaves it.

        Raises:
            TapError: a name or pattern stands for nothing.
        """
        by_name = {
            name: hook for pattern, hook in hooks.items() for name in tap_names.select(self.taps, pattern)
        }
        active = self._hooks()
        active.append(by_name)
        try:
            yield self
        finally:
            active.remove(by_name)

    def _hooks(self) -> list[Mapping[str, Hook]]:
        """Return the hooks of this thread, to which those of another, such as a viewer's, are nothing."""
        return self._of_thread.__dict__.setdefault("hooks", [])

    def _recorder(self, wanted: str | Iterable[str] | None = None) -> Recorder:
        active: dict[str, list[Hook]] = {}
        for layer in self._hooks():
            for name, hook in layer.items():
                active.setdefault(name, []).append(hook)
        return Recorder(self.taps, tap_names.select(self.taps, wanted), active)

    def _with(self, numerics: str | None) -> Weights:
        numerics = self.numerics if numerics is None else _known_numerics(numerics)
        if numerics not in self._weights:
            self._weights[numerics] = Weights(self.file.tensors, numerics)
        return self._weights[numerics]

    def _trace(self, tokens, n_past: int, record: Recorder, numerics: str | None, source=None) -> Trace:
        ordered = {name: record.values[name] for name in self.taps if name in record.values}
        about = {
            "name": self.name,
            "architecture": self.file.architecture,
            "file": self.path.name,
            "bytes": self.file.size,
            "n_layers": self.config.n_layers,
            "d_model": self.config.d_model,
            "n_vocab": self.config.n_vocab,
            **({} if source is None else {"source": source.tolist()}),
        }
        return Trace(
            ordered,
            self.taps,
            tokens,
            [self.token_text(t) for t in tokens],
            n_past + np.arange(len(tokens)),
            numerics or self.numerics,
            about,
            model_hash=lambda: self.sha256,
        )

    def _checked(self, ids: Iterable[int] | str, cache: Cache) -> np.ndarray:
        """Return token ids as an array, each inside the vocabulary and all inside the context."""
        ids = self.tokenize(ids) if isinstance(ids, (str, bytes)) else ids
        return checked_ids(ids, self.config, cache.n_tokens)

    def _divided(self, ids, cache: Cache, target=None) -> tuple[np.ndarray | None, np.ndarray]:
        """Return what an encoder is to read, if the model has one that has read nothing yet, and the other tokens."""
        if isinstance(target, (str, bytes)):
            target = self.tokenize(target, add_special=False)
        return divided(self._checked(ids, cache), target, self.network, self.config, cache)

    def _run(self, ids, target, numerics, record) -> tuple[np.ndarray | None, np.ndarray, np.ndarray]:
        """Run a whole text; returns what an encoder read, the tokens that the model itself ran, and their scores."""
        cache, weights = self.new_cache(), self._with(numerics)
        source, tokens = self._divided(ids, cache, target)
        if source is not None:
            encode(self.network, weights, source, cache, record)
        return source, tokens, forward(self.network, weights, tokens, cache, record)


def _known_numerics(numerics: str) -> str:
    if numerics not in NUMERICS:
        raise InputError(f"numerics is {numerics!r}; it must be one of {', '.join(NUMERICS)}")
    return numerics


def _with_weights(tap: Tap, present: Mapping[str, object]) -> Tap:
    """Return the tap with those of its weights that the file has."""
    return replace(tap, weights=tuple(name for name in tap.weights if name in present))

"""Alternating updates: several streams side by side, of which each layer works on one (AltUp: Baykal et al. 2023).

A layer works on the active stream, as it predicts that one from all of them; what it makes of it corrects them all.

route(x)    = tanh(norm(x) Wᵀ / d_model)                  what mixes the streams depends on the token
p[i]        = s[i] + Σ over j: (route(s[active]) Wpredict)[i, j] · s[j]
y           = layer(p[active])
s[i]        ← p[i] + (1 + (route(y) Wcorrect)[i]) · (y − p[active])
s[i]        ← s[i] + the layer's own input                every stream but the active one (Gemma 3n)
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np

from refgguf.blocks.laurel import Laurel
from refgguf.blocks.layer import Layer
from refgguf.blocks.norm import Norm
from refgguf.blocks.scope import Need, Scope
from refgguf.blocks.step import Step
from refgguf.kernels.ops.activation import softcap
from refgguf.taps import Tap, Word, declare

ACTIVE = 0  # number of the active stream
STREAMS = "token stream d_model"  # all of them, or all but the active one
WORDS = {
    "streams_in": Word(
        STREAMS, "residual", "the other streams beside the embedding, before the first layer", ""
    ),
    "streams_out": Word(STREAMS, "residual", "the other streams, each in the channels of the active one", ""),
    "stream_mean": Word("token d_model", "residual", "mean of all streams", "unembd_merged"),
    "altup_route": Word("token channel", "router", "what the mixing of streams depends on", "modalities"),
    "altup_coefs": Word(
        "token stream stream", "router", "how much of each stream a prediction takes", "all_coefs"
    ),
    "altup_predicted": Word(STREAMS, "residual", "each stream as predicted from all of them", "predictions"),
    "resid_pre": Word("token d_model", "residual", "active stream, as predicted", "active_prediction"),
    "resid_attn": Word("token d_model", "residual", "active stream after attention", "attn_gated"),
    "resid_mid": Word("token d_model", "residual", "active stream after attention and LAuReL", "attn_laurel"),
    "resid_late": Word(
        "token d_model",
        "residual",
        "active stream after the feed-forward network",
        "attn_ffw_laurel_gated",
    ),
    "altup_innovation": Word(
        "token d_model",
        "residual",
        "what the layer made of the active stream beyond the prediction",
        "innovation",
    ),
    "altup_route_late": Word(
        "token channel", "router", "what the correction of streams depends on", "modalities"
    ),
    "altup_coefs_late": Word("token stream", "router", "how much each stream is corrected", "all_coefs"),
    "altup_corrected": Word(STREAMS, "residual", "each stream, corrected", "corrected"),
    "resid_post": Word("token d_model", "residual", "active stream leaving the layer", ""),
    "layer_in": Word("token d_model", "residual", "active stream, scaled, for the layer's own input", ""),
    "streams": Word(STREAMS, "residual", "the other streams leaving the layer", ""),
}


def length(x: np.ndarray) -> np.ndarray:
    """Return the length of each vector, (…, 1) float32; squares are summed in float64, as ggml does."""
    return np.sqrt((x * x).sum(axis=-1, keepdims=True, dtype=np.float64).astype(np.float32))


def _declare(name: str, inputs: list[str], formula: str, weights: tuple[str, ...] = (), layer=None) -> Tap:
    return declare(name, inputs=inputs, formula=formula, weights=weights, layer=layer, word=WORDS[name])


@dataclass(frozen=True)
class SplitStreams(Step):
    """One stream → several: the embedding, and others made of it by matrices and brought to its length.

    Attributes:
        d_model: channels of a stream.
        n: how many streams there are.
        tensor: name of the matrices, one for each further stream.
    """

    d_model: int
    n: int
    tensor: str = "altup_proj"
    out: str = "streams_in"

    def needs(self) -> list[Need]:
        """Return the tensor that it works with."""
        return [Need(f"{self.tensor}.weight", (self.n - 1, self.d_model, self.d_model))]

    def taps(self, sources: list[str]) -> Iterator[Tap]:
        """Declare its tap."""
        formula = "y · |x| / |y| for each y = x · Wᵀ"
        yield _declare(self.out, sources, formula, (f"{self.tensor}.weight",))

    def leaving(self, sources: list[str]) -> list[str]:
        """Return the names of the taps that the stream consists of after it: the active one and the others."""
        return [*sources, self.out]

    def __call__(self, x: np.ndarray, s: Scope) -> np.ndarray:
        """Make the streams: (token, d_model) → (token, stream, d_model) float32."""
        made = [s.weights.linear(x, f"{self.tensor}.weight", number) for number in range(self.n - 1)]
        made = np.stack([y * length(x) / length(y) for y in made], axis=1)
        return _joined(x, s.tap(self.out, made))


@dataclass(frozen=True)
class MergeStreams(Step):
    """Several streams → one: the mean of all, the others brought back into the active one's channels and length.

    Attributes:
        d_model: channels of a stream.
        n: how many streams there are.
        tensor: name of the matrices, one for each stream but the active one.
    """

    d_model: int
    n: int
    tensor: str = "altup_unembd_proj"
    out: str = "stream_mean"

    def needs(self) -> list[Need]:
        """Return the tensor that it works with."""
        return [Need(f"{self.tensor}.weight", (self.n - 1, self.d_model, self.d_model))]

    def taps(self, sources: list[str]) -> Iterator[Tap]:
        """Declare its taps, in order of execution."""
        formula = "y · |active| / |y| for each other stream's y = s · Wᵀ"
        yield _declare("streams_out", sources, formula, (f"{self.tensor}.weight",))
        yield _declare(self.out, [sources[0], "streams_out"], f"(active + Σ streams_out) / {self.n}")

    def __call__(self, x: np.ndarray, s: Scope) -> np.ndarray:
        """Merge the streams: (token, stream, d_model) → (token, d_model) float32."""
        active, others = x[:, 0], x[:, 1:].transpose(1, 0, 2)
        back = [s.weights.linear(y, f"{self.tensor}.weight", number) for number, y in enumerate(others)]
        back = s.tap("streams_out", np.stack([y * length(active) / length(y) for y in back], axis=1))
        total = active
        for number in range(self.n - 1):
            total = total + back[:, number]
        return s.tap(self.out, total * np.float32(1 / self.n))


@dataclass(frozen=True)
class AltUpLayer(Layer):
    """A layer that works on one of several streams; its third branch gives what the others gain besides.

    Attributes:
        n: how many streams there are.
        norm: norm of what the mixing depends on.
        laurel: the low-rank branch beside attention.
    """

    n: int = 4
    norm: Norm | None = None
    laurel: Laurel | None = None

    @property
    def outputs(self) -> list[str]:
        """Local names of the taps of what leaves it: the active stream and the others."""
        return ["resid_post", "streams"]

    @property
    def _d(self) -> int:
        return self.mixer.d_model

    def needs(self) -> list[Need]:
        """Return the tensors that it works with."""
        return [
            *super().needs(),
            *self.laurel.needs(),
            *self.norm.needs("altup_router_norm", self._d),
            Need("altup_router.weight", (self.n, self._d)),
            Need("altup_predict_coef.weight", (self.n * self.n, self.n)),
            Need("altup_correct_coef.weight", (self.n, self.n)),
            Need("altup_correct_scale.weight", (self._d,)),
        ]

    def _taps(self, layer: int, sources: list[str]) -> Iterator[Tap]:
        def tap(name: str, inputs: list[str], formula: str, *weights: str) -> Tap:
            return _declare(name, inputs, formula, weights, layer)

        active, others = (f"/{name}" for name in sources)
        router = ("altup_router.weight", *self.norm.weights("altup_router_norm"))
        route = f"tanh(norm(x) · Wᵀ / {self._d})"
        yield tap("altup_route", [active], route, *router)
        yield tap("altup_coefs", ["altup_route"], "route · Wpredictᵀ", "altup_predict_coef.weight")
        yield tap("altup_predicted", [active, others, "altup_coefs"], "s[i] + Σ over j: coefs[i, j] · s[j]")
        yield tap("resid_pre", ["altup_predicted"], f"predicted[{ACTIVE}]")
        attention = list(self.mixer.taps(layer, "resid_pre"))
        yield attention[0]  # the norm
        yield from self.laurel.taps(layer, self.mixer.normed)
        yield from attention[1:]
        yield tap("resid_attn", [self.mixer.out, "resid_pre"], f"{self.mixer.out} + resid_pre")
        yield tap("resid_mid", ["resid_attn", self.laurel.out], f"(resid_attn + {self.laurel.out}) / √2")
        yield from self.ffn.taps(layer, "resid_mid")
        yield tap("resid_late", [self.ffn.out, "resid_mid"], f"{self.ffn.out} + resid_mid")
        formula = f"resid_late − predicted[{ACTIVE}]"
        yield tap("altup_innovation", ["resid_late", "altup_predicted"], formula)
        yield tap("altup_route_late", ["resid_late"], route, *router)
        yield tap(
            "altup_coefs_late", ["altup_route_late"], "1 + route · Wcorrectᵀ", "altup_correct_coef.weight"
        )
        inputs = ["altup_predicted", "altup_innovation", "altup_coefs_late"]
        yield tap("altup_corrected", inputs, "predicted[i] + coefs[i] · innovation")
        yield tap("resid_post", ["altup_corrected"], f"corrected[{ACTIVE}]")
        yield tap("layer_in", ["resid_post"], "x · scale", "altup_correct_scale.weight")
        yield from self.late.taps(layer, "layer_in")
        yield tap("streams", ["altup_corrected", self.late.out], f"corrected[i] + {self.late.out}")

    def _route(self, x: np.ndarray, s: Scope) -> np.ndarray:
        """Return what the mixing of streams depends on, (token, stream) float32."""
        x = self.norm(x, s, "altup_router_norm") * np.float32(1 / self._d)
        return softcap(s.linear(x, "altup_router"), 1.0)

    def __call__(self, x: np.ndarray, s: Scope) -> np.ndarray:
        """Run the layer: (token, stream, d_model) → (token, stream, d_model) float32."""
        predicted = self._predict(x, s)
        x = s.tap("resid_pre", np.ascontiguousarray(predicted[:, ACTIVE]))
        normed = self.mixer.enter(x, s)
        beside = self.laurel(normed, s)
        x = s.tap("resid_attn", self.mixer.run(normed, s.with_state(s.state[0])) + x)
        x = s.tap("resid_mid", (x + beside) * np.float32(2**-0.5))
        x = s.tap("resid_late", self.ffn.run(self.ffn.enter(x, s), s.with_state(s.state[1])) + x)
        corrected = self._correct(x, predicted, s)
        active = s.tap("resid_post", np.ascontiguousarray(corrected[:, ACTIVE]))
        own = s.tap("layer_in", active * s.vector("altup_correct_scale.weight"))
        others = corrected[:, 1:] + self.late.run(own, s.with_state(None))[:, None]
        return _joined(active, s.tap("streams", others))

    def _predict(self, x: np.ndarray, s: Scope) -> np.ndarray:
        """Predict every stream from all of them: (token, stream, d_model) float32."""
        route = s.tap("altup_route", self._route(np.ascontiguousarray(x[:, ACTIVE]), s))
        coefs = s.tap("altup_coefs", s.linear(route, "altup_predict_coef").reshape(len(x), self.n, self.n))
        mixed = coefs[:, :, :1] * x[:, :1]
        for number in range(1, self.n):
            mixed = mixed + coefs[:, :, number : number + 1] * x[:, number : number + 1]
        return s.tap("altup_predicted", mixed + x)

    def _correct(self, y: np.ndarray, predicted: np.ndarray, s: Scope) -> np.ndarray:
        """Correct every stream by what the layer made of the active one: (token, stream, d_model) float32."""
        innovation = s.tap("altup_innovation", y - predicted[:, ACTIVE])
        route = s.tap("altup_route_late", self._route(y, s))
        coefs = s.tap("altup_coefs_late", s.linear(route, "altup_correct_coef") + np.float32(1))
        return s.tap("altup_corrected", innovation[:, None] * coefs[:, :, None] + predicted)


def _joined(active: np.ndarray, others: np.ndarray) -> np.ndarray:
    """Return all streams side by side, (token, stream, d_model), from the active one and the others."""
    return np.concatenate([active[:, None], others], axis=1)

"""How files describe what becomes of the vectors of a text's tokens."""

from __future__ import annotations

from refgguf.arch.hyper import HyperParameters
from refgguf.blocks.norm import Norm
from refgguf.blocks.pooling import KINDS, Classifier, Pooling

# numbers of pooling_type (llama.cpp include/llama.h, llama_pooling_type) are places in KINDS
NONE, MEAN = 0, 1
UNSPECIFIED = -1  # written as a number without sign by llama.cpp; the same as a file that says nothing
DENSE = ("dense_2", "dense_3")


def pooling(
    hp: HyperParameters,
    *,
    causal: bool = False,
    act: str = "tanh",
    norm: Norm | None = None,
    softmax: bool = False,
    reads: int = NONE,
) -> Pooling:
    """Return the pooling that the metadata asks for, with what the file has of a classification head.

    Args:
        hp: hyper-parameters.
        causal: tokens see no later ones, so that the last one stands for the text.
        act: what bends the hidden layer of the classification head.
        norm: norm of that layer, where the file has one.
        softmax: the scores of labels become probabilities.
        reads: number of the pooling that the head reads, where the file does not say.

    Source: llama.cpp src/llama-graph.cpp, build_pooling and build_dense_out.
    """
    number = hp.int("pooling_type", NONE, least=UNSPECIFIED, most=2**32 - 1)
    if number in (UNSPECIFIED, 2**32 + UNSPECIFIED):
        number = NONE
    if number >= len(KINDS):
        known = ", ".join(f"{n} ({name})" for n, name in enumerate(KINDS))
        raise hp.error("pooling_type", f"is {number}; known are {known}")
    head = None
    if hp.has("cls.weight") or hp.has("cls.output.weight"):
        mean = hp.int("classifier.pooling_type", reads, most=2**32 - 1) == MEAN
        head = Classifier(
            d_hidden=_rows(hp, "cls"),
            act=act,
            norm=norm if hp.has("cls.norm.weight") else None,
            n_labels=len(labels(hp)) or 1 if hp.has("cls.output.weight") else 0,
            softmax=softmax,
            reads="mean" if mean else "last" if causal else "cls",
        )
    if head is None and KINDS[number] == "rank":
        raise hp.error(
            "pooling_type",
            "asks for a classification head, and the file has no cls.weight or cls.output.weight",
        )
    dense = tuple((name, _rows(hp, name)) for name in DENSE if hp.has(f"{name}.weight"))
    return Pooling(hp.d_model, KINDS[number], head, dense)


def labels(hp: HyperParameters) -> list[str]:
    """Return the names of the labels that a classification head scores; none where the file has no names."""
    key = "classifier.output_labels"
    if not hp.given(key):
        return []
    if not hp.is_list(key):
        raise hp.error(key, "is not a list of names")
    return [str(name) for name in hp.metadata[hp.key(key)]]


def _rows(hp: HyperParameters, name: str) -> int:
    """Return how many rows a matrix of the file has; 0 if there is none."""
    tensor = hp.tensors.get(f"{name}.weight")
    return 0 if tensor is None else tensor.shape[0] if len(tensor.shape) > 1 else 1

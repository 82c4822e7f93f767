"""Files that say that their tokens see later ones as well, whatever their architecture does as a rule."""

from __future__ import annotations

from dataclasses import replace

from refgguf.arch.hyper import HyperParameters
from refgguf.blocks.branch import Branch
from refgguf.blocks.network import Network

KEY = "attention.causal"


def as_the_file_says(hp: HyperParameters, network: Network) -> Network:
    """Return the network with tokens that see later ones, if the file says so and the network does not yet.

    Raises:
        HyperParameterError: the file says so and the network has layers that go from token to token.

    Source: llama.cpp src/llama-model.cpp (the key, for every architecture); src/llama-kv-cache.cpp (its mask).
    """
    if not network.causal or hp.bool(KEY, True):
        return network
    layers = tuple(
        replace(layer, mixer=_both_ways(hp, layer.mixer, number)) if layer.mixer else layer
        for number, layer in enumerate(network.layers)
    )
    return replace(network, layers=layers, causal=False)


def _both_ways(hp: HyperParameters, branch: Branch, number: int) -> Branch:
    mask = getattr(branch.block, "mask", None)
    if mask is None:
        raise hp.error(
            KEY, f"is false; what layer {number} remembers goes from token to token and sees none that follow"
        )
    return replace(branch, block=replace(branch.block, mask=replace(mask, causal=False)))

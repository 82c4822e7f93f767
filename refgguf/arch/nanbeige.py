"""Nanbeige (2025): a text passes several times through the same layers."""

from __future__ import annotations

from refgguf.arch.decoder import network
from refgguf.arch.hyper import MAX_LAYERS, HyperParameters
from refgguf.arch.parts import attention, feed_forward, layer, rms_norm
from refgguf.arch.positions import rope
from refgguf.arch.registry import architecture
from refgguf.blocks.layer import Layer, LoopNorm
from refgguf.blocks.network import Network


@architecture(
    "nanbeige", blocks="RMSNorm · RoPE with factors · grouped-query attention · SwiGLU · layers looped"
)
def nanbeige(hp: HyperParameters) -> Network:
    """Build it; each round has keys and values of its own, and the final norm stands between rounds."""
    norm, n_stored = rms_norm(hp), hp.n_layers
    n_layers = n_stored * hp.int("num_loops", 1, least=1, most=MAX_LAYERS // n_stored)
    between = None if hp.bool("skip_loop_final_norm", False) else LoopNorm(norm, hp.d_model)

    def build(number: int) -> Layer:
        stored = number % n_stored
        ends_round = stored == n_stored - 1 and number < n_layers - 1
        turn = rope(hp, "interleaved", stored)
        mixer = attention(hp, stored, rope=turn)
        return layer(hp, mixer, feed_forward(hp, stored, "silu"), norm, after=between if ends_round else None)

    blocks = tuple(number % n_stored for number in range(n_layers)) if n_layers > n_stored else ()
    return network(hp, build, norm, n_layers=n_layers, blocks=blocks)

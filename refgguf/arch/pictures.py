"""Models that read or write pictures too, of which the language model runs: CogVLM, Chameleon."""

from __future__ import annotations

from refgguf.arch.decoder import decoder
from refgguf.arch.hyper import HyperParameters
from refgguf.arch.parts import head_sizes
from refgguf.arch.registry import architecture
from refgguf.blocks.network import Network
from refgguf.blocks.rope import Rope

COGVLM_BASE = 10000.0  # of RoPE, whatever the file says (llama.cpp src/models/cogvlm.cpp)
# entries of Chameleon's vocabulary that stand for parts of pictures (llama.cpp src/models/chameleon.cpp)
PICTURE_TOKENS = (4, 8196)


@architecture("cogvlm", blocks="RMSNorm · RoPE · multi-head attention · SwiGLU")
def cogvlm(hp: HyperParameters) -> Network:
    """Build the language model (Wang et al. 2023); the weights for pictures are not read."""
    names = {"attn_norm": "", "ffn_out": ""}
    return decoder(
        hp,
        lambda number: Rope("split", head_sizes(hp, number)[2], COGVLM_BASE),
        layers={"llama_cpp": names},
    )

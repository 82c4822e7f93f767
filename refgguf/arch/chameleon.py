"""Chameleon (Chameleon Team 2024): it reads text and pictures as tokens; of these, it writes the text alone here."""

from __future__ import annotations

from refgguf.arch.decoder import network
from refgguf.arch.hyper import HyperParameters
from refgguf.arch.parts import attention, feed_forward, layer, qk_norm, rms_norm
from refgguf.arch.positions import rope
from refgguf.arch.registry import architecture
from refgguf.blocks.layer import Layer
from refgguf.blocks.network import Network
from refgguf.blocks.norm import Norm

# from llama.cpp's src/models/chameleon.cpp, in no metadata: the entries of the vocabulary that are parts of pictures,
# and what is added to the variance in the norms of queries and keys
PICTURES, HEAD_EPS = (4, 8196), 1e-5
NAMES = {"attn_q_norm": "Qcur", "attn_k_norm": "Kcur"}
NAMES_AFTER = NAMES | {"attn_output": "", "attn_out": "", "ffn_down": "ffn_out", "ffn_out": "ffn_norm"}
TENSORS = ("attn_norm", "ffn_norm")  # of the norms, wherever they stand


@architecture(
    "chameleon",
    blocks="RMSNorm, in the 34B model after each branch · q/k-norm of each head · RoPE · grouped-query attention · "
    "SwiGLU · picture tokens never follow",
)
def chameleon(hp: HyperParameters) -> Network:
    """Build it.

    With norms after the branches, the feed-forward network reads what attention adds and not the stream: so llama.cpp
    computes these files, other than the authors' code.
    """
    norm, heads = rms_norm(hp), qk_norm(Norm("layer", HEAD_EPS, bias="optional"), "heads")
    swin = hp.bool("swin_norm", False)
    if hp.n_vocab < PICTURES[1]:
        raise hp.error(
            "vocab_size", f"is {hp.n_vocab}; the picture tokens alone end at number {PICTURES[1] - 1}"
        )

    def build(number: int) -> Layer:
        mixer = attention(hp, number, rope=rope(hp, "interleaved", number), **heads)
        ffn = feed_forward(hp, number, "silu")
        if not swin:
            return layer(hp, mixer, ffn, norm, llama_cpp=NAMES)
        after_each = {"post_norm": norm, "post_norms": TENSORS, "chained": True}
        return layer(hp, mixer, ffn, None, llama_cpp=NAMES_AFTER, **after_each)

    # llama.cpp silences picture tokens in the first row alone (when it writes, there is one row), so it has no logits
    # to compare with
    names = {"logits_raw": "result_output_with_img_logits", "logits": ""}
    return network(hp, build, norm, head={"silent": PICTURES}, llama_cpp=names)

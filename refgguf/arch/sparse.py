"""Models whose attention sees the keys that an indexer chooses: DeepSeek V3.2, GLM 5, dots 3.

DeepSeek-AI 2025; Zhipu AI 2026; rednote 2026.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from refgguf.arch.decoder import network
from refgguf.arch.hyper import HyperParameters
from refgguf.arch.latent import deepseek_rope, latent_attention
from refgguf.arch.mixture import after_dense, deepseek_experts
from refgguf.arch.parts import layer, rms_norm, sliding_masks
from refgguf.arch.positions import local_rope, rope
from refgguf.arch.registry import architecture
from refgguf.blocks.attention import Gate
from refgguf.blocks.indexer import LightningIndexer
from refgguf.blocks.layer import Layer
from refgguf.blocks.mla import LatentAttention
from refgguf.blocks.network import Network
from refgguf.blocks.norm import Norm
from refgguf.blocks.rope import Rope
from refgguf.blocks.selector import Selector, SharedSelector

KEY_NORM = Norm("layer", 1e-6, bias="required")  # with an epsilon that no metadata gives
BARE_KEY_NORM = Norm("layer", 0.0, bias="optional")  # llama.cpp sets none for GLM 5
NAMES = {"attn_q_a": "qr", "attn_q_a_norm": "qr", "attn_out": "", "attn_z_latent": "kqv"}
GATED = {
    "attn_out": "attn_output",
    "attn_z": "attn_out",
    "attn_gate": "attn_gate",
    "attn_gate_act": "attn_gate_sigmoid",
}
# GLM 5.2 has this context, and indexers in layers 0, 1, 2, 6, 10, …, whatever its metadata leaves out
# (llama.cpp src/models/glm-dsa.cpp)
SHARING_CONTEXT = 1 << 20
LEAST_SPREAD = 64  # channels (llama.cpp src/llama-kv-cache.cpp, build_input_k_rot)
MOST_INDEXER_HEADS, MOST_INDEXER_CHANNELS = 1024, 4096


def spread(plain: LightningIndexer) -> LightningIndexer:
    """Return it with queries and keys spread over as many channels as llama.cpp does: a power of two from 64 on."""
    largest = plain.d_head & -plain.d_head  # power of two that divides it
    return replace(plain, d_spread=largest if largest >= LEAST_SPREAD else 0)


def indexer(
    hp: HyperParameters, norm: Norm, turn: Rope | None, d_short: int | None = None
) -> LightningIndexer:
    """Return a layer's indexer.

    Args:
        hp: hyper-parameters.
        norm: norm of its keys.
        turn: RoPE of its queries and keys, or None.
        d_short: channels of the short vector that its queries come from; what the file says if None.
    """
    d_head = hp.int("attention.indexer.key_length", least=1, most=MOST_INDEXER_CHANNELS)
    if turn and turn.n_rot > d_head:
        raise hp.error(
            "attention.indexer.key_length", f"is {d_head}, fewer channels than the {turn.n_rot} that turn"
        )
    return LightningIndexer(
        hp.d_model,
        hp.int("attention.q_lora_rank", least=1) if d_short is None else d_short,
        hp.int("attention.indexer.head_count", least=1, most=MOST_INDEXER_HEADS),
        d_head,
        hp.int("attention.indexer.top_k", least=1),
        norm,
        turn,
    )


def shared_selectors(
    hp: HyperParameters, own: list[int], built: LightningIndexer, skipped: Sequence[bool] = ()
) -> list[Selector | None]:
    """Return each layer's indexer, or the choice of the last layer before it that has one.

    Args:
        hp: hyper-parameters.
        own: for each layer 1 if it has an indexer, 0 if not.
        built: the indexer of those that have one.
        skipped: for each layer whether it attends to nothing; none of them if empty.
    """
    found: list[Selector | None] = []
    lender = None
    for number, has in enumerate(own):
        if skipped and skipped[number]:
            found.append(None)
            continue
        lender = number if has else lender
        if lender is None:
            raise hp.error(
                "attention.indexer.types", f"gives layer {number} no indexer; none stands before it to share"
            )
        found.append(built if has else SharedSelector(lender))
    return found


def latent_sizes(hp: HyperParameters, suffix: str = "") -> dict[str, int]:
    """Return the head sizes of absorbed latent attention, with what the file has for layers of this suffix."""
    keys, values = (f"attention.{part}_length_mla{suffix}" for part in ("key", "value"))
    return {"d_head": hp.int(keys, least=1), "d_value": hp.int(values, least=1)}


def _chooses(hp: HyperParameters, norm: Norm, style: str, own: list[int]) -> Network:
    """Return a network of layers with latent attention, whose keys an indexer chooses, and experts."""
    sizes, (turn, growth) = latent_sizes(hp), deepseek_rope(hp)
    scale = growth**2 / sizes["d_head"] ** 0.5
    selectors = shared_selectors(hp, own, spread(indexer(hp, norm, replace(turn, style=style))))
    second = after_dense(hp, lambda n: deepseek_experts(hp, n, shares="sigmoid"))

    def build(number: int) -> Layer:
        mixer = latent_attention(hp, number, turn, scale=scale, selector=selectors[number], **sizes)
        return layer(hp, mixer, second(number), rms_norm(hp), llama_cpp=NAMES)

    return network(hp, build, rms_norm(hp))


@architecture(
    "deepseek32",
    blocks="RMSNorm · latent attention over the keys that an indexer chooses · RoPE (YaRN) · SwiGLU, then experts"
    " with a choice bias and shared ones",
)
def deepseek32(hp: HyperParameters) -> Network:
    """Build it."""
    return _chooses(hp, KEY_NORM, "split", [1] * hp.n_layers)


@architecture(
    "glm-dsa",
    blocks="RMSNorm · latent attention over the keys that an indexer, or an earlier layer's, chooses · RoPE · SwiGLU,"
    " then experts with a choice bias and shared ones",
)
def glm_dsa(hp: HyperParameters) -> Network:
    """Build it; some layers share the choice of an earlier one."""
    shares = hp.trained_context >= SHARING_CONTEXT
    own = [int(not shares or n < 2 or n % 4 == 2) for n in range(hp.n_layers)]
    if hp.given("attention.indexer.types"):
        own = hp.per_layer("attention.indexer.types", most=1)
    return _chooses(hp, BARE_KEY_NORM, "interleaved", own)


@architecture(
    "dots3note",
    blocks="RMSNorm · gated latent attention, over the keys that an indexer chooses or in windows · two RoPE bases ·"
    " SwiGLU, then experts with a choice bias and shared ones",
)
def dots3note(hp: HyperParameters) -> Network:
    """Build it; layers with a window have head sizes and a rank of their own, and no indexer."""
    norm, masks, turn = rms_norm(hp), sliding_masks(hp, 0), rope(hp, "interleaved")
    turn = replace(turn, factors=None)
    chooses = spread(indexer(hp, KEY_NORM, replace(turn, style="split")))
    second = after_dense(hp, lambda n: deepseek_experts(hp, n, shares="sigmoid"))

    def attends(number: int) -> LatentAttention:
        switches = {"gate": Gate(per_head=True), "pe_norm": norm, "mask": masks[number]}
        if not masks[number].window:
            sizes = latent_sizes(hp)
            return latent_attention(
                hp, number, turn, scale=sizes["d_head"] ** -0.5, selector=chooses, **sizes, **switches
            )
        sizes = latent_sizes(hp, "_swa") | {"rank": hp.int("attention.kv_lora_rank_swa", least=1)}
        local = replace(local_rope(hp, "interleaved", number), factors=None)
        return latent_attention(hp, number, local, scale=sizes["d_head"] ** -0.5, **sizes, **switches)

    return network(
        hp, lambda number: layer(hp, attends(number), second(number), norm, llama_cpp=NAMES | GATED), norm
    )

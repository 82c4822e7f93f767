"""Gemma 4 (Gemma Team 2026): embeddings for every layer, late layers without keys and values of their own."""

from __future__ import annotations

from dataclasses import replace

from refgguf.arch.decoder import network
from refgguf.arch.hyper import HyperParameters
from refgguf.arch.mixture import experts
from refgguf.arch.parts import attention, borrowing, feed_forward, layer, rms_norm, sliding_masks
from refgguf.arch.positions import local_rope, rope
from refgguf.arch.registry import architecture
from refgguf.blocks.attention import Attention
from refgguf.blocks.block import Block
from refgguf.blocks.branch import Branch
from refgguf.blocks.inner import Inner
from refgguf.blocks.layer import Layer
from refgguf.blocks.layer_inputs import LayerInput, LayerInputs
from refgguf.blocks.mask import Mask
from refgguf.blocks.network import Network
from refgguf.blocks.norm import HeadNorm
from refgguf.blocks.together import Together

LOCAL_BASE = 10000.0  # frequency base of layers with a window, where the file does not say
NAMES = {
    "attn_q_rope": "Qcur_pos",
    "attn_k_rope": "Kcur_pos",
    "attn_output": "",
    "resid_mid": "attn_out",
    "layer_embd": "per_layer_embd_out",
}
BESIDE = {
    "ffn_norm": "ffn_norm_1",
    "ffn_norm_exps": "ffn_norm_2",
    "ffn_dense_raw": "",
    "ffn_dense": "ffn_mlp",
    "ffn_exps": "ffn_moe",
    "ffn_down": "ffn_moe_combined",
}
SCALED = {
    "ffn_gate": ("ffn_gate", "ffn_gate_s"),
    "ffn_up": ("ffn_up", "ffn_up_s"),
    "ffn_dense_raw": ("ffn_down", "ffn_down_s"),
    "ffn_down_exps": ("ffn_down_exps", "ffn_moe_down_scaled"),
}


def lenders(hp: HyperParameters, masks: list[Mask], n_lending: int) -> list[int | None]:
    """Return for each layer the number of the one whose keys and values it reads; None for its own.

    The last two of the first `n_lending` layers lend: the last to layers that see all, the one before to the others.
    Source: llama.cpp src/llama-model.cpp, create_memory (layer_reuse_cb).
    """
    lending = [n_lending - (2 if mask.window else 1) for mask in masks]
    found = [None if number < n_lending else lender for number, lender in enumerate(lending)]
    for number, lender in enumerate(found):
        if lender is not None and (lender < 0 or bool(masks[lender].window) != bool(masks[number].window)):
            raise hp.error(
                "attention.sliding_window_pattern",
                f"lets no layer of the kind of layer {number} stand where its keys and values would come from",
            )
    return found


class Attentions:
    """The attention of every layer; late ones borrow keys and values.

    Args:
        hp: hyper-parameters.
        masks: what each layer sees.
        n_lending: how many layers have keys and values of their own.
        factors: layers without a window have the file's RoPE factors.
        bare: a layer may lack a matrix of values, whose keys then serve as values too.
    """

    def __init__(self, hp: HyperParameters, masks: list[Mask], n_lending: int, *, factors: bool, bare: bool):
        self.hp, self.masks, self.factors, self.bare = hp, masks, factors, bare
        self.lenders = lenders(hp, masks, n_lending)
        norm = rms_norm(hp)
        plain = replace(norm, weight=False)
        self.norms = {"q_norm": HeadNorm(norm), "k_norm": HeadNorm(norm), "v_norm": HeadNorm(plain)}

    def _own(self, number: int) -> Attention:
        hp, mask = self.hp, self.masks[number]
        if mask.window:
            turn = local_rope(hp, "split", number, base=LOCAL_BASE, stretched=False)
        else:
            turn = rope(hp, "split", number)
        if mask.window or not self.factors:
            turn = replace(turn, factors=None)
        bare = self.bare and not any(hp.has(f"blk.{number}.attn_{part}.weight") for part in ("v", "qkv"))
        bare = bare and self.lenders[number] is None and hp.has(f"blk.{number}.attn_k.weight")
        return attention(hp, number, rope=turn, mask=mask, scale=1.0, values_from_keys=bare, **self.norms)

    def __getitem__(self, number: int) -> Attention:
        own, lender = self._own(number), self.lenders[number]
        if lender is None:
            return own
        lending = self._own(lender)
        if (own.n_kv_heads, own.d_head, own.d_head_v) != (
            lending.n_kv_heads,
            lending.d_head,
            lending.d_head_v,
        ):
            raise self.hp.error(
                "attention.head_count_kv",
                f"gives layer {number} other heads than layer {lender}, whose keys and values it reads",
            )
        return borrowing(own, lender, lending)


@architecture(
    "gemma4",
    blocks="sandwich RMSNorm · q/k/v-norm · two RoPE bases · sliding windows, shared keys and values · GEGLU, "
    "26B: beside experts · embeddings for each layer",
)
def gemma4(hp: HyperParameters) -> Network:
    """Build it; in files with experts, a dense network stands beside them."""
    norm, d = rms_norm(hp), hp.d_model
    if not hp.is_list("attention.sliding_window_pattern"):
        raise hp.error(
            "attention.sliding_window_pattern",
            "is missing or no list; it must say which layers have a window",
        )
    masks = sliding_masks(hp, 0)
    n_shared = hp.int("attention.shared_kv_layers", 0, most=hp.n_layers - 1)
    attentions = Attentions(hp, masks, hp.n_layers - n_shared, factors=True, bare=True)
    d_input = hp.int("embedding_length_per_layer_input")

    def beside(number: int) -> Block:
        router = {"reads": "resid_mid", "norm": replace(norm, weight=False), "biased": False}
        dense = feed_forward(hp, number, "gelu", out="ffn_dense")
        chosen = experts(hp, number, "gelu", router=router, out="ffn_exps")
        return Together(
            (
                Inner(Branch(d, chosen, "ffn_norm_exps", norm, "pre_ffw_norm_2", norm, "post_ffw_norm_2")),
                Inner(Branch(d, dense, "ffn_norm", norm, "ffn_norm", norm, "post_ffw_norm_1")),
            )
        )

    def build(number: int) -> Layer:
        prefix = f"blk.{number}."
        sparse = hp.has(f"{prefix}ffn_gate_inp.weight")
        second = beside(number) if sparse else feed_forward(hp, number, "gelu")
        scales = {tap: name for tap, (tensor, name) in SCALED.items() if hp.has(f"{prefix}{tensor}.scale")}
        own = LayerInput(d, d_input, number)
        late = Branch(d, own, "layer_in", None, "", norm, "post_norm") if d_input else None
        built = layer(
            hp,
            attentions[number],
            second,
            norm,
            post_norm=norm,
            late=late,
            scaled=hp.has(f"{prefix}layer_output_scale.weight"),
            llama_cpp=NAMES | (BESIDE if sparse else {}) | scales,
        )
        return replace(built, ffn=replace(built.ffn, norm=None)) if sparse else built

    inputs = (LayerInputs(d, hp.n_vocab, hp.n_layers, d_input, norm),) if d_input else ()
    head = {"softcap": hp.float("final_logit_softcapping", 30.0)}
    return network(hp, build, norm, embedding={"scale": d**0.5}, head=head, before=inputs)

"""Gemma 3n (Gemma Team 2025): streams side by side, embeddings for every layer, late layers that borrow keys."""

from __future__ import annotations

from refgguf.arch.decoder import network
from refgguf.arch.gemma4 import Attentions
from refgguf.arch.hyper import HyperParameters
from refgguf.arch.parts import feed_forward, layer, rms_norm, sliding_masks
from refgguf.arch.registry import architecture
from refgguf.blocks.altup import AltUpLayer, MergeStreams, SplitStreams
from refgguf.blocks.branch import Branch
from refgguf.blocks.laurel import Laurel
from refgguf.blocks.layer_inputs import LayerInput, LayerInputs
from refgguf.blocks.network import Network

# what llama.cpp takes for granted, whatever the file says (src/models/gemma3n.cpp, src/models/models.h,
# src/llama-hparams.h): streams, channels of a layer's own input, rank of the thin branch, layers with keys and values
# of their own, layers of sparse neurons and how many deviations above the mean these begin
N_STREAMS, D_INPUT, RANK, N_LENDING, N_SPARSE, DEVIATIONS = 4, 256, 64, 20, 10, 1.6448533535003662
NAMES = {
    "attn_q_rope": "Qcur_pos",
    "attn_k_rope": "Kcur_pos",
    "attn_output": "",
    "ffn_gate": "",
    "ffn_up": "",
    "ffn_act": "",
    "layer_embd": "first_prediction_out",
    "layer_gate": "first_prediction_gated",
    "layer_gated": "first_prediction_scaled",
}


@architecture(
    "gemma3n",
    blocks="sandwich RMSNorm · q/k/v-norm · two RoPE bases · sliding window 4:1, shared keys and values · GEGLU, sparse"
    " at first · four streams (AltUp), LAuReL · embeddings for each layer",
)
def gemma3n(hp: HyperParameters) -> Network:
    """Build it."""
    if active := hp.int("altup.active_idx", 0):
        raise hp.error("altup.active_idx", f"is {active}; only the first stream can be the active one")
    norm, d = rms_norm(hp), hp.d_model
    masks = sliding_masks(hp, 5)
    attentions = Attentions(hp, masks, N_LENDING, factors=False, bare=False)

    def build(number: int) -> AltUpLayer:
        sparsity = DEVIATIONS if number < N_SPARSE else 0.0
        ffn = feed_forward(hp, number, "gelu", sparsity=sparsity)
        own = Branch(d, LayerInput(d, D_INPUT, number), "layer_in", None, "", norm, "post_norm")
        plain = layer(hp, attentions[number], ffn, norm, post_norm=norm)
        streams = {"n": N_STREAMS, "norm": norm, "laurel": Laurel(d, RANK, norm)}
        return AltUpLayer(plain.mixer, plain.ffn, late=own, llama_cpp=NAMES, **streams)

    return network(
        hp,
        build,
        norm,
        embedding={"scale": d**0.5},
        head={"softcap": 30.0},
        before=(LayerInputs(d, hp.n_vocab, hp.n_layers, D_INPUT, norm), SplitStreams(d, N_STREAMS)),
        after=(MergeStreams(d, N_STREAMS),),
    )

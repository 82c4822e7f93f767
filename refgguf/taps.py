"""Taps: the names under which every intermediate tensor of a forward pass can be read or replaced.

A canonical name extends the file's own tensor names: `blk.3.attn_q.weight` is a weight, `blk.3.attn_q` is what it
produced. llama.cpp's callback names (`kq_soft_max-3`) and TransformerLens' hook names
(`blocks.3.attn.hook_pattern`) find the same taps, and all three may hold the wildcards * and ?.

Each block declares its taps (`Block.taps`) with the taps and weights they are computed from; what is declared is
what the viewer draws and what a test holds the arithmetic to.
"""

from __future__ import annotations

import difflib
import fnmatch
import re
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass

from refgguf.errors import TapError

KINDS = ("embedding", "residual", "norm", "qkv", "attention", "ffn", "router", "state", "logits")


@dataclass(frozen=True)
class Tap:
    """What is known of an intermediate tensor before anything runs.

    Attributes:
        name: canonical name, such as `blk.3.attn_q`.
        axes: dimension words in NumPy order, such as ("token", "head", "d_head").
        kind: one of KINDS; the viewer has a hue for each.
        meaning: one line for people.
        formula: how it is computed from its inputs.
        inputs: names of the taps it is computed from.
        weights: names of the tensors it is computed with.
        layer: number of its layer, or None outside the layers.
        llama_cpp: the name that llama.cpp's evaluation callback gives it, or None.
        transformer_lens: the hook name that TransformerLens gives it, or None.
        block: of an axis that counts blocks of tokens: how many tokens after a block the next one ends, and how many
            a block is made of, the last of which is its end. Empty where no axis does, or blocks are something else.
        window: of an attention pattern whose queries see a window only: its kind, as in `refgguf.blocks.mask.Mask`, and
            how many tokens it holds. Empty for other taps.
    """

    name: str
    axes: tuple[str, ...]
    kind: str
    meaning: str
    formula: str = ""
    inputs: tuple[str, ...] = ()
    weights: tuple[str, ...] = ()
    layer: int | None = None
    llama_cpp: str | None = None
    transformer_lens: str | None = None
    block: tuple[int, ...] = ()
    window: tuple[str | int, ...] = ()


@dataclass(frozen=True)
class Word:
    """An entry of the table of tap names: what a name means in whatever block it occurs."""

    axes: str
    kind: str
    meaning: str
    llama_cpp: str | None = None
    transformer_lens: str | None = None


# name → axes, kind, meaning, llama.cpp name, TransformerLens name. Inside a layer the canonical name is
# "blk.L." + name, llama.cpp's is NAME-L, TransformerLens' is "blocks.L." + name.
MODEL_WORDS = {
    "token_embd": Word("token d_model", "embedding", "token embedding as stored, before scaling", "embd"),
    "embed": Word(
        "token d_model", "embedding", "token embedding: what each token starts as", "embd", "hook_embed"
    ),
    "pos_embed": Word(
        "token d_model", "embedding", "learned embedding of each position", "pos_embd", "hook_pos_embed"
    ),
    "final_norm": Word(
        "token d_model",
        "norm",
        "residual stream normed for the output",
        "result_norm",
        "ln_final.hook_normalized",
    ),
    "logits_raw": Word("token vocab", "logits", "scores of the next token before scaling or capping"),
    "logits": Word(
        "token vocab", "logits", "score of every vocabulary entry as the next token", "result_output"
    ),
}
LAYER_WORDS = {
    "resid_pre": Word(
        "token d_model", "residual", "residual stream entering the block", None, "hook_resid_pre"
    ),
    "attn_norm": Word("token d_model", "norm", "residual stream normed for attention", "attn_norm"),
    "attn_qkv": Word("token qkv", "qkv", "queries, keys and values from one fused matrix", "wqkv_b"),
    "attn_qkv_clamped": Word("token qkv", "qkv", "queries, keys and values, cut to a range", "wqkv_clamped"),
    "attn_q": Word("token head d_head", "qkv", "queries: what each token looks for", "Qcur", "attn.hook_q"),
    "attn_k": Word("token kv_head d_head", "qkv", "keys: what each token offers to be found by", "Kcur", "attn.hook_k"),
    "attn_v": Word("token kv_head d_head", "qkv", "values: what each token passes on", "Vcur", "attn.hook_v"),
    "attn_q_gate": Word("token head channel", "qkv", "queries and the gates of the values", "Qcur_full"),
    "attn_q_norm": Word("token head d_head", "qkv", "queries, normed", "Qcur_normed"),
    "attn_k_norm": Word("token kv_head d_head", "qkv", "keys, normed", "Kcur_normed"),
    "attn_v_norm": Word("token kv_head d_head", "qkv", "values, normed", "Vcur_normed"),
    "attn_q_rope": Word("token head d_head", "qkv", "queries turned by their position", "Qcur", "attn.hook_rot_q"),
    "attn_k_rope": Word("token kv_head d_head", "qkv", "keys turned by their position", "Kcur", "attn.hook_rot_k"),
    "attn_q_a": Word("token rank", "qkv", "short vector that the queries of all heads come from", "q"),
    "attn_q_a_norm": Word("token rank", "qkv", "that vector, normed", "q"),
    "attn_kv_a": Word("token rank", "qkv", "what keys and values of a token come from, and its position", "kv_cmpr_pe"),
    "attn_kv_a_norm": Word("token rank", "qkv", "what keys and values of all heads come from, normed", "kv_cmpr"),
    "attn_kv_b": Word("token head d_head", "qkv", "keys and values of each head, unfolded", "kv"),
    "attn_q_pe": Word("token head d_head", "qkv", "part of the queries that knows the position, turned", "q_pe"),
    "attn_k_pe": Word("token d_head", "qkv", "key that knows the position, of all heads, turned", "k_pe"),
    "attn_q_absorbed": Word("token head rank", "qkv", "queries for what is kept of a token", "q_nope_absorbed"),
    "attn_q_full": Word("token head d_head", "qkv", "both parts of the queries", "Qcur"),
    "attn_z_latent": Word("token head rank", "qkv", "what is kept of tokens, mixed by the attention pattern", "kqv"),
    "attn_q_temp": Word(
        "token head d_head", "qkv", "queries, grown with their position", "Qcur_attn_temp_scaled"
    ),
    "attn_scores": Word(
        "head query key", "attention", "how well each query fits each key, masked", None, "attn.hook_attn_scores"
    ),
    "attn_probs": Word(
        "head query key", "attention", "attention pattern: how much each token takes from each earlier one",
        "kq_soft_max", "attn.hook_pattern",
    ),
    "attn_z": Word("token head d_head", "qkv", "values mixed by the attention pattern", "kqv_out", "attn.hook_z"),
    "attn_gate": Word("token head d_head", "attention", "gate of the mixed values, before its bend", "attn_gate_proj"),
    "attn_gate_act": Word("token head d_head", "attention", "gate of the mixed values", "attn_gate_sig"),
    "attn_gated": Word("token head d_head", "attention", "mixed values, gated", "attn_gated"),
    "attn_sub_norm": Word("token d_z", "attention", "mixed values, all heads normed together", "attn_sub_norm"),
    "attn_output": Word("token d_model", "attention", "heads mixed, before what follows", "attn_out"),
    "attn_out": Word(
        "token d_model", "residual", "what attention adds to the residual stream", "attn_out", "hook_attn_out"
    ),
    "resid_attn": Word(
        "token d_model", "residual", "residual stream after attention among its own tokens", "cross_inp"
    ),
    "cross_attn_norm": Word(
        "token d_model", "norm", "residual stream normed for attention over the other text", "attn_norm_cross"
    ),
    "cross_attn_out": Word("token d_model", "residual", "what the other text adds to the residual stream", "kqv_out"),
    "ssm_out_raw": Word("token d_model", "qkv", "state-space model's result before what follows", "mamba_out"),
    "ssm_out": Word("token d_model", "residual", "what the state-space model adds", "mamba_out"),
    "resid_mid": Word(
        "token d_model", "residual", "residual stream after attention", "ffn_inp", "hook_resid_mid"
    ),
    "ffn_norm": Word("token d_model", "norm", "residual stream normed for the feed-forward network", "ffn_norm"),
    "ffn_gate_up": Word("token d_ff", "ffn", "gates and inputs of all neurons from one fused matrix", "ffn_up"),
    "ffn_gate": Word("token d_ff", "ffn", "gate of each neuron before its activation", "ffn_gate", "mlp.hook_pre"),
    "ffn_gate_sparse": Word("token d_ff", "ffn", "gates of the few neurons that count, 0 for the others", ""),
    "ffn_up": Word("token d_ff", "ffn", "input of each neuron", "ffn_up", "mlp.hook_pre_linear"),
    "ffn_act": Word("token d_ff", "ffn", "activation of each neuron", "ffn_swiglu", "mlp.hook_post"),
    "ffn_act_scaled": Word("token d_ff", "ffn", "activation of each neuron, by its scale", "ffn_act"),
    "ffn_sub_norm": Word("token d_ff", "ffn", "activations of all neurons normed together", "ffn_sub_norm"),
    "ffn_down": Word("token d_model", "ffn", "feed-forward result before what follows", "ffn_out"),
    "ffn_gate_shexp": Word("token d_ff", "ffn", "gates of the neurons of the expert that sees every token", "ffn_gate"),
    "ffn_up_shexp": Word("token d_ff", "ffn", "inputs of the neurons of the expert that sees every token", "ffn_up"),
    "ffn_act_shexp": Word("token d_ff", "ffn", "neurons of the expert that sees every token", "ffn_swiglu"),
    "ffn_shexp": Word("token d_model", "ffn", "result of the expert that sees every token", "ffn_shexp"),
    "shexp_gate": Word("token expert", "router", "score of the expert that sees every token", "ffn_shexp_gate_inp"),
    "shexp_gate_act": Word("token expert", "router", "how much of that expert counts", "ffn_shexp_gate"),
    "ffn_shexp_gated": Word("token d_model", "ffn", "result of that expert, as much as counts", "ffn_shexp_out"),
    "ffn_dense_raw": Word("token d_model", "ffn", "that network's result before its norm", "ffn_out"),
    "ffn_exps": Word("token d_model", "ffn", "result of the chosen experts, normed", "ffn_moe"),
    "ffn_dense": Word("token d_model", "ffn", "result of the dense network beside the experts", "ffn_out"),
    "ffn_norm_exps": Word("token d_model", "norm", "residual stream normed for the experts", "ffn_norm_exps"),
    "ffn_moe_out": Word("token d_model", "ffn", "weighted results of the chosen experts, summed", "ffn_moe_out"),
    "ffn_adjugate_out": Word(
        "token d_model", "ffn", "weighted results of the small experts, summed", "ffn_adj_moe_out"
    ),
    "router_in": Word("token d_model", "router", "residual stream normed for the router", ""),
    "router_logits": Word("token expert", "router", "score of each expert", "ffn_moe_logits"),
    "router_probs": Word("token expert", "router", "share of each expert before selection", "ffn_moe_probs"),
    "router_choice": Word(
        "token expert", "router", "what experts are chosen by: their shares and a bias", "ffn_moe_probs_biased"
    ),
    "router_groups": Word("token slot", "router", "groups of experts to choose from", "ffn_moe_group_topk"),
    "router_topk": Word(
        "token slot", "router", "experts chosen, the best first", "ffn_moe_topk", "mlp.hook_expert_indices"
    ),
    "router_weights": Word(
        "token slot", "router", "weight of each chosen expert", "ffn_moe_weights", "mlp.hook_expert_weights"
    ),
    "ffn_in_exps": Word("token slot d_model", "ffn", "what each chosen expert reads, weighted", "ffn_moe_weighted"),
    "ffn_gate_up_exps": Word(
        "token slot d_ff", "ffn", "gates and inputs of the chosen experts' neurons from one matrix", "ffn_moe_gate_up"
    ),
    "ffn_gate_exps": Word("token slot d_ff", "ffn", "gates of the chosen experts' neurons", "ffn_moe_gate"),
    "ffn_up_exps": Word("token slot d_ff", "ffn", "inputs of the chosen experts' neurons", "ffn_moe_up"),
    "ffn_act_exps": Word("token slot d_ff", "ffn", "activations of the chosen experts' neurons", "ffn_moe_swiglu"),
    "ffn_down_exps": Word("token slot d_model", "ffn", "result of each chosen expert", "ffn_moe_down"),
    "ffn_weighted_exps": Word(
        "token slot d_model", "ffn", "result of each chosen expert, weighted", "ffn_moe_weighted"
    ),
    "ffn_out": Word("token d_model", "residual", "what the feed-forward network adds", "ffn_out", "hook_mlp_out"),
    "resid_late": Word("token d_model", "residual", "residual stream after the feed-forward network", "pe_in"),
    "resid_unscaled": Word("token d_model", "residual", "residual stream before the layer's scale", ""),
    "layer_embd_raw": Word("token d_model", "ffn", "a layer's own input in all channels, before its norm"),
    "layer_embd": Word(
        "token d_model", "residual", "what a layer's own input adds to the residual stream", "per_layer_embd_out"
    ),
    "embed_skip": Word("token d_model", "residual", "the embedding, scaled, added once more", "embd_skip"),
    "resid_post": Word(
        "token d_model", "residual", "residual stream leaving the block", "l_out", "hook_resid_post"
    ),
    "loop_norm": Word("token d_model", "residual", "residual stream normed between two rounds", "loop_norm"),
}  # fmt: skip

STACK = re.compile(r"^(enc|dec)\.")  # stands before the names of layers where a model has two stacks of them
SUMMARY = (
    "embed", "blk.*.resid_post", "blk.*.attn_probs", "blk.*.attn_out", "blk.*.ffn_out",
    "blk.*.ssm_out", "blk.*.time_mix_out", "blk.*.shortconv.out", "blk.*.linear_attn_out",
    "blk.*.kda_out", "blk.*.lightning_out",
    "blk.*.router_topk", "blk.*.router_weights", "final_norm", "logits",
    "pooled*", "class_*", "blk.*.cross_attn_probs", "blk.*.cross_attn_out",
)  # fmt: skip


def declare(
    name: str,
    *,
    inputs: Iterable[str],
    formula: str,
    weights: Iterable[str] = (),
    layer: int | None = None,
    word: Word | None = None,
    llama_cpp: str | None = None,
    meaning: str | None = None,
) -> Tap:
    """Declare a tap by its local name.

    Args:
        name: local name; its entry in the table of names gives axes, kind, meaning and foreign names.
        inputs: local names of taps in the same layer; others by full name, with a leading / outside the layers.
        formula: how it is computed, in the paper's signs.
        weights: names of tensors, likewise.
        layer: number of the layer, None outside.
        word: replaces the table's entry.
        llama_cpp: replaces the table's llama.cpp name; without the layer, or with a leading / as it stands; "" for
            none.
        meaning: replaces the table's meaning.
    """
    word = word or (MODEL_WORDS if layer is None else LAYER_WORDS)[name]
    foreign = (word.llama_cpp if llama_cpp is None else llama_cpp) or None
    if foreign is not None:
        foreign = (
            foreign.removeprefix("/") if layer is None or foreign.startswith("/") else f"{foreign}-{layer}"
        )
    lens = word.transformer_lens

    def full(local: str) -> str:
        outside = layer is None or local.startswith(("/", "blk."))
        return local.removeprefix("/") if outside else f"blk.{layer}.{local}"

    return Tap(
        name=full(name),
        axes=tuple(word.axes.split()),
        kind=word.kind,
        meaning=meaning or word.meaning,
        formula=formula,
        inputs=tuple(full(i) for i in inputs),
        weights=tuple(full(w) for w in weights),
        layer=layer,
        llama_cpp=foreign,
        transformer_lens=lens if layer is None or lens is None else f"blocks.{layer}.{lens}",
    )


def find(taps: Mapping[str, Tap], pattern: str) -> list[str]:
    """Return the canonical names that a name or pattern stands for, in order of execution.

    Args:
        taps: every tap of a model or trace by canonical name.
        pattern: a canonical, llama.cpp or TransformerLens name, with * and ? as wildcards; "all" and "summary" too.
    """
    if pattern in taps:
        return [pattern]
    if pattern == "all":
        return list(taps)
    if pattern == "summary":
        own = ((name, STACK.sub("", name)) for name in taps)
        return [name for name, bare in own if any(fnmatch.fnmatchcase(bare, p) for p in SUMMARY)]
    if re.search(r"[*?\[]", pattern):
        matches = re.compile(fnmatch.translate(pattern)).match
        found = [name for name in taps if matches(name) or matches(STACK.sub("", name))]
        if found:
            return found
        return [t.name for t in taps.values() if _foreign_match(t, matches)]
    # one llama.cpp name may stand for several steps (Qcur before and after RoPE): the last one wins, as it does there
    same = [t.name for t in taps.values() if pattern in (t.llama_cpp, t.transformer_lens)]
    return same[-1:]


def _foreign_match(tap: Tap, matches: Callable) -> bool:
    return any(name is not None and matches(name) for name in (tap.llama_cpp, tap.transformer_lens))


def select(taps: Mapping[str, Tap], wanted: str | Iterable[str] | None) -> list[str]:
    """Return the canonical names of all taps that were asked for, in order of execution.

    Args:
        taps: every tap of the model.
        wanted: a name, a pattern, several with commas between, a list of them, or None for none.

    Raises:
        TapError: a name or pattern stands for nothing; the message lists the nearest names.
    """
    if wanted is None:
        return []
    patterns = wanted.split(",") if isinstance(wanted, str) else list(wanted)
    chosen: set[str] = set()
    for pattern in patterns:
        found = find(taps, pattern.strip())
        if not found:
            raise TapError(unknown_tap(taps, pattern.strip()))
        chosen.update(found)
    return [name for name in taps if name in chosen]


def resolve(taps: Mapping[str, Tap], name: str) -> str:
    """Return the canonical name of one tap.

    Raises:
        TapError: no tap has this name; the message lists the nearest ones.
    """
    if name in taps:
        return name
    found = [] if re.search(r"[*?\[]", name) else find(taps, name)
    if len(found) != 1:
        raise TapError(unknown_tap(taps, name))
    return found[0]


def unknown_tap(taps: Mapping[str, Tap], name: str) -> str:
    """Return the sentence for a name that stands for no tap."""
    every = [n for t in taps.values() for n in (t.name, t.llama_cpp, t.transformer_lens) if n]
    near = difflib.get_close_matches(name, every, n=3, cutoff=0.3)
    hint = f"; the nearest are {', '.join(near)}" if near else ""
    return f"no tap is called {name!r}{hint} (`refgguf taps MODEL` lists them all)"

"""Hyper-parameters → mixtures of experts, as most architectures need them."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import replace
from typing import Any

from refgguf.arch.hyper import HyperParameters
from refgguf.arch.parts import feed_forward
from refgguf.blocks.block import Block
from refgguf.blocks.moe import MixtureOfExperts
from refgguf.blocks.router import Router
from refgguf.blocks.together import Together

# numbers of expert_gating_func (llama.cpp src/llama-hparams.h)
GATING = {1: "softmax", 2: "sigmoid", 3: "chosen", 4: "sqrt_softplus"}
# how files name the bias of the choice
CHOICE_BIASES = ("exp_probs_b.bias", "exp_probs_b.weight", "exp_probs_b")
LEAST_LIMIT = 1e-6  # llama.cpp takes smaller bounds for none


def gating(hp: HyperParameters, default: str) -> str:
    """Return how scores become shares, as `Router.shares`; `default` where the file does not say."""
    number = hp.int("expert_gating_func", 0)
    if number and number not in GATING:
        known = ", ".join(f"{n} ({name})" for n, name in GATING.items())
        raise hp.error("expert_gating_func", f"is {number}; known are {known}")
    return GATING[number] if number else default


def expert_width(hp: HyperParameters, layer: int, *, divided: bool = False) -> int:
    """Return the neurons of a layer's experts.

    Args:
        hp: hyper-parameters.
        layer: number of the layer.
        divided: where the file does not say, the experts in use share a dense network's width.
    """
    given = hp.per_layer("expert_feed_forward_length", 0)[layer]
    if given:
        return given
    dense = hp.per_layer("feed_forward_length", 0)[layer]
    return dense // _n_used(hp, layer) if divided else dense


def _n_used(hp: HyperParameters, layer: int) -> int:
    n_experts, n_used = hp.int("expert_count", least=1), hp.per_layer("expert_used_count", least=1)[layer]
    if n_used > n_experts:
        raise hp.error("expert_used_count", f"is {n_used}, more than the {n_experts} experts there are")
    return n_used


def _groups(hp: HyperParameters, n_experts: int, n_used: int) -> tuple[int, int]:
    """Return the groups of experts and how many of them a token may choose from."""
    n_groups = hp.int("expert_group_count", 0) or 1
    if n_groups == 1:
        return 1, 1
    if n_experts % n_groups or n_groups == n_experts:
        raise hp.error(
            "expert_group_count", f"is {n_groups}; it must part the {n_experts} experts into equal groups"
        )
    n_open = hp.int("expert_group_used_count", least=1, most=n_groups)
    if n_open * (n_experts // n_groups) < n_used:
        raise hp.error(
            "expert_group_used_count", f"is {n_open}; so many groups hold fewer than {n_used} experts"
        )
    return n_groups, n_open


def experts(
    hp: HyperParameters,
    layer: int,
    act: str = "silu",
    *,
    shares: str = "softmax",
    normed: bool = True,
    scaled: bool = False,
    d_ff: int | None = None,
    router: Mapping[str, Any] | None = None,
    **switches: Any,
) -> MixtureOfExperts:
    """Return a layer's mixture of experts.

    Args:
        hp: hyper-parameters.
        layer: number of the layer.
        act: activation function of the experts.
        shares: as in `Router`.
        normed: as in `Router`.
        scaled: the weights are multiplied by `expert_weights_scale`, which llama.cpp reads for some models only.
        d_ff: neurons of an expert; `expert_width` if None.
        router: further switches of `Router`.
        switches: of `MixtureOfExperts`.
    """
    n_experts, n_used = hp.int("expert_count", least=1), _n_used(hp, layer)
    d_ff = expert_width(hp, layer) if d_ff is None else d_ff
    if d_ff < 1:
        raise hp.error("expert_feed_forward_length", f"is {d_ff} in layer {layer}; it must be positive")
    n_groups, n_open = _groups(hp, n_experts, n_used)
    prefix = f"blk.{layer}."
    chooser = {
        "bias": next((name for name in CHOICE_BIASES if hp.has(prefix + name)), None),
        "n_groups": n_groups,
        "n_groups_used": n_open,
        "scale": (hp.float("expert_weights_scale", 0.0) if scaled else 0.0) or 1.0,
        "biased": hp.has(f"{prefix}ffn_gate_inp.bias"),
        **(router or {}),
    }
    merged = {"gate": "merged"} if hp.has(f"{prefix}ffn_gate_up_exps.weight") else {}
    biased = hp.has(f"{prefix}ffn_down_exps.bias")
    chosen = Router(hp.d_model, n_experts, n_used, shares, normed=normed, **chooser)
    return MixtureOfExperts(hp.d_model, d_ff, chosen, act, biased=biased, **{**merged, **switches})


def with_shared(
    hp: HyperParameters,
    layer: int,
    chosen: MixtureOfExperts,
    d_shared: int,
    *,
    scale: float = 1.0,
    act: str = "silu",
    **switches: Any,
) -> Block:
    """Return experts together with one that sees every token.

    Args:
        hp: hyper-parameters.
        layer: number of the layer.
        chosen: the experts that are chosen.
        d_shared: neurons of the other; 0 if there is none.
        scale: multiplies the sum.
        act: activation function of the other.
        switches: of the other's `feed_forward`.
    """
    if not d_shared:
        return chosen
    shared = feed_forward(hp, layer, act, d_ff=d_shared, suffix="_shexp", out="ffn_shexp", **switches)
    return Together((replace(chosen, out="ffn_moe_out"), shared), scale)


def shared_width(hp: HyperParameters, layer: int, n_shared: int = 0) -> int:
    """Return the neurons of the expert that sees every token: as many as `expert_shared_count` experts have.

    Args:
        hp: hyper-parameters.
        layer: number of the layer.
        n_shared: what stands for that count where the file has none.
    """
    return expert_width(hp, layer) * hp.int("expert_shared_count", n_shared)


def swiglu_limits(hp: HyperParameters, part: str) -> list[float]:
    """Return each layer's bound of what gate and up give, 0 for none; `part` is "exp" or "shexp"."""
    return [x if x > LEAST_LIMIT else 0.0 for x in hp.per_layer_float(f"swiglu_clamp_{part}", 0.0)]


def deepseek_experts(
    hp: HyperParameters,
    layer: int,
    *,
    shares: str,
    d_shared: int | None = None,
    shared_limit: float = 0.0,
    shared: Mapping[str, Any] | None = None,
    **switches: Any,
) -> Block:
    """Return experts as DeepSeek has them since its second version, beside one that sees every token.

    The file says whether the weights are normed and how they are scaled; how scores become shares, it may say.

    Args:
        hp: hyper-parameters.
        layer: number of the layer.
        shares: how scores become shares where the file does not say.
        d_shared: neurons of the expert that sees every token; `shared_width` if None.
        shared_limit: bounds what that one's gate and up give; 0 for not at all.
        shared: further switches of that one, as in `with_shared`.
        switches: of `experts`.
    """
    switches = {"normed": hp.bool("expert_weights_norm", False), **switches}
    chosen = experts(hp, layer, shares=gating(hp, shares), scaled=True, **switches)
    d_shared = shared_width(hp, layer) if d_shared is None else d_shared
    return with_shared(hp, layer, chosen, d_shared, **{"limit": shared_limit, **(shared or {})})


def after_dense(
    hp: HyperParameters, sparse: Callable[[int], Block], act: str = "silu", **switches: Any
) -> Callable[[int], Block]:
    """Return what follows attention in each layer: a dense network in the first ones, then experts.

    Args:
        hp: hyper-parameters.
        sparse: number of a layer → its experts.
        act: activation function of the dense networks.
        switches: further ones of `feed_forward`.
    """
    n_dense = hp.int("leading_dense_block_count", 0)
    return lambda number: feed_forward(hp, number, act, **switches) if number < n_dense else sparse(number)

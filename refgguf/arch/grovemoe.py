"""GroveMoE: experts in groups that share small ones (Ant Group 2025)."""

from __future__ import annotations

from refgguf.arch.decoder import decoder
from refgguf.arch.hyper import HyperParameters
from refgguf.arch.mixture import expert_width, experts
from refgguf.arch.parts import head_sizes, qk_norm, rms_norm
from refgguf.arch.registry import architecture
from refgguf.blocks.adjugate import AdjugateExperts, AdjugateRouter
from refgguf.blocks.moe import MixtureOfExperts
from refgguf.blocks.network import Network


@architecture(
    "grovemoe", blocks="RMSNorm · RoPE · q/k-norm · experts, and small ones that groups of them share"
)
def grovemoe(hp: HyperParameters) -> Network:
    """Build it."""
    per_group, scale = hp.int("experts_per_group", least=1), hp.float("expert_group_scale")

    def second(number: int) -> AdjugateExperts:
        d_ff, chosen = expert_width(hp, number, divided=True), {"choice_shares": "sigmoid", "bias": None}
        large = experts(hp, number, d_ff=d_ff, router=chosen, out="ffn_moe_out")
        n_small, n_used = large.router.n_experts // per_group, large.router.n_used
        if n_small * per_group != large.router.n_experts:
            raise hp.error(
                "experts_per_group", f"is {per_group}; it must divide {large.router.n_experts} experts"
            )
        router = AdjugateRouter(n_small, min(n_small, n_used), per_group)
        width = hp.int("expert_chunk_feed_forward_length", 0) or head_sizes(hp, number)[2]
        switches = {"suffix": "_chexps", "out": "ffn_adjugate_out"}
        return AdjugateExperts(large, MixtureOfExperts(hp.d_model, width, router, **switches), scale)

    return decoder(hp, "split", mixer=qk_norm(rms_norm(hp)), second=second)

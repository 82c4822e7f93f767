"""PLaMo 2: Mamba with heads, with attention in some layers, between norms on both sides (PFN 2025)."""

from __future__ import annotations

from refgguf.arch.decoder import decoder
from refgguf.arch.hyper import HyperParameters
from refgguf.arch.mamba import MOST_CONV, MOST_STATE, without_heads
from refgguf.arch.parts import qk_norm, rms_norm
from refgguf.arch.registry import architecture
from refgguf.blocks.mamba_heads import MambaHeads
from refgguf.blocks.network import Network

LEAST_RANK, RANK_SHARE = 64, 16  # of the step size, in no metadata (llama.cpp src/models/plamo2.cpp)
NAMES = {
    "ssm_in": "mamba_in_proj",
    "ssm_conv_in": "mamba_x_split",
    "ssm_conv1d": "mamba_conv1d",
    "ssm_conv_act": "mamba_conv1d_silu",
    "ssm_x": "mamba_bcdt_proj",
    "ssm_dt_norm": "mamba_dt_normed",
    "ssm_b_norm": "mamba_B_normed",
    "ssm_c_norm": "mamba_C_normed",
    "ssm_dt": "mamba_dt_proj",
    "ssm_skip": "mamba_y_add_d",
    "ssm_gated": "mamba_y_swiglu_z",
    "ssm_out_raw": "mamba_out_proj",
    "ssm_out": "attn_post_norm",
    "attn_q_rope": "",
    "attn_k_rope": "",
    "resid_mid": "attn_residual",
    "ffn_norm": "ffn_pre_norm",
    "resid_post": "ffn_residual",
}


def heads(hp: HyperParameters) -> MambaHeads:
    """Return the state-space model of a layer."""
    d_inner, n_heads = hp.int("ssm.inner_size", least=1), hp.int("ssm.time_step_rank", least=1)
    if d_inner % n_heads:
        raise hp.error("ssm.inner_size", f"is {d_inner}, no multiple of ssm.time_step_rank {n_heads}")
    d_conv = hp.int("ssm.conv_kernel", least=1, most=MOST_CONV)
    d_state = hp.int("ssm.state_size", least=1, most=MOST_STATE)
    rank = max(LEAST_RANK, hp.d_model // RANK_SHARE)
    return MambaHeads(hp.d_model, d_inner, d_conv, d_state, n_heads, rank, rms_norm(hp, suffix=""))


@architecture(
    "plamo2", blocks="sandwich RMSNorm · Mamba with heads or grouped-query attention, RoPE, q/k-norm · SwiGLU"
)
def plamo2(hp: HyperParameters) -> Network:
    """Build it; layers without heads of keys are Mamba."""
    return decoder(
        hp,
        "split",
        gate="merged",
        first=without_heads(hp, lambda number: heads(hp)),
        mixer=qk_norm(rms_norm(hp), "heads"),
        layers={"post_norm": rms_norm(hp, suffix=""), "llama_cpp": NAMES},
        llama_cpp={"embed": "embedding_output"},
    )

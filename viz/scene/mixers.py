"""What the tensors inside a recurrent mixer are read against: tensors that mean alike share a scale, others do not.

State-space models, RWKV, delta nets, lightning attention and short convolutions have different names for the same
few things. What they read from the stream, what their queries, keys and values hold, gates between 0 and 1, and what
comes out of a state that sums over all tokens before differ in size by factors of hundreds; one scale for all would
show some as blank and others as saturated.
"""

from __future__ import annotations

# scale → local names of the tensors that are read against it
ALIKE = {
    "mixer inputs": (
        "ssm_in ssm_z ssm_conv_in ssm_x ssm_dt ssm_dt_in linear_attn_qkv linear_attn_z linear_attn_ba "
        "linear_attn_beta_in linear_attn_alpha kda_q_in kda_k_in kda_v_in kda_f kda_f_rank kda_g kda_g_rank "
        "kda_beta_in lightning_qkv lightning_gate_in shortconv.in_proj shortconv.b shortconv.c shortconv.x "
        "time_mix_xx time_mix_mix time_mix_xw time_mix_xk time_mix_xv time_mix_xr time_mix_xg time_mix_xa "
        "channel_mix_xk channel_mix_xr time_mix_v_rank"
    ),
    "mixer qkv": (
        "ssm_conv1d ssm_conv_act ssm_u ssm_B ssm_C linear_attn_conv linear_attn_conv_act linear_attn_q "
        "linear_attn_k linear_attn_v kda_q_conv kda_k_conv kda_v_conv kda_q kda_k kda_v lightning_qkv_act "
        "lightning_q lightning_k lightning_v shortconv.bx shortconv.conv time_mix_r time_mix_k time_mix_k_in "
        "time_mix_v time_mix_v_in"
    ),
    "mixer gates": (
        "ssm_delta linear_attn_beta linear_attn_alpha_act linear_attn_gate kda_decay kda_beta kda_gate "
        "lightning_gate time_mix_w time_mix_w_in time_mix_a time_mix_a_in time_mix_g time_mix_g_in "
        "time_mix_v_share"
    ),
    "stream gates": "hc_attn_gate hc_ffn_gate output_hc_gate",
    "mixer normed": (
        "ssm_dt_norm ssm_b_norm ssm_c_norm ssm_norm ssm_gated linear_attn_q_norm linear_attn_k_norm linear_attn_norm "
        "linear_attn_gated kda_q_norm kda_k_norm kda_norm kda_gated lightning_norm lightning_gated "
        "shortconv.gated time_mix_kk time_mix_ln time_mix_gated"
    ),
    "mixer reads": "ssm_scan ssm_skip ssm_out_raw linear_attn_y kda_y lightning_y time_mix_wkv time_mix_bonus",
    "last tokens": (
        "ssm_conv_state linear_attn_conv_state kda_q_conv_state kda_k_conv_state kda_v_conv_state shortconv.state "
        "ple_conv_state time_mix_sx channel_mix_sx"
    ),
    "state": "ssm_state linear_attn_state kda_state lightning_state time_mix_state",
}
# what stands inside a mixer under no name of the table
OTHERS = {"state": "state"}
REST = "inner"
_SCALES = {name: scale for scale, names in ALIKE.items() for name in names.split()}


def scale_inside(name: str, kind: str) -> str:
    """Return which scale a tensor inside a mixer is read against.

    Args:
        name: its local name, such as "ssm_delta".
        kind: its kind.
    """
    return _SCALES.get(name) or OTHERS.get(kind, REST)

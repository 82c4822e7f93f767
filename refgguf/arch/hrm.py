"""HRM-Text: two stacks of layers, which take turns (Wang et al. 2025)."""

from __future__ import annotations

from refgguf.arch.decoder import network
from refgguf.arch.hyper import MAX_LAYERS, HyperParameters
from refgguf.arch.parts import attention, feed_forward, layer, rms_norm
from refgguf.arch.positions import rope
from refgguf.arch.registry import architecture
from refgguf.blocks.attention import Gate
from refgguf.blocks.layer import LoopNorm
from refgguf.blocks.network import Network
from refgguf.blocks.stacks import StackLayer

START = "hrm.z_l_init"  # the low stream before its first round
NAMES = {"attn_z": "attn_pregate", "attn_gate_act": "attn_gate_sigmoid", "resid_mid": "attn_add"}


@architecture(
    "hrm_text", blocks="RMSNorm without weights · RoPE · gated attention · SwiGLU · two stacks in turns"
)
def hrm_text(hp: HyperParameters) -> Network:
    """Build it: each round of a stack has keys and values of its own, and the weights of all its rounds."""
    per_stack, n_high, n_low = (
        hp.int(f"hrm.{name}", least=1, most=MAX_LAYERS)
        for name in ("layers_per_stack", "h_cycles", "l_cycles")
    )
    rounds = n_high * (n_low + 1)  # each time the low stack n_low times, then the high one
    if hp.n_layers != rounds * per_stack:
        raise hp.error(
            "block_count", f"is {hp.n_layers}; {rounds} rounds of {per_stack} layers make another number"
        )
    norm = rms_norm(hp, weight=False)

    def is_high(turn: int) -> bool:
        return turn % (n_low + 1) == n_low

    def other(turn: int) -> str | None:
        """Return the tap of the stream that joins what the round before left."""
        wanted = not is_high(turn - 1)
        last = next((t for t in range(turn - 1, -1, -1) if is_high(t) == wanted), None)
        if last is None:
            return "embed" if turn else None
        return f"blk.{(last + 1) * per_stack - 1}.loop_norm"

    blocks = tuple(
        place + (per_stack if is_high(turn) else 0) for turn in range(rounds) for place in range(per_stack)
    )

    def build(number: int) -> StackLayer:
        (turn, place), stored = divmod(number, per_stack), blocks[number]
        mixer = attention(hp, stored, rope=rope(hp, "split", stored), gate=Gate())
        names = NAMES | {"loop_norm": f"/stack_norm-{turn * per_stack}"}
        plain = layer(hp, mixer, feed_forward(hp, stored, "silu"), norm, llama_cpp=names)
        ends = place == per_stack - 1 and turn < rounds - 1  # the last round's norm is the final one
        return StackLayer(
            plain.mixer,
            plain.ffn,
            after=LoopNorm(norm, hp.d_model) if ends else None,
            llama_cpp=plain.llama_cpp,
            joins=None if place else other(turn),
            start=None if place or turn else START,
        )

    scale = hp.float("embedding_scale", 0.0) or 1.0
    return network(hp, build, norm, embedding={"scale": scale}, blocks=blocks)

"""Whole encoders, as most architectures need them: every token sees every other, and the text becomes vectors."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from refgguf.arch.decoder import decoder
from refgguf.arch.hyper import HyperParameters
from refgguf.arch.parts import attention, layer_norm
from refgguf.arch.pooling import pooling
from refgguf.arch.positions import rope
from refgguf.blocks.block import Block
from refgguf.blocks.branch import Branch
from refgguf.blocks.encoding import Encoding
from refgguf.blocks.mask import Mask
from refgguf.blocks.network import Network
from refgguf.blocks.pooling import POOLED, Pooling
from refgguf.blocks.post_norm import PostNormLayer
from refgguf.blocks.summed_embedding import SummedEmbedding

BOTH_WAYS = Mask(causal=False)
# llama.cpp gives the mixed values and what attention adds the same name, and no name to what leaves a layer
NAMES = {"attn_out": "kqv_out", "resid_post": ""}
POST_NORM_NAMES = NAMES | {"attn_q_norm": "Qcur", "attn_k_norm": "Kcur"}


def named_end(pool: Pooling, tap: str, name: str) -> dict[str, str]:
    """Return llama.cpp's name of the tokens' vectors: its pooling renames them where it does nothing else.

    Args:
        pool: the pooling.
        tap: name of the tap of the tokens' vectors.
        name: llama.cpp's name otherwise.
    """
    return {tap: POOLED if pool.out is None else name}


def encoder(
    hp: HyperParameters,
    turn: str | Callable,
    *,
    pool: Pooling | None = None,
    end: str = "result_embd",
    norm_tensor: str = "output_norm",
    mixer: Mapping[str, Any] | Callable[[int], Mapping[str, Any]] | None = None,
    layers: Mapping[str, Any] | None = None,
    llama_cpp: Mapping[str, str] | None = None,
    **switches: Any,
) -> Network:
    """Return an encoder of like layers that norm what their branches read.

    Args:
        hp: hyper-parameters.
        turn: as in `decoder`.
        pool: what becomes of the tokens' vectors; what the metadata asks for if None.
        end: llama.cpp's name of the tokens' vectors.
        norm_tensor: name of the final norm's tensors.
        mixer: as in `decoder`; every token sees every other unless it has a mask.
        layers: switches of `layer`.
        llama_cpp: as in `Network`.
        switches: further ones of `decoder`.
    """
    pool = pool or pooling(hp)
    return decoder(
        hp,
        turn,
        mixer=mixer if callable(mixer) else {"mask": BOTH_WAYS, **(mixer or {})},
        layers={"llama_cpp": NAMES, **(layers or {})},
        pool=pool,
        norm_tensor=norm_tensor,
        llama_cpp={**named_end(pool, "final_norm", end), **(llama_cpp or {})},
        causal=False,
        **switches,
    )


def post_norm_encoder(
    hp: HyperParameters,
    ffn: Callable[[int], Block],
    *,
    turns: bool = False,
    learned_positions: bool = False,
    again: Callable[[int], bool] = lambda number: False,
    mixer: Mapping[str, Any] | None = None,
) -> Network:
    """Return an encoder as BERT is one: norms stand on the residual stream, and on the embedding.

    Args:
        hp: hyper-parameters.
        ffn: number of a layer → what follows attention.
        turns: queries and keys are turned by their position.
        learned_positions: the embedding has a row for each position.
        again: number of a layer → it adds the stream once more after attention.
        mixer: switches of `Attention`.
    """
    norm, pool = layer_norm(hp), pooling(hp)

    def build(number: int) -> PostNormLayer:
        turn = rope(hp, "split", number) if turns else None
        mixes = attention(hp, number, rope=turn, mask=BOTH_WAYS, **(mixer or {}))
        branches = (
            Branch(hp.d_model, mixes, "attn_norm", None, ""),
            Branch(hp.d_model, ffn(number), "ffn_norm", None, ""),
        )
        return PostNormLayer(*branches, norm=norm, again=again(number), llama_cpp=POST_NORM_NAMES)

    segments = hp.int("/tokenizer.ggml.token_type_count", least=1) if hp.has("token_types.weight") else 0
    positions = hp.trained_context if learned_positions else 0
    return Network(
        SummedEmbedding(hp.n_vocab, hp.d_model, norm, segments, positions),
        tuple(build(number) for number in range(hp.n_layers)),
        Encoding(hp.d_model, None, pool),
        causal=False,
        pooling=pool,
        llama_cpp=named_end(pool, f"blk.{hp.n_layers - 1}.resid_post", "result_embd"),
    )

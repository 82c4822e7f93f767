"""Write the trained network as one BF16 GGUF file.

    python -m refgguf.demo.training.export --folder RUN --out refgguf/demo/demo.gguf

What the file is good at is measured on the very weights that are written (rounded to BF16) and stands in its
metadata.
"""

from __future__ import annotations

import argparse
import json
import os
from dataclasses import asdict
from pathlib import Path

import gguf
import numpy as np
import torch
from tokenizers import Tokenizer

from refgguf.demo.tasks import TASKS
from refgguf.demo.training.bpe import BOS_ID, EOS_ID
from refgguf.demo.training.evaluate import head_scores, held_out_loss, task_accuracy
from refgguf.demo.training.net import Net, Shape

NAME = "refgguf small world"
DESCRIPTION = (
    "A small Llama that tells stories about a small world. Trained from nothing on text written by a program "
    "(refgguf.demo.corpus), so that what it should know is known exactly."
)


def load_checkpoint(folder: Path) -> tuple[Net, Tokenizer, dict]:
    """The network, its tokenizer and the facts of its training."""
    saved = torch.load(folder / "checkpoint.pt", weights_only=True)
    net = Net(Shape(**saved["shape"]))
    net.load_state_dict(saved["net"])
    return net.eval(), Tokenizer.from_file(str(folder / "tokenizer.json")), saved


def round_to_bf16(net: Net) -> None:
    """Round every matrix to what the file can hold; norms stay float32."""
    with torch.no_grad():
        for weight in net.parameters():
            if weight.ndim == 2:
                weight.copy_(weight.bfloat16().float())


def measured(net: Net, tokenizer: Tokenizer, n: int) -> dict[str, float]:
    """What the file reaches: accuracy per task, loss on held-out text, best head scores."""
    heads = head_scores(net)
    found = {f"accuracy.{task}": value for task, value in task_accuracy(net, tokenizer, n, seed=1).items()}
    found["loss.held_out"] = held_out_loss(net, tokenizer, 8)
    found["head.previous_token"] = float(heads["previous"].max())
    found["head.induction"] = float(heads["induction"].max())
    return found


def add_tokenizer(writer: gguf.GGUFWriter, tokenizer: Tokenizer) -> None:
    """The vocabulary and merges as llama.cpp reads them."""
    model = json.loads(tokenizer.to_str())["model"]
    tokens = [token for token, _ in sorted(model["vocab"].items(), key=lambda pair: pair[1])]
    merges = [" ".join(pair) if isinstance(pair, list) else pair for pair in model["merges"]]
    control, normal = gguf.TokenType.CONTROL, gguf.TokenType.NORMAL
    writer.add_tokenizer_model("gpt2")
    writer.add_tokenizer_pre("gpt-2")
    writer.add_token_list(tokens)
    writer.add_token_types([control if i in (BOS_ID, EOS_ID) else normal for i in range(len(tokens))])
    writer.add_token_merges(merges)
    writer.add_bos_token_id(BOS_ID)
    writer.add_eos_token_id(EOS_ID)
    writer.add_add_bos_token(True)
    writer.add_add_eos_token(False)


def add_shape(writer: gguf.GGUFWriter, shape: Shape) -> None:
    """The hyper-parameters of the `llama` architecture."""
    writer.add_context_length(shape.context)
    writer.add_embedding_length(shape.d_model)
    writer.add_block_count(shape.n_layers)
    writer.add_feed_forward_length(shape.d_ff)
    writer.add_head_count(shape.n_heads)
    writer.add_head_count_kv(shape.n_kv_heads)
    writer.add_rope_dimension_count(shape.d_head)
    writer.add_rope_freq_base(shape.rope_base)
    writer.add_layer_norm_rms_eps(shape.eps)
    writer.add_vocab_size(shape.vocab)


def add_weights(writer: gguf.GGUFWriter, net: Net, kind: gguf.GGMLQuantizationType) -> None:
    """Matrices as `kind`, norms as float32, under llama.cpp's names."""
    for name, weight in net.named_parameters():
        values = weight.detach().float().numpy()
        if values.ndim == 1:
            writer.add_tensor(name, np.ascontiguousarray(values))
        else:
            writer.add_tensor(name, gguf.quants.quantize(values, kind), raw_dtype=kind)


def _shortfall(found: dict[str, float]) -> str:
    """Say which tasks are below their bar, and what they reach."""
    short = [
        f"{name} {found[f'accuracy.{name}']:.0%}"
        for name, task in TASKS.items()
        if found.get(f"accuracy.{name}", task.bar) < task.bar
    ]
    return f" An interim state: below the bar that was set are {', '.join(short)} right." if short else ""


def export(
    net: Net, tokenizer: Tokenizer, facts: dict, found: dict[str, float], path: Path, type_name: str = "BF16"
) -> None:
    """Write the file beside `path` first, then move it there."""
    part = path.with_suffix(".part")
    writer = gguf.GGUFWriter(part, "llama")
    writer.add_name(NAME)
    writer.add_license("MIT")
    writer.add_author("the refgguf authors")
    writer.add_languages(["en"])
    writer.add_description(DESCRIPTION + _shortfall(found))
    add_shape(writer, net.shape)
    writer.add_file_type(gguf.LlamaFileType[{"BF16": "MOSTLY_BF16", "F32": "ALL_F32"}[type_name]])
    add_tokenizer(writer, tokenizer)
    writer.add_string("refgguf.demo.corpus_sha256", facts["corpus"])
    writer.add_uint32("refgguf.demo.training_steps", facts["step"] + facts.get("earlier_steps", 0))
    writer.add_uint64("refgguf.demo.training_tokens", facts["tokens"])
    writer.add_float32("refgguf.demo.training_loss", facts["loss"])
    for name, value in found.items():
        writer.add_float32(f"refgguf.demo.{name}", value)
    add_weights(writer, net, gguf.GGMLQuantizationType[type_name])
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()
    os.replace(part, path)


def main() -> None:
    """Export the checkpoint of a run."""
    parser = argparse.ArgumentParser(description="Write the trained network as a GGUF file.")
    parser.add_argument(
        "--folder", type=Path, required=True, help="the run: checkpoint.pt and tokenizer.json"
    )
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--prompts", type=int, default=400, help="fresh prompts per task to measure with")
    parser.add_argument("--type", choices=("BF16", "F32"), default="BF16", help="F32 holds the same values")
    parser.add_argument("--threads", type=int, default=1)
    args = parser.parse_args()
    torch.set_num_threads(args.threads)
    net, tokenizer, facts = load_checkpoint(args.folder)
    round_to_bf16(net)
    found = measured(net, tokenizer, args.prompts)
    export(net, tokenizer, facts, found, args.out, args.type)
    print(
        json.dumps(
            {"file": str(args.out), "bytes": args.out.stat().st_size, **asdict(net.shape), **found}, indent=1
        )
    )


if __name__ == "__main__":
    main()

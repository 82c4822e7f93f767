"""Train the embedded model.

    python -m refgguf.demo.training.train --folder RUN [--steps 10000] [--threads 2]

Writes into RUN: tokenizer.json, checkpoint.pt (resumed from when it is there), log.csv (the curve). The
schedule is warm-up, constant, then a linear fall to zero over the last `--decay` steps; so a run can be
prolonged or shortened by another `--steps` as long as the fall has not begun. `--minutes` stops earlier, to
go on.
"""

from __future__ import annotations

import argparse
import csv
import os
import time
from dataclasses import asdict
from pathlib import Path

import torch
from torch.nn import functional

from refgguf.demo.corpus import program_hash
from refgguf.demo.training.batches import Batch, Batches
from refgguf.demo.training.bpe import load_bpe
from refgguf.demo.training.evaluate import document_bias, head_scores, held_out_loss, task_accuracy, write
from refgguf.demo.training.muon import Optimiser, matrix_dtype
from refgguf.demo.training.net import Net, Shape
from refgguf.demo.training.start import start
from refgguf.gguf.reader import open_file


def arguments() -> argparse.Namespace:
    """The command line."""
    parser = argparse.ArgumentParser(description="Train the embedded model of refgguf.")
    parser.add_argument(
        "--folder", type=Path, required=True, help="where checkpoint, tokenizer and log are kept"
    )
    parser.add_argument("--steps", type=int, default=10_000, help="length of the whole schedule")
    parser.add_argument("--decay", type=int, default=2_500, help="steps of the fall to zero at the end")
    parser.add_argument("--long", type=int, default=1_500, help="steps at the end with rows of 512 tokens")
    parser.add_argument("--rows", type=int, default=16, help="rows of 256 tokens in a batch")
    parser.add_argument("--muon", type=float, default=0.02, help="learning rate of the matrices")
    parser.add_argument("--adam", type=float, default=0.004, help="learning rate of embedding and norms")
    parser.add_argument("--weight-decay", type=float, default=0.1)
    parser.add_argument("--drills", type=float, default=0.0, help="share of documents asked about thoroughly")
    parser.add_argument(
        "--begin-with", type=Path, help="a GGUF file exported earlier whose weights to start from"
    )
    parser.add_argument("--answers", type=float, default=3.0, help="how often the loss of an answer counts")
    parser.add_argument("--layers", type=int, default=4)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--minutes", type=float, default=1e9, help="save and stop after this time")
    parser.add_argument("--save-every", type=int, default=100)
    parser.add_argument("--check-every", type=int, default=500)
    parser.add_argument("--compile", action="store_true", help="half as fast again; needs a C++ compiler")
    parser.add_argument("--device", default="cpu")
    return parser.parse_args()


def rate(step: int, args: argparse.Namespace) -> float:
    """The share of the learning rate at a step."""
    return min(1.0, (step + 1) / 100, max(0.0, (args.steps - step) / args.decay))


def loss_of(
    net: Net, ids: torch.Tensor, bias: torch.Tensor, weight: torch.Tensor
) -> tuple[torch.Tensor, torch.Tensor]:
    """The weighted loss to learn from, and the plain mean loss per counted token."""
    dtype = matrix_dtype(ids.device.type)
    with torch.autocast(ids.device.type, torch.bfloat16, enabled=dtype == torch.bfloat16):
        logits = net(ids[:, :-1], bias)
    each = functional.cross_entropy(logits.float().flatten(0, 1), ids[:, 1:].flatten(), reduction="none")
    counted = (weight > 0).float()
    return (each * weight).sum() / weight.sum(), (each.detach() * counted).sum() / counted.sum()


def tensors(batch: Batch, device: str) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    """The ids, the attention bias and the weights of a batch."""
    ids, weight = torch.from_numpy(batch.ids), torch.from_numpy(batch.weight)[:, 1:].flatten()
    return ids.to(device), document_bias(batch.document[:, :-1]).to(device), weight.to(device)


def begin_with(net: Net, path: Path) -> dict[str, int]:
    """Copy the weights of a file that `export` wrote, and return the steps and tokens that went into it."""
    with open_file(path) as file:  # it names the weights as the network does
        net.load_state_dict({name: torch.from_numpy(file[name].dequantize()) for name in net.state_dict()})
        steps, tokens = (file.metadata[f"refgguf.demo.training_{what}"] for what in ("steps", "tokens"))
    return {"earlier_steps": int(steps), "tokens": int(tokens)}


def save(path: Path, net: Net, optimiser: Optimiser, facts: dict) -> None:
    """Write the checkpoint; the old one stays until the new one is complete."""
    torch.save({"net": net.state_dict(), "optimiser": optimiser.state(), **facts}, path.with_suffix(".part"))
    os.replace(path.with_suffix(".part"), path)


def report(net: Net, tokenizer: object, step: int, n: int) -> dict[str, float]:
    """Check and print how good the network is now."""
    net.eval()
    scores, heads = task_accuracy(net, tokenizer, n), head_scores(net)
    found = {"held_out": held_out_loss(net, tokenizer)} | scores
    found |= {f"{name}_head": float(values.max()) for name, values in heads.items()}
    print(f"[{step}] " + " ".join(f"{name} {value:.3f}" for name, value in found.items()), flush=True)
    print("   ", write(net, tokenizer, "One", 120, 0.7, step), flush=True)
    net.train()
    return found


def main() -> None:
    """Train, from the start or from the checkpoint."""
    args = arguments()
    torch.set_num_threads(args.threads)
    torch.manual_seed(args.seed)
    args.folder.mkdir(parents=True, exist_ok=True)
    tokenizer = load_bpe(args.folder / "tokenizer.json")
    net = Net(Shape(vocab=tokenizer.get_vocab_size(), n_layers=args.layers))
    start(net)
    earlier = {} if args.begin_with is None else begin_with(net, args.begin_with)
    net.to(args.device)
    optimiser = Optimiser(net, args.muon, args.adam, args.weight_decay)
    batches = Batches(tokenizer, args.seed, drills=args.drills, answer_weight=args.answers)
    step_loss = torch.compile(loss_of, dynamic=False) if args.compile else loss_of
    checkpoint, log = args.folder / "checkpoint.pt", args.folder / "log.csv"
    facts = {
        "step": 0,
        "tokens": 0,
        "seconds": 0.0,
        "shape": asdict(net.shape),
        "loss": float("nan"),
    } | earlier
    if checkpoint.exists():
        saved = torch.load(checkpoint, weights_only=True)
        net.load_state_dict(saved.pop("net"))
        optimiser.load(saved.pop("optimiser"))
        facts = saved
    facts["corpus"] = program_hash()
    print(f"{sum(p.numel() for p in net.parameters()):,} parameters, from step {facts['step']}", flush=True)
    began, mean = time.time(), None
    while facts["step"] < args.steps and (time.time() - began) / 60 < args.minutes:
        tick, step = time.time(), facts["step"]
        wide = step >= args.steps - args.long
        batch = batches.make(step, args.rows // 2 if wide else args.rows, 512 if wide else 256)
        loss, plain = step_loss(net, *tensors(batch, args.device))
        loss.backward()
        norm = float(torch.nn.utils.clip_grad_norm_(net.parameters(), 10.0))
        optimiser.step(rate(step, args))
        mean = float(plain) if mean is None else 0.98 * mean + 0.02 * float(plain)
        facts |= {
            "step": step + 1,
            "tokens": facts["tokens"] + int((batch.document >= 0).sum()),
            "loss": mean,
        }
        facts["seconds"] += time.time() - tick
        if (step + 1) % 20 == 0:
            speed = batch.ids.size / (time.time() - tick)
            with log.open("a", newline="") as file:
                csv.writer(file).writerow(
                    (step + 1, facts["tokens"], f"{facts['seconds']:.0f}", f"{mean:.4f}")
                )
            print(
                f"{step + 1:6d} loss {mean:.4f} norm {norm:.2f} rate {rate(step, args):.3f} {speed:,.0f}/s",
                flush=True,
            )
        if (step + 1) % args.save_every == 0:
            save(checkpoint, net, optimiser, facts)
        if (step + 1) % args.check_every == 0:
            report(net, tokenizer, step + 1, 50)
    save(checkpoint, net, optimiser, facts)
    report(net, tokenizer, facts["step"], 200)


if __name__ == "__main__":
    main()

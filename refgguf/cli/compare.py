"""Compare two models, or two saved traces, on the same tokens: where they part and whether it matters."""

from __future__ import annotations

import math
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

import click

import refgguf
from refgguf.cli import console, options
from refgguf.errors import InputError

if TYPE_CHECKING:
    import numpy as np

    from refgguf.compare import Comparison, HeadComparison
    from refgguf.trace import Trace

TRACE_SUFFIXES = (".safetensors", ".npz")
BAR_WIDTH = 24
DISAGREEMENTS_SHOWN = 8
HEADS_SHOWN = 6
TOP = 3
TARGET_TOKENS = 20  # that the reference writes, for decoders to read


@click.command(
    epilog=options.examples(
        'refgguf compare model-f16.gguf model-q4_k_m.gguf -p "Once upon a time"',
        "refgguf compare model-f16.gguf model-q2_k.gguf -f story.txt --all",
        "refgguf compare first.safetensors second.safetensors --json",
    )
)
@click.argument("a", metavar="A", type=click.Path())
@click.argument("b", metavar="B", type=click.Path())
@options.optional_prompt_options
@options.target_option
@click.option(
    "--threshold",
    type=click.FloatRange(0),
    default=0.1,
    show_default=True,
    help="Relative L2 error from which a tensor counts as different.",
)
@click.option("--all", "every_tap", is_flag=True, help="List every tap, not only a line for each layer.")
@options.numerics_option
@options.threads_option
@options.json_option
def command(
    a: str,
    b: str,
    prompt: options.Prompt,
    target: options.Prompt,
    threshold: float,
    every_tap: bool,
    numerics: str,
    as_json: bool,
) -> None:
    """Run the same tokens through models A (the reference) and B and compare everything on the way.

    Either may also be a trace saved by `refgguf trace`, which brings its tokens along. For each tap the
    relative L2 error, cosine and signal-to-noise ratio; for each head the Jensen-Shannon distance of its
    attention patterns; for the predictions the Kullback-Leibler divergence and how often both would say
    the same.

    Of models with an encoder and a decoder, the decoders read the target; without one, what A would write.
    """
    if not math.isfinite(threshold):
        raise InputError(f"--threshold is {threshold}; give a number such as 0.1")
    first, second, texts = _traces(a, b, prompt, target, numerics)
    from refgguf.compare import compare_traces

    result = compare_traces(first, second, threshold=threshold)
    if as_json:
        read = {"source": first.model["source"]} if "source" in first.model else {}
        tokens = {**read, "tokens": first.tokens, "token_texts": first.token_texts}
        console.print_json({**result.as_dict(), **tokens})
        return
    _print(result, first, second, texts, every_tap)


def _traces(
    a: str, b: str, prompt: options.Prompt, target: options.Prompt, numerics: str
) -> tuple[Trace, Trace, Callable[[int], str]]:
    """Return both traces, and what gives the text of a token id."""
    saved = [Path(path).suffix in TRACE_SUFFIXES for path in (a, b)]
    if all(saved):
        if prompt.given or target.given:
            raise InputError("saved traces hold their tokens already; leave the prompt away")
        return refgguf.load_trace(a), refgguf.load_trace(b), "#{}".format
    from refgguf.compare import check_comparable, texts_of

    if any(saved):
        model = refgguf.load(b if saved[0] else a, numerics=numerics)
        trace = refgguf.load_trace(a if saved[0] else b)
        if not prompt.given and trace.positions[0] != 0:
            raise InputError("the saved trace does not begin with a text's first token; give the prompt too")
        ids, written = (prompt.ids_for(model), target.target_for(model)) if prompt.given else texts_of(trace)
        ran = model.trace(ids, trace.names, target=written)
        return (*((trace, ran) if saved[0] else (ran, trace)), model.token_text)
    if not prompt.given:
        raise InputError(options.NO_PROMPT)
    models = [refgguf.load(path, numerics=numerics) for path in (a, b)]
    check_comparable(*models)
    ids, written = prompt.ids_for(models[0]), target.target_for(models[0])
    if written is None and models[0].network.encoder is not None:
        written = [step.token for step in models[0].generate(ids, n=TARGET_TOKENS)]
    with console.progress(f"running {len(ids)} tokens", total=2) as show:
        traces = []
        for number, model in enumerate(models):
            show(number, model.path.name)
            traces.append(model.trace(ids, target=written))
    return (*traces, models[0].token_text)


def _print(result: Comparison, a: Trace, b: Trace, texts: Callable[[int], str], every_tap: bool) -> None:
    click.echo(f"reference  {result.a}")
    click.echo(f"against    {result.b}")
    if "source" in a.model:
        click.echo(f"tokens     {len(a.model['source'])} that the encoder reads")
        click.echo(f"           {len(a.tokens)} of the decoder: {''.join(a.token_texts)!r}")
    else:
        click.echo(f"tokens     {len(a.tokens)}")
    if result.logits is not None:
        _print_predictions(result, a, b, texts)
    click.echo()
    if every_tap:
        _print_taps(result)
    else:
        _print_layers(result)
    click.echo()
    if result.first is None:
        click.echo(f"No tensor differs by more than {result.threshold:g} (relative L2).")
    else:
        click.echo(f"The first tensor that differs by more than {result.threshold:g}: {result.first}")


def _print_predictions(result: Comparison, a: Trace, b: Trace, texts: Callable[[int], str]) -> None:
    from refgguf.sampling import softmax

    logits = result.logits
    worst = a.token_texts[logits.worst_token]
    click.echo()
    click.echo("predictions")
    error = f" ± {logits.kl_error:.1g}" if math.isfinite(logits.kl_error) else ""  # one token alone has none
    click.echo(f"  KL divergence   {logits.kl_mean:.3g}{error} nats (mean), median {logits.kl_median:.3g}")
    click.echo(f"                  worst {logits.kl_worst:.3g} after token {logits.worst_token} {worst!r}")
    click.echo(f"  same best       {logits.top1:.1%} of tokens")
    click.echo(f"  best five       {logits.top5:.1%} in common")
    wrong = [i for i, same in enumerate(logits.same_best) if not same]
    for i in wrong[:DISAGREEMENTS_SHOWN]:
        before = "".join(a.token_texts[max(0, i - 3) : i + 1])
        left, right = (softmax(t["logits"][i]) for t in (a, b))
        click.echo(f"  after …{before!r}: {_best(left, texts)} | {_best(right, texts)}")
    if len(wrong) > DISAGREEMENTS_SHOWN:
        click.echo(f"  … and {len(wrong) - DISAGREEMENTS_SHOWN} more places")


def _best(probs: np.ndarray, texts: Callable[[int], str]) -> str:
    best = probs.argsort()[::-1][:TOP]
    return ", ".join(f"{texts(int(i))!r} {probs[i]:.0%}" for i in best)


def _print_layers(result: Comparison) -> None:
    """Print a line for each layer: error of what it adds, of the residual stream, and its worst head."""
    errors = {tap.name: tap.relative_l2 for tap in result.taps}
    # "blk.3.", or "enc.blk.3." of an encoder that a decoder follows
    layers = dict.fromkeys(_layer_of(tap.name, tap.layer) for tap in result.taps if tap.layer is not None)
    largest = max((e for e in errors.values() if e < float("inf")), default=0) or 1
    across = any(f"{layer}cross_attn_out" in errors for layer in layers)
    parts = ("attn_out", *(["cross_attn_out"] if across else []), "ffn_out", "resid_post")
    rows = []
    for layer in layers:
        residual = errors.get(f"{layer}resid_post", float("nan"))
        head = _worst_head(result, layer)
        rows.append(
            [
                " ".join(layer.replace("blk", "").replace(".", " ").split()),
                *(_number(errors.get(layer + name)) for name in parts),
                f"head {head.head}: {head.distance:.3f}" if head else "",
                "█" * round(BAR_WIDTH * min(1, residual / largest)) if residual == residual else "",
            ]
        )
    titles = ["attention", *(["across"] if across else []), "feed-forward", "residual", "worst pattern"]
    console.print_table(["layer", *titles, "relative L2 of the residual stream"], rows)


def _layer_of(name: str, layer: int) -> str:
    """Return what stands before the names of a layer's taps."""
    sign = f"blk.{layer}."
    return name[: name.index(sign)] + sign


def _worst_head(result: Comparison, layer: str) -> HeadComparison | None:
    heads = [head for head in result.heads if head.name.startswith(layer)]
    return max(heads, key=lambda head: head.distance, default=None)


def _print_taps(result: Comparison) -> None:
    rows = [
        [
            tap.name,
            _number(tap.relative_l2),
            f"{tap.cosine:.6f}",
            f"{tap.signal_to_noise:.1f}",
            _number(tap.largest_difference),
        ]
        for tap in result.taps
    ]
    console.print_table(["tap", "relative L2", "cosine", "dB", "max |Δ|"], rows, headed=True)
    if result.heads:
        click.echo()
        worst = sorted(result.heads, key=lambda head: -head.distance)[:HEADS_SHOWN]
        console.print_table(
            ["attention head", "distance", "worst", "at token", "same best key"],
            [
                [
                    f"{_stack(h.name)}layer {h.layer} head {h.head}",
                    f"{h.distance:.4f}",
                    f"{h.worst_distance:.4f}",
                    str(h.worst_query),
                    f"{h.same_best_key:.0%}",
                ]
                for h in worst
            ],
            headed=True,
        )


def _stack(name: str) -> str:
    """Return which part of the model a head's tap is in, where there are several."""
    stack = {"enc": "encoder ", "dec": "decoder "}.get(name.split(".")[0], "")
    return stack + ("across " if "cross_" in name else "")


def _number(value: float | None) -> str:
    return "" if value is None else "0" if value == 0 else f"{value:.2e}"

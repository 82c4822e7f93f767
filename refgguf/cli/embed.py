"""Turn texts into vectors and compare them, or rank documents for a query."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import click

import refgguf
from refgguf.cli import console, options
from refgguf.errors import InputError, OutputError
from refgguf.output import atomic_output, check_output

if TYPE_CHECKING:
    import numpy as np

    from refgguf.model import Model

POOLINGS = ("none", "mean", "cls", "last", "rank")
SHOWN_TEXT = 40
SHOWN_VALUES = 3
SUFFIX = ".npy"


@click.command(
    epilog=options.examples(
        'refgguf embed bge-small.gguf "a cat sat" "the cat was sitting" "shares fell"',
        "refgguf embed model.gguf -f sentences.txt --pooling mean --json",
        'refgguf embed reranker.gguf --query "what do pandas eat?" "Bamboo." "Shares fell."',
    )
)
@options.model_argument
@click.argument("texts", metavar="[TEXT]...", nargs=-1)
@click.option(
    "-f",
    "--file",
    "texts_file",
    metavar="FILE",
    type=click.Path(),
    help="Read a text from each line of a file.",
)
@click.option(
    "--ids", metavar="IDS", multiple=True, help="Give a text as token ids: 1,15,7; may be repeated."
)
@click.option(
    "--query", metavar="TEXT", help="Rank the texts as answers to this, by the file's classification head."
)
@click.option(
    "--pooling",
    type=click.Choice(POOLINGS),
    help="How tokens' vectors become a text's; as the file says by default.",
)
@click.option(
    "--normalize",
    type=click.IntRange(-1, 1024),
    default=2,
    show_default=True,
    help="2: length 1; -1: not at all; 0: largest value 32760; other P: p-norm 1.",
)
@options.output_option("Also save the vectors as a NumPy array (.npy), a row a text.")
@options.numerics_option
@options.threads_option
@options.json_option
def command(
    model: str,
    texts: tuple[str, ...],
    texts_file: str | None,
    ids: tuple[str, ...],
    query: str | None,
    pooling: str | None,
    normalize: int,
    output: str | None,
    numerics: str,
    as_json: bool,
) -> None:
    """Turn each TEXT into a vector with MODEL and print how alike the texts are.

    Shown are each vector's length before it is normalized, its first values, and the cosine of the angle between any
    two. A reranker scores texts instead: with --query, how well each answers it, the best first.
    """
    if output is not None:
        if Path(output).suffix != SUFFIX:
            raise InputError(f"{output}: vectors are saved as {SUFFIX}; give such a file name")
        check_output(output)
    given = [*texts, *_lines(texts_file)]
    if query is not None and (ids or pooling not in (None, "rank")):
        raise InputError("--query ranks texts; leave --ids and --pooling away")
    loaded = refgguf.load(model, numerics=numerics)
    kind = "rank" if query is not None else pooling or loaded.network.pooling.kind
    items = [(options.clean_text(t.encode("utf-8", "surrogateescape"), "a text"), None) for t in given]
    items += [(None, options.read_prompt(None, None, each).ids) for each in ids]
    if not items:
        raise InputError("no text; give at least one, or a file of them with -f, or token ids with --ids")
    vectors = []
    with console.progress("embedding", total=len(items)) as show:
        for number, (text, tokens) in enumerate(items):
            show(number, "")
            vectors.append(_vector(loaded, text, tokens, query, kind))
    names = [text if text is not None else f"ids {','.join(map(str, tokens))}" for text, tokens in items]
    report = described(loaded, names, vectors, kind, normalize, query)
    if output is not None:
        _save(output, vectors, kind, normalize)
    if as_json:
        console.print_json(report)
    else:
        _print(report)


def _lines(path: str | None) -> list[str]:
    if path is None:
        return []
    text = options.clean_text(Path(path).read_bytes(), f"the file {path}")
    return [line for line in text.splitlines() if line.strip()]


def _vector(
    model: Model, text: str | None, ids: tuple[int, ...] | None, query: str | None, kind: str
) -> np.ndarray:
    if query is not None:
        return model.rank(query, text)
    return model.embed(list(ids) if text is None else text, kind, normalize=-1)


def described(
    model: Model, names: list[str], vectors: list[np.ndarray], kind: str, normalize: int, query: str | None
) -> dict[str, object]:
    """Return everything that was found, for JSON and for print."""
    import numpy as np

    from refgguf.arch.pooling import labels
    from refgguf.embedding import cosine_similarities, normalized

    report: dict[str, object] = {
        "model": model.name,
        "architecture": model.file.architecture,
        "pooling": kind,
    }
    if kind == "rank":
        report |= {"query": query, "labels": labels(model.config)}
        report["texts"] = [{"text": t, "scores": v.tolist()} for t, v in zip(names, vectors, strict=True)]
        return report
    report["normalize"] = normalize
    report["texts"] = [
        {
            "text": t,
            "length": float(np.linalg.norm(v.astype(np.float64))),
            "vector": normalized(v, normalize).tolist(),
        }
        for t, v in zip(names, vectors, strict=True)
    ]
    if kind != "none":
        report["cosine_similarities"] = cosine_similarities(np.stack(vectors)).tolist()
    return report


def _save(output: str, vectors: list[np.ndarray], kind: str, normalize: int) -> None:
    import numpy as np

    from refgguf.embedding import normalized

    rows = vectors if kind == "rank" else [normalized(v, normalize) for v in vectors]
    if len({row.shape for row in rows}) > 1:
        raise OutputError(
            f"{output}: without pooling, texts of different lengths make no single array; give one text"
        )
    with atomic_output(output) as unfinished, open(unfinished, "wb") as file:
        np.save(file, np.stack(rows))


def _print(report: dict) -> None:
    click.echo(f"{report['model']}: {report['architecture']}, pooling {report['pooling']}")
    click.echo()
    if report["pooling"] == "rank":
        _print_scores(report)
        return
    texts = report["texts"]
    rows = []
    for number, each in enumerate(texts):
        vector = each["vector"]
        many = report["pooling"] == "none"
        first = vector[0] if many else vector
        size = f"{len(vector)} × {len(first)}" if many else str(len(vector))
        start = " ".join(f"{x:+.4f}" for x in first[:SHOWN_VALUES])
        rows.append([str(number), _short(each["text"]), size, f"{each['length']:.4g}", f"{start} …"])
    console.print_table(
        ["", "text", "values", "length", f"normalized ({report['normalize']})"], rows, headed=True
    )
    if len(texts) > 1 and "cosine_similarities" in report:
        click.echo()
        click.echo("cosine similarities")
        cosines = report["cosine_similarities"]
        rows = [[str(i), *(f"{x:.3f}" for x in row)] for i, row in enumerate(cosines)]
        console.print_table(["", *map(str, range(len(cosines)))], rows, headed=True)


def _print_scores(report: dict) -> None:
    """Print what a classification head gave, the best text first where there is one score each."""
    texts, names = report["texts"], report["labels"]
    n_scores = len(texts[0]["scores"])
    ordered = sorted(texts, key=lambda each: -each["scores"][0]) if report["query"] is not None else texts
    heads = (
        names
        if len(names) == n_scores
        else ["score"]
        if n_scores == 1
        else [f"#{i}" for i in range(n_scores)]
    )
    if report["query"] is not None:
        click.echo(f"query: {_short(report['query'])}")
    rows = [[*(f"{x:.4f}" for x in each["scores"]), _short(each["text"])] for each in ordered]
    console.print_table([*heads, "text"], rows, headed=True)


def _short(text: str) -> str:
    from refgguf.errors import shown

    return shown(text, SHOWN_TEXT)

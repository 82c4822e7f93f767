"""The command demo: a story, a look inside, a trace that can be loaded."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from click.testing import CliRunner

import refgguf
from refgguf.cli.demo import PICTURE_FILE, PICTURE_SIZE, TRACE_FILE, command, inside
from tests.support.speaking_model import speaking_llama


@pytest.fixture(scope="module")
def path(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A tiny random model that reads text."""
    return speaking_llama().write(tmp_path_factory.mktemp("demo") / "tiny.gguf")


def test_it_writes_the_story_and_saves_the_trace(path: Path, tmp_path: Path):
    """Without a terminal: the story, one table, and a trace of prompt and story; the seed decides all of it."""
    arguments = ["--model", str(path), "-n", "6", "--seed", "3", "--folder", str(tmp_path), "--no-view"]
    first, again = (CliRunner().invoke(command, arguments, catch_exceptions=False) for _ in range(2))
    assert first.exit_code == 0
    assert first.output == again.output
    assert first.output.startswith("One morning") and "largest neuron" in first.output
    trace = refgguf.load_trace(tmp_path / TRACE_FILE)
    assert len(trace.tokens) > len(refgguf.load(path).tokenize("One morning"))
    assert "blk.0.attn_probs" in trace


def test_a_folder_that_is_not_there_is_told_before_anything_runs(path: Path, tmp_path: Path):
    """A trace that could not be saved is refused at once."""
    arguments = ["--model", str(path), "--folder", str(tmp_path / "none"), "--no-view"]
    result = CliRunner().invoke(command, arguments)
    assert result.exit_code != 0
    assert "One morning" not in result.output


def test_the_table_shows_what_the_trace_holds(path: Path):
    """Guess, head and neuron of each layer are those of the trace, worked out here one by one."""
    model = refgguf.load(path)
    ids = model.tokenize("Once upon a time")
    step = next(model.generate(ids, 1, taps="all"))
    rows = inside(model, step, ids)
    assert [row.layer for row in rows] == list(range(model.config.n_layers))
    for row in rows:
        residual = np.array(step.trace[f"blk.{row.layer}.resid_post"][-1:])
        assert row.guess == model.token_text(int(model.lens(residual)[0].argmax()))
        probs = step.trace[f"blk.{row.layer}.attn_probs"][:, -1]
        assert row.attention == probs[:, 1:-1].max()
        assert probs[row.head].max() >= row.attention
        neurons = step.trace[f"blk.{row.layer}.ffn_act"][-1]
        assert abs(row.activation) == np.abs(neurons).max() == abs(neurons[row.neuron])
    # After the last layer the lens is the model itself.
    assert rows[-1].guess == model.token_text(int(step.logits.argmax()))


@pytest.mark.render
def test_without_a_screen_it_draws_the_picture(path: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    """Where no window can be opened, the picture lies beside the trace and has the size of a screen."""
    from PIL import Image

    from refgguf.errors import NoDisplayError, NoGLError
    from refgguf.viz.render.offscreen import canvas

    try:
        canvas()
    except NoGLError as error:
        pytest.skip(f"no OpenGL here: {error}")

    def no_window() -> None:
        raise NoDisplayError("there is no screen; draw a picture")

    monkeypatch.setattr("refgguf.viz.app.launch.check_window", no_window)
    arguments = ["--model", str(path), "-n", "3", "--seed", "3", "--folder", str(tmp_path)]
    assert CliRunner().invoke(command, arguments, catch_exceptions=False).exit_code == 0
    with Image.open(tmp_path / PICTURE_FILE) as picture:
        assert picture.size == PICTURE_SIZE

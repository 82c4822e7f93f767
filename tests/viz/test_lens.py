"""The logit lens: what the stream would predict after each layer."""

from __future__ import annotations

import pytest

import refgguf
from refgguf.viz.facts import shown_of_model
from refgguf.viz.scene.build import build_scene
from refgguf.viz.scene.predictions import best_tokens, percent
from tests.support.models import FAMILIES


@pytest.mark.parametrize("token", [0, -1])
def test_the_best_token_after_every_layer_is_written(tmp_path, token):
    """Above each layer's end stands the best token of the lens; after the last layer it is the model's own."""
    model = refgguf.load(FAMILIES["llama"]().write(tmp_path / "model.gguf"))
    trace = model.trace([1, 5, 2, 7])
    scene = build_scene(shown_of_model(model, trace, token=token, marked=True))
    for layer in range(model.config.n_layers):
        box = next(b for b in scene.pieces.boxes if b.plane.tap == f"blk.{layer}.resid_post")
        best, share = best_tokens(model.lens(trace[f"blk.{layer}.resid_post"])[token], 1)[0]
        above = [x.text for x in scene.pieces.labels if x.tone == "logits" and x.at[0] == box.right]
        assert percent(share) in above
        assert any(model.token_text(best).strip() in text for text in above)
    last = best_tokens(trace["logits"][token], 1)[0]
    assert (best, share) == (last[0], pytest.approx(last[1], rel=1e-4))

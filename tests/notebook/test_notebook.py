"""The example notebook runs from its first cell to its last; skipped where parts of Jupyter are missing."""

from __future__ import annotations

import base64
import io
import os

import pytest
from PIL import Image

from tests.support.source_tree import ROOT

nbformat = pytest.importorskip(
    "nbformat", reason="nbformat is not installed: pip install -e '.[test-notebook]'"
)
nbclient = pytest.importorskip(
    "nbclient", reason="nbclient is not installed: pip install -e '.[test-notebook]'"
)
for part in ("ipykernel", "jupyter_rfb", "ipywidgets"):
    pytest.importorskip(part, reason=f"{part} is not installed: pip install -e '.[jupyter,test-notebook]'")

pytestmark = [
    pytest.mark.render,
    # Jupyter's own packages warn of each other
    pytest.mark.filterwarnings("ignore"),
]


def test_the_example_notebook_runs(tmp_path, monkeypatch):
    """No cell fails, and the pictures that it shows are of the model: many colours, the size that was asked for."""
    from refgguf.errors import NoGLError
    from refgguf.viz.render.offscreen import canvas

    try:
        canvas()
    except NoGLError as error:
        pytest.skip(str(error))
    monkeypatch.setenv("PYTHONPATH", os.pathsep.join([str(ROOT), os.environ.get("PYTHONPATH", "")]))
    monkeypatch.setenv("IPYTHONDIR", str(tmp_path / "ipython"))
    notebook = nbformat.read(ROOT / "docs" / "example.ipynb", as_version=4)
    assert not any(cell.get("outputs") for cell in notebook.cells), "keep outputs out of the repository"
    client = nbclient.NotebookClient(
        notebook, timeout=240, kernel_name="python3", resources={"metadata": {"path": str(tmp_path)}}
    )
    client.execute()  # raises what a cell raises
    outputs = [output for cell in notebook.cells for output in cell.get("outputs", ())]
    assert not [o for o in outputs if o.output_type == "stream" and o.name == "stderr"]
    pictures = [o.data["image/png"] for o in outputs if "image/png" in o.get("data", {})]
    assert len(pictures) == 2
    for data in pictures:
        picture = Image.open(io.BytesIO(base64.b64decode(data)))
        assert picture.size == (960, 600)
        assert len(picture.convert("RGB").getcolors(maxcolors=1 << 24)) > 500
    said = "".join(o.get("text", "") for o in outputs)
    assert "without the first feed-forward network" in said

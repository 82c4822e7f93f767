"""The widget does what the browser's events ask for; no browser and no kernel is needed for that."""

from __future__ import annotations

import numpy as np
import pytest

import refgguf
from refgguf.errors import InputError, NoGLError
from tests.support.models import FAMILIES
from tests.support.speaking_translator import speaking_bert, speaking_t5

pytest.importorskip("jupyter_rfb", reason="jupyter_rfb is not installed: pip install -e '.[jupyter]'")
pytest.importorskip("ipywidgets", reason="ipywidgets is not installed: pip install -e '.[jupyter]'")

pytestmark = [
    pytest.mark.render,
    pytest.mark.filterwarnings("ignore"),  # Jupyter's own packages warn of each other
]
SIZE = (700, 460)


@pytest.fixture(scope="module")
def model(tmp_path_factory):
    """A tiny Llama."""
    return refgguf.load(FAMILIES["llama"]().write(tmp_path_factory.mktemp("model") / "llama.gguf"))


@pytest.fixture
def widget(model):
    """The widget on three tokens, as a browser has it on a screen of two pixels to a unit."""
    from refgguf.viz.notebook import widget
    from refgguf.viz.render.offscreen import canvas

    try:
        canvas()
    except NoGLError as error:
        pytest.skip(str(error))
    made = widget(model, [1, 2, 3], width=SIZE[0], height=SIZE[1])
    send(made, "resize", width=SIZE[0], height=SIZE[1], ratio=2.0)
    made.frame.get_frame()
    return made


def send(widget, kind: str, **event) -> None:
    """Send an event as the browser does."""
    widget.frame.handle_event({"type": kind, "modifiers": (), "buttons": (), **event})


def place_of(widget, role: str, share=(0.4, 0.6)) -> tuple[int, float, float]:
    """Return the number of a box with a role, and where a part of its front is, in the browser's units."""
    boxes = widget.scene.pieces.boxes
    number = next(i for i, b in enumerate(boxes) if b.role == role)
    point = np.array(boxes[number].origin) + np.array(boxes[number].size) * (*share, 1.0)
    x, y, _ = widget.view.camera.project(point[None], widget.frame.pixels())[0]
    return number, float(x / 2), float(y / 2)


def click(widget, x: float, y: float) -> None:
    """Press and release in one place."""
    send(widget, "pointer_down", x=x, y=y, button=1, buttons=(1,))
    send(widget, "pointer_up", x=x, y=y, button=1)


def test_a_frame_is_the_picture_in_the_browsers_pixels(widget):
    """It has twice the widget's size on a screen of two pixels to a unit, and shows something."""
    picture = widget.frame.get_frame()
    assert picture.shape == (2 * SIZE[1], 2 * SIZE[0], 3)
    assert len(np.unique(picture.reshape(-1, 3), axis=0)) > 300


def test_a_click_picks_the_value(widget):
    """What is picked is the tensor's own value at that place, and the page takes it apart."""
    number, x, y = place_of(widget, "neurons")
    click(widget, x, y)
    hit = widget.selected
    assert hit.box == number
    trace = widget.scene.shown.trace
    assert widget.value == trace[widget.tensor][hit.index]
    assert f"{hit.value:.6g}" in widget.page.value
    assert widget.tensor in widget.page.value


def test_hovering_says_what_is_there(widget):
    """The line below the picture names tensor and value."""
    _, x, y = place_of(widget, "pattern")
    send(widget, "pointer_move", x=x, y=y, button=0)
    assert "attn_probs" in widget.words.value


def test_dragging_turns_and_the_wheel_approaches(widget):
    """The camera turns by the drag's length and comes closer with the wheel, and the picture changes."""
    before, picture = widget.view.camera, widget.frame.get_frame()
    send(widget, "pointer_down", x=100, y=100, button=1, buttons=(1,))
    send(widget, "pointer_move", x=160, y=100, button=0, buttons=(1,))
    send(widget, "pointer_up", x=160, y=100, button=1)
    assert widget.view.camera.azimuth == pytest.approx(before.azimuth - 60 * 0.28)
    assert widget.selected is None  # a drag is no click
    distance = widget.view.camera.distance
    send(widget, "wheel", x=300, y=200, dx=0, dy=-100)
    assert widget.view.camera.distance < distance
    assert (widget.frame.get_frame() != picture).any()


def test_keys_step(widget):
    """Arrow keys go from operation to operation; what glows is what the operation makes."""
    send(widget, "key_down", key="ArrowRight")
    send(widget, "key_down", key="ArrowRight")
    assert widget.slider.value == 1
    marks = widget.view.renderer.slabs.marks[:, 2]
    assert set(np.flatnonzero(marks == 1)) == widget.steps[1].boxes
    assert set(np.flatnonzero(marks)) == widget.steps[1].boxes | widget.steps[1].inputs
    send(widget, "key_down", key="Home")
    assert widget.view.renderer.focus == 0.0


def test_every_head_in_one_grid(widget):
    """By a key, by the button and from Python; a double click opens a head among everything else."""
    whole = len(widget.scene.pieces.boxes)
    send(widget, "key_down", key="m")
    assert widget.heads_button.value
    assert {b.role for b in widget.scene.pieces.boxes} == {"pattern"}
    assert len(np.unique(widget.frame.get_frame().reshape(-1, 3), axis=0)) > 300
    number, x, y = place_of(widget, "pattern")
    head = widget.scene.pieces.boxes[number].head
    send(widget, "pointer_move", x=x, y=y, button=0)
    assert f"layer 0, head {head}, query" in widget.words.value
    send(widget, "double_click", x=x, y=y, button=1)
    assert (widget.place.level, widget.place.layer, widget.place.head) == ("head", 0, head)
    assert len(widget.scene.pieces.boxes) == whole
    assert not widget.heads_button.value
    widget.heads_button.value = True
    assert widget.scene.shown.grid
    widget.grid(False)
    assert not widget.scene.shown.grid


def test_python_runs_switches_off_and_finds(widget, model):
    """Another prompt, a head switched off, a tensor by llama.cpp's name; what is not there is refused."""
    plain = model.trace([4, 5])["logits"]
    widget.run([4, 5])
    assert np.array_equal(widget.scene.shown.trace["logits"], plain)
    widget.toggle("blk.0.attn_z", 1)
    assert not widget.scene.shown.trace["blk.0.attn_z"][:, 1].any()
    widget.find("kq_soft_max-1")
    assert widget.tensor == "blk.1.attn_probs"
    for wrong in (
        lambda: widget.find("no such"),
        lambda: widget.toggle("no such"),
        lambda: widget.look("no such"),
    ):
        with pytest.raises(InputError):
            wrong()


def test_traces_and_weights_are_shown_too(model):
    """A trace has no model to run, a model without a prompt shows its weights."""
    from refgguf.viz.notebook import widget

    trace = model.trace([1, 2])
    shown = widget(trace, width=300, height=200)
    with pytest.raises(InputError, match="nothing can be run"):
        shown.run([1])
    with pytest.raises(InputError, match="needs a model"):
        widget(trace, [1])
    weights = widget(model, width=300, height=200)
    assert weights.picture().size == (300, 200)
    assert "blk.0.ffn_up.weight" in {b.plane.tap for b in weights.scene.pieces.boxes}


def test_generating_on(widget):
    """The most likely tokens are appended one after the other; at a temperature they are drawn."""
    best = int(np.argmax(widget.scene.shown.trace["logits"][-1]))
    widget.next_button.click()
    assert widget.session.ids == [1, 2, 3, best]
    widget.generate(2, temperature=1.5)
    assert len(widget.session.ids) == 6
    assert widget.session.temperature == 1.5
    assert len(widget.scene.shown.trace.tokens) == 6


def test_arcs_and_flow(widget):
    """Attention as arcs and weighted edges, by the names that the command line has for them."""
    widget.arcs("1.0")
    assert widget.scene.arcs.arcs
    assert {arc.layer for arc in widget.scene.arcs.arcs} == {1}
    widget.arcs(None)
    assert not widget.scene.arcs.arcs
    widget.flow("logit")
    assert widget.scene.flow.routes
    with pytest.raises(InputError, match="--arcs"):
        widget.arcs("9.9")


def test_choosing_what_colours_say(model):
    """A colouring is chosen when the widget is made, and key K goes on from there; one that is none is refused."""
    from refgguf.viz.notebook import widget

    made = widget(model.file, colour="type", width=SIZE[0], height=SIZE[1])
    assert all(name.startswith("type ") for name in made.scene.scales)
    send(made, "key_down", key="k")
    assert made.scene.shown.colour == "parameters"
    with pytest.raises(InputError, match="none of values, bits, type, parameters"):
        widget(model.file, colour="mood")


def pages(made) -> str:
    """Return what stands beside the picture."""
    return made.live.value + made.page.value


def test_keys_are_those_of_the_window(widget, tmp_path, monkeypatch):
    """Every key of the window's page does something here or says why not, P saves a picture; none is an error."""
    from refgguf.viz.app.keys import KEYS

    monkeypatch.chdir(tmp_path)
    for key in KEYS:
        send(widget, "key_down", key=key)
        send(widget, "key_up", key=key)
    assert [path.suffix for path in tmp_path.iterdir()] == [".png"]
    send(widget, "key_down", key="?")
    assert "draw the next token" in widget.words.value
    assert "Ctrl 1" not in widget.words.value  # browsers keep it for themselves
    send(widget, "key_down", key="Escape")
    assert "draw the next token" not in widget.words.value


def test_the_distribution_moves(widget):
    """It is the model's own, moves with the temperature, and tells what was before once something is off."""
    shares = widget.session.probabilities(widget.scene.shown.trace["logits"][-1])
    assert widget.session.temperature == 0
    assert shares.max() == 1
    assert "perplexity 1<br>" in pages(widget)
    widget.temperature.value = 1.5
    assert widget.session.temperature == 1.5
    assert "perplexity 1<br>" not in pages(widget)
    widget.toggle("blk.0.ffn_out")
    assert "divergence from that" in pages(widget)
    assert widget.off_button.layout.display is None
    widget.off_button.click()
    assert not widget.session.ablations
    assert widget.off_button.layout.display == "none"


def test_what_is_shown_stays(widget):
    """Theme, step and selection outlive another run; what is chosen in the tokens' list is marked."""
    widget.find("blk.1.attn_probs")
    widget.step_to(3)
    send(widget, "key_down", key="l")
    assert widget.scene.shown.theme == "dark"
    assert (widget.tensor, widget.number, widget.slider.value) == ("blk.1.attn_probs", 3, 3)
    widget.toggle("blk.0.ffn_out")
    assert widget.scene.shown.theme == "dark"
    widget.token_choice.value = 1
    assert (widget.scene.shown.token_index, widget.scene.shown.marked) == (1, True)
    widget.append(5)
    assert widget.session.ids == [1, 2, 5]


def test_a_step_is_explained(widget):
    """The page beside the picture tells of the operation that is shown, with its heat map and histogram."""
    widget.step_to(2)
    assert widget.steps[2].tap in widget.page.value
    assert "data:image/png;base64," in widget.page.value
    assert "<svg" in widget.page.value


def test_buttons_do_what_the_menu_does(widget):
    """Where a head is selected, buttons go there and switch it off; with nothing selected there are none."""
    assert all(button.layout.display == "none" for button in widget.deed_buttons)
    widget.find("blk.1.attn_probs")
    words = [button.description for button in widget.deed_buttons if button.layout.display is None]
    assert words[0].startswith("Go to ")
    at = words.index("Switch off: head 0 of layer 1")
    widget.deed_buttons[at].click()
    assert not widget.scene.shown.trace["blk.1.attn_z"][:, 0].any()


def test_mistakes_are_said_below_the_picture(widget):
    """What is typed into the boxes and cannot be done is said, and what was shown stays."""
    scene = widget.scene
    widget.search.value = "no such tensor"
    assert "nothing in the picture is called" in widget.words.value
    with pytest.raises(InputError):
        widget.arcs("9.9")
    widget.run([4, 5])  # what was refused does not come back with the next run
    assert widget.scene is not scene


def test_closing_gives_everything_back(model):
    """Nothing of a closed widget is kept alive, neither by Jupyter nor by the picture."""
    import gc
    import weakref

    from refgguf.viz.notebook import widget

    made = widget(model, [1, 2], width=300, height=200)
    made.frame.get_frame()
    scene, renderer = weakref.ref(made.scene), weakref.ref(made.view.renderer)
    frame = made.frame
    made.close()
    assert frame.get_frame() is None
    del made, frame
    gc.collect()
    assert scene() is None
    assert renderer() is None


def test_threads_of_the_kernel_draw_in_turn(widget):
    """Jupyter calls from several threads: what one has drawn, another draws as well, to the last bit."""
    import threading

    here, there = widget.frame.get_frame(), []
    for _ in range(2):
        thread = threading.Thread(target=lambda: there.append(widget.frame.get_frame()))
        thread.start()
        thread.join()
        assert np.array_equal(there.pop(), here)
        assert np.array_equal(widget.frame.get_frame(), here)


def test_work_goes_on_beside_the_browser(widget):
    """In a running loop, what the browser asks for is worked on in a thread; it can be stopped, and errors are said."""
    import asyncio

    async def browse() -> None:
        widget.prompt.value = "no text can be encoded here"  # the tiny model has no tokenizer
        assert widget.words.value
        before = widget.scene
        widget.token_choice.value = 0
        assert widget.scene is before  # not yet
        while widget._at is not None:
            await asyncio.sleep(0.01)
        assert widget.scene.shown.token_index == 0
        now = widget.scene
        widget.next_button.click()
        widget.stop_button.click()
        await asyncio.sleep(0.5)
        assert widget.scene is now
        assert "stopped" in widget.words.value
        widget.go_button.value = True
        while len(widget.session.ids) < 4:
            await asyncio.sleep(0.01)
        widget.go_button.value = False
        assert not widget.generating

    asyncio.run(asyncio.wait_for(browse(), 240))


def test_models_of_two_texts_and_of_none(tmp_path):
    """T5 shows what it has written and writes on; BERT says that it says nothing of what comes next."""
    from refgguf.viz.notebook import widget

    made = widget(refgguf.load(speaking_t5(tmp_path / "t5.gguf")), "a cat sat", width=300, height=200)
    wrote = list(made.session.target)
    assert made.target.value == made.session.target_text
    assert made.target.layout.display is None
    made.next_button.click()
    assert made.session.target[:-1] == wrote
    made.target.value = "a dog"
    assert made.session.target == made.session.model.tokenize("a dog", add_special=False)
    assert made.prompt.value == "a cat sat"

    made = widget(refgguf.load(speaking_bert(tmp_path / "bert.gguf")), "a cat sat", width=300, height=200)
    assert {made.target.layout.display, made.next_button.layout.display} == {"none"}
    send(made, "key_down", key="n")
    assert "says nothing of what comes next" in made.words.value
    with pytest.raises(InputError, match="reads one text alone"):
        made.write("a dog")

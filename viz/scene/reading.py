"""Where a decoder attends to what an encoder has read: a rail above everything carries it to keys and values."""

from __future__ import annotations

from refgguf.viz.scene.stage import MIDDLE, THIN, Stage

ABOVE = 7.0  # from the highest box to the rail
BEHIND = -0.6  # depth at which tubes descend behind the boxes of other heads
LEAD = 3.0


def hand_over(stage: Stage, encoded: int) -> None:
    """Run tubes from what an encoder has made of its text to the keys and values that are computed from it.

    Args:
        stage: everything in its place.
        encoded: number of the box.
    """
    boxes = stage.pieces.boxes
    readers = [i for i, box in enumerate(boxes) if box.role in ("k", "v") and stage.real([(encoded, i)])]
    if not readers:
        return
    source = boxes[encoded]
    rail = max(box.top for box in boxes) + ABOVE
    x = source.left + source.size[0] / 2
    last = max(boxes[i].middle[0] for i in readers)
    start = [(x, source.top), (x, rail), (last - LEAD, rail)]
    pairs = [(encoded, i) for i in readers]
    stage.connect(pairs, start, radius=MIDDLE, start="residual", end="qkv", arrow=False, corner=6.0)
    for i in readers:
        box = boxes[i]
        at = box.left + box.size[0] * (0.7 if box.role == "k" else 0.5)
        path = [(at - LEAD, rail), (at, rail), (at, rail - LEAD, BEHIND), (at, box.top + 0.1, BEHIND)]
        stage.connect([(encoded, i)], path, radius=THIN * 0.8, start="qkv", corner=LEAD / 2)

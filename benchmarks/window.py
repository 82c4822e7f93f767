"""The window: how long from the start of the process to the first picture, in what memory, and how long a step takes.

    xvfb-run -a python -m benchmarks.window

Opens a file of the shapes of a 7B model (32 layers of 32 heads, 4096 channels, Q4_K_M, all zeros: no disk is read) in
processes of their own, then steps through a forward pass of the embedded model: in quick succession, and each after
a rest, in which the picture is refined and the inspector tells of the operation. An empty window is measured beside
it: what Python, Qt and vispy take before anything of ours. Processor time is what other processes leave as it is;
with software OpenGL it includes the drawing itself. Needs a screen, real or virtual.
"""

from __future__ import annotations

import json
import os
import resource
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

RUNS, STEPS = 3, 15
PAUSES = {
    "in quick succession": 0.05,
    "after a rest": 0.7,
}  # seconds between a step's picture and the next step
SIZE = (1280, 800)
PROMPT = "Mia had a red kite. One day, Mia"


class Clock:
    """Wall and processor time since the process began."""

    def __init__(self):
        with open("/proc/self/stat") as file:
            began = int(file.read().rsplit(")", 1)[1].split()[19]) / os.sysconf("SC_CLK_TCK")
        self.began = time.clock_gettime(time.CLOCK_BOOTTIME) - began - time.perf_counter()

    def now(self) -> tuple[float, float]:
        """Return both in seconds."""
        return time.perf_counter() + self.began, time.process_time()


def count_uploads() -> dict[str, int]:
    """Count from now on what is allocated for OpenGL, in bytes."""
    from vispy.gloo import gl

    sizes = {"textures": 0, "buffers": 0}
    texture, buffer = gl.glTexImage2D, gl.glBufferData

    def tex_image(target, level, internalformat, format, type, pixels):
        rows, cols = pixels if isinstance(pixels, tuple) else pixels.shape[:2]
        sizes["textures"] += rows * cols * 4
        return texture(target, level, internalformat, format, type, pixels)

    def buffer_data(target, data, usage):
        sizes["buffers"] += data if isinstance(data, int) else data.nbytes
        return buffer(target, data, usage)

    gl.glTexImage2D, gl.glBufferData = tex_image, buffer_data
    return sizes


def empty() -> dict:
    """Open a window with an empty canvas."""
    clock = Clock()
    from PySide6.QtWidgets import QApplication, QMainWindow
    from vispy import app, gloo

    application = QApplication([])
    canvas = app.Canvas(app="pyside6", keys=None, show=False, config={"samples": 4, "depth_size": 24})
    canvas.events.draw.connect(lambda event: gloo.clear(color=(1.0, 1.0, 1.0, 1.0), depth=True))
    window = QMainWindow()
    window.setCentralWidget(canvas.native)
    window.resize(*SIZE)
    found = {}
    canvas.native.frameSwapped.connect(lambda: (found.setdefault("first", clock.now()), application.quit()))
    window.show()
    application.exec()
    return found


def viewer(path: str, prompt: str | None) -> dict:
    """Open the viewer; with a prompt, step through what it computes."""
    clock = Clock()
    from refgguf.cli import options
    from refgguf.cli.view import opening_of
    from refgguf.cli.view_request import Request
    from refgguf.viz.app.launch import check_window

    check_window()
    from PySide6.QtWidgets import QApplication

    from refgguf.viz.app.window import ViewerWindow

    application = QApplication([])
    application.setStyle("Fusion")
    window = ViewerWindow(opening=opening_of(Request(path, options.Prompt(text=prompt))))
    sizes = count_uploads()
    window.resize(*SIZE)
    found: dict = {"steps": {}}
    swapped = []

    def on_frame() -> None:
        if window.view.renderer is not None:
            swapped.append(clock.now())

    window.canvas.native.frameSwapped.connect(on_frame)
    window.show()

    def settle(until) -> None:
        while not until():
            application.processEvents()
            time.sleep(0.001)

    settle(lambda: swapped)
    found["first"] = swapped[0]
    settle(lambda: not window.running_now and clock.now()[0] > swapped[-1][0] + 1.0)
    for rhythm, pause in PAUSES.items() if prompt else ():
        found["steps"][rhythm] = times = []
        for _ in range(STEPS):
            before, count = clock.now(), len(swapped)
            window.timeline.step(1)
            settle(lambda n=count: len(swapped) > n)
            shown = swapped[count]
            times.append([after - then for after, then in zip(shown, before, strict=True)])
            settle(lambda at=shown[0] + pause: clock.now()[0] > at)
    found["memory"] = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss << 10
    found["boxes"] = len(window.scene.pieces.boxes)
    window.close()
    return found | sizes


def measure(*arguments: str) -> list[dict]:
    """Run this module in processes of its own; the first, which may find the disk cold, is not counted.

    Modules are compiled in the first one, as pip does where it installs them, whatever the environment says.
    """
    runs, environment = [], {k: v for k, v in os.environ.items() if k != "PYTHONDONTWRITEBYTECODE"}
    for _ in range(RUNS + 1):
        command = [sys.executable, "-m", "benchmarks.window", *arguments]
        done = subprocess.run(command, capture_output=True, text=True, check=True, env=environment)
        runs.append(json.loads(done.stdout.splitlines()[-1]))
    return runs[1:]


def main() -> None:
    """Print the figures."""
    if sys.argv[1:]:
        which, *rest = sys.argv[1:]
        found = empty() if which == "empty" else viewer(rest[0], rest[1] if rest[1:] else None)
        print(json.dumps(found), flush=True)
        os._exit(0)  # how Qt ends is not measured
    from tests.support.sparse_file import llama_7b

    with tempfile.TemporaryDirectory() as folder:
        path = llama_7b(Path(folder) / "7b.gguf")
        bare, large, small = (
            measure(*words) for words in (["empty"], ["view", str(path)], ["view", "demo", PROMPT])
        )
    print(f"from the start of the process to the first picture, {SIZE[0]} x {SIZE[1]}; best of {RUNS}")
    for name, runs in (("an empty window", bare), ("7B-shaped file", large), ("embedded model, run", small)):
        wall, cpu = (min(run["first"][i] for run in runs) for i in (0, 1))
        print(f"  {name:22} {wall:6.2f} s   {cpu:6.2f} s of processor time")
    for name, runs in (("7B-shaped file", large), ("embedded model", small)):
        run = runs[0]
        print(
            f"{name}: {run['boxes']:,} boxes, {run['memory'] / 1e6:,.0f} MB at most in the process, "
            f"{run['textures'] / 1e6:.1f} MB of textures and {run['buffers'] / 1e6:.1f} MB of buffers among them"
        )
    for rhythm in PAUSES:
        steps = [step for run in small for step in run["steps"][rhythm]]
        for i, what in enumerate(("on the screen after", "processor time, drawing included:")):
            times = sorted(step[i] for step in steps)
            print(
                f"a step through the embedded model {rhythm}, {what} {1e3 * times[0]:.0f} ms at best, "
                f"{1e3 * statistics.median(times):.0f} ms in the middle"
            )


if __name__ == "__main__":
    main()

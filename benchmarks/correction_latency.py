"""How long a correction takes in the real window: from the mouse's release to the new outline.

A window is opened, an image is run with the embedded model, and points are dragged,
added and deleted with mouse and key events on the canvas, as a person would. Timed is
each until the canvas has been painted with the new outlines. During the run the
longest time is taken in which the window answered nothing.

xvfb-run -a -s "-screen 0 1600x1000x24" python benchmarks/correction_latency.py IMAGE
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import napari
import numpy as np
import torch
from qtpy.QtCore import QPoint, Qt, QTimer
from qtpy.QtTest import QTest
from qtpy.QtWidgets import QApplication
from report import processor, replace_results

from napari_sprout.io.images import read_image
from napari_sprout.io.overlay import write_png
from napari_sprout.napari_.roles import LayerRole

PATIENCE = 600.0
MARGIN = 20
"""Pixels from the image's edge within which no point is taken: it might be dragged out of it."""
SHIFT = 2.0
"""Pixels by which a point is dragged: enough to be another prompt, and still its nucleus."""


def wait(true: Any) -> None:
    """Let the window live until something is true."""
    end = time.perf_counter() + PATIENCE
    while not true():
        if time.perf_counter() > end:
            raise SystemExit("The window did not come to an end of its work.")
        QApplication.processEvents()
        time.sleep(0.0005)


class Stalls:
    """Measures how long the event loop answers nothing."""

    def __init__(self) -> None:
        self.ticks: list[float] = []
        self.timer = QTimer()
        self.timer.setTimerType(Qt.TimerType.PreciseTimer)
        self.timer.timeout.connect(lambda: self.ticks.append(time.perf_counter()))

    def watch(self, true: Any) -> np.ndarray:
        """Return all gaps between two ticks, in ms, until something is true."""
        self.ticks.clear()
        self.timer.start(2)
        wait(true)
        self.timer.stop()
        return 1000 * np.diff(self.ticks)


class Bench:
    """A window with the dock, an image, and a mouse."""

    def __init__(self, path: Path, size: int, folder: Path) -> None:
        rgb = read_image(path).rgb[:size, :size]
        copy = folder / "image.png"
        write_png(copy, rgb)
        self.viewer = napari.Viewer(show=True)
        self.viewer.window.resize(1600, 1000)
        _, self.dock = self.viewer.window.add_plugin_dock_widget("napari-sprout", "SPROUT")
        self.viewer.add_image(rgb, rgb=True, name="image", metadata={"path": str(copy)})
        self.canvas = self.viewer.window._qt_viewer.canvas
        self.painted = 0.0
        self.shown = 0.0
        self.canvas._scene_canvas.events.draw.connect(self._drawn, position="last")
        QApplication.processEvents()

    def _drawn(self, event: Any) -> None:
        self.painted = time.perf_counter()

    def run(self) -> np.ndarray:
        """Press Run; return the stalls in ms."""
        sessions = self.dock.sessions
        # A person takes some seconds to find the button.
        wait(lambda: "napari_sprout.models.openvino_encoder" in sys.modules)
        self.dock.segment.run_button.click()
        gaps = Stalls().watch(
            lambda: (
                not sessions.is_opening
                and sessions.current is not None
                and not sessions.current.is_busy
            )
        )
        self.control = sessions.current
        self.control.changed.connect(self._changed)
        self.control.failed.connect(self._failed)
        return gaps

    def _failed(self, reason: str) -> None:
        raise SystemExit(reason)

    def _changed(self, change: Any) -> None:
        self.shown = time.perf_counter()

    def place(self, y: float, x: float) -> QPoint:
        """Return where a pixel of the image is on the canvas."""
        node = self.canvas.layer_to_visual[self.control.layer(LayerRole.PROMPTS)].node
        column, row, _, w = node.get_transform("visual", "canvas").map([x, y])
        return QPoint(round(column / w), round(row / w))

    def settle(self) -> None:
        """Wait until nothing is under way and everything is painted."""
        wait(lambda: not self.control.is_busy)
        for _ in range(5):
            QApplication.processEvents()
            time.sleep(0.01)

    def go_to(self, ident: int) -> tuple[float, float]:
        """Bring a point to the middle of the canvas."""
        self.control.actions.go_to(ident)
        self.settle()
        prompt = self.control.correction.prompts[ident]
        return prompt.y, prompt.x

    def answer(self, act: Callable[[], None]) -> tuple[float, float]:
        """Do the last of an act; return the ms until layers were changed, and until painted."""
        self.shown = self.painted = 0.0
        begun = time.perf_counter()
        act()
        wait(lambda: self.shown > begun)
        wait(lambda: self.painted > self.shown)
        self.settle()
        return 1000 * (self.shown - begun), 1000 * (self.painted - begun)

    def drag(self, ident: int, shift: tuple[float, float]) -> tuple[float, float]:
        """Drag a point; return what :meth:`answer` does."""
        y, x = self.go_to(ident)
        self.dock.prompts.tools.buttons["Move points"].click()
        native = self.canvas.native
        first, last = self.place(y, x), self.place(y + shift[0], x + shift[1])
        QTest.mousePress(native, Qt.MouseButton.LeftButton, pos=first)
        for step in range(1, 5):
            QTest.mouseMove(native, first + (last - first) * step / 4)
            QApplication.processEvents()
        return self.answer(lambda: QTest.mouseRelease(native, Qt.MouseButton.LeftButton, pos=last))

    def delete(self, ident: int) -> tuple[float, float]:
        """Select a point and press Delete."""
        y, x = self.go_to(ident)
        self.dock.prompts.tools.buttons["Move points"].click()
        QTest.mouseClick(self.canvas.native, Qt.MouseButton.LeftButton, pos=self.place(y, x))
        self.settle()
        return self.answer(lambda: QTest.keyClick(self.canvas.native, Qt.Key.Key_Delete))

    def add(self, y: float, x: float) -> tuple[float, float]:
        """Click where there is no point."""
        self.dock.prompts.tools.buttons["Add nucleus"].click()
        native, place = self.canvas.native, self.place(y, x)
        return self.answer(lambda: QTest.mouseClick(native, Qt.MouseButton.LeftButton, pos=place))

    def undo(self) -> tuple[float, float]:
        """Press Ctrl+Z."""
        native, control = self.canvas.native, Qt.KeyboardModifier.ControlModifier
        return self.answer(lambda: QTest.keyClick(native, Qt.Key.Key_Z, control))


def measure(bench: Bench, count: int) -> dict[str, list[tuple[float, float]]]:
    """Correct `count` nuclei in every way."""
    rng = np.random.default_rng(0)
    areas = bench.control.correction.areas
    prompts = bench.control.correction.prompts
    shape = bench.control.correction.labels.shape
    inside = {
        ident
        for ident, prompt in prompts.items()
        if MARGIN < prompt.y < shape[0] - MARGIN and MARGIN < prompt.x < shape[1] - MARGIN
    }
    positive = [ident for ident in areas if ident in inside]
    chosen = rng.choice(positive, count + 3, replace=False).tolist()
    for ident in chosen[:3]:
        bench.drag(ident, (SHIFT, 0.0))
    found: dict[str, list[tuple[float, float]]] = {}
    for ident in chosen[3:]:
        angle = rng.uniform(0, 2 * np.pi)
        shift = (SHIFT * np.sin(angle), SHIFT * np.cos(angle))
        found.setdefault("drag a point", []).append(bench.drag(ident, shift))
        prompt = bench.control.correction.prompts[ident]
        found.setdefault("delete a point", []).append(bench.delete(ident))
        found.setdefault("add a point", []).append(bench.add(prompt.y, prompt.x))
        found.setdefault("undo", []).append(bench.undo())
    return found


OPENING = """
import json, time
import napari
from qtpy.QtWidgets import QApplication
viewer = napari.Viewer()
QApplication.processEvents()
begin = time.perf_counter()
viewer.window.add_plugin_dock_widget("napari-sprout")
QApplication.processEvents()
opened = last = time.perf_counter()
gaps = []
while last < opened + 6:
    QApplication.processEvents()
    time.sleep(0.001)
    now = time.perf_counter()
    gaps.append(now - last)
    last = now
print(json.dumps([opened - begin, max(gaps)]))
viewer.close()
"""
"""In a process of its own, for what is imported counts: open the dock, and watch the window."""


def opening(times: int = 3) -> str:
    """Say how long it takes to open the dock, and how the window answers after that."""
    found = []
    for _ in range(times):
        done = subprocess.run(
            [sys.executable, "-c", OPENING], capture_output=True, text=True, check=True
        )
        found.append(json.loads(done.stdout.splitlines()[-1]))
    opened, gap = np.median(found, axis=0)
    return (
        f"\nOpening the dock for the first time takes {opened:.1f} s (median of {times}). While "
        "what a run needs is imported after that, the window is without an answer for "
        f"{1000 * gap:.0f} ms at most."
    )


def report(found: dict[str, list[tuple[float, float]]], gaps: np.ndarray) -> list[str]:
    """Return the lines of two tables."""
    lines = [
        "| what a person does | median | 90 % within | slowest | of the median, painting |",
        "|---|---|---|---|---|",
    ]
    for name, pairs in found.items():
        shown, painted = np.array(pairs).T
        lines.append(
            f"| {name} | {np.median(painted):.0f} ms | {np.percentile(painted, 90):.0f} ms | "
            f"{painted.max():.0f} ms | {np.median(painted - shown):.0f} ms |"
        )
    lines.append(
        f"\nDuring the run the window was longest without an answer for {gaps.max():.0f} ms "
        f"(99.9 % of the gaps: {np.percentile(gaps, 99.9):.0f} ms; "
        f"over 50 ms: {np.count_nonzero(gaps > 50)} times)."
    )
    return lines


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("image", type=Path)
    parser.add_argument("--size", type=int, default=1000, help="crop to this many px a side")
    parser.add_argument("--count", type=int, default=25, help="nuclei to correct in every way")
    parser.add_argument("-o", "--output", type=Path)
    options = parser.parse_args()
    opened = opening()
    with tempfile.TemporaryDirectory() as folder:
        bench = Bench(options.image, options.size, Path(folder))
        gaps = bench.run()
        state = bench.control.correction
        text = [
            f'Made by `xvfb-run -a -s "-screen 0 1600x1000x24" python '
            f"benchmarks/correction_latency.py {options.image}` on {processor()}, "
            f"{torch.get_num_threads()} threads, torch {torch.__version__}, drawing by software: "
            f"{state.labels.shape[0]} x {state.labels.shape[1]} px, {len(state.areas)} nuclei, "
            f"{len(state.prompts)} points; {options.count} of each.\n",
            *report(measure(bench, options.count), gaps),
            opened,
        ]
        bench.viewer.close()
        QApplication.processEvents()
    print("\n".join(text))
    if options.output:
        replace_results(options.output, "Corrections", "\n".join(text))


if __name__ == "__main__":
    main()

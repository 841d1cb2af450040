"""A window of its own, in which a person works until the process is killed.

    python window_to_kill.py FAKE IMAGE LABELS WHEN

FAKE is the file with the fake segmenter. The window opens IMAGE, runs, deletes a
point, and writes the labels that are seen then to LABELS. It then begins what WHEN
says ("edit": another point moved; "run": another run; "waiting": another run, and while
it is held up, a point dropped elsewhere, and another deleted, which is undone), says
"in the middle" in the middle of it, and does nothing more.
"""

from __future__ import annotations

import importlib.util
import sys
import threading
import time
from pathlib import Path

import napari
import numpy as np
from qtpy.QtWidgets import QApplication

from napari_sprout.core.edits import DeletePrompts, MovePrompt
from napari_sprout.core.settings import Settings
from napari_sprout.io.images import read_image
from napari_sprout.napari_.roles import LayerRole

DROPPED = (6.0, 5.0)
"""How far the dropped point is from where it was, (y, x) in pixels."""

FAKE, IMAGE, LABELS, WHEN = (*map(Path, sys.argv[1:4]), sys.argv[4])


def until(true) -> None:
    end = time.monotonic() + 60
    while not true():
        QApplication.processEvents()
        time.sleep(0.005)
        if time.monotonic() > end:
            raise SystemExit("it takes too long")


def stay() -> None:
    print("in the middle", flush=True)
    threading.Event().wait()


spec = importlib.util.spec_from_file_location("fakes", FAKE)
fakes = importlib.util.module_from_spec(spec)
spec.loader.exec_module(fakes)
fake = fakes.FakeSegmenter()
viewer = napari.Viewer(show=True)
_, dock = viewer.window.add_plugin_dock_widget("napari-sprout", "SPROUT")
sessions = dock.sessions
sessions.make_segmenter = lambda draft, say: fake
rgb = read_image(IMAGE).rgb
viewer.add_image(rgb, rgb=True, name=IMAGE.stem, metadata={"path": str(IMAGE)})
sessions.draft.settings = Settings().with_changes(
    stain={"method": "fixed"}, features={"tile": 128}, prompts={"source": "stain"}
)
dock.segment.run_button.click()
until(lambda: not sessions.is_opening and not sessions.current.is_busy)
control = sessions.current
first, second, third = sorted(control.correction.areas)[:3]
control.apply(DeletePrompts((first,)))
until(lambda: not control.is_busy)
np.save(LABELS, control.layer(LayerRole.NUCLEI).data)
if WHEN == "edit":
    fake.on_decode = stay
    prompt = control.correction.prompts[second]
    control.apply(MovePrompt(second, prompt.y + DROPPED[0], prompt.x + DROPPED[1]))
else:
    held = threading.Event()
    fake.on_encode = stay if WHEN == "run" else lambda: (held.set(), threading.Event().wait())
    sessions.draft.settings = sessions.draft.settings.with_changes(features={"tile": 256})
    sessions.run()
if WHEN == "waiting":
    until(held.is_set)
    points = control.layer(LayerRole.PROMPTS)
    row = list(points.features["id"]).index(second)
    moved = points.data.copy()
    moved[row] += DROPPED
    points.data = moved
    points.selected_data = {list(points.features["id"]).index(third)}
    points.remove_selected()
    control.undo()
    print("in the middle", flush=True)
until(lambda: False)

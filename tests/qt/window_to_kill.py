"""A window of its own, in which a person works until the process is killed.

    python window_to_kill.py FAKE IMAGE LABELS WHEN

FAKE is the file with the fake segmenter. The window opens IMAGE, runs, deletes a
point, and writes the labels that are seen then to LABELS. It then begins what WHEN
says ("edit": another point moved; "run": another run), says "in the middle" in the
middle of it, and does nothing more.
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
first, second = sorted(control.correction.areas)[:2]
control.apply(DeletePrompts((first,)))
until(lambda: not control.is_busy)
np.save(LABELS, control.layer(LayerRole.NUCLEI).data)
if WHEN == "edit":
    fake.on_decode = stay
    prompt = control.correction.prompts[second]
    control.apply(MovePrompt(second, prompt.y + 6, prompt.x + 5))
else:
    fake.on_encode = stay
    sessions.draft.settings = sessions.draft.settings.with_changes(features={"tile": 256})
    sessions.run()
until(lambda: False)

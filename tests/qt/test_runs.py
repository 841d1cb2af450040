from __future__ import annotations

import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from qtpy.QtCore import QTimer

from napari_sprout.core.stages import Stage
from napari_sprout.core.synthetic import SyntheticImage
from napari_sprout.napari_.roles import LayerRole
from napari_sprout.qt.stage_list import State
from napari_sprout.qt.workers import NAME

FROZEN = 3.0
"""Seconds in which a window that answers nothing is frozen, however busy the machine.

How long the pauses are is measured by benchmarks/correction_latency.py.
"""


def worker_threads() -> list[threading.Thread]:
    return [thread for thread in threading.enumerate() if thread.name.startswith(NAME)]


class Gate:
    """Holds a run in the middle of encoding its second tile, until it is let go on."""

    def __init__(self, desk: Any) -> None:
        self.reached, self.opened = threading.Event(), threading.Event()
        make = desk.dock.sessions.make_segmenter

        def held(draft: Any, say: Any) -> Any:
            fake = make(draft, say)
            fake.on_encode = lambda: self._wait(fake)
            return fake

        desk.dock.sessions.make_segmenter = held

    def _wait(self, fake: Any) -> None:
        if fake.encoded == 1 and not self.opened.is_set():
            self.reached.set()
            assert self.opened.wait(20)


@pytest.fixture
def held(desk: Callable[[], Any], tmp_path: Path, sparse: SyntheticImage) -> Any:
    """A desk whose run waits in the middle of encoding."""
    made = desk()
    made.gate = Gate(made)
    made.open(tmp_path / "case.png", sparse.rgb)
    made.dock.segment.run_button.click()
    made.until(made.gate.reached.is_set)
    yield made
    made.gate.opened.set()


def test_a_run_shows_its_stages_one_by_one_and_then_the_nuclei(held: Any) -> None:
    stages = held.dock.segment.stages
    held.until(lambda: stages.state_of(Stage.ENCODING) is State.RUNNING)
    assert stages.is_done(Stage.REFERENCE)
    assert stages.state_of(Stage.MASKS) is State.WAITING
    assert held.control.layer(LayerRole.HAEMATOXYLIN) is not None
    assert held.control.layer(LayerRole.NUCLEI) is None
    assert held.dock.segment.run_button.text() == "Cancel"
    assert not held.dock.segment.image.pixel_size.isEnabled()
    assert "Start over" in held.dock.segment.image.pixel_size.toolTip()
    held.gate.opened.set()
    held.wait_until_done()
    assert held.labels.any()
    assert stages.all_done
    assert held.dock.segment.run_button.text() == "Run"
    assert "nuclei" in held.dock.status.message.text()
    assert held.failures == []


def test_cancelling_keeps_the_stages_that_were_done_and_a_new_run_goes_on(held: Any) -> None:
    segment = held.dock.segment
    segment.run_button.click()
    assert not segment.run_button.isEnabled()
    assert segment.run_button.toolTip().endswith("It stops after the step it is at.")
    held.gate.opened.set()
    held.wait_until_done()
    assert held.control.layer(LayerRole.NUCLEI) is None
    assert segment.stages.is_done(Stage.REFERENCE)
    assert segment.stages.state_of(Stage.ENCODING) is State.STOPPED
    assert held.failures == []
    assert held.fakes[0].encoded < 4
    assert held.dock.status.message.text().startswith("Stopped early")
    held.run()
    assert held.dock.status.message.text().startswith("Done")
    assert held.labels.any()
    assert held.fakes[0].encoded == 4


def test_renaming_and_deleting_layers_during_a_run_breaks_nothing(held: Any) -> None:
    held.dock.sessions.layer.name = "another name"
    held.layer(LayerRole.EOSIN).name = "Nuclei"
    held.viewer.layers.remove(held.layer(LayerRole.HAEMATOXYLIN))
    held.gate.opened.set()
    held.wait_until_done()
    assert held.dock.images.currentText() == "another name"
    assert held.control.layer(LayerRole.HAEMATOXYLIN) is None
    assert held.labels.any()
    held.viewer.layers.remove(held.layer(LayerRole.NUCLEI))
    held.run()
    assert held.labels.any()
    assert held.failures == []


def test_deleting_the_image_during_a_run_ends_its_session(held: Any) -> None:
    held.viewer.layers.remove(held.dock.sessions.layer)
    assert held.dock.sessions.current is None
    assert "Open an H&E image" in held.dock.segment.run_button.toolTip()
    held.gate.opened.set()
    held.until(lambda: not worker_threads())


@pytest.mark.parametrize("what", ["window", "dock"])
def test_closing_during_a_run_leaves_no_thread(held: Any, what: str) -> None:
    assert worker_threads()
    QTimer.singleShot(200, held.gate.opened.set)
    threading.Timer(0.3, held.gate.opened.set).start()
    if what == "window":
        held.viewer.close()
    else:
        held.viewer.window.remove_dock_widget(held.dock)
    held.until(lambda: not worker_threads())


def test_two_windows_keep_separate_sessions(
    desk: Callable[[], Any], tmp_path: Path, sparse: SyntheticImage
) -> None:
    first, second = desk(), desk()
    first.open(tmp_path / "one.png", sparse.rgb)
    second.open(tmp_path / "two.png", np.ascontiguousarray(sparse.rgb[:, ::-1]))
    for one in (first, second):
        one.dock.segment.run_button.click()
    for one in (first, second):
        one.wait_until_done()
    assert first.control is not second.control
    before = second.labels
    ids = [int(i) for i in np.unique(first.labels) if i]
    first.control.actions.select(frozenset(ids[:1]))
    first.control.actions.remove_selected()
    first.wait_until_done()
    assert ids[0] not in first.labels
    assert np.array_equal(second.labels, before)
    assert not second.dock.undo.isEnabled()


def test_two_images_in_one_window_keep_separate_sessions(
    working: Any, tmp_path: Path, sparse: SyntheticImage
) -> None:
    first, before = working.control, working.labels
    working.open(tmp_path / "other.png", np.ascontiguousarray(sparse.rgb[::-1]))
    assert working.dock.images.currentText() == "other"
    assert working.dock.sessions.current is None
    assert working.dock.segment.stages.state_of(Stage.NUCLEI) is State.WAITING
    working.run()
    assert working.control is not first
    assert working.labels.any()
    working.viewer.layers.selection.active = first.layer(LayerRole.NUCLEI)
    assert working.dock.images.currentText() == "case"
    assert np.array_equal(working.labels, before)
    assert working.dock.segment.stages.all_done


def test_the_window_keeps_painting_during_a_run(
    desk: Callable[[], Any], tmp_path: Path, sparse: SyntheticImage
) -> None:
    made = desk()
    made.open(tmp_path / "case.png", sparse.rgb)
    made.dock.sessions.draft.settings = made.dock.sessions.draft.settings.with_changes(
        prompts={"source": "activation"}, stain={"method": "vahadane"}
    )
    ticks: list[float] = []
    timer = QTimer()
    timer.setInterval(5)
    timer.timeout.connect(lambda: ticks.append(time.perf_counter()))
    timer.start()
    made.run()
    timer.stop()
    assert len(ticks) > 20
    assert np.diff(ticks).max() < FROZEN

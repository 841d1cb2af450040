from __future__ import annotations

import itertools
import threading
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from qtpy.QtCore import QPoint, Qt
from qtpy.QtWidgets import QApplication

from napari_sprout.core.edits import MovePrompt
from napari_sprout.core.synthetic import SyntheticImage
from napari_sprout.napari_.controller import SessionController
from napari_sprout.napari_.roles import LayerRole


class Both:
    """Two images in one window: the first has been run, the second is the one just opened."""

    def __init__(self, desk: Any, path: Path, rgb: Any) -> None:
        self.desk, self.first = desk, desk.control
        self.image = desk.open(path, rgb)
        self._made: list[SessionController] = []

    def start(self) -> tuple[SessionController, threading.Event]:
        """Run the second image as far as its first mask; returns what lets it go on."""
        reached, go_on = threading.Event(), threading.Event()
        make = self.desk.dock.sessions.make_segmenter

        def held(draft: Any, say: Any) -> Any:
            fake = make(draft, say)

            def wait() -> None:
                reached.set()
                go_on.wait(20)

            fake.on_decode = wait
            return fake

        self.desk.dock.sessions.make_segmenter = held
        self.desk.dock.segment.run_button.click()
        self.desk.until(reached.is_set)
        return self.desk.control, go_on

    def choose(self, index: int) -> None:
        """Choose an image in the dock's box, as a person does with the keyboard."""
        box = self.desk.dock.images
        box.setFocus()
        step = Qt.Key.Key_Down if index > box.currentIndex() else Qt.Key.Key_Up
        self.desk.qtbot.keyClick(box, step)
        assert box.currentIndex() == index


@pytest.fixture
def both(working: Any, tmp_path: Path, sparse: SyntheticImage) -> Both:
    return Both(working, tmp_path / "other.png", np.ascontiguousarray(sparse.rgb[::-1]))


def test_a_first_run_that_ends_leaves_the_mouse_to_who_drags_on_another_image(
    both: Both,
) -> None:
    desk, first = both.desk, both.first
    second, go_on = both.start()
    points = first.layer(LayerRole.PROMPTS)
    desk.viewer.layers.selection.active = points
    desk.dock.prompts.tools.buttons["Move points"].click()
    assert desk.control is first
    ident = desk.lonely()
    y, x = desk.prompt(ident)
    canvas = desk.viewer.window._qt_viewer.canvas.native
    begin, end = desk.place(points, y, x), desk.place(points, y + 9, x + 7)
    desk.qtbot.mousePress(canvas, Qt.MouseButton.LeftButton, pos=begin)
    for step in range(1, 5):
        desk.qtbot.mouseMove(canvas, begin + (end - begin) * step / 4)
        QApplication.processEvents()
    go_on.set()
    desk.until(lambda: not second.is_busy)
    desk.qtbot.mouseRelease(canvas, Qt.MouseButton.LeftButton, pos=end)
    desk.until(lambda: (first.correction.prompts[ident].y, first.is_busy) != (y, True))
    desk.wait_until_done()
    assert desk.viewer.layers.selection.active is points
    assert desk.dock.images.currentText() == "case"
    row = list(points.features["id"]).index(ident)
    assert tuple(points.data[row]) == desk.prompt(ident)
    assert desk.prompt(ident) == pytest.approx((y + 9, x + 7), abs=1.5)
    desk.dock.undo.click()
    desk.wait_until_done()
    assert tuple(points.data[row]) == desk.prompt(ident) == (y, x)
    # The second image is ready all the same, when it is gone to.
    both.choose(1)
    assert desk.viewer.layers.selection.active is second.layer(LayerRole.PROMPTS)
    assert desk.dock.prompts.tools.buttons["Move points"].isChecked()


def test_a_first_run_that_ends_does_not_change_layers_while_the_button_is_down(
    both: Both,
) -> None:
    desk = both.desk
    second, go_on = both.start()
    image, canvas = both.image, desk.viewer.window._qt_viewer.canvas.native
    desk.viewer.layers.selection.active = image
    place = desk.place(image, 90, 90)
    desk.qtbot.mousePress(canvas, Qt.MouseButton.LeftButton, pos=place)
    go_on.set()
    desk.until(lambda: not second.is_busy)
    assert desk.viewer.layers.selection.active is image
    desk.qtbot.mouseRelease(canvas, Qt.MouseButton.LeftButton, pos=place)
    away = itertools.cycle([QPoint(9, 9), QPoint(12, 7)])

    def moved_and_chosen() -> bool:
        # A hand goes on moving: on a busy machine Qt swallows single moves.
        desk.qtbot.mouseMove(canvas, place + next(away))
        return desk.viewer.layers.selection.active is second.layer(LayerRole.PROMPTS)

    desk.until(moved_and_chosen)
    assert desk.dock.prompts.tools.buttons["Move points"].isChecked()


def test_a_drag_that_another_layer_cuts_short_ends_where_the_point_is_shown(
    working: Any,
) -> None:
    points, control = working.layer(LayerRole.PROMPTS), working.control
    working.dock.prompts.tools.buttons["Move points"].click()
    ident = working.lonely()
    y, x = working.prompt(ident)
    canvas = working.viewer.window._qt_viewer.canvas.native
    begin, end = working.place(points, y, x), working.place(points, y + 9, x + 7)
    working.qtbot.mousePress(canvas, Qt.MouseButton.LeftButton, pos=begin)
    for step in range(1, 5):
        working.qtbot.mouseMove(canvas, begin + (end - begin) * step / 4)
        QApplication.processEvents()
    row = list(points.features["id"]).index(ident)
    shown = tuple(points.data[row])
    assert shown != (y, x)
    working.viewer.layers.selection.active = working.layer(LayerRole.NUCLEI)
    working.qtbot.mouseRelease(canvas, Qt.MouseButton.LeftButton, pos=end)
    working.until(lambda: working.prompt(ident) != (y, x))
    working.wait_until_done()
    assert tuple(points.data[row]) == working.prompt(ident) == shown
    assert working.control.project.entries[-1]["edit"]["kind"] == MovePrompt.__name__
    control.undo()
    working.wait_until_done()
    assert tuple(points.data[row]) == working.prompt(ident) == (y, x)


def test_keys_go_to_the_image_that_is_chosen_in_the_box(both: Both) -> None:
    desk, first = both.desk, both.first
    desk.run()
    second = desk.control
    desk.viewer.layers.selection.active = first.layer(LayerRole.NUCLEI)
    lost = min(first.correction.areas)
    first.actions.select(frozenset({lost}))
    both.choose(1)
    assert desk.control is second
    assert desk.viewer.layers.selection.active is second.layer(LayerRole.PROMPTS)
    desk.look_at(desk.dock.review)
    desk.until(lambda: bool(desk.dock.review.data.rows))
    ident = min(second.correction.areas)
    desk.dock.review.go_to(ident)
    desk.key(Qt.Key.Key_Delete)
    desk.until(lambda: ident not in second.correction.areas)
    desk.wait_until_done()
    assert lost in first.correction.areas
    assert not first.can_undo
    desk.key(Qt.Key.Key_Z, Qt.KeyboardModifier.ControlModifier)
    desk.until(lambda: ident in second.correction.areas)


def test_an_image_without_nuclei_is_itself_active_when_it_is_chosen_in_the_box(
    both: Both,
) -> None:
    desk = both.desk
    desk.viewer.layers.selection.active = both.first.layer(LayerRole.NUCLEI)
    both.choose(1)
    assert desk.viewer.layers.selection.active is both.image
    assert desk.dock.sessions.layer is both.image


def test_an_image_whose_run_begins_leaves_the_dock_to_the_one_gone_back_to(both: Both) -> None:
    desk, first = both.desk, both.first
    desk.dock.segment.run_button.click()
    assert desk.dock.sessions.is_opening
    points = first.layer(LayerRole.PROMPTS)
    desk.viewer.layers.selection.active = points
    registry = desk.dock.sessions.registry
    desk.until(lambda: len(registry) == 2)
    second = registry.get(both.image)
    desk.until(lambda: second.view is not None and not second.is_busy)
    assert desk.control is first
    assert desk.dock.images.currentText() == "case"
    assert desk.viewer.layers.selection.active is points
    assert desk.failures == []
    both.choose(1)
    assert desk.control is second

from __future__ import annotations

from typing import Any

import numpy as np
from qtpy.QtCore import Qt

from napari_sprout.napari_.roles import LayerRole
from napari_sprout.qt.tools import TOOLS

TOOL = {tool.text: tool for tool in TOOLS}
CTRL = Qt.KeyboardModifier.ControlModifier


def test_a_dragged_point_changes_one_nucleus_and_undo_brings_it_back(working: Any) -> None:
    before = working.labels
    ident = working.lonely()
    y, x = working.prompt(ident)
    points = working.layer(LayerRole.PROMPTS)
    working.dock.prompts.tools.buttons["Move points"].click()
    working.drag(points, (y, x), (y + 9, x + 7))
    working.until(lambda: not np.array_equal(working.labels, before))
    working.wait_until_done()
    after = working.labels
    changed = after != before
    assert set(np.unique(after[changed])) | set(np.unique(before[changed])) == {0, ident}
    moved = np.argwhere(after == ident).mean(axis=0) - np.argwhere(before == ident).mean(axis=0)
    assert np.allclose(moved, (9, 7), atol=1.5)
    assert working.dock.undo.isEnabled()
    working.key(Qt.Key.Key_Z, CTRL)
    working.until(lambda: not working.control.is_busy)
    assert np.array_equal(working.labels, before)
    assert np.allclose(working.prompt(ident), (y, x))
    assert not working.dock.undo.isEnabled()
    assert "nothing to take back" in working.dock.undo.toolTip()
    working.dock.redo.click()
    working.until(lambda: not working.control.is_busy)
    assert np.array_equal(working.labels, after)


def test_delete_takes_a_point_and_its_nucleus_away_and_a_click_adds_one(working: Any) -> None:
    before = working.labels
    ident = working.lonely()
    y, x = working.prompt(ident)
    points = working.layer(LayerRole.PROMPTS)
    working.dock.prompts.tools.buttons["Move points"].click()
    working.drag(points, (y, x), (y, x))
    assert working.control.actions.selected == {ident}
    working.key(Qt.Key.Key_Delete)
    working.until(lambda: ident not in working.labels)
    working.wait_until_done()
    assert np.array_equal(working.labels, np.where(before == ident, 0, before))
    working.dock.prompts.tools.buttons["Add nucleus"].click()
    working.drag(points, (y, x), (y, x))
    working.until(lambda: bool((working.labels > before.max()).any()))
    working.wait_until_done()
    new, old = working.labels == working.labels.max(), before == ident
    # The canvas's pixels are not the image's: the click is not quite where the point was.
    assert np.count_nonzero(new & old) > 0.85 * np.count_nonzero(new | old)
    assert working.failures == []


def test_the_buttons_show_the_tool_in_hand_however_it_was_taken(working: Any) -> None:
    tools = working.dock.prompts.tools

    def down() -> list[str]:
        return [text for text, button in tools.buttons.items() if button.isChecked()]

    for text, tool in TOOL.items():
        tools.buttons[text].click()
        assert down() == [text]
        assert working.viewer.layers.selection.active is working.layer(tool.role)
        assert str(working.layer(tool.role).mode) == tool.mode
    working.layer(LayerRole.NUCLEI).mode = "pan_zoom"
    assert down() == ["Select nuclei"]
    working.viewer.layers.selection.active = working.dock.sessions.layer
    assert down() == []


def test_negative_points_are_hidden_until_they_are_wanted(working: Any) -> None:
    points, prompts = working.layer(LayerRole.PROMPTS), working.control.correction.prompts
    positive = [ident for ident, prompt in prompts.items() if prompt.kind == "positive"]
    assert 0 < len(positive) < len(prompts)

    def on_canvas() -> int:
        visual = working.viewer.window._qt_viewer.canvas.layer_to_visual[points]
        return len(visual.node.points_markers._data)

    assert sorted(points.features["id"]) == sorted(positive)
    assert on_canvas() == len(positive)
    working.dock.prompts.tools.buttons["Add negative"].click()
    assert sorted(points.features["id"]) == sorted(prompts)
    assert on_canvas() == len(prompts)
    working.dock.prompts.negatives.setChecked(False)
    assert on_canvas() == len(positive)


def test_a_selected_nucleus_is_explained_and_can_be_locked(working: Any) -> None:
    prompts = working.dock.prompts
    ident = working.lonely()
    assert not prompts.action_buttons["toggle_lock"].isEnabled()
    assert "Select a nucleus" in prompts.action_buttons["toggle_lock"].toolTip()
    y, x = working.prompt(ident)
    prompts.tools.buttons["Select nuclei"].click()
    nuclei = working.layer(LayerRole.NUCLEI)
    working.drag(nuclei, (y, x), (y, x))
    assert prompts.selected.text() == f"Nucleus {ident}"
    working.until(lambda: prompts.why["source"].text() == "the stain alone")
    assert 0 < float(prompts.why["haematoxylin"].text()) <= 1
    assert prompts.why["rho"].text() == "–"
    working.key(Qt.Key.Key_K)
    working.until(lambda: prompts.action_buttons["toggle_lock"].text() == "Unlock (K)")
    assert working.control.correction.locked == {ident}
    assert not prompts.action_buttons["merge_selected"].isEnabled()

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from qtpy.QtCore import Qt

from napari_sprout.core.stages import Stage
from napari_sprout.napari_.roles import LayerRole
from napari_sprout.qt.prompts_tab import PromptsTab

SHIFT = Qt.KeyboardModifier.ShiftModifier


@pytest.fixture
def tab(working: Any) -> PromptsTab:
    made: PromptsTab = working.dock.prompts
    working.look_at(made)
    made.tools.buttons["Select nuclei"].click()
    return made


def select(desk: Any, *ids: int) -> None:
    """Click on nuclei, with Shift from the second on."""
    nuclei = desk.layer(LayerRole.NUCLEI)
    for number, ident in enumerate(ids):
        keys = SHIFT if number else Qt.KeyboardModifier.NoModifier
        desk.click(nuclei, *desk.prompt(ident), keys)
    assert desk.control.actions.selected == set(ids)


def press(desk: Any, call: str) -> None:
    button = desk.dock.prompts.action_buttons[call]
    assert button.isEnabled(), button.toolTip()
    button.click()
    desk.wait_until_done()


def pair(desk: Any) -> tuple[int, int]:
    """Return the two nuclei that are closest together."""
    ids = sorted(desk.control.correction.areas)
    apart = {
        (a, b): np.hypot(*np.subtract(desk.prompt(a), desk.prompt(b)))
        for a in ids
        for b in ids
        if a < b
    }
    return min(apart, key=lambda both: apart[both])


def test_before_a_run_every_button_says_what_is_missing(desk: Callable[[], Any]) -> None:
    tab = desk().dock.prompts
    buttons = [*tab.action_buttons.values(), *tab.tools.buttons.values()]
    for widget in (*buttons, tab.negatives, tab.suppressed):
        assert not widget.isEnabled()
        assert "press Run in the Segment tab" in widget.toolTip()
    assert "There are no nuclei yet" in tab.counts.text()


def test_clicks_with_shift_select_several_and_let_go_of_one_again(
    working: Any, tab: PromptsTab
) -> None:
    first, second, third = sorted(working.control.correction.areas)[:3]
    select(working, first, second, third)
    assert tab.selected.text() == "3 nuclei"
    working.click(working.layer(LayerRole.NUCLEI), *working.prompt(second), SHIFT)
    assert working.control.actions.selected == {first, third}
    points = working.layer(LayerRole.PROMPTS)
    chosen = points.features["id"].to_numpy()[sorted(points.selected_data)]
    assert set(chosen.tolist()) == {first, third}
    working.click(working.layer(LayerRole.NUCLEI), *working.prompt(second))
    assert tab.selected.text() == f"Nucleus {second}"


def test_each_action_asks_for_as_many_nuclei_as_it_needs(working: Any, tab: PromptsTab) -> None:
    first, second = pair(working)

    def allowed() -> set[str]:
        return {call for call, made in tab.action_buttons.items() if made.isEnabled()}

    drawn = {"start_cut", "start_region"}
    assert drawn <= allowed()
    assert not allowed() & {"merge_selected", "remove_selected", "toggle_lock", "cycle_answer"}
    assert "Select two or more" in tab.action_buttons["merge_selected"].toolTip()
    select(working, first)
    assert {"remove_selected", "toggle_lock", "cycle_answer"} <= allowed()
    assert "merge_selected" not in allowed()
    working.click(working.layer(LayerRole.NUCLEI), *working.prompt(second), SHIFT)
    assert {"merge_selected", "remove_selected", "toggle_lock"} <= allowed()
    assert "cycle_answer" not in allowed()
    assert "one nucleus alone" in tab.action_buttons["cycle_answer"].toolTip()


def test_merging_removing_and_locking_do_what_their_buttons_say(
    working: Any, tab: PromptsTab
) -> None:
    before, control = working.labels, working.control
    first, second = pair(working)
    many = len(control.correction.areas)
    select(working, first, second)
    press(working, "merge_selected")
    (kept,) = {first, second} & set(np.unique(working.labels).tolist())
    both = np.isin(before, [first, second])
    assert (working.labels[both] == kept).all()
    assert control.actions.selected == {kept}
    assert tab.counts.text().startswith(f"<b>{many - 1} nuclei</b>")
    press(working, "toggle_lock")
    assert control.correction.locked == {kept}
    assert tab.action_buttons["toggle_lock"].text() == "Unlock (K)"
    assert "1 of them locked" in tab.counts.text()
    merged = working.labels
    tab.action_buttons["remove_selected"].click()
    working.wait_until_done()
    assert len(working.failures) == 1
    assert "locked" in working.failures[0]
    assert np.array_equal(working.labels, merged)
    select(working, kept)
    press(working, "toggle_lock")
    assert control.correction.locked == set()
    press(working, "remove_selected")
    assert not (working.labels == kept).any()
    assert control.actions.selected == set()
    while working.dock.undo.isEnabled():
        working.dock.undo.click()
        working.wait_until_done()
    assert np.array_equal(working.labels, before)


def test_a_line_drawn_across_a_nucleus_splits_it(working: Any, tab: PromptsTab) -> None:
    before, ident = working.labels, working.lonely()
    y, x = working.prompt(ident)
    press(working, "start_cut")
    drawing = working.layer(LayerRole.DRAWING)
    working.drag(drawing, (y - 20, x), (y + 20, x))
    working.until(lambda: len(np.unique(working.labels)) > len(np.unique(before)))
    working.wait_until_done()
    after = working.labels
    one, two = (int(after[round(y), round(x) + side]) for side in (-7, 7))
    assert len({0, one, two}) == 3
    assert ident in (one, two)
    rest = before != ident
    assert np.array_equal(after[rest], before[rest])
    assert set(np.unique(after[~rest])) <= {0, one, two}
    assert working.viewer.layers.selection.active is working.layer(LayerRole.NUCLEI)
    working.dock.undo.click()
    working.wait_until_done()
    assert np.array_equal(working.labels, before)
    press(working, "start_cut")
    # Beside the nucleus there is room for a line that crosses none.
    working.drag(drawing, (y - 24, x - 24), (y - 24, x + 24))
    working.until(lambda: bool(working.failures))
    assert "divides no nucleus" in working.failures[0]
    assert np.array_equal(working.labels, before)


def test_nuclei_are_selected_by_drawing_around_them(working: Any, tab: PromptsTab) -> None:
    labels, ident = working.labels, working.lonely()
    y, x = working.prompt(ident)
    press(working, "start_region")
    corners = [(y - 22, x - 22), (y - 22, x + 22), (y + 22, x + 22), (y + 22, x - 22)]
    drawing = working.layer(LayerRole.DRAWING)
    working.drag(drawing, *corners, corners[0])
    working.until(lambda: working.control.actions.selected == {ident})
    assert tab.selected.text() == f"Nucleus {ident}"
    assert np.array_equal(working.labels, labels)


def test_the_next_answer_is_seen_at_once(working: Any, tab: PromptsTab) -> None:
    before, ident = working.labels, working.lonely()
    select(working, ident)
    press(working, "cycle_answer")
    press(working, "cycle_answer")
    # After the single answer, much like the mean, comes the first of three: a smaller disk.
    assert np.count_nonzero(working.labels == ident) < 0.6 * np.count_nonzero(before == ident)
    rest = before != ident
    assert np.array_equal(working.labels[rest], before[rest])
    for _ in range(3):
        press(working, "cycle_answer")
    assert np.array_equal(working.labels, before)


def test_suppressed_outlines_are_shown_on_demand_and_a_click_brings_one_back(
    working: Any, tab: PromptsTab
) -> None:
    working.dock.segment.form.groups["suppression"].widgets["method"].value = "hard"
    working.run()
    control, before = working.control, working.labels
    # Another point beside a nucleus's own: of two masks that overlap so much one is dropped.
    ident = working.lonely()
    y, x = working.prompt(ident)
    tab.tools.buttons["Add nucleus"].click()
    working.click(working.layer(LayerRole.PROMPTS), y + 3, x + 2)
    working.until(lambda: not control.is_busy and len(control.correction.suppressed) > 0)
    ghosts = {i: control.correction.candidates[i] for i in control.correction.suppressed}
    layer = working.layer(LayerRole.SUPPRESSED)
    assert not layer.visible
    assert tab.suppressed.text() == f"Show suppressed outlines ({len(ghosts)})"
    tab.suppressed.click()
    assert layer.visible
    assert set(np.unique(layer.data)) - {0} == set(ghosts)
    (lost,) = [i for i, ghost in ghosts.items() if covers(ghost, y, x)]
    only = np.argwhere((layer.data == lost) & (working.labels == 0))
    assert len(only)
    working.click(layer, *only[len(only) // 2])
    working.until(lambda: not control.is_busy and lost in control.correction.areas)
    assert lost in control.correction.pinned
    assert (working.labels == lost).any()
    tab.suppressed.click()
    assert not layer.visible
    for _ in range(2):
        working.dock.undo.click()
        working.wait_until_done()
    assert np.array_equal(working.labels, before)


def covers(ghost: Any, y: float, x: float) -> bool:
    y0, x0, y1, x1 = ghost.box
    return bool(y0 <= y < y1 and x0 <= x < x1)


def test_a_point_of_the_scan_says_what_put_it_there(scanned: Any) -> None:
    tab, control = scanned.dock.prompts, scanned.control
    scanned.look_at(tab)
    ident = scanned.lonely()
    tab.tools.buttons["Select nuclei"].click()
    select(scanned, ident)
    scanned.until(lambda: tab.why["source"].text() == "the activation scan")
    reason = control.correction.why(ident)
    scan = control.session.output(Stage.ACTIVATION)
    assert reason["rho"] in control.rhos
    assert 0 <= reason["prototype"] < scan.n_foreground
    assert tab.why["haematoxylin"].text() == f"{reason['haematoxylin']:.2f}"
    assert tab.why["prototype"].text() == f"prototype {reason['prototype'] + 1} of nuclei"
    assert tab.why["mass"].text() == f"{reason['mass']:.2f}"
    assert 0 < reason["mass"] <= 1
    assert tab.why["rho"].text() == f"share {reason['rho']:.2f}"
    # A point set by hand has no such history.
    tab.tools.buttons["Add nucleus"].click()
    y, x = scanned.prompt(ident)
    scanned.click(scanned.layer(LayerRole.PROMPTS), y + 3, x)
    scanned.until(lambda: tab.why["source"].text() == "you")
    assert tab.why["rho"].text() == tab.why["prototype"].text() == "–"


def test_negative_points_that_are_taken_out_of_sight_are_not_added_any_more(
    working: Any, tab: PromptsTab
) -> None:
    tab.tools.buttons["Add negative"].click()
    assert tab.negatives.isChecked()
    tab.negatives.click()
    assert not tab.tools.buttons["Add negative"].isChecked()
    assert tab.tools.buttons["Move points"].isChecked()
    points, before = working.layer(LayerRole.PROMPTS), dict(working.control.correction.prompts)
    working.click(points, 5, 5)
    working.wait_until_done()
    assert dict(working.control.correction.prompts) == before
    # Other tools stay in hand.
    tab.negatives.click()
    tab.tools.buttons["Add nucleus"].click()
    tab.negatives.click()
    assert tab.tools.buttons["Add nucleus"].isChecked()

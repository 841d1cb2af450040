from __future__ import annotations

import numpy as np
import pytest

from napari_sprout.core.edits import (
    ChooseAnswer,
    LockNuclei,
    MergeNuclei,
    RemoveNuclei,
    RestoreCandidate,
    SplitNucleus,
)
from napari_sprout.napari_.roles import LayerRole

FREE = np.array([69.0, 61.0])


@pytest.fixture
def actions(opened):
    return opened.control.actions


def nuclei(opened) -> list[int]:
    return sorted(opened.control.correction.areas)


def last(opened):
    return opened.changes[-1].edit


# Selecting


def test_selecting_points_selects_their_nuclei_and_back(opened, actions) -> None:
    told = []
    actions.selection_changed.connect(told.append)
    first, second = nuclei(opened)[:2]
    opened.points.selected_data = {opened.row(first), opened.row(second)}
    assert actions.selected == {first, second}
    assert told[-1] == {first, second}
    actions.select(frozenset({second}))
    assert set(opened.points.selected_data) == {opened.row(second)}
    assert opened.nuclei.selected_label == second
    assert told[-1] == {second}
    assert opened.changes == []


def test_a_click_selects_a_nucleus_and_shift_adds_or_takes_away(opened, actions, mouse) -> None:
    first, second = nuclei(opened)[:2]
    mouse.click(opened.nuclei, opened.place(first))
    assert actions.selected == {first}
    mouse.click(opened.nuclei, opened.place(second), keys=("Shift",))
    assert actions.selected == {first, second}
    mouse.click(opened.nuclei, opened.place(first), keys=("Shift",))
    assert actions.selected == {second}
    mouse.drag(opened.nuclei, opened.place(first), FREE)
    assert actions.selected == {second}
    mouse.click(opened.nuclei, FREE)
    assert actions.selected == frozenset()


def test_a_click_with_the_brush_does_not_select(opened, actions, mouse) -> None:
    opened.nuclei.mode = "paint"
    mouse.click(opened.nuclei, opened.place(nuclei(opened)[0]))
    assert actions.selected == frozenset()


def test_the_camera_goes_to_a_nucleus_wherever_the_image_lies(opened, actions) -> None:
    opened.control.image_layer.scale = (0.5, 0.5)
    opened.control.image_layer.translate = (7, 9)
    ident = nuclei(opened)[3]
    zoom = opened.viewer.scene.camera.zoom
    actions.go_to(ident)
    expected = opened.control.image_layer.data_to_world(opened.place(ident))
    assert opened.viewer.scene.camera.center[-2:] == pytest.approx(expected, abs=1)
    assert opened.viewer.scene.camera.zoom > zoom


def test_a_drawn_region_selects_what_lies_in_it(opened, actions, mouse) -> None:
    ident = nuclei(opened)[0]
    y, x = opened.place(ident)
    actions.start_region()
    drawing = opened.control.layer(LayerRole.DRAWING)
    assert opened.viewer.layers.selection.active is drawing
    corners = [(y - 16, x - 16), (y - 16, x + 16), (y + 16, x + 16), (y + 16, x - 16)]
    mouse.drag(drawing, *corners, corners[0])
    assert ident in actions.selected
    assert len(actions.selected) < len(nuclei(opened))
    assert len(drawing.data) == 0
    assert opened.viewer.layers.selection.active is opened.nuclei
    assert opened.changes == []


# Changing


def test_merging_gives_both_masks_the_larger_one_s_number(opened, actions) -> None:
    ids = nuclei(opened)[:2]
    together = np.isin(opened.labels, ids)
    areas = {ident: (opened.labels == ident).sum() for ident in ids}
    actions.select(frozenset(ids))
    actions.merge_selected()
    opened.check()
    into = max(ids, key=lambda ident: areas[ident])
    assert last(opened) == MergeNuclei(tuple(ids), into)
    assert np.array_equal(opened.labels == into, together)
    assert actions.selected == {into}


def test_a_drawn_line_splits_a_nucleus(opened, actions, mouse) -> None:
    ident = nuclei(opened)[0]
    y, x = opened.place(ident)
    before = opened.labels == ident
    actions.start_cut()
    drawing = opened.control.layer(LayerRole.DRAWING)
    mouse.drag(drawing, *((row, x) for row in (y - 20, y - 8, y + 4, y + 16, y + 28, y + 30)))
    opened.check()
    assert all(isinstance(change.edit, SplitNucleus) for change in opened.changes)
    pieces = next(c.edit for c in opened.changes if c.edit.id == ident).pieces
    ids = [piece[0] for piece in pieces]
    assert len(ids) == 2
    assert ids[0] == ident
    assert np.array_equal(np.isin(opened.labels, ids), before)
    opened.control.undo()
    opened.check()
    assert np.array_equal(opened.labels == ident, before)


def test_a_line_beside_everything_is_answered_with_a_sentence(opened, actions, mouse) -> None:
    actions.start_cut()
    drawing = opened.control.layer(LayerRole.DRAWING)
    mouse.drag(drawing, *((-50.0, column) for column in range(0, 80, 16)))
    assert "divides no nucleus" in opened.failures[0]
    assert opened.changes == []


def test_removed_nuclei_stay_away(opened, actions, quick) -> None:
    ids = tuple(nuclei(opened)[:2])
    actions.select(frozenset(ids))
    actions.remove_selected()
    opened.check()
    assert last(opened) == RemoveNuclei(ids)
    assert actions.selected == frozenset()
    opened.control.change_settings(quick.with_changes(decoding={"batch": 3}))
    opened.control.run()
    opened.check()
    assert not np.isin(opened.labels, ids).any()


def test_the_lock_is_turned_on_and_off(opened, actions) -> None:
    ids = nuclei(opened)[:2]
    actions.select(frozenset(ids[:1]))
    actions.toggle_lock()
    assert opened.control.view.locked == {ids[0]}
    actions.select(frozenset(ids))
    actions.toggle_lock()
    assert opened.control.view.locked == set(ids)
    actions.toggle_lock()
    assert opened.control.view.locked == frozenset()
    assert last(opened) == LockNuclei(tuple(ids), False)


def test_the_answers_go_round_and_come_back(opened, actions) -> None:
    ident = nuclei(opened)[0]
    before = opened.labels.copy()
    actions.select(frozenset({ident}))
    areas = []
    for _ in range(5):
        actions.cycle_answer()
        opened.check()
        areas.append((opened.labels == ident).sum())
    assert [change.edit for change in opened.changes] == [
        ChooseAnswer(ident, answer) for answer in (0, 1, 2, 3, 4)
    ]
    assert len(set(areas)) > 1
    assert np.array_equal(opened.labels == ident, before == ident)


@pytest.mark.parametrize(
    ("method", "word"),
    [
        ("merge_selected", "two or more"),
        ("remove_selected", "Select"),
        ("toggle_lock", "Select"),
        ("cycle_answer", "one nucleus"),
    ],
)
def test_without_a_selection_a_person_is_told_what_to_do(opened, actions, method, word) -> None:
    getattr(actions, method)()
    assert word in opened.failures[0]
    assert opened.changes == []


def test_before_the_first_run_there_is_nothing_to_cut(open_session) -> None:
    opened = open_session(run=False)
    opened.control.actions.start_cut()
    assert "press Run" in opened.failures[0]
    opened.control.undo()
    opened.control.redo()
    assert not opened.control.is_busy


# Suppressed


def test_a_click_restores_a_suppressed_mask(open_session, quick, mouse) -> None:
    settings = quick.with_changes(suppression={"threshold": 1.2})
    opened = open_session(settings=settings)
    control = opened.control
    assert control.correction.suppressed
    layer = control.layer(LayerRole.SUPPRESSED)
    assert not layer.visible
    layer.visible = True
    ghosts = {ghost.id: ghost for ghost in control.view.ghosts}
    assert set(np.unique(layer.data)) - {0} == set(ghosts)
    ident = min(ghosts)
    table = layer.features.set_index("index")
    assert table.loc[ident, "reason"] == ghosts[ident].reason
    assert "suppressed by" in table.columns
    place = np.argwhere(layer.data == ident).mean(axis=0)
    mouse.click(layer, place)
    opened.check()
    edit = last(opened)
    assert isinstance(edit, RestoreCandidate)
    assert (opened.labels == edit.id).any()
    assert edit.id in control.view.pinned
    assert edit.id not in layer.data
    layer.mode = "paint"
    assert str(layer.mode) == "pan_zoom"
    control.run()
    opened.check()
    assert (opened.labels == edit.id).any()

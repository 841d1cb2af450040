from __future__ import annotations

import numpy as np
import pytest

from napari_sprout.core.edits import PaintNucleus, PaintReference
from napari_sprout.napari_.roles import LayerRole
from napari_sprout.napari_.stage_layers import SURE_BACKGROUND, SURE_NUCLEUS

EMPTY = (69, 61)


def first(opened) -> int:
    return min(opened.control.correction.areas)


def stroke(opened, mouse, places, label=None, mode="paint", size=6) -> None:
    layer = opened.nuclei
    layer.brush_size = size
    layer.mode = mode
    if label is not None:
        layer.selected_label = label
    mouse.drag(layer, *places)


def edits(opened) -> list:
    return [change.edit for change in opened.changes]


def test_a_stroke_grows_a_nucleus_and_pins_it(opened, mouse) -> None:
    ident = first(opened)
    before = opened.labels.copy()
    y, x = opened.place(ident)
    stroke(opened, mouse, [(y, x), (y, x + 10), (y, x + 20)], ident)
    opened.check()
    (edit,) = edits(opened)
    assert isinstance(edit, PaintNucleus)
    assert edit.id == ident
    assert (opened.labels == ident).sum() > (before == ident).sum()
    assert ident in opened.control.correction.pinned
    assert opened.labels[round(y), round(x + 20)] == ident
    untouched = opened.labels != ident
    assert np.array_equal(opened.labels[untouched], before[untouched])


def test_a_later_run_keeps_what_was_painted(opened, mouse, quick) -> None:
    ident = first(opened)
    y, x = opened.place(ident)
    stroke(opened, mouse, [(y, x), (y, x + 20)], ident)
    painted = opened.labels == ident
    opened.control.change_settings(quick.with_changes(decoding={"multimask": "best"}))
    opened.control.run()
    opened.check()
    assert np.array_equal(opened.labels == ident, painted)


def test_nothing_is_sent_while_the_brush_is_down(opened, mouse) -> None:
    layer = opened.nuclei
    layer.mode = "paint"
    layer.selected_label = first(opened)
    mouse.press(layer, EMPTY)
    mouse.move(layer, (69, 66))
    assert opened.changes == []
    mouse.release(layer, (69, 66))
    assert len(opened.changes) == 1
    opened.check()


def test_a_made_up_label_becomes_a_new_nucleus_that_is_painted_on(opened, mouse) -> None:
    known = set(opened.control.correction.prompts)
    made_up = max(known)
    stroke(opened, mouse, [EMPTY], made_up)
    opened.check()
    number = int(opened.nuclei.data[EMPTY])
    assert number not in known
    assert opened.nuclei.selected_label == number
    stroke(opened, mouse, [(69, 69)])
    opened.check()
    assert [edit.id for edit in edits(opened)] == [number, number]
    assert opened.labels[69, 69] == number


def test_erasing_part_of_a_nucleus_and_then_all_of_it(opened, mouse) -> None:
    ident = first(opened)
    y, x = opened.place(ident)
    area = (opened.labels == ident).sum()
    stroke(opened, mouse, [(y, x + 8)], mode="erase")
    opened.check()
    assert 0 < (opened.labels == ident).sum() < area
    stroke(opened, mouse, [(y, x)], mode="erase", size=60)
    opened.check()
    assert ident not in opened.labels
    opened.control.run()
    opened.check()
    assert ident not in opened.labels


def test_one_undo_takes_back_a_stroke_over_several_nuclei(opened, mouse) -> None:
    before = opened.labels.copy()
    ids = sorted(opened.control.correction.areas)
    places = np.array([opened.place(ident) for ident in ids])
    apart = np.hypot(*(places[:, None] - places[None]).transpose(2, 0, 1))
    np.fill_diagonal(apart, np.inf)
    a, b = np.unravel_index(apart.argmin(), apart.shape)
    stroke(opened, mouse, [places[a], places[b]], mode="erase", size=4)
    opened.check()
    assert len(opened.changes) >= 2
    opened.control.undo()
    opened.check()
    assert np.array_equal(opened.labels, before)


def test_painting_over_a_hand_drawn_neighbour_takes_its_pixels(opened, mouse) -> None:
    ident = first(opened)
    stroke(opened, mouse, [EMPTY], 50_000, size=14)
    number = int(opened.nuclei.data[EMPTY])
    stroke(opened, mouse, [(69, 61)], ident, size=5)
    opened.check()
    assert opened.labels[69, 61] == ident
    assert number in opened.labels


@pytest.mark.parametrize("how", ["call", "mouse"])
def test_filling_turns_a_whole_nucleus_into_another(opened, mouse, how) -> None:
    ids = sorted(opened.control.correction.areas)[:2]
    area = np.isin(opened.labels, ids).sum()
    place = tuple(np.round(opened.place(ids[1])).astype(int))
    if how == "mouse":
        stroke(opened, mouse, [place], ids[0], mode="fill")
    else:
        opened.nuclei.fill(place, ids[0])
    opened.check()
    assert ids[1] not in opened.labels
    assert (opened.labels == ids[0]).sum() == area


def test_a_painted_polygon_counts_as_a_stroke(opened) -> None:
    opened.nuclei.paint_polygon([(62, 55), (62, 68), (74, 68), (74, 55)], 9999)
    opened.check()
    (edit,) = edits(opened)
    assert isinstance(edit, PaintNucleus)
    assert opened.labels[69, 61] == edit.id


def test_napari_s_own_undo_does_not_bring_back_old_strokes(opened, mouse) -> None:
    ident = first(opened)
    y, x = opened.place(ident)
    stroke(opened, mouse, [(y, x), (y, x + 20)], ident)
    after = opened.labels.copy()
    opened.nuclei.undo()
    opened.check()
    assert np.array_equal(opened.labels, after)
    opened.control.undo()
    for replay in (opened.nuclei.undo, opened.nuclei.redo):
        replay()
        opened.check()


def test_painting_a_locked_nucleus_is_refused_and_the_stroke_goes(opened, mouse) -> None:
    ident = first(opened)
    before = opened.labels.copy()
    opened.control.actions.select(frozenset({ident}))
    opened.control.actions.toggle_lock()
    y, x = opened.place(ident)
    stroke(opened, mouse, [(y, x + 8)], mode="erase")
    opened.check()
    assert "locked" in opened.failures[0]
    assert np.array_equal(opened.labels, before)


def test_painting_over_a_locked_neighbour_leaves_it_its_pixels(opened, mouse) -> None:
    first_id, second = sorted(opened.control.correction.areas)[:2]
    before = opened.labels.copy()
    opened.control.actions.select(frozenset({first_id}))
    opened.control.actions.toggle_lock()
    y, x = opened.place(first_id)
    stroke(opened, mouse, [(y, x), (y, x + 24)], second)
    opened.check()
    assert np.array_equal(opened.labels == first_id, before == first_id)


def test_a_hidden_layer_takes_on_results_exactly(opened) -> None:
    opened.nuclei.visible = False
    opened.points.add([69.0, 61.0])
    opened.check()
    opened.nuclei.visible = True
    opened.check()


def test_labels_assigned_by_a_script_become_edits(opened) -> None:
    wanted = opened.nuclei.data.copy()
    wanted[65:75, 55:65] = 12345
    opened.nuclei.data = wanted
    opened.check()
    (edit,) = edits(opened)
    assert opened.labels[69, 61] == edit.id
    opened.nuclei.data = np.zeros((3, 3), np.int32)
    opened.check()


# The high-confidence masks


@pytest.fixture
def reference(opened):
    layer = opened.control.layer(LayerRole.REFERENCE)
    layer.visible = True
    layer.brush_size = 10
    return layer


@pytest.mark.parametrize(
    ("label", "side"), [(SURE_NUCLEUS, "foreground"), (SURE_BACKGROUND, "background")]
)
def test_painting_the_reference_runs_again_from_it(opened, mouse, reference, label, side) -> None:
    place = np.argwhere(reference.data != label)[2000]
    before = reference.data.copy()
    reference.mode = "paint"
    reference.selected_label = label
    opened.stages.clear()
    mouse.drag(reference, place, (place[0], place[1] + 5))
    opened.check()
    sides = {edit.which for edit in edits(opened)}
    assert all(isinstance(edit, PaintReference) for edit in edits(opened))
    assert side in sides
    assert "nuclei" in opened.stages
    assert not np.array_equal(reference.data, before)
    opened.control.undo()
    opened.check()
    assert np.array_equal(reference.data, before)


def test_a_label_that_means_nothing_leaves_the_reference_alone(opened, mouse, reference) -> None:
    before = reference.data.copy()
    reference.mode = "paint"
    reference.selected_label = 7
    mouse.drag(reference, (60, 60))
    assert np.array_equal(reference.data, before)
    assert opened.changes == []

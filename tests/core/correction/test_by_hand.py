from __future__ import annotations

import numpy as np
import pytest
from scipy import ndimage

from napari_sprout.core.correction import Correction
from napari_sprout.core.edits import (
    AddPrompt,
    ChooseAnswer,
    DeletePrompts,
    LockNuclei,
    MergeNuclei,
    MovePrompt,
    PaintNucleus,
    RemoveNuclei,
    RestoreCandidate,
    SplitNucleus,
)
from napari_sprout.core.instances import Prompt
from napari_sprout.core.resolve import resolve_around
from napari_sprout.core.suppression import mask_intersection
from napari_sprout.core.transaction import Transaction
from napari_sprout.errors import SproutError


def square(y, x, side=20):
    return (y, x, y + side, x + side), np.ones((side, side), bool)


def pixels(correction, ident):
    return correction.labels == ident


def crop_of(mask):
    rows, columns = np.flatnonzero(mask.any(1)), np.flatnonzero(mask.any(0))
    box = (int(rows[0]), int(columns[0]), int(rows[-1]) + 1, int(columns[-1]) + 1)
    return box, mask[box[0] : box[2], box[1] : box[3]]


def touching_pair(correction) -> tuple[int, int]:
    """Two nuclei whose masks overlap."""
    areas = sorted(correction.areas)
    for a in areas:
        for b in areas:
            if a < b and mask_intersection(correction.candidates[a], correction.candidates[b]) > 5:
                return a, b
    raise AssertionError("the run has no two nuclei that meet")


def test_painting_gives_exactly_the_drawn_pixels_and_takes_them_from_neighbours(correction):
    ident = min(correction.areas)
    box, mask = square(40, 60, 40)
    under = set(np.unique(correction.labels[40:80, 60:100])) - {0, ident}
    assert under
    change = correction.apply(PaintNucleus(ident, box, mask))
    expected = np.zeros(correction.labels.shape, bool)
    expected[40:80, 60:100] = True
    np.testing.assert_array_equal(pixels(correction, ident), expected)
    assert correction.pinned == {ident}
    assert under <= change.ids
    assert not change.prompts_changed


def test_a_painted_mask_keeps_its_pieces_and_holes(correction):
    mask = np.zeros((20, 20), bool)
    mask[2:10, 2:10] = True
    mask[5:7, 5:7] = False
    mask[15:18, 15:18] = True
    ident = correction.new_id()
    correction.apply(PaintNucleus(ident, (100, 100, 120, 120), mask))
    np.testing.assert_array_equal(pixels(correction, ident)[100:120, 100:120], mask)
    assert ident not in correction.prompts


def test_what_the_caller_does_with_its_mask_afterwards_does_not_matter(correction):
    box, mask = square(100, 100)
    ident = correction.new_id()
    correction.apply(PaintNucleus(ident, box, mask))
    mask[:] = False
    correction.apply(PaintNucleus(correction.new_id(), *square(110, 110)))
    assert correction.areas[ident] == 400


def test_one_pixel_is_a_nucleus_where_a_person_says_so(correction):
    ident = correction.new_id()
    correction.apply(PaintNucleus(ident, (7, 9, 8, 10), np.ones((1, 1), bool)))
    assert correction.areas[ident] == 1
    assert correction.labels[7, 9] == ident


def test_painting_over_a_drawn_or_locked_nucleus_leaves_its_pixels_to_it(correction):
    first, locked = correction.new_id(), min(correction.areas)
    correction.apply(PaintNucleus(first, *square(100, 100)))
    correction.apply(LockNuclei((locked,), True))
    held = pixels(correction, locked).copy()
    second = correction.new_id()
    full = np.ones(correction.labels.shape, bool)
    correction.apply(PaintNucleus(second, (0, 0, *full.shape), full))
    assert correction.areas[first] == 400
    np.testing.assert_array_equal(pixels(correction, locked), held)
    assert correction.areas[second] == full.size - 400 - held.sum()
    with pytest.raises(SproutError, match="no place"):
        correction.apply(PaintNucleus(correction.new_id(), *square(105, 105, 5)))


def test_an_empty_mask_removes_the_nucleus(correction):
    ident = min(correction.areas)
    correction.apply(PaintNucleus(ident, (3, 3, 5, 5), np.zeros((2, 2), bool)))
    assert ident not in correction.areas
    assert ident not in correction.prompts
    with pytest.raises(SproutError):
        correction.apply(PaintNucleus(correction.new_id(), (0, 0, 0, 0), np.zeros((0, 0), bool)))


@pytest.mark.parametrize(
    ("box", "shape"),
    [
        ((0, 0, 5, 5), (5, 6)),
        ((-1, 0, 4, 5), (5, 5)),
        ((158, 0, 163, 5), (5, 5)),
        ((0, 190, 5, 195), (5, 5)),
        ((5, 5, 3, 3), (0, 0)),
    ],
)
def test_masks_that_do_not_fit_are_refused(correction, everything, box, shape):
    start = everything(correction)
    with pytest.raises(SproutError):
        correction.apply(PaintNucleus(min(correction.areas), box, np.ones(shape, bool)))
    assert everything(correction) == start


def test_a_negative_point_cannot_be_painted_or_answered(correction):
    negative = next(i for i, p in correction.prompts.items() if p.kind == "negative")
    with pytest.raises(SproutError, match="negative"):
        correction.apply(PaintNucleus(negative, *square(5, 5)))
    with pytest.raises(SproutError, match="negative"):
        correction.apply(ChooseAnswer(negative, 1))


def test_merging_gives_all_pixels_to_one_nucleus(correction):
    a, b = touching_pair(correction)
    together = pixels(correction, a) | pixels(correction, b)
    change = correction.apply(MergeNuclei((a, b), b))
    np.testing.assert_array_equal(pixels(correction, b), together)
    assert a not in correction.prompts
    assert b in correction.prompts
    assert {a, b} <= change.ids
    assert correction.pinned == {b}


def test_merging_needs_two_visible_nuclei_one_of_which_stays(correction, everything):
    start = everything(correction)
    a, b = touching_pair(correction)
    for ids, into in [((a,), a), ((a, a), a), ((a, b), 9999), ((a, 9999), a), ((), a)]:
        with pytest.raises(SproutError):
            correction.apply(MergeNuclei(ids, into))
    assert everything(correction) == start


def test_splitting_gives_each_piece_a_number_and_the_first_keeps_its_own(correction):
    ident = max(correction.areas, key=correction.areas.get)
    box, mask = crop_of(pixels(correction, ident))
    left, right = mask.copy(), mask.copy()
    left[:, mask.shape[1] // 2 :] = False
    # The pieces share a column, which goes to the first.
    right[:, : mask.shape[1] // 2 - 1] = False
    new = correction.new_id()
    correction.apply(SplitNucleus(ident, ((ident, box, left), (new, box, right))))
    np.testing.assert_array_equal(crop_of(pixels(correction, ident))[1].sum(), left.sum())
    assert correction.areas[new] == mask.sum() - left.sum()
    assert correction.pinned == {ident, new}
    assert ident in correction.prompts
    assert new not in correction.prompts


def test_a_drawn_nucleus_can_be_split_again(correction):
    ident, new = correction.new_id(), correction.new_id()
    correction.apply(PaintNucleus(ident, *square(50, 50, 30)))
    upper = (50, 50, 65, 80), np.ones((15, 30), bool)
    lower = (65, 50, 80, 80), np.ones((15, 30), bool)
    correction.apply(SplitNucleus(ident, ((ident, *upper), (new, *lower))))
    assert correction.areas[ident] == correction.areas[new] == 450


def test_splits_that_make_no_sense_are_refused(correction, everything):
    ident, other = sorted(correction.areas)[:2]
    box, mask = crop_of(pixels(correction, ident))
    start = everything(correction)
    whole, new = (ident, box, mask), correction.new_id()
    for pieces in (
        (),
        (whole,),
        ((new, box, mask), whole),
        (whole, (other, box, mask)),
        (whole, (new, box, mask)),
        (whole, (new, box, np.zeros_like(mask))),
        (whole, (new, box, mask[:-1])),
    ):
        with pytest.raises(SproutError):
            correction.apply(SplitNucleus(ident, pieces))
    assert everything(correction) == start


def test_a_removed_nucleus_goes_with_its_point_unless_a_person_sets_another(correction):
    ident = max(correction.areas, key=correction.areas.get)
    prompt = correction.prompts[ident]
    change = correction.apply(RemoveNuclei((ident,)))
    assert ident not in correction.areas
    assert ident not in correction.prompts
    assert change.prompts_changed
    again = correction.new_id()
    correction.apply(AddPrompt(Prompt(again, "positive", prompt.y, prompt.x, "hand")))
    assert again in correction.areas
    with pytest.raises(SproutError, match="in use"):
        correction.apply(AddPrompt(Prompt(ident, "positive", prompt.y, prompt.x, "hand")))


def test_a_suppressed_mask_that_stands_for_a_removed_nucleus_stays_away(make_run):
    correction = Correction(make_run(suppression={"method": "hard"}, prompts={"negatives": 0}))
    mover, rival = sorted(correction.areas, key=correction.areas.get)[-2:]
    place = correction.prompts[rival]
    correction.apply(MovePrompt(mover, place.y, place.x))
    assert correction.suppressed[rival].by == mover
    correction.apply(RemoveNuclei((mover,)))
    assert rival not in correction.areas
    assert correction.suppressed[rival].reason == "removed"
    assert correction.suppressed[rival].by == mover
    correction.undo()
    correction.apply(DeletePrompts((mover,)))
    assert rival in correction.areas


def test_smaller_nuclei_under_a_removed_one_do_come_up(correction):
    inside = max(correction.areas, key=correction.areas.get)
    area = correction.areas[inside]
    cover = correction.new_id()
    full = np.ones(correction.labels.shape, bool)
    correction.apply(PaintNucleus(cover, (0, 0, *full.shape), full))
    assert inside not in correction.areas
    correction.apply(RemoveNuclei((cover,)))
    assert correction.areas[inside] >= 0.8 * area


def test_locked_nuclei_refuse_every_change_of_themselves(correction, everything):
    a, b = touching_pair(correction)
    correction.apply(LockNuclei((a,), True))
    start = everything(correction)
    box, mask = crop_of(pixels(correction, a))
    for edit in (
        MovePrompt(a, 50, 50),
        DeletePrompts((a,)),
        DeletePrompts((b, a)),
        PaintNucleus(a, box, mask),
        MergeNuclei((a, b), b),
        SplitNucleus(a, ((a, box, mask), (correction.new_id(), box, mask))),
        RemoveNuclei((a,)),
        ChooseAnswer(a, 1),
    ):
        with pytest.raises(SproutError, match="locked"):
            correction.apply(edit)
    assert everything(correction) == start


def test_locking_and_unlocking_change_no_pixel(correction, everything):
    before = correction.labels.copy()
    start = everything(correction)
    ids = tuple(correction.areas)
    change = correction.apply(LockNuclei(ids, True))
    assert correction.locked == set(ids)
    assert change.box is None
    assert change.ids == frozenset()
    correction.apply(LockNuclei(ids, True))
    correction.apply(LockNuclei(ids, False))
    np.testing.assert_array_equal(correction.labels, before)
    assert correction.locked == frozenset()
    # What SAM drew is SAM's again.
    assert correction.pinned == frozenset()
    for _ in range(3):
        correction.undo()
    assert everything(correction) == start


def test_what_is_unlocked_after_sam_changed_its_mind_stays_as_it_was_locked(correction):
    ident = max(correction.areas, key=correction.areas.get)
    prompt, held = correction.prompts[ident], pixels(correction, ident).copy()
    correction.apply(LockNuclei((ident,), True))
    correction.apply(
        AddPrompt(Prompt(correction.new_id(), "negative", prompt.y, prompt.x + 4, "hand"))
    )
    np.testing.assert_array_equal(pixels(correction, ident), held)
    correction.apply(LockNuclei((ident,), False))
    np.testing.assert_array_equal(pixels(correction, ident), held)
    assert ident in correction.pinned


def test_a_restored_mask_is_whole_and_stays(correction):
    free = [i for i in correction.suppressed if i in correction.candidates]
    ident = free[0]
    mask = correction.candidates[ident]
    correction.apply(RestoreCandidate(ident))
    assert correction.areas[ident] == mask.area
    assert ident in correction.pinned
    assert ident not in correction.suppressed
    with pytest.raises(SproutError, match="suppressed"):
        correction.apply(RestoreCandidate(ident))
    with pytest.raises(SproutError, match="suppressed"):
        correction.apply(RestoreCandidate(9999))


SETTINGS = [
    {},
    {"method": "hard"},
    {"method": "hard+soft", "decay": "linear"},
    {"method": "none"},
    {"score": "none"},
    {"score": "sam", "decay": "polynomial", "threshold": 0.6},
    {"containment_scale": 2.0, "containment_share": 0.5},
]


@pytest.mark.parametrize("change", SETTINGS, ids=str)
def test_settling_anew_what_has_not_changed_changes_nothing(make_run, everything, change):
    correction = Correction(make_run(suppression=change))
    state, start = correction.state, everything(correction)
    for ident in sorted(state.full):
        edit = Transaction(state)
        edit.changed[ident] = state.full[ident]
        resolve_around(edit)
        delta = edit.finish()
        assert not len(delta.places)
        assert everything(correction) == start


def test_labels_hold_one_piece_for_each_nucleus_that_sam_drew(correction):
    correction.apply(MovePrompt(min(correction.areas), 80.0, 90.0))
    for ident in correction.areas:
        assert ndimage.label(pixels(correction, ident), np.ones((3, 3)))[1] == 1

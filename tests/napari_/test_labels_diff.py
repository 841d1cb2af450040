from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from napari_sprout.core.edits import PaintNucleus
from napari_sprout.napari_.labels_sync import Strokes, diff_labels, mask_of

Labels = NDArray[np.int32]
WHOLE = (0, 0, 20, 24)


@pytest.fixture
def shown() -> Labels:
    labels = np.zeros((20, 24), np.int32)
    labels[2:7, 3:9] = 4
    labels[2:7, 9:14] = 5
    labels[12:18, 10:20] = 9
    return labels


def painted(found: Strokes, shape: tuple[int, int]) -> dict[int, NDArray[np.bool_]]:
    masks = {}
    for edit in found.edits:
        assert isinstance(edit, PaintNucleus)
        y0, x0, y1, x1 = edit.box
        assert edit.mask.shape == (y1 - y0, x1 - x0)
        assert edit.id not in masks
        masks[edit.id] = np.zeros(shape, bool)
        masks[edit.id][y0:y1, x0:x1] = edit.mask
    return masks


def test_nothing_painted_gives_no_edits(shown: Labels, new_id: Callable[[], int]) -> None:
    assert diff_labels(shown.copy(), shown, WHOLE, new_id=new_id).edits == ()


def test_a_grown_nucleus_gets_its_whole_mask(shown: Labels, new_id: Callable[[], int]) -> None:
    drawn = shown.copy()
    drawn[7:9, 4:6] = 4
    found = diff_labels(drawn, shown, (7, 4, 9, 6), new_id=new_id)
    masks = painted(found, shown.shape)
    assert list(masks) == [4]
    assert np.array_equal(masks[4], drawn == 4)
    assert found.edits[0].box == (2, 3, 9, 9)


def test_painting_over_a_neighbour_leaves_it_to_give_way(
    shown: Labels, new_id: Callable[[], int]
) -> None:
    drawn = shown.copy()
    drawn[3:5, 8:11] = 4
    masks = painted(diff_labels(drawn, shown, WHOLE, new_id=new_id), shown.shape)
    assert list(masks) == [4]


def test_painting_over_a_pinned_neighbour_tells_it_to_shrink_first(
    shown: Labels, new_id: Callable[[], int]
) -> None:
    drawn = shown.copy()
    drawn[3:5, 8:11] = 4
    found = diff_labels(drawn, shown, WHOLE, new_id=new_id, pinned=frozenset({5, 9}))
    masks = painted(found, shown.shape)
    assert list(masks) == [5, 4]
    assert np.array_equal(masks[5], drawn == 5)


def test_erasing_shrinks_every_nucleus_touched(shown: Labels, new_id: Callable[[], int]) -> None:
    drawn = shown.copy()
    drawn[2:4, 7:11] = 0
    masks = painted(diff_labels(drawn, shown, (2, 7, 4, 11), new_id=new_id), shown.shape)
    assert list(masks) == [4, 5]
    assert np.array_equal(masks[4], drawn == 4)


def test_erasing_all_of_a_nucleus_gives_an_empty_mask(
    shown: Labels, new_id: Callable[[], int]
) -> None:
    drawn = np.where(shown == 9, 0, shown)
    (edit,) = diff_labels(drawn, shown, WHOLE, new_id=new_id).edits
    assert isinstance(edit, PaintNucleus)
    assert edit.id == 9
    assert not edit.mask.any()


def test_a_made_up_label_gets_a_number_of_its_own(shown: Labels, new_id: Callable[[], int]) -> None:
    drawn = shown.copy()
    drawn[15:19, 2:5] = 10
    found = diff_labels(drawn, shown, (15, 2, 19, 5), new_id=new_id)
    assert found.renumbered == {10: 1000}
    (edit,) = found.edits
    assert isinstance(edit, PaintNucleus)
    assert edit.id == 1000
    assert edit.mask.shape == (4, 3)
    assert edit.mask.all()


def test_a_number_given_a_moment_ago_is_kept(shown: Labels, new_id: Callable[[], int]) -> None:
    drawn = shown.copy()
    drawn[15:19, 2:5] = 1000
    found = diff_labels(drawn, shown, WHOLE, new_id=new_id, known=frozenset({1000}))
    assert found.renumbered == {}
    assert [edit.id for edit in found.edits] == [1000]


def test_a_fill_turns_one_nucleus_into_another(shown: Labels, new_id: Callable[[], int]) -> None:
    drawn = np.where(shown == 5, 4, shown)
    masks = painted(diff_labels(drawn, shown, WHOLE, new_id=new_id), shown.shape)
    assert list(masks) == [4]
    assert np.array_equal(masks[4], (shown == 4) | (shown == 5))


def test_only_the_stroke_s_region_is_looked_at(shown: Labels, new_id: Callable[[], int]) -> None:
    drawn = shown.copy()
    drawn[12, 10] = 0
    drawn[0, 0] = 4
    found = diff_labels(drawn, shown, (0, 0, 3, 3), new_id=new_id)
    assert [edit.id for edit in found.edits] == [4]


@given(data=st.data())
@settings(max_examples=40, deadline=None)
def test_every_nucleus_that_gained_or_was_erased_is_as_drawn(data: st.DataObject) -> None:
    numbers = iter(range(1000, 2000))
    shown = np.array(data.draw(st.lists(st.integers(0, 4), min_size=36, max_size=36)), np.int32)
    drawn = np.array(data.draw(st.lists(st.integers(0, 6), min_size=36, max_size=36)), np.int32)
    shown, drawn = shown.reshape(6, 6), drawn.reshape(6, 6)
    found = diff_labels(drawn, shown, (0, 0, 6, 6), new_id=lambda: next(numbers))
    masks = painted(found, (6, 6))
    back = {ident: label for label, ident in found.renumbered.items()}
    for ident, mask in masks.items():
        assert np.array_equal(mask, drawn == back.get(ident, ident))
    # What no edit speaks of lost pixels to painted nuclei alone.
    silent = ~np.isin(shown, [*masks, 0]) & (drawn != shown)
    assert (drawn[silent] > 0).all()


def test_the_mask_of_a_label_that_is_not_there_is_empty(shown: Labels) -> None:
    box, mask = mask_of(shown, 77)
    assert box == (0, 0, 0, 0)
    assert mask.shape == (0, 0)

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from skimage.draw import disk

from napari_sprout.core.instances import Prompt
from napari_sprout.napari_.drawing import cuts, nuclei_inside


@pytest.fixture
def labels() -> np.ndarray:
    made = np.zeros((60, 80), np.int32)
    made[disk((20, 20), 10)] = 3
    made[disk((20, 55), 12)] = 8
    made[disk((48, 30), 6)] = 5
    return made


def pieces_of(edit, shape) -> dict[int, np.ndarray]:
    found = {}
    for ident, (y0, x0, y1, x1), mask in edit.pieces:
        assert ident not in found
        found[ident] = np.zeros(shape, bool)
        found[ident][y0:y1, x0:x1] = mask
    return found


@pytest.mark.parametrize(
    "path",
    [
        [(5, 20), (35, 20)],
        [(20, 5), (20, 33)],
        [(8, 8), (33, 32)],
        [(8, 32), (33, 8)],
        [(5, 16), (20, 24), (35, 15)],
    ],
    ids=["down", "across", "diagonal", "other diagonal", "bent"],
)
def test_a_line_across_splits_a_nucleus_into_all_its_pixels(labels, new_id, path) -> None:
    (edit,) = cuts(labels, np.array(path, float), new_id=new_id, prompts={})
    pieces = pieces_of(edit, labels.shape)
    assert edit.id == 3
    assert list(pieces) == [3, 1000]
    assert np.array_equal(sum(pieces.values()), (labels == 3).astype(int))
    assert pieces[3].sum() >= pieces[1000].sum() > 30


def test_the_piece_with_the_prompt_keeps_the_number(labels, new_id) -> None:
    path = np.array([(5.0, 15.0), (35.0, 15.0)])
    prompt = Prompt(3, "positive", 20.0, 12.0, "hand")
    (edit,) = cuts(labels, path, new_id=new_id, prompts={3: prompt})
    pieces = pieces_of(edit, labels.shape)
    assert pieces[3][20, 12]
    assert pieces[3].sum() < pieces[1000].sum()


def test_a_line_through_two_nuclei_splits_both(labels, new_id) -> None:
    found = cuts(labels, np.array([(20.0, 2.0), (20.0, 78.0)]), new_id=new_id, prompts={})
    assert [edit.id for edit in found] == [3, 8]
    assert [piece[0] for edit in found for piece in edit.pieces] == [3, 1000, 8, 1001]


@pytest.mark.parametrize("reach", [4, 30])
def test_a_line_between_the_pieces_of_one_nucleus_splits_it(labels, new_id, reach) -> None:
    labels[labels == 8] = 3
    path = np.array([(20.0 - reach, 36.0), (20.0 + reach, 37.0)])
    (edit,) = cuts(labels, path, new_id=new_id, prompts={})
    pieces = pieces_of(edit, labels.shape)
    assert edit.id == 3
    assert np.array_equal(sum(pieces.values()), (labels == 3).astype(int))
    assert {int(np.flatnonzero(piece.any(axis=0))[0]) for piece in pieces.values()} == {11, 44}
    beside = np.array([(50.0, 60.0), (58.0, 70.0)])
    assert cuts(labels, beside, new_id=new_id, prompts={}) == ()


def test_a_locked_nucleus_is_not_split(labels, new_id) -> None:
    path = np.array([(20.0, 2.0), (20.0, 78.0)])
    found = cuts(labels, path, new_id=new_id, prompts={}, locked=frozenset({3}))
    assert [edit.id for edit in found] == [8]


@pytest.mark.parametrize(
    "path",
    [
        [(20, 5), (20, 20)],
        [(2, 2), (2, 70)],
        [(11, 5), (11, 33)],
        [(-30, -30), (-5, 90)],
    ],
    ids=["half way", "beside", "a sliver", "outside the image"],
)
def test_a_line_that_divides_nothing_gives_no_edit(labels, new_id, path) -> None:
    assert cuts(labels, np.array(path, float), new_id=new_id, prompts={}) == ()


def test_a_line_that_ends_just_inside_the_edge_still_cuts(labels, new_id) -> None:
    path = np.array([(20.0, 12.0), (20.0, 28.0)])
    assert len(cuts(labels, path, new_id=new_id, prompts={})) == 1


@given(
    angle=st.floats(0, np.pi),
    shift=st.floats(-6, 6),
    centre=st.tuples(st.floats(20, 40), st.floats(20, 40)),
)
@settings(max_examples=30, deadline=None)
def test_any_straight_cut_is_exact_and_disjoint(angle, shift, centre) -> None:
    labels = np.zeros((60, 60), np.int32)
    labels[disk(centre, 11)] = 2
    along = np.array([np.sin(angle), np.cos(angle)])
    middle = np.array(centre) + shift * np.array([along[1], -along[0]])
    path = np.stack([middle - 25 * along, middle + 25 * along])
    numbers = iter(range(10, 100))
    (edit,) = cuts(labels, path, new_id=lambda: next(numbers), prompts={})
    pieces = pieces_of(edit, labels.shape)
    assert len(pieces) == 2
    assert np.array_equal(sum(pieces.values()), (labels == 2).astype(int))


def test_nuclei_are_selected_when_most_of_them_lies_inside(labels) -> None:
    box = np.array([(5.0, 5.0), (5.0, 50.0), (35.0, 50.0), (35.0, 5.0)])
    assert nuclei_inside(labels, box) == {3}
    box[1:3, 1] = 60.0
    assert nuclei_inside(labels, box) == {3, 8}


@pytest.mark.parametrize("offset", [(-200.0, 0.0), (0.0, 300.0)])
def test_a_region_outside_the_image_selects_nothing(
    labels, offset: tuple[float, float], new_id: Callable[[], int]
) -> None:
    box = np.array([(5.0, 5.0), (5.0, 50.0), (35.0, 50.0)]) + offset
    assert nuclei_inside(labels, box) == frozenset()

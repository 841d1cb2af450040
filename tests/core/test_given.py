from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from napari_sprout.core.coordinates import Scale
from napari_sprout.core.given import MOST, GivenNuclei, given_prompts
from napari_sprout.core.pieces import pieces_of
from napari_sprout.core.settings import PromptSettings
from napari_sprout.errors import SproutError

SHAPE = (40, 50)


def square(ident, y, x, side=6):
    return ident, (y, x, y + side, x + side), np.ones((side, side), bool)


def placed(pieces, scale, background=None):
    if background is None:
        background = np.zeros(scale.working, bool)
    return given_prompts(GivenNuclei.of(pieces, SHAPE), background, PromptSettings(), scale)


def painted(pieces, shape=SHAPE):
    labels = np.zeros(shape, np.int64)
    for ident, (y0, x0, y1, x1), mask in pieces:
        labels[y0:y1, x0:x1][mask] = ident
    return labels


@settings(deadline=None, max_examples=40)
@given(st.integers(0, 2**31), st.sampled_from([1, 3, 1000, 2**31 - 1]))
def test_a_label_image_is_cut_into_pieces_that_paint_it_again(seed, largest):
    rng = np.random.default_rng(seed)
    labels = rng.integers(0, largest, SHAPE, endpoint=True) * (rng.random(SHAPE) < 0.3)
    pieces = pieces_of(labels)
    assert [ident for ident, _, _ in pieces] == sorted(set(labels.ravel().tolist()) - {0})
    np.testing.assert_array_equal(painted(pieces), labels)


def test_nuclei_keep_their_numbers_and_their_own_pixels():
    pieces = [square(70, 3, 3), square(9, 20, 30)]
    found = GivenNuclei.of(pieces, SHAPE)
    assert found.ids == {9, 70}
    np.testing.assert_array_equal(painted(found.pieces), painted(pieces))


def test_a_pixel_of_several_nuclei_belongs_to_the_first():
    pieces = [square(70, 3, 3), square(9, 5, 5), square(4, 4, 4, side=2)]
    found = GivenNuclei.of(pieces, SHAPE)
    np.testing.assert_array_equal(painted(found.pieces), painted([pieces[1], pieces[0]]))
    assert len(found) == 2


def test_numbers_too_large_for_a_table_are_counted_from_one():
    found = GivenNuclei.of([square(MOST + 1, 3, 3), square(9, 20, 30)], SHAPE)
    expected = painted([square(2, 3, 3), square(1, 20, 30)])
    np.testing.assert_array_equal(painted(found.pieces), expected)
    kept = GivenNuclei.of([square(MOST, 3, 3), square(9, 20, 30)], SHAPE)
    assert kept.ids == {9, MOST}


@pytest.mark.parametrize(
    "pieces",
    [
        [],
        [(1, (3, 3, 5, 5), np.zeros((2, 2), bool))],
        [square(0, 3, 3)],
        [square(-4, 3, 3)],
        [square(2**31, 3, 3)],
        [square(5, 3, 3), square(5, 20, 30)],
        [square(5, 36, 3)],
        [(5, (3, 3, 6, 6), np.ones((2, 2), bool))],
    ],
    ids=["none", "empty", "zero", "negative", "too large", "twice", "outside", "box"],
)
def test_what_cannot_be_nuclei_is_refused(pieces):
    with pytest.raises(SproutError):
        GivenNuclei.of(pieces, SHAPE)


def test_the_key_tells_nuclei_apart():
    keys = [
        GivenNuclei.of(pieces, SHAPE).key
        for pieces in (
            [square(1, 3, 3)],
            [square(2, 3, 3)],
            [square(1, 3, 4)],
            [(1, (3, 3, 9, 9), np.eye(6, dtype=bool))],
            [square(1, 3, 3), square(2, 20, 20)],
        )
    ]
    assert len(set(keys)) == len(keys)
    assert GivenNuclei.of([square(1, 3, 3)], SHAPE).key == keys[0]


def test_a_point_is_at_the_centroid_or_deepest_inside_a_bent_nucleus():
    bent = np.ones((9, 9), bool)
    bent[2:, 2:] = False
    bent[6:9, 0:3] = True
    made = placed(
        [square(8, 10, 20, side=5), (3, (20, 30, 29, 39), bent)], Scale(SHAPE, SHAPE, 0.25)
    )
    low, high = made.prompts
    assert (low.id, low.kind, low.source) == (3, "positive", "given")
    assert bent[int(low.y) - 20, int(low.x) - 30]
    # The end is three pixels wide where the rest is two.
    assert (low.y - 20, low.x - 30) == (7, 1)
    assert (high.id, high.y, high.x) == (8, 12, 22)
    np.testing.assert_array_equal(made.regions[10:15, 20:25], 8)
    assert made.step is None


@settings(deadline=None, max_examples=40)
@given(st.integers(0, 2**31), st.sampled_from([(40, 50), (80, 100), (57, 71), (13, 17), (10, 12)]))
def test_every_nucleus_has_a_point_inside_and_no_region_is_larger_than_it(seed, working):
    rng = np.random.default_rng(seed)
    labels = np.kron(rng.integers(0, 60, (20, 25)), np.ones((2, 2), int))
    labels[rng.random(SHAPE) < 0.2] = 0
    scale = Scale(SHAPE, working, 0.25 * SHAPE[0] / working[0])
    made = placed(pieces_of(labels), scale)
    assert [prompt.id for prompt in made.prompts] == sorted(set(labels.ravel().tolist()) - {0})
    for prompt in made.prompts:
        assert labels[int(prompt.y), int(prompt.x)] == prompt.id
    assert made.regions.shape == working
    assert set(made.regions.ravel().tolist()) <= set(labels.ravel().tolist()) | {0}


def test_a_nucleus_that_holds_no_working_pixel_has_the_one_it_lies_in():
    pieces = [(2, (4, 4, 5, 5), np.ones((1, 1), bool)), square(1, 20, 20)]
    made = placed(pieces, Scale(SHAPE, (10, 12), 1.0))
    assert np.count_nonzero(made.regions == 2) == 1
    assert made.regions[1, 1] == 2


def test_negative_points_lie_on_the_background_away_from_all_nuclei():
    background = np.zeros((80, 100), bool)
    background[:, 40:] = True
    made = placed(
        [square(9, 4, 30, side=9), square(70, 3, 3)], Scale(SHAPE, (80, 100), 0.25), background
    )
    positive, negative = made.prompts[:2], made.prompts[2:]
    assert [prompt.id for prompt in positive] == [9, 70]
    assert [prompt.id for prompt in negative] == list(range(71, 71 + len(negative)))
    assert len(negative) > 2
    for prompt in negative:
        assert prompt.kind == "negative"
        assert prompt.x >= 20
        # A micrometre is two pixels of the image here.
        assert np.hypot(max(abs(prompt.y - 8) - 4.5, 0), max(abs(prompt.x - 34) - 4.5, 0)) > 1.5

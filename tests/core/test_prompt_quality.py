from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays

from napari_sprout.core.instances import Prompt
from napari_sprout.core.prompt_quality import PromptQuality, prompt_quality
from napari_sprout.errors import ImageError

TRUTH = np.array(
    [
        [1, 1, 0, 0, 0],
        [1, 1, 0, 7, 7],
        [0, 0, 0, 7, 7],
        [9, 0, 0, 0, 0],
    ],
    dtype=np.int32,
)


def points(kind, *places) -> list[Prompt]:
    return [Prompt(i + 1, kind, y, x, "activation") for i, (y, x) in enumerate(places)]


def test_points_are_counted_by_what_they_lie_on():
    positives = points("positive", (0, 0), (1, 1), (1, 0), (1, 3), (0, 4))
    negatives = points("negative", (0, 2), (2, 0), (2, 4), (3, 2))
    assert prompt_quality([*positives, *negatives], TRUTH) == PromptQuality(
        positive_precision=4 / 5,
        negative_precision=3 / 4,
        nuclei_hit=2 / 3,
        positives_per_nucleus=2.0,
    )


@pytest.mark.parametrize(
    ("y", "x", "inside"),
    [
        (1.49, 1.49, True),
        (1.51, 1.0, False),
        (1.0, 1.51, False),
        (0.51, 3.0, True),
        (0.49, 3.0, False),
        (-0.5, -0.5, True),
        (-0.51, 0.0, False),
        (3.49, 0.0, True),
        (3.51, 0.0, False),
        (-4.0, 0.0, False),
        (1e9, 0.0, False),
    ],
)
def test_a_pixel_reaches_half_a_pixel_from_its_centre(y, x, inside):
    found = prompt_quality(points("positive", (y, x)), TRUTH)
    assert found.positive_precision == inside


def test_a_share_of_nothing_is_not_a_number():
    empty = np.zeros((4, 4), np.uint8)
    none = prompt_quality([], empty)
    assert all(
        math.isnan(value)
        for value in (
            none.positive_precision,
            none.negative_precision,
            none.nuclei_hit,
            none.positives_per_nucleus,
        )
    )
    missed = prompt_quality(points("positive", (0, 2)), TRUTH)
    assert (missed.positive_precision, missed.nuclei_hit) == (0.0, 0.0)
    assert math.isnan(missed.positives_per_nucleus)
    assert math.isnan(missed.negative_precision)


@settings(deadline=None, max_examples=60)
@given(
    truth=arrays.arrays(np.int32, (6, 7), elements=st.integers(0, 4)),
    places=st.lists(
        st.tuples(st.sampled_from(["positive", "negative"]), st.floats(-2, 8), st.floats(-2, 9)),
        max_size=12,
    ),
    seed=st.integers(0, 99),
)
def test_neither_order_nor_numbers_of_nuclei_matter(truth, places, seed):
    made = [Prompt(i + 1, kind, y, x, "hand") for i, (kind, y, x) in enumerate(places)]
    found = prompt_quality(made, truth)
    rng = np.random.default_rng(seed)
    others = np.concatenate([[0], rng.choice(np.arange(1, 50), 4, replace=False)])
    again = prompt_quality([made[i] for i in rng.permutation(len(made))], others[truth])
    np.testing.assert_equal(vars(again), vars(found))
    for share in (found.positive_precision, found.negative_precision, found.nuclei_hit):
        assert math.isnan(share) or 0 <= share <= 1
    assert math.isnan(found.positives_per_nucleus) or found.positives_per_nucleus >= 1


@pytest.mark.parametrize("truth", [np.zeros((3, 3, 3), int), np.zeros((3, 3)), np.zeros(3, int)])
def test_what_is_no_label_image_is_refused(truth):
    with pytest.raises(ImageError, match="one whole number a pixel"):
        prompt_quality([], truth)

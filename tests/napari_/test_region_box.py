"""Which pixels a person means by a rectangle, and whether they can be segmented at once."""

from __future__ import annotations

import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from napari_sprout.core.coordinates import Scale
from napari_sprout.core.settings import Settings
from napari_sprout.core.stages import MAX_WORKING_PIXELS
from napari_sprout.napari_.region_box import box_of, refusal

SHAPE = (1000, 2000)
EDGES = st.floats(-3000, 3000)


@given(EDGES, EDGES, st.floats(0, 2000), st.floats(0, 2000))
def test_a_box_lies_within_the_slide(y: float, x: float, height: float, width: float) -> None:
    box = box_of((y, x, y + height, x + width), SHAPE)
    # A pixel reaches half a pixel beyond its centre.
    low, high = (-0.5, -0.5), (SHAPE[0] - 0.5, SHAPE[1] - 0.5)
    if box is None:
        inside = y + height > low[0] and x + width > low[1] and y < high[0] and x < high[1]
        assert not inside or min(height, width) == 0
        return
    y0, x0, y1, x1 = box
    assert 0 <= y0 < y1 <= SHAPE[0]
    assert 0 <= x0 < x1 <= SHAPE[1]
    # All that the rectangle covers of the slide is there, and no pixel that it does not touch.
    assert y0 - 0.5 <= max(y, low[0]) < y0 + 0.5
    assert y1 - 1.5 <= min(y + height, high[0]) <= y1 - 0.5
    assert x0 - 0.5 <= max(x, low[1]) < x0 + 0.5
    assert x1 - 1.5 <= min(x + width, high[1]) <= x1 - 0.5


@pytest.mark.parametrize("mpp", [0.12, 0.25, 0.5])
@given(st.integers(100, 90_000), st.integers(100, 90_000))
def test_what_is_named_as_small_enough_is_accepted(mpp: float, height: int, width: int) -> None:
    text = refusal((0, 0, height, width), mpp, Settings(), MAX_WORKING_PIXELS, "why")
    working = Scale.between((height, width), mpp, Settings().image.mpp).working
    assert bool(text) == (working[0] * working[1] > MAX_WORKING_PIXELS or min(working) < 16)
    if found := re.search(r"at most ([\d.]+) x ([\d.]+) mm", text):
        smaller = [int(float(side) * 1000 / mpp) for side in found.groups()]
        if min(smaller) >= 100:
            again = (0, 0, smaller[1], smaller[0])
            assert refusal(again, mpp, Settings(), MAX_WORKING_PIXELS, "why") == ""


def test_too_small_a_region_is_refused() -> None:
    text = refusal((0, 0, 20, 400), 0.25, Settings(), MAX_WORKING_PIXELS, "why")
    assert "too small" in text
    assert "8 µm" in text

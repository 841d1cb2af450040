"""What of a slide is done."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from napari_sprout.core.instances import Box
from napari_sprout.io.slides.region_results import RegionState
from napari_sprout.napari_.slide_progress import VALUES, progress_map, share_done

TISSUE = np.ones((10, 20), bool)
STATES = st.sampled_from(list(RegionState))


@st.composite
def boxes(draw: st.DrawFn) -> Box:
    y, x = draw(st.integers(0, 90)), draw(st.integers(0, 190))
    return y, x, draw(st.integers(y + 1, 100)), draw(st.integers(x + 1, 200))


def test_tissue_without_regions_is_all_to_do() -> None:
    tissue = TISSUE.copy()
    tissue[:, :5] = False
    found = progress_map(tissue, 10, [])
    assert np.array_equal(found, tissue.astype(np.uint8))
    assert share_done(found) == 0


def test_tissue_in_regions_is_what_they_are() -> None:
    tissue = TISSUE.copy()
    tissue[0, 0] = False
    regions = [
        ((0, 0, 50, 100), RegionState.SEGMENTED),
        ((50, 0, 100, 100), RegionState.NEW),
        ((0, 100, 50, 200), RegionState.CORRECTED),
    ]
    found = progress_map(tissue, 10, regions)
    assert found[0, 0] == 0
    assert set(found[1:5, :10].flat) == {VALUES[RegionState.SEGMENTED]}
    assert set(found[5:, :10].flat) == {VALUES[RegionState.NEW]}
    assert set(found[:5, 10:].flat) == {VALUES[RegionState.CORRECTED]}
    assert set(found[5:, 10:].flat) == {1}
    assert share_done(found) == pytest.approx(99 / 199)


@given(st.lists(st.tuples(boxes(), STATES)), st.sampled_from([1.0, 7.3, 10.0]))
def test_the_order_of_regions_makes_no_difference(
    regions: list[tuple[Box, RegionState]], downsample: float
) -> None:
    found = progress_map(TISSUE, downsample, regions)
    again = progress_map(TISSUE, downsample, regions[::-1])
    assert np.array_equal(found, again)


def test_no_tissue_is_nothing_done() -> None:
    assert share_done(progress_map(np.zeros((4, 4), bool), 10, [])) == 0

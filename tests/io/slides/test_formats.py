"""What holds for slides of all formats."""

from __future__ import annotations

import shutil
from concurrent.futures import ThreadPoolExecutor
from itertools import pairwise

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from napari_sprout.errors import SettingsError
from napari_sprout.io.slides.opening import is_slide, open_slide
from napari_sprout.io.slides.protocol import Slide
from slide_files import expected, pattern, pyramid

from .conftest import MPP, WRITERS, assert_holds


def test_a_slide_holds_the_pixels_that_were_written(written, levels):
    slide = open_slide(written)
    assert isinstance(slide, Slide)
    assert is_slide(written)
    assert slide.path == written
    assert slide.mpp == pytest.approx(MPP)
    assert [one.downsample for one in slide.levels] == [1, 2, 4]
    assert_holds(slide, levels)


@settings(
    max_examples=60, suppress_health_check=[HealthCheck.function_scoped_fixture], deadline=None
)
@given(data=st.data())
def test_any_region_equals_that_of_the_array(written, levels, data):
    slide = open_slide(written)
    number = data.draw(st.integers(0, len(levels) - 1))
    rows, columns = levels[number].shape[:2]
    y, x = data.draw(st.integers(-90, rows + 90)), data.draw(st.integers(-90, columns + 90))
    height, width = data.draw(st.integers(0, 200)), data.draw(st.integers(0, 200))
    region = slide.read(number, y, x, height, width)
    assert region.shape == (height, width, 3)
    assert region.dtype == np.uint8
    np.testing.assert_array_equal(region, expected(levels[number], y, x, height, width))


def test_threads_read_what_one_reads(written, levels):
    slide = open_slide(written)
    places = [(y, x) for y in range(0, 300, 37) for x in range(0, 400, 41)]
    with ThreadPoolExecutor(8) as pool:
        regions = list(pool.map(lambda place: slide.read(0, *place, 70, 70), places))
    for place, region in zip(places, regions, strict=True):
        np.testing.assert_array_equal(region, expected(levels[0], *place, 70, 70))


def test_a_pixel_size_given_by_hand_overrides_that_of_the_slide(written):
    assert open_slide(written, 0.3).mpp == 0.3
    with pytest.raises(SettingsError, match="pixel size"):
        open_slide(written, 300)


def test_the_fingerprint_is_of_the_content(written, tmp_path):
    copy = tmp_path / f"copy{written.suffix}"
    (shutil.copytree if written.is_dir() else shutil.copy)(written, copy)
    known = open_slide(written).fingerprint
    assert open_slide(copy, 0.3).fingerprint == known
    assert open_slide(written).fingerprint == known


@pytest.mark.parametrize("name", WRITERS)
def test_other_pixels_have_another_fingerprint(name, levels, tmp_path):
    prints = set()
    for number, (seed, height) in enumerate([(0, 301), (1, 301), (0, 305)]):
        path = tmp_path / str(number) / name
        path.parent.mkdir()
        WRITERS[name](path, pyramid(pattern(height, 402, seed)))
        prints.add(open_slide(path).fingerprint)
    assert len(prints) == 3


def test_levels_become_smaller(written):
    slide = open_slide(written)
    for finer, coarser in pairwise(slide.levels):
        assert coarser.downsample > finer.downsample
        assert all(c < f for c, f in zip(coarser.shape, finer.shape, strict=True))


def test_a_slide_may_be_closed_twice(written):
    slide = open_slide(written)
    slide.close()
    slide.close()

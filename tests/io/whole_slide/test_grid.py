from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from napari_sprout.core.seams import holds
from napari_sprout.core.settings import Settings
from napari_sprout.io.whole_slide.grid import MOST_HALO_UM, SlideGrid, parts
from napari_sprout.io.whole_slide.sample import LAYOUTS, PIECE_UM, sample_boxes

sides = st.integers(1, 20_000)
sizes = st.sampled_from([0.1, 0.25, 0.5, 1.0])


@given(sides, sides, sizes)
def test_tiles_cover_the_slide_without_gap_or_overlap(height: int, width: int, mpp: float) -> None:
    grid = SlideGrid.over((height, width), mpp, Settings())
    assert grid.total == len(grid.cells)
    area = 0
    for cell in grid.cells:
        y0, x0, y1, x1 = grid.core(cell)
        assert (y0 % grid.chunk, x0 % grid.chunk) == (0, 0)
        area += (y1 - y0) * (x1 - x0)
        outer = grid.widened((y0, x0, y1, x1))
        assert outer[0] <= max(0, y0 - grid.halo)
        assert outer[3] >= min(width, x1 + grid.halo)
        assert min(outer[2] - outer[0], outer[3] - outer[1]) >= min(height, width, 64) // 2
    assert area == height * width
    point = (height * 0.37 - 0.5, width * 0.73 - 0.5)
    assert sum(holds(grid.core(cell), *point) for cell in grid.cells) == 1


@pytest.mark.parametrize("mpp", [0.25, 0.5])
def test_the_halo_holds_the_largest_nucleus(mpp: float) -> None:
    grid = SlideGrid.over((5000, 5000), mpp, Settings())
    largest = 2 * math.sqrt(Settings().decoding.max_area / math.pi)
    assert grid.halo * mpp >= largest
    small = SlideGrid.over((5000, 5000), mpp, Settings(), tile_um=32)
    assert small.halo == grid.halo
    huge = Settings().with_changes(decoding={"max_area": 1e6})
    assert SlideGrid.over((5000, 5000), mpp, huge).halo * mpp <= MOST_HALO_UM + mpp
    small = SlideGrid.over((5000, 5000), mpp, huge, tile_um=32)
    assert small.halo == math.ceil(MOST_HALO_UM / mpp)
    assert 2 * small.halo <= small.side


@settings(max_examples=30)
@given(st.sets(st.tuples(st.integers(0, 63), st.integers(0, 63)), max_size=5))
def test_no_tile_with_tissue_is_passed_over(places: set[tuple[int, int]]) -> None:
    tissue = np.zeros((64, 64), bool)
    for place in places:
        tissue[place] = True
    grid = SlideGrid.over((8000, 8000), 0.25, Settings(), tile_um=64)
    fitting = grid.over_tissue(tissue)
    kept = set(fitting.cells)
    for row, column in places:
        y, x = row * 125, column * 125
        for point in ((y, x), (y + 124, x + 124)):
            cell = (point[0] // grid.side, point[1] // grid.side)
            assert cell in kept
            y0, x0, y1, x1 = fitting.region(cell, fitting.core(cell))
            assert y0 <= point[0] < y1
            assert x0 <= point[1] < x1
    assert not kept or places
    for cell in fitting.cells:
        y0, x0, y1, x1 = fitting.region(cell, fitting.core(cell))
        outer = fitting.widened(fitting.core(cell))
        assert min(y1 - y0, x1 - x0) >= 64
        assert (y0, x0) >= outer[:2]
        assert y1 <= outer[2]
        assert x1 <= outer[3]


@given(st.integers(1, 40), st.integers(1, 40))
def test_quarters_make_the_whole(height: int, width: int) -> None:
    boxes = [box for _, box in parts((3, 5, 3 + height, 5 + width))]
    assert sum((b[2] - b[0]) * (b[3] - b[1]) for b in boxes) == height * width
    assert len({box for box in boxes}) == len(boxes)


class TestSample:
    def test_a_small_slide_is_its_own_sample(self) -> None:
        tissue = np.ones((10, 10), bool)
        assert sample_boxes(tissue, 100.0, (1000, 1000), 0.25, 0) == [(0, 0, 1000, 1000)]

    def test_there_is_none_of_glass(self) -> None:
        assert sample_boxes(np.zeros((10, 10), bool), 2000.0, (20_000, 20_000), 0.25, 0) == []

    @settings(max_examples=40)
    @given(
        st.integers(0, 99),
        st.floats(0.001, 0.6),
        st.integers(900, 9000),
        st.integers(900, 9000),
        sizes,
    )
    def test_pieces_lie_on_tissue_and_inside(
        self, seed: int, share: float, height: int, width: int, mpp: float
    ) -> None:
        down = 40.0
        shape = (-(-height // 40), -(-width // 40))
        tissue = np.random.default_rng(seed).random(shape) < share
        boxes = sample_boxes(tissue, down, (height, width), mpp, seed)
        assert boxes == sample_boxes(tissue, down, (height, width), mpp, seed)
        assert bool(boxes) == bool(tissue.any())
        assert not boxes or len(boxes) in [rows * columns for rows, columns in LAYOUTS]
        assert len({(b[2] - b[0], b[3] - b[1]) for b in boxes}) <= 1
        for y0, x0, y1, x1 in boxes:
            assert 0 <= y0 < y1 <= height
            assert 0 <= x0 < x1 <= width
            part = tissue[int(y0 / down) : -(-y1 // 40), int(x0 / down) : -(-x1 // 40)]
            assert part.any()

    def test_full_places_go_before_their_edges(self) -> None:
        tissue = np.zeros((100, 100), bool)
        tissue[20:60, 20:70] = True
        boxes = sample_boxes(tissue, 200.0, (20_000, 20_000), 0.25, 0)
        assert len(boxes) == 9
        side = round(PIECE_UM / 0.25)
        for y0, x0, y1, x1 in boxes:
            assert (y1 - y0, x1 - x0) == (side, side)
            inside = tissue[y0 // 200 : -(-y1 // 200), x0 // 200 : -(-x1 // 200)]
            assert inside.mean() > 0.4

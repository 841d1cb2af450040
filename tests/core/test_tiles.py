from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from napari_sprout.core.tiles import TileGrid
from napari_sprout.errors import SettingsError

QUICK = settings(deadline=None, max_examples=50)

SHAPES = st.tuples(st.integers(32, 3000), st.integers(32, 3000))
SIDES = st.sampled_from([128, 192, 256, 512, 1024])
OVERLAPS = st.floats(0, 0.75)


@QUICK
@given(SHAPES, SIDES, OVERLAPS, st.booleans())
def test_tiles_cover_the_padded_image_on_the_token_grid(shape, side, overlap, even):
    grid = (TileGrid.about if even else TileGrid.over)(shape, side, overlap)
    side = grid.side
    covered = np.zeros(grid.tokens, dtype=bool)
    for y, x in grid.origins:
        assert y % grid.token == 0
        assert x % grid.token == 0
        assert 0 <= y <= grid.padded[0] - side
        assert 0 <= x <= grid.padded[1] - side
        rows, columns = y // grid.token, x // grid.token
        covered[rows : rows + 64, columns : columns + 64] = True
    assert covered.all()
    assert len(set(grid.origins)) == len(grid.origins)
    assert list(grid.origins) == sorted(grid.origins)


@QUICK
@given(SHAPES, SIDES, OVERLAPS)
def test_padding_is_to_whole_tokens_and_no_more_than_needed(shape, side, overlap):
    grid = TileGrid.over(shape, side, overlap)
    assert grid.shape == shape
    assert grid.token * 64 == grid.side == side
    for given_length, padded, tokens in zip(shape, grid.padded, grid.tokens, strict=True):
        assert padded == tokens * grid.token
        assert padded >= max(given_length, side)
        assert padded - given_length < grid.token or padded == side


@QUICK
@given(SHAPES, SIDES, OVERLAPS)
def test_neighbouring_tiles_overlap_as_much_as_asked_to_half_a_token(shape, side, overlap):
    grid = TileGrid.over(shape, side, overlap)
    for axis in (0, 1):
        starts = sorted({origin[axis] for origin in grid.origins})
        steps = np.diff(starts)
        assert (side - steps >= overlap * side - grid.token / 2 - 1e-6).all()
        # All but the last step are the stride itself: no more tiles than needed.
        assert (np.abs(steps[:-1] - (1 - overlap) * side) <= grid.token / 2 + 1e-6).all()


@QUICK
@given(SHAPES, SIDES, OVERLAPS)
def test_even_tiles_are_as_few_as_the_overlap_allows(shape, side, overlap):
    grid = TileGrid.about(shape, side, overlap)
    farthest = max(1, round(64 * (1 - overlap)))
    for axis in (0, 1):
        starts = sorted({origin[axis] for origin in grid.origins})
        steps = np.diff(starts) // grid.token
        # Neither gaps, nor an overlap much smaller than asked for.
        assert (steps <= farthest).all()
        assert steps.size == 0 or steps.max() - steps.min() <= 1
        assert len(starts) == 1 or (len(starts) - 2) * farthest < grid.tokens[axis] - 64


@QUICK
@given(SHAPES, SIDES, OVERLAPS)
def test_tiles_are_a_little_larger_only_where_that_halves_their_number(shape, side, overlap):
    grid = TileGrid.about(shape, side, overlap)
    assert side <= grid.side <= min(side * 8 / 7, 1024)
    if grid.side > side:
        assert 2 * len(grid.origins) <= len(TileGrid.over(shape, side, overlap).origins)


@pytest.mark.parametrize(("side", "laid", "count"), [(448, 448, 9), (512, 576, 4), (640, 640, 4)])
def test_tiles_of_a_1000_px_image(side, laid, count):
    grid = TileGrid.about((1000, 1000), side, 0.25)
    assert grid.side == laid
    assert len(grid.origins) == count


@QUICK
@given(
    st.tuples(st.integers(32, 900), st.integers(32, 900)),
    st.sampled_from([128, 256]),
    OVERLAPS,
    st.integers(0, 2**32 - 1),
)
def test_the_most_central_tile_leaves_a_point_the_widest_margin(shape, side, overlap, seed):
    grid = TileGrid.over(shape, side, overlap)
    rng = np.random.default_rng(seed)
    points = rng.uniform(0, np.array(shape) - 1, size=(40, 2))
    chosen = grid.most_central(points)
    corners = np.array(grid.origins)
    for point, tile in zip(points, chosen, strict=True):
        margins = np.minimum(point - corners, corners + side - 1 - point).min(axis=1)
        assert margins[tile] >= margins.max() - 1e-9
        # Half a pixel: the point may lie on the seam of tiles that do not overlap.
        assert margins[tile] >= -0.5
        assert tile == np.flatnonzero(margins >= margins.max() - 1e-9)[0]


def test_many_points_are_answered_as_each_would_be_alone():
    grid = TileGrid.over((700, 900), 256, 0.5)
    points = np.random.default_rng(0).uniform(0, 699, size=(9000, 2))
    together = grid.most_central(points)
    some = np.array([0, 1, 4095, 4096, 4097, 8191, 8192, 8999])
    alone = np.concatenate([grid.most_central(points[i : i + 1]) for i in some])
    np.testing.assert_array_equal(together[some], alone)
    assert grid.most_central(np.empty((0, 2))).shape == (0,)


@pytest.mark.parametrize("shape", [(100, 130), (33, 40), (301, 130), (128, 128), (32, 700)])
def test_a_tile_is_its_part_of_the_image_mirrored_into_the_padding(shape):
    grid = TileGrid.over(shape, 128, 0.5)
    image = np.random.default_rng(0).integers(0, 256, (*shape, 3), dtype=np.uint8)
    # Walking off the edge walks back in: 0 1 2 2 1 0 0 1 ...
    rows, columns = (
        np.concatenate([np.arange(length), np.arange(length)[::-1]])[np.arange(size) % (2 * length)]
        for length, size in zip(shape, grid.padded, strict=True)
    )
    padded = image[rows][:, columns]
    for index, (y, x) in enumerate(grid.origins):
        tile = grid.cut(image, index)
        assert tile.shape == (128, 128, 3)
        assert tile.flags.c_contiguous
        np.testing.assert_array_equal(tile, padded[y : y + 128, x : x + 128])


def test_an_image_smaller_than_a_tile_has_one_tile():
    grid = TileGrid.over((40, 500), 512, 0.5)
    assert grid.origins == ((0, 0),)
    assert grid.padded == (512, 512)


@pytest.mark.parametrize("side", [130, 500, 63, 1000])
def test_a_tile_must_hold_whole_tokens(side):
    with pytest.raises(
        SettingsError, match=f"'features.tile' must be a multiple of 64, not {side}"
    ):
        TileGrid.over((400, 400), side, 0.5)


PATCHES = st.sampled_from([(64, 16), (96, 4), (128, 16), (224, 16), (240, 15), (1024, 64)])


@QUICK
@given(SHAPES, PATCHES, st.floats(0.05, 1))
def test_patches_cover_the_padded_image_on_their_own_tokens(shape, cut, share):
    side, tokens = cut
    stride = max(1, round(share * side))
    grid = TileGrid.patches(shape, side, stride, tokens)
    assert (grid.side, grid.across, grid.token) == (side, tokens, side // tokens)
    covered = np.zeros(grid.tokens, dtype=bool)
    for y, x in grid.origins:
        assert (y % grid.token, x % grid.token) == (0, 0)
        rows, columns = y // grid.token, x // grid.token
        covered[rows : rows + tokens, columns : columns + tokens] = True
    assert covered.all()
    for given_length, padded in zip(shape, grid.padded, strict=True):
        assert padded % grid.token == 0
        assert padded >= max(given_length, side)
        assert padded - given_length < grid.token or padded == side
    for axis in (0, 1):
        steps = np.diff(sorted({origin[axis] for origin in grid.origins}))
        # As far apart as asked, in whole tokens; the last one ends at the edge.
        wanted = max(grid.token, stride)
        assert (np.abs(steps[:-1] - wanted) <= grid.token / 2).all()
        assert (steps <= wanted + grid.token / 2).all()


def test_the_papers_patches_lie_64_px_apart():
    grid = TileGrid.patches((256, 300), 128, 64, 16)
    assert sorted({x for _, x in grid.origins}) == [0, 64, 128, 176]
    assert sorted({y for y, _ in grid.origins}) == [0, 64, 128]


def test_patches_that_hold_no_whole_tokens_are_refused():
    with pytest.raises(SettingsError, match=r"'features\.patch' must be a multiple.*\(16\).*100"):
        TileGrid.patches((400, 400), 100, 50, 16)


def test_tiles_over_tissue_are_those_that_hold_a_pixel_of_it():
    grid = TileGrid.over((400, 400), 128, 0.5)
    tissue = np.zeros((400, 400), dtype=bool)
    assert grid.over_tissue(tissue) == ()
    tissue[130, 10] = True
    held = [grid.origins[i] for i in grid.over_tissue(tissue)]
    assert held == [(y, 0) for y in (64, 128)]
    assert grid.over_tissue(~tissue) == tuple(range(len(grid.origins)))

from __future__ import annotations

import random

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from napari_sprout.core.instances import Nucleus
from napari_sprout.core.seams import (
    SAME,
    Cell,
    Seams,
    TileNuclei,
    around,
    from_labels,
    holds,
    remeasured,
)

SIDE, GRID, HALO = 40, 3, 12
CELLS = [(r, c) for r in range(GRID) for c in range(GRID)]


def core_of(cell: Cell) -> tuple[int, int, int, int]:
    y, x = cell[0] * SIDE, cell[1] * SIDE
    return y, x, y + SIDE, x + SIDE


def disk(y: int, x: int, radius: int) -> tuple[tuple[int, int, int, int], np.ndarray]:
    rows, columns = np.ogrid[-radius : radius + 1, -radius : radius + 1]
    mask = rows**2 + columns**2 <= radius**2
    return (y - radius, x - radius, y + radius + 1, x + radius + 1), mask


def nucleus(ident: int, y: float, x: float, mask: np.ndarray, score: float) -> Nucleus:
    area = int(mask.sum())
    return Nucleus(ident, y, x, area, 1.0, 0.0, 0.5, 0.5, 0.9, score)


def tile(cell: Cell, disks: list[tuple[int, int, int, float]]) -> TileNuclei:
    """Make a tile of disks; those that would overlap within it are left out."""
    y0, x0, *_ = core_of(cell)
    canvas = np.zeros((GRID * SIDE + 60, GRID * SIDE + 60), bool)
    found = []
    for dy, dx, radius, score in disks:
        y, x = y0 + dy, x0 + dx
        box, mask = disk(y, x, radius)
        part = canvas[box[0] + 30 : box[2] + 30, box[1] + 30 : box[3] + 30]
        if (part & mask).any() or not holds(core_of(cell), y, x, 4):
            continue
        part |= mask
        owned = holds(core_of(cell), y, x)
        found.append((nucleus(len(found) + 1, y, x, mask, score), box, mask, owned))
    return TileNuclei.of(cell, found)


disks = st.tuples(
    st.integers(-4, SIDE + 3),
    st.integers(-4, SIDE + 3),
    st.integers(1, 9),
    st.sampled_from([0.5, 1.0, 1.5]),
)
slides = st.fixed_dictionaries({cell: st.lists(disks, max_size=12) for cell in CELLS})


def made(drawn: dict[Cell, list]) -> dict[Cell, TileNuclei]:
    return {cell: tile(cell, drawn[cell]) for cell in drawn}


def resolved(tiles: dict[Cell, TileNuclei], order: list[Cell]) -> dict[Cell, TileNuclei]:
    seams = Seams(lambda cell: tiles.get(cell, TileNuclei(cell)))
    return {cell: seams.resolve(cell)[0] for cell in order}


def pixels(tile: TileNuclei, index: int) -> set[tuple[int, int]]:
    y, x = tile.box(index)[:2]
    return {(int(r) + y, int(c) + x) for r, c in np.argwhere(tile.masks[index])}


def as_text(tile: TileNuclei) -> list:
    return [(tile.nuclei[i], sorted(pixels(tile, i))) for i in range(len(tile))]


@settings(max_examples=60, deadline=None)
@given(slides, st.randoms(use_true_random=False))
def test_the_order_of_tiles_makes_no_difference(drawn, chance: random.Random) -> None:
    tiles = made(drawn)
    order = list(CELLS)
    chance.shuffle(order)
    one, other = resolved(tiles, CELLS), resolved(tiles, order)
    alone = {cell: resolved(tiles, [cell])[cell] for cell in CELLS}
    for cell in CELLS:
        assert as_text(one[cell]) == as_text(other[cell]) == as_text(alone[cell])


@settings(max_examples=60, deadline=None)
@given(slides)
def test_no_pixel_has_two_nuclei(drawn) -> None:
    found = resolved(made(drawn), CELLS)
    taken = [p for t in found.values() for i in range(len(t)) for p in pixels(t, i)]
    assert len(taken) == len(set(taken))


@settings(max_examples=60, deadline=None)
@given(slides)
def test_they_are_the_nuclei_that_the_whole_slide_at_once_would_keep(drawn) -> None:
    tiles = made(drawn)
    everyone = [(t, i) for t in tiles.values() for i in range(len(t))]
    everyone.sort(key=lambda n: (not n[0].owned[n[1]], -n[0].nuclei[n[1]].score, n[0].cell, n[1]))
    kept: list[tuple[TileNuclei, int, set]] = []
    expected: dict[Cell, dict[int, set]] = {cell: {} for cell in CELLS}
    for t, i in everyone:
        mine = pixels(t, i)
        others = [p for o, _, p in kept if o.cell != t.cell]
        if any(len(mine & p) > SAME * min(len(mine), len(p)) for p in others):
            continue
        kept.append((t, i, mine))
        expected[t.cell][t.nuclei[i].id] = mine.difference(*others)
    found = resolved(tiles, CELLS)
    for cell in CELLS:
        got = {found[cell].nuclei[i].id: pixels(found[cell], i) for i in range(len(found[cell]))}
        # A mask cut in pieces keeps the largest one.
        assert set(got) == {i for i, left in expected[cell].items() if left}
        assert all(got[i] <= expected[cell][i] for i in got)


@settings(max_examples=40, deadline=None)
@given(slides)
def test_a_nucleus_that_touches_no_other_tiles_stays_as_it_is(drawn) -> None:
    tiles = made(drawn)
    found = resolved(tiles, CELLS)
    for cell, t in tiles.items():
        others = {
            p for o in tiles.values() if o.cell != cell for i in range(len(o)) for p in pixels(o, i)
        }
        after = {n.id: i for i, n in enumerate(found[cell].nuclei)}
        for i, n in enumerate(t.nuclei):
            if not pixels(t, i) & others:
                assert found[cell].nuclei[after[n.id]] == n
                assert np.array_equal(found[cell].masks[after[n.id]], t.masks[i])


def test_a_nucleus_that_both_claim_is_counted_once_and_the_better_mask_stays() -> None:
    left = tile((0, 0), [(20, 39, 6, 1.0)])
    right = tile((0, 1), [(20, 0, 7, 1.5)])
    found = resolved({(0, 0): left, (0, 1): right}, [(0, 0), (0, 1)])
    assert [len(found[cell]) for cell in ((0, 0), (0, 1))] == [0, 1]


def test_a_nucleus_that_neither_claims_is_not_lost() -> None:
    """Each tile sees its centroid on the other's side."""
    left = tile((0, 0), [(20, 41, 6, 1.0)])
    right = tile((0, 1), [(20, -2, 6, 1.5)])
    assert not left.owned.any()
    assert not right.owned.any()
    found = resolved({(0, 0): left, (0, 1): right}, [(0, 0), (0, 1)])
    assert [len(found[cell]) for cell in ((0, 0), (0, 1))] == [0, 1]


def test_a_claim_goes_before_a_better_score() -> None:
    left = tile((0, 0), [(20, 41, 6, 1.5)])
    right = tile((0, 1), [(20, 1, 6, 0.5)])
    found = resolved({(0, 0): left, (0, 1): right}, [(0, 0), (0, 1)])
    assert [len(found[cell]) for cell in ((0, 0), (0, 1))] == [0, 1]


def test_neighbours_share_out_their_border() -> None:
    left = tile((0, 0), [(20, 33, 8, 1.0)])
    right = tile((0, 1), [(20, 6, 8, 1.5)])
    seams = Seams(lambda cell: {(0, 0): left, (0, 1): right}.get(cell, TileNuclei(cell)))
    (mine, cut), (theirs, uncut) = seams.resolve((0, 0)), seams.resolve((0, 1))
    assert cut.tolist() == [True]
    assert uncut.tolist() == [False]
    assert pixels(theirs, 0) == pixels(right, 0)
    assert pixels(mine, 0) == pixels(left, 0) - pixels(right, 0)
    row = mine.nuclei[0]
    assert row.area == len(pixels(mine, 0))
    assert (row.haematoxylin, row.score) == (0.5, 1.0)
    ys, xs = zip(*pixels(mine, 0), strict=True)
    assert (row.y, row.x) == pytest.approx((np.mean(ys), np.mean(xs)))


def test_what_is_left_too_small_goes() -> None:
    left = tile((0, 0), [(20, 33, 8, 1.0)])
    right = tile((0, 1), [(20, 6, 8, 1.5)])
    seams = Seams(lambda cell: {(0, 0): left, (0, 1): right}.get(cell, TileNuclei(cell)))
    assert len(seams.resolve((0, 0), min_visible=0.99)[0]) == 0
    assert len(seams.resolve((0, 0), min_area=10_000)[0]) == 0


def test_a_long_chain_comes_to_an_end() -> None:
    """Every tile's nucleus is suppressed by the next one's, over thousands of tiles."""
    count = 5000

    def found(cell: Cell) -> TileNuclei:
        if cell[0] or not 0 <= cell[1] < count:
            return TileNuclei(cell)
        box, mask = disk(20, cell[1] * 2, 6)
        row = nucleus(1, 20, cell[1] * 2, mask, 1 + cell[1] / count)
        return TileNuclei.of(cell, [(row, box, mask, True)])

    seams = Seams(found)
    kept = [len(seams.resolve((0, c))[0]) for c in range(count)]
    assert kept[-1] == 1
    assert 0 < sum(kept) < count


@given(st.integers(0, GRID * SIDE * 4), st.integers(0, GRID * SIDE * 4))
def test_every_point_lies_in_one_tile(y: int, x: int) -> None:
    point = (y / 4 - 0.5, x / 4 - 0.5)
    inside = [cell for cell in CELLS if holds(core_of(cell), *point)]
    at_the_edge = y == GRID * SIDE * 4 or x == GRID * SIDE * 4
    assert len(inside) == (0 if at_the_edge else 1)


def test_a_label_image_is_taken_apart() -> None:
    labels = np.zeros((30, 30), np.int32)
    labels[4:9, 5:12] = 7
    labels[20:25, 20:26] = 3
    rows = [nucleus(3, 22.0, 22.5, labels == 3, 1.0), nucleus(7, 6.0, 8.0, labels == 7, 1.0)]
    found = list(from_labels(labels, rows, (100, 200), (100, 200, 118, 218)))
    assert [(n.id, n.y, n.x, owned) for n, _, _, owned in found] == [
        (3, 122.0, 222.5, False),
        (7, 106.0, 208.0, True),
    ]
    assert [box for _, box, _, _ in found] == [(120, 220, 125, 226), (104, 205, 109, 212)]
    assert all(mask.all() for _, _, mask, _ in found)


def test_a_nucleus_measured_again_is_measured_as_before() -> None:
    box, mask = disk(50, 60, 7)
    row = remeasured(nucleus(1, 0, 0, mask, 1.0), box, mask)
    assert (row.y, row.x, row.area) == (50, 60, int(mask.sum()))
    assert row.eccentricity == pytest.approx(0, abs=1e-6)
    assert list(around((0, 0)))[:2] == [(-1, -1), (-1, 0)]

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray
from scipy import ndimage

from napari_sprout.core.activation import ActivationMap
from napari_sprout.core.coordinates import Scale
from napari_sprout.core.proposals import Pool, stable_regions
from napari_sprout.core.reference import ReferenceMasks
from napari_sprout.core.settings import PromptSettings

SHAPE = (160, 160)
MPP = 0.25
SCALE = Scale.between(SHAPE, MPP, MPP)
ROWS, COLUMNS = np.indices(SHAPE)


def stain_of(*spots: tuple[float, float, float, float]) -> NDArray[np.float32]:
    """Smooth-edged disks (y, x, radius, darkness) on a pale ground; darkness 1 is the threshold."""
    stain = np.full(SHAPE, 0.3, np.float32)
    for y, x, radius, darkness in spots:
        edge = 1 / (1 + np.exp(np.hypot(ROWS - y, COLUMNS - x) - radius))
        stain = np.maximum(stain, 0.3 + (darkness - 0.3) * edge)
    return stain.astype(np.float32)


def proposed(stain: NDArray[np.float32], active: NDArray[np.bool_] | None = None, **changes):
    tissue = np.ones(SHAPE, bool)
    dark = stain > 1
    reference = ReferenceMasks(1.0, stain, dark, ~dark, dark, ~dark)
    foreground = np.ones(SHAPE, np.float32) if active is None else active.astype(np.float32)
    step = ActivationMap(0.8, foreground, 0.5, 0.0)
    return stable_regions(step, reference, tissue, PromptSettings(**changes), SCALE)


def values_at(labels: NDArray[np.int32], *places: tuple[int, int]) -> list[int]:
    return [int(labels[place]) for place in places]


def test_each_dark_spot_is_one_region_numbered_in_raster_order():
    found = proposed(stain_of((40, 110, 11, 2.0), (44, 40, 12, 2.0), (120, 80, 10, 1.8)))
    assert len(found.points) == 3
    assert values_at(found.labels, (40, 110), (44, 40), (120, 80)) == [1, 2, 3]
    for number, (y, x) in enumerate(found.points.astype(int), 1):
        assert found.labels[y, x] == number


def test_a_pale_nucleus_that_the_threshold_misses_is_found():
    stain = stain_of((40, 40, 12, 2.0), (110, 110, 12, 0.95))
    assert stain[110, 110] < 1
    single = proposed(stain, agreement=0.0)
    assert single.labels[110, 110] > 0


def test_nuclei_that_flow_together_at_the_threshold_are_kept_apart():
    bridge = stain_of((80, 60, 12, 2.0), (80, 90, 12, 2.0))
    bridge = np.maximum(
        bridge, np.where((abs(ROWS - 80) < 9) & (COLUMNS > 60) & (COLUMNS < 90), 1.1, 0)
    )
    assert ndimage.label(bridge > 1)[1] == 1
    left, right = values_at(proposed(bridge.astype(np.float32)).labels, (80, 58), (80, 92))
    assert 0 < left != right > 0


def test_more_agreement_keeps_fewer_and_only_such_as_were_kept_before():
    rng = np.random.default_rng(3)
    spots = [(*rng.uniform(12, 148, 2), rng.uniform(5, 12), rng.uniform(0.8, 2)) for _ in range(14)]
    stain = stain_of(*spots) + rng.normal(0, 0.05, SHAPE).astype(np.float32)
    counts = [len(proposed(stain, agreement=least).points) for least in (0.0, 0.15, 0.3, 0.6, 1.0)]
    assert counts == sorted(counts, reverse=True)
    assert counts[0] > counts[2] > counts[-1] == 0


def test_what_is_not_active_has_less_to_say_for_itself():
    stain = stain_of((40, 40, 11, 1.6), (110, 110, 11, 1.6))
    active = COLUMNS < 80
    strict = proposed(stain, active, agreement=0.4)
    assert strict.labels[40, 40] > 0
    assert strict.labels[110, 110] == 0


def test_small_regions_and_empty_images_give_none():
    assert len(proposed(stain_of((80, 80, 3, 2.0)), min_area=20.0).points) == 0
    assert len(proposed(np.zeros(SHAPE, np.float32)).points) == 0


@pytest.fixture(scope="module")
def pool() -> Pool:
    rng = np.random.default_rng(0)
    sources = [ndimage.label(rng.random(SHAPE) > 0.55)[0].astype(np.int32) for _ in range(3)]
    return Pool.of(sources, rng.random(SHAPE).astype(np.float32), rng.random(SHAPE) > 0.5, MPP)


def scores(pool: Pool) -> np.ndarray:
    """Return what speaks for each region."""
    return pool.agreement * [pool.look(index) for index in range(len(pool.places))]


@given(st.lists(st.integers(0, 3), min_size=36, max_size=36), st.integers(0, 2**16))
@settings(max_examples=40, deadline=None)
def test_overlaps_are_those_of_the_masks(values, seed):
    # Numbered without gaps, as regions are.
    first = np.unique([0, *values], return_inverse=True)[1][1:].reshape(6, 6)
    second = np.random.default_rng(seed).permutation(first.ravel()).reshape(6, 6)
    sources = [np.kron(one, np.ones((4, 4), np.int32)).astype(np.int32) for one in (first, second)]
    shape = sources[0].shape
    found = Pool.of(sources, np.ones(shape, np.float32), np.ones(shape, bool), MPP)
    masks = [sources[source] == value for source, value, _ in found.places]
    expected = {
        (i, j): int((masks[i] & masks[j]).sum())
        for i in range(len(masks))
        for j in range(i + 1, len(masks))
        if (masks[i] & masks[j]).any()
    }
    got = dict(zip(map(tuple, found.pairs.tolist()), found.shared.tolist(), strict=True))
    assert got == expected
    assert found.areas.tolist() == [int(mask.sum()) for mask in masks]
    assert all(0 <= score <= 1 for score in scores(found))


def test_no_two_kept_regions_stand_for_the_same_nucleus(pool):
    kept = pool.best(0.0)
    assert kept
    assert scores(pool)[kept].tolist() == sorted(scores(pool)[kept].tolist(), reverse=True)
    together = np.isin(pool.pairs, kept).all(axis=1)
    areas = pool.areas[pool.pairs[together]]
    shared = pool.shared[together]
    assert (shared <= 0.6 * areas.min(axis=1)).all()
    assert (shared <= 0.3 * (areas.sum(axis=1) - shared)).all()


@given(
    st.lists(st.tuples(st.integers(0, 4), st.integers(0, 4)), min_size=1, max_size=12),
    st.lists(st.tuples(st.integers(0, 11), st.integers(0, 11)), max_size=20),
    st.floats(0, 1),
)
@settings(deadline=None)
def test_looking_only_where_it_matters_keeps_what_looking_at_all_would(parts, rivals, least):
    count = len(parts)
    agreement, looks = np.array(parts).T / 4
    pairs = [(i, j) for i, j in rivals if i < j < count]
    pool = Pool(
        places=((0, 1, (slice(0, 1), slice(0, 1))),) * count,
        areas=np.full(count, 10),
        pairs=np.array(pairs, dtype=np.int64).reshape(-1, 2),
        shared=np.full(len(pairs), 9),
        agreement=agreement,
        look=lambda index: float(looks[index]),
    )
    kept: list[int] = []
    for index in np.argsort(-scores(pool), kind="stable").tolist():
        beaten = any((i, j) in pairs or (j, i) in pairs for i, j in ((index, k) for k in kept))
        if scores(pool)[index] >= least and not beaten:
            kept.append(index)
    assert pool.best(least) == kept


def test_a_higher_bar_keeps_the_best_of_those_kept_before(pool):
    everything = pool.best(0.0)
    bar = float(np.quantile(scores(pool)[everything], 0.9))
    some = pool.best(bar)
    assert some == everything[: len(some)]
    assert 0 < len(some) < len(everything)

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray
from skimage.draw import disk

from napari_sprout.core.activation import ActivationMap
from napari_sprout.core.coordinates import Scale
from napari_sprout.core.prompts import (
    combine,
    grid_points,
    grid_regions,
    nearest_negatives,
    negative_points,
    watershed_regions,
)
from napari_sprout.core.reference import ReferenceMasks
from napari_sprout.core.settings import PromptSettings

MPP = 0.25


def disks(shape: tuple[int, int], *circles: tuple[float, float, float]) -> NDArray[np.bool_]:
    mask = np.zeros(shape, dtype=bool)
    for y, x, radius in circles:
        mask[disk((y, x), radius, shape=shape)] = True
    return mask


def test_each_separate_disk_gets_one_point_at_its_centre():
    mask = disks((120, 160), (30, 40, 12), (80, 110, 15))
    regions = watershed_regions(mask, PromptSettings(), MPP)
    assert regions.points.tolist() == [[30, 40], [80, 110]]
    assert regions.labels[30, 40] == 1
    assert regions.labels[80, 110] == 2
    assert ((regions.labels > 0) == mask).all()


def test_touching_disks_are_split_at_their_waist():
    mask = disks((80, 100), (40, 36, 14), (40, 60, 14))
    regions = watershed_regions(mask, PromptSettings(), MPP)
    assert len(regions.points) == 2
    assert regions.labels[40, 30] != regions.labels[40, 66]


def test_a_deeper_waist_can_be_demanded():
    mask = disks((80, 100), (40, 36, 14), (40, 60, 14))
    regions = watershed_regions(mask, PromptSettings(split_depth=3.0), MPP)
    assert len(regions.points) == 1


def test_point_of_a_bent_nucleus_lies_inside_it():
    ring = disks((100, 100), (50, 50, 30)) & ~disks((100, 100), (50, 50, 22))
    ring[:, 50:] = False
    regions = watershed_regions(ring, PromptSettings(split_depth=10.0), MPP)
    assert len(regions.points) == 1
    y, x = regions.points[0].astype(int)
    assert ring[y, x]


def test_specks_get_no_point_and_small_holes_are_filled():
    mask = disks((100, 100), (50, 50, 15)) & ~disks((100, 100), (50, 50, 3))
    mask[5:8, 5:8] = True
    regions = watershed_regions(mask, PromptSettings(min_area=6.0), MPP)
    assert len(regions.points) == 1
    assert regions.labels[50, 50] == 1
    assert regions.labels[6, 6] == 0


def test_empty_foreground_gives_no_points():
    regions = watershed_regions(np.zeros((40, 50), bool), PromptSettings(), MPP)
    assert regions.points.shape == (0, 2)
    assert not regions.labels.any()


@settings(deadline=None, max_examples=25)
@given(
    seed=st.integers(0, 10_000),
    density=st.floats(0.0, 1.0),
    smoothing=st.floats(0.0, 2.0),
    depth=st.floats(0.0, 2.0),
)
def test_points_lie_inside_their_own_region_whatever_the_mask(seed, density, smoothing, depth):
    rng = np.random.default_rng(seed)
    coarse = rng.random((12, 15)) < density
    mask = np.kron(coarse, np.ones((8, 8), bool))
    chosen = PromptSettings(smoothing=smoothing, split_depth=depth, min_area=1.0)
    regions = watershed_regions(mask, chosen, MPP)
    rows, columns = regions.points.astype(int).T if len(regions.points) else ([], [])
    assert list(regions.labels[rows, columns]) == list(range(1, len(regions.points) + 1))
    assert set(np.unique(regions.labels)) - {0} == set(range(1, len(regions.points) + 1))
    order = [tuple(point) for point in regions.points]
    assert order == sorted(order)


def test_negatives_keep_their_margin_and_spacing():
    background = ~disks((200, 200), (100, 100, 40))
    chosen = PromptSettings(negative_spacing=5.0, negative_margin=3.0)
    points = negative_points(background, chosen, MPP)
    assert len(points) > 20
    assert np.hypot(*(points - 100).T).min() > 40 + 3.0 / MPP - 1
    rows = np.unique(points[:, 0])
    assert (np.diff(rows) == 20).all()


def test_grid_covers_the_tissue_alone():
    tissue = np.zeros((100, 100), bool)
    tissue[:50] = True
    regions = grid_regions(tissue, PromptSettings(grid_spacing=2.5), MPP)
    assert len(regions.points) == 5 * 10
    assert not regions.labels.any()
    assert (regions.points[:, 0] < 50).all()
    assert grid_points(np.zeros((30, 30), bool), 5).shape == (0, 2)


@settings(deadline=None, max_examples=40)
@given(n=st.integers(0, 12), m=st.integers(0, 12), count=st.integers(0, 5), seed=st.integers(0, 99))
def test_nearest_negatives_are_the_nearest(n, m, count, seed):
    rng = np.random.default_rng(seed)
    positives, negatives = rng.random((n, 2)), rng.random((m, 2))
    served = nearest_negatives(positives, negatives, count)
    assert served.shape == (n, min(count, m))
    for point, indices in zip(positives, served, strict=True):
        distances = np.hypot(*(negatives - point).T)
        assert np.allclose(distances[indices], np.sort(distances)[: len(indices)])


def reference_of(foreground: NDArray[np.bool_]) -> ReferenceMasks:
    return ReferenceMasks(
        threshold=0.5,
        smoothed=foreground.astype(np.float32),
        foreground=foreground,
        background=~foreground,
        sure_foreground=foreground,
        sure_background=~foreground,
    )


@pytest.fixture
def stained() -> NDArray[np.bool_]:
    return disks((64, 64), (32, 20, 10), (32, 46, 10))


def test_stained_but_inactive_places_are_neither_foreground_nor_background(stained):
    active = np.zeros((32, 32), np.float32)
    active[:, :16] = 1.0
    step = ActivationMap(0.6, active, 0.5, 0.0)
    scale = Scale((64, 64), (64, 64), MPP)
    foreground, background = combine(step, reference_of(stained), np.ones((64, 64), bool), scale)
    assert foreground[32, 20]
    assert not foreground[32, 46]
    assert not background[32, 46]
    assert background[5, 60]
    assert not (foreground & background).any()


def test_without_an_activation_nothing_is_foreground(stained):
    scale = Scale((64, 64), (64, 64), MPP)
    tissue = np.ones((64, 64), bool)
    foreground, background = combine(None, reference_of(stained), tissue, scale)
    assert not foreground.any()
    assert (background == tissue).all()

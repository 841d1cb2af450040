from __future__ import annotations

import warnings

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from napari_sprout.core.prototypes import fit_prototypes, sure_tokens, token_share
from napari_sprout.core.settings import PrototypeSettings
from napari_sprout.core.tiles import TileGrid

QUICK = settings(deadline=None, max_examples=50)

GRID = TileGrid.over((128, 128), 128, 0.5)
FOREGROUND = np.array([(9.0, 0, 0, 1), (0, 9, 0, 1), (9, 9, 0, 1)], dtype=np.float32)
BACKGROUND = np.array([(0.0, 0, 9, -1), (0, 9, 9, -1), (9, 0, 9, -1)], dtype=np.float32)


def planted(noise=0.1, seed=0):
    """Left half foreground, right half background, three kinds of each in stripes."""
    h, w = GRID.tokens
    kinds = np.arange(h)[:, None] % 3 + np.zeros((1, w), dtype=int)
    left = np.arange(w)[None] < w // 2
    features = np.where(left[..., None], FOREGROUND[kinds], BACKGROUND[kinds])
    features = features + noise * np.random.default_rng(seed).standard_normal(features.shape)
    mask = np.repeat(np.repeat(np.broadcast_to(left, (h, w)), 2, axis=0), 2, axis=1)
    return torch.from_numpy(np.moveaxis(features, 2, 0).astype(np.float32)), mask


def fit(features, foreground, background, clusters=3, seed=0, grid=GRID):
    return fit_prototypes(
        features, foreground, background, grid, PrototypeSettings(clusters=clusters), seed
    )


def nearest(centres, wanted):
    """Largest distance from a wanted centre to the nearest one found."""
    apart = np.linalg.norm(np.asarray(centres)[:, None] - np.asarray(wanted)[None], axis=2)
    return apart.min(axis=0).max()


def test_planted_clusters_are_recovered_foreground_first():
    features, mask = planted()
    made = fit(features, mask, ~mask)
    assert len(made) == 6
    assert made.n_foreground == 3
    assert made.usable
    assert made.vectors.shape == (6, 4)
    assert made.vectors.dtype == torch.float32
    assert nearest(made.vectors[:3], FOREGROUND) < 0.1
    assert nearest(made.vectors[3:], BACKGROUND) < 0.1


def test_only_the_masks_are_looked_at():
    features, mask = planted()
    # What lies in neither mask is far from everything else.
    neither = np.zeros_like(mask)
    neither[40:80] = True
    features[:, 20:40] = 1000
    made = fit(features, mask & ~neither, ~mask & ~neither)
    assert made.vectors.abs().max() < 20
    assert nearest(made.vectors[:3], FOREGROUND) < 0.1


@pytest.mark.parametrize("clusters", [1, 2, 5, 16])
def test_each_class_has_as_many_prototypes_as_asked_for(clusters):
    features, mask = planted(noise=0.5)
    made = fit(features, mask, ~mask, clusters)
    assert (len(made), made.n_foreground) == (2 * clusters, clusters)


def test_one_prototype_is_the_mean():
    features, mask = planted()
    made = fit(features, mask, ~mask, clusters=1)
    np.testing.assert_allclose(made.vectors[0], features[:, :, :32].mean((1, 2)), atol=1e-4)


def test_the_same_seed_gives_the_same_prototypes_bit_by_bit():
    features, mask = planted(noise=3)
    first, second = fit(features, mask, ~mask, 5), fit(features, mask, ~mask, 5)
    assert torch.equal(first.vectors, second.vectors)


def test_prototypes_of_many_tokens_are_those_of_a_sample_of_them():
    grid = TileGrid.over((360, 360), 128, 0.5)
    h, w = grid.tokens
    assert h * w > 25_000
    left = np.zeros((h, w), dtype=bool)
    left[:, : w - 4] = True
    kinds = np.arange(h)[:, None] % 3 + np.zeros((1, w), dtype=int)
    rng = np.random.default_rng(0)
    planted_features = np.where(left[..., None], FOREGROUND[kinds], BACKGROUND[kinds])
    noise = 0.1 * rng.standard_normal(planted_features.shape)
    features = torch.from_numpy(np.moveaxis(planted_features + noise, 2, 0).astype(np.float32))
    mask = np.repeat(np.repeat(left, 2, axis=0), 2, axis=1)
    made = fit(features, mask, ~mask, grid=grid)
    assert nearest(made.vectors[:3], FOREGROUND) < 0.1
    again = fit(features, mask, ~mask, grid=grid)
    assert torch.equal(made.vectors, again.vectors)


@pytest.mark.parametrize(
    ("foreground", "background"), [(False, True), (True, False), (False, False)]
)
def test_an_empty_mask_gives_no_usable_prototypes(foreground, background):
    features, mask = planted()
    made = fit(features, mask & foreground, ~mask & background)
    assert not made.usable
    assert made.n_foreground == (3 if foreground else 0)
    assert len(made) == 3 * (foreground + background)


def test_prototypes_of_an_image_without_features_are_not_usable():
    empty = np.zeros((128, 128), dtype=bool)
    made = fit(torch.zeros((0, *GRID.tokens)), empty, empty)
    assert not made.usable
    assert len(made) == 0


def test_fewer_samples_than_clusters_give_fewer_prototypes():
    features, mask = planted()
    few = np.zeros_like(mask)
    few[0:4, 0:2] = True
    made = fit(features, few, ~mask, clusters=5)
    assert made.n_foreground == 2
    assert len(made) == 2 + 5
    assert nearest(made.vectors[:2], features[:, :2, 0].T) < 1e-5


@pytest.mark.parametrize("size", [2, 4, 100])
def test_features_all_alike_give_one_prototype_and_no_warning(size):
    same = torch.ones((4, *GRID.tokens))
    same[:, :, 32:] = 2
    mask = np.zeros((128, 128), dtype=bool)
    mask[:size, :size] = True
    rest = np.zeros_like(mask)
    rest[:, 64:] = True
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        made = fit(same, mask & ~rest, rest)
    assert made.n_foreground == 1
    np.testing.assert_array_equal(made.vectors, [[1] * 4, [2] * 4])


def test_nuclei_smaller_than_a_token_still_teach():
    features, mask = planted()
    # One pixel in four of nine tokens, three of each kind.
    dots = np.zeros_like(mask)
    dots[0:18:2, 10] = True
    made = fit(features, dots, ~mask)
    assert made.n_foreground == 3
    assert nearest(made.vectors[:3], FOREGROUND) < 0.3


@QUICK
@given(
    st.tuples(st.integers(32, 300), st.integers(32, 300)),
    st.sampled_from([128, 192]),
    st.integers(0, 2**32 - 1),
)
def test_the_share_of_a_token_is_the_mean_of_its_pixels(shape, side, seed):
    grid = TileGrid.over(shape, side, 0.5)
    rng = np.random.default_rng(seed)
    mask = rng.random(shape) < rng.random()
    share = token_share(mask, grid)
    assert share.shape == grid.tokens
    assert share.sum() * grid.token**2 == pytest.approx(mask.sum())
    rows = rng.integers(0, grid.tokens[0], 5)
    columns = rng.integers(0, grid.tokens[1], 5)
    for row, column in zip(rows, columns, strict=True):
        y, x = row * grid.token, column * grid.token
        inside = mask[y : y + grid.token, x : x + grid.token].sum()
        assert share[row, column] == pytest.approx(inside / grid.token**2)


@QUICK
@given(
    hnp.arrays(np.float32, (6, 7), elements=st.sampled_from([0.0, 0.25, 0.5, 0.75, 1.0])),
    st.integers(1, 20),
)
def test_sure_tokens_are_the_fullest_and_touch_the_mask(share, wanted):
    tokens = sure_tokens(share, wanted)
    assert tokens.shape == share.shape
    assert (share[tokens] > 0).all()
    full = share > 0.5
    if full.sum() >= wanted:
        np.testing.assert_array_equal(tokens, full)
    else:
        assert tokens.sum() == min(wanted, (share > 0).sum())
        assert (tokens | ~full).all()
        if tokens.any():
            assert share[~tokens].max(initial=0) <= share[tokens].min()

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from napari_sprout.core.reference import otsu_threshold, reference_masks, smooth_within
from napari_sprout.core.settings import ReferenceSettings
from napari_sprout.core.stain import concentrations, fixed_vectors, optical_density

QUICK = settings(deadline=None, max_examples=60)

SHAPE = (12, 15)
# Few distinct values make ties common; many make them rare.
AMOUNTS = st.one_of(
    hnp.arrays(np.float32, SHAPE, elements=st.sampled_from([np.float32(v) for v in (0, 0.5, 1)])),
    hnp.arrays(np.float32, SHAPE, elements=st.floats(-1, 4, width=32)),
)
TISSUE = hnp.arrays(bool, SHAPE)


def masks(amounts, tissue, mpp=0.25, **changes):
    return reference_masks(amounts, tissue, ReferenceSettings(**changes), mpp)


@QUICK
@given(AMOUNTS, TISSUE, st.floats(0.05, 1), st.sampled_from([0.0, 0.5]))
def test_sure_masks_lie_within_the_coarse_ones_and_those_split_the_tissue(
    amounts, tissue, fraction, smoothing
):
    made = masks(amounts, tissue, fraction=fraction, smoothing=smoothing)
    assert not (made.foreground & made.background).any()
    np.testing.assert_array_equal(made.foreground | made.background, tissue)
    assert not (made.sure_foreground & ~made.foreground).any()
    assert not (made.sure_background & ~made.background).any()
    assert np.isfinite(made.smoothed).all()


@QUICK
@given(AMOUNTS, TISSUE, st.floats(0.05, 1))
def test_the_share_kept_is_the_fraction_and_no_more_than_its_ties(amounts, tissue, fraction):
    made = masks(amounts, tissue, fraction=fraction, smoothing=0.0)
    sides = (
        (made.foreground, made.sure_foreground, made.smoothed),
        (made.background, made.sure_background, -made.smoothed),
    )
    for side, sure, evidence in sides:
        if not side.any():
            assert not sure.any()
            continue
        weakest = evidence[sure].min()
        assert sure.sum() >= fraction * side.sum() - 1e-3
        assert (evidence[sure] > weakest).sum() < fraction * side.sum()
        # Nothing left out is stronger than, or as strong as, what was kept.
        assert not (evidence[side & ~sure] >= weakest).any()


@QUICK
@given(hnp.arrays(np.float32, SHAPE, elements=st.floats(0, 4, width=32)), st.integers(0, 99))
def test_shuffling_the_pixels_shuffles_the_masks(amounts, seed):
    order = np.random.default_rng(seed).permutation(amounts.size)
    shuffled = amounts.ravel()[order].reshape(SHAPE)
    tissue = np.ones(SHAPE, bool)
    plain = masks(amounts, tissue, smoothing=0.0)
    other = masks(shuffled, tissue, smoothing=0.0)
    np.testing.assert_array_equal(
        plain.sure_foreground.ravel()[order], other.sure_foreground.ravel()
    )
    np.testing.assert_array_equal(
        plain.sure_background.ravel()[order], other.sure_background.ravel()
    )


@QUICK
@given(AMOUNTS, TISSUE)
def test_with_kind_otsu_the_sure_masks_are_the_coarse_ones(amounts, tissue):
    made = masks(amounts, tissue, kind="otsu")
    np.testing.assert_array_equal(made.sure_foreground, made.foreground)
    np.testing.assert_array_equal(made.sure_background, made.background)


@pytest.mark.parametrize("kind", ["high_confidence", "otsu"])
def test_no_tissue_gives_empty_masks(kind):
    made = masks(np.ones((9, 9), np.float32), np.zeros((9, 9), bool), kind=kind)
    for mask in (made.foreground, made.background, made.sure_foreground, made.sure_background):
        assert mask.dtype == bool
        assert not mask.any()
    assert made.threshold == 0.0


@pytest.mark.parametrize("level", [0.0, 0.7, 0.875])
def test_even_tissue_is_all_background_despite_rounding(level):
    made = masks(np.full((12, 15), level, np.float32), np.ones((12, 15), bool))
    assert not made.foreground.any()
    assert made.sure_background.all()


def test_otsu_separates_two_heaps_and_looks_inside_the_mask_alone():
    rng = np.random.default_rng(0)
    values = np.concatenate([rng.normal(0.3, 0.05, 500), rng.normal(1.2, 0.1, 300)])
    values = np.concatenate([values, np.full(400, 9.0)]).astype(np.float32)
    mask = np.arange(values.size) < 800
    threshold = otsu_threshold(values, mask)
    np.testing.assert_array_equal(values[:800] > threshold, np.arange(800) >= 500)


def test_otsu_of_one_value_is_that_value_and_of_none_is_zero():
    values = np.full((4, 4), 0.3, np.float32)
    assert otsu_threshold(values, np.ones((4, 4), bool)) == pytest.approx(0.3)
    assert otsu_threshold(values, np.zeros((4, 4), bool)) == 0.0


def test_the_surest_nucleus_pixels_are_the_darkest_and_the_surest_others_the_palest():
    amounts = np.zeros((20, 20), np.float32)
    amounts[:10] = np.linspace(0, 0.198, 200, dtype=np.float32).reshape(10, 20)
    amounts[10:] = np.linspace(1.0, 1.4, 200, dtype=np.float32).reshape(10, 20)
    made = masks(amounts, np.ones((20, 20), bool), fraction=0.6, smoothing=0.0)
    flat = np.arange(400).reshape(20, 20)
    np.testing.assert_array_equal(made.sure_background, flat < 120)
    np.testing.assert_array_equal(made.sure_foreground, flat >= 280)


def test_smoothing_has_a_length_in_micrometres():
    point = np.zeros((81, 81), np.float32)
    point[40, 40] = 1
    tissue = np.ones(point.shape, bool)
    y = np.arange(81) - 40.0

    def spread(mpp):
        smoothed = masks(point, tissue, mpp=mpp, smoothing=1.0).smoothed
        return np.sqrt((smoothed.sum(axis=1) * y**2).sum() / smoothed.sum())

    assert spread(0.25) == pytest.approx(4, rel=0.05)
    assert spread(0.5) == pytest.approx(2, rel=0.05)


def test_what_lies_outside_the_tissue_does_not_bleed_in():
    amounts = np.full((30, 30), 0.4, np.float32)
    amounts[:, :10] = 5.5
    tissue = np.ones((30, 30), bool)
    tissue[:, :10] = False
    smoothed = smooth_within(amounts, tissue, 3.0)
    np.testing.assert_allclose(smoothed[tissue], 0.4, rtol=1e-5)
    np.testing.assert_array_equal(smoothed[~tissue], 0)


def test_a_lone_tissue_pixel_keeps_its_value():
    amounts = np.full((40, 40), 2.0, np.float32)
    tissue = np.zeros((40, 40), bool)
    tissue[20, 20] = True
    assert smooth_within(amounts, tissue, 6.0)[20, 20] == pytest.approx(2.0)


def test_painted_nuclei_are_found(synthetic):
    haematoxylin = concentrations(optical_density(synthetic.rgb), fixed_vectors())[..., 0]
    made = masks(haematoxylin, ~synthetic.glass, mpp=synthetic.mpp)
    nuclei = synthetic.labels > 0
    assert nuclei[made.sure_foreground].mean() > 0.9
    assert nuclei[made.sure_background].mean() < 0.02

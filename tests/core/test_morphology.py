from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from scipy import ndimage
from skimage.morphology import reconstruction

from napari_sprout.core import morphology
from napari_sprout.core.morphology import reconstruct
from napari_sprout.core.prompts import watershed_regions
from napari_sprout.core.settings import PromptSettings


@settings(deadline=None)
@given(
    arrays(
        np.float32,
        st.tuples(st.integers(1, 24), st.integers(1, 24)),
        elements=st.floats(0, 9, width=16),
    ),
    st.sampled_from([0.01, 0.4, 2.0, 20.0]),
)
def test_a_reconstruction_is_what_sorting_all_pixels_gives(mask, height):
    seed = mask - np.float32(height)
    assert np.array_equal(reconstruct(seed, mask), reconstruction(seed, mask))


@pytest.mark.parametrize("length", [40, 3000])
def test_a_peak_floods_a_corridor_to_its_end_however_long(length):
    mask = np.full((5, length), -9.0, np.float32)
    mask[2] = 1.0
    seed = np.full_like(mask, -9.0)
    seed[2, 0] = 1.0
    flooded = reconstruct(seed, mask)
    assert (flooded[2] == 1).all()
    assert np.array_equal(flooded, reconstruction(seed, mask))
    assert seed[2, 1] == -9


def test_flooding_within_nuclei_needs_no_sorting_however_wide_the_background(monkeypatch):
    monkeypatch.setattr(morphology, "reconstruct_by_sorting", None)
    foreground = np.zeros((900, 900), bool)
    rows, columns = np.indices((40, 40)) - 20
    foreground[10:50, 10:50] = np.hypot(rows, columns) < 15
    regions = watershed_regions(foreground, PromptSettings(), 0.25)
    assert regions.labels.max() == 1


def test_regions_are_what_a_seed_below_the_background_too_gives():
    rng = np.random.default_rng(3)
    foreground = ndimage.gaussian_filter(rng.normal(size=(200, 200)), 4) > 0
    depth = np.where(foreground, ndimage.distance_transform_edt(foreground), -15).astype(np.float32)
    inside = reconstruct(np.where(foreground, depth - 0.4, depth).astype(np.float32), depth)
    everywhere = reconstruction(depth - np.float32(0.4), depth)
    assert np.array_equal(inside[foreground], everywhere[foreground])

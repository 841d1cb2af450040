from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from skimage.morphology import reconstruction

from napari_sprout.core.morphology import reconstruct


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

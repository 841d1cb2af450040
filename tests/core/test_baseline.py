from __future__ import annotations

import numpy as np
import pytest

from napari_sprout.core.baseline import otsu_watershed
from napari_sprout.core.metrics import evaluate
from napari_sprout.core.synthetic import synthetic_he


@pytest.mark.parametrize("mpp", [0.25, 0.5])
def test_clear_nuclei_are_found_at_either_magnification(mpp):
    made = synthetic_he(shape=(160, 160), n_nuclei=12, seed=5, mpp=mpp, touching=0)
    scores = evaluate(otsu_watershed(made.rgb, mpp), made.labels)
    assert scores.dq > 0.8
    assert scores.aji > 0.6


@pytest.mark.parametrize("grey", [0, 255])
def test_a_blank_image_has_no_nuclei(grey):
    labels = otsu_watershed(np.full((50, 60, 3), grey, np.uint8))
    assert labels.shape == (50, 60)
    assert labels.dtype == np.int32
    assert not labels.any()

"""Greyscale morphology where the general routine is slow for what is asked here."""

from __future__ import annotations

from typing import Final

import cv2
import numpy as np
from numpy.typing import NDArray
from skimage.morphology import reconstruction as reconstruct_by_sorting

_NEIGHBOURS: Final = np.ones((3, 3), np.uint8)
_AT_ONCE: Final = 8
_MOST_STEPS: Final = 512


def reconstruct(seed: NDArray[np.float32], mask: NDArray[np.float32]) -> NDArray[np.float32]:
    """Return the reconstruction by dilation of `seed` under `mask`, 8-connected.

    The same values as ``skimage.morphology.reconstruction``, which sorts all pixels.
    Where no value has far to spread, as between the waists of nuclei, a few dozen
    dilations reach the same end several times sooner; where they do not, it sorts.

    Source: Vincent 1993, Morphological grayscale reconstruction in image analysis.

    Parameters
    ----------
    seed
        (H, W), nowhere above `mask`.
    mask
        (H, W).
    """
    current = seed
    for _ in range(0, _MOST_STEPS, _AT_ONCE):
        before = current
        for _ in range(_AT_ONCE):
            grown = cv2.dilate(current, _NEIGHBOURS)
            current = np.minimum(grown, mask, out=np.asarray(grown, dtype=np.float32))
        if np.array_equal(before, current):
            return current
    return np.asarray(reconstruct_by_sorting(current, mask), dtype=np.float32)

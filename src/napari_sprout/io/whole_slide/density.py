"""Where nuclei lie close together, as a picture."""

from __future__ import annotations

from typing import Final

import cv2
import numpy as np
from numpy.typing import NDArray

SMOOTHING_UM: Final = 50.0
"""um; sigma over which nuclei are counted: what an eye takes for density."""


def density_map(
    counts: NDArray[np.int64], tissue: NDArray[np.bool_], size_um: float
) -> NDArray[np.uint8]:
    """Draw nuclei per mm^2 as an (h, w, 3) picture, glass white.

    Parameters
    ----------
    counts
        (h, w) nuclei whose centroid lies in each pixel of the overview.
    tissue
        (h, w) bool.
    size_um
        Side of such a pixel, um.
    """
    sigma = max(1.0, SMOOTHING_UM / size_um)
    smooth = cv2.GaussianBlur(counts.astype(np.float32), (0, 0), sigma)
    weight = cv2.GaussianBlur(tissue.astype(np.float32), (0, 0), sigma)
    density = np.asarray(smooth / np.maximum(weight, 1e-3)) / size_um**2 * 1e6
    top = max(float(np.percentile(density[tissue], 99)) if tissue.any() else 0.0, 1e-6)
    scaled = (np.clip(density / top, 0, 1) * 255).astype(np.uint8)
    coloured = cv2.cvtColor(cv2.applyColorMap(scaled, cv2.COLORMAP_VIRIDIS), cv2.COLOR_BGR2RGB)
    return np.where(tissue[..., None], coloured, 255).astype(np.uint8)

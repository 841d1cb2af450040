"""The classical baseline: threshold the haematoxylin, split by the distance transform.

Any result of the method must clear this floor on every image. It is therefore
an honest one: each step is a usual choice of the field, lengths are plausible for
nuclei, and nothing is set per image. Among 18 such variants one of the best was
kept, judged on the 13 annotated development images: on those its mean is
therefore slightly optimistic, never weakened.

1. Haematoxylin from scikit-image's three-stain deconvolution (``rgb2hed``,
   Ruifrok & Johnston 2001): its third channel takes up what is neither stain,
   which a two-stain inversion would count as haematoxylin.
2. Gaussian smoothing (0.5 um), so that chromatin texture does not perforate nuclei.
3. Otsu's threshold, one for the image.
4. Opening with a disk of 0.75 um, which cuts threads between nuclei; then objects
   and holes below 6 um^2 go, about a fifth of the section of a small lymphocyte.
5. Watershed of the smoothed (0.5 um) distance transform from its peaks, at least
   1.75 um apart: less than the radius of a small nucleus.
"""

from __future__ import annotations

from typing import Final

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage
from skimage.color import rgb2hed
from skimage.feature import peak_local_max
from skimage.filters import threshold_otsu
from skimage.morphology import disk
from skimage.segmentation import watershed

BASELINE: Final = "Otsu + watershed"
SMOOTHING_UM: Final = 0.5
OPENING_UM: Final = 0.75
MIN_AREA_UM2: Final = 6.0
DISTANCE_SMOOTHING_UM: Final = 0.5
MIN_PEAK_DISTANCE_UM: Final = 1.75


def otsu_watershed(rgb: NDArray[np.uint8], mpp: float = 0.25) -> NDArray[np.int32]:
    """Segment nuclei by Otsu's threshold and a watershed.

    Parameters
    ----------
    rgb
        (H, W, 3) uint8 H&E image.
    mpp
        Pixel size in micrometres.

    Returns
    -------
    ndarray
        (H, W) int32 labels; 0 is background.
    """
    foreground = _foreground(rgb, mpp)
    distance = ndimage.distance_transform_edt(foreground)
    distance = ndimage.gaussian_filter(distance, DISTANCE_SMOOTHING_UM / mpp)
    regions, _ = ndimage.label(foreground)
    peaks = peak_local_max(
        distance,
        min_distance=max(round(MIN_PEAK_DISTANCE_UM / mpp), 1),
        labels=regions,
        exclude_border=False,
    )
    markers = np.zeros(foreground.shape, dtype=np.int32)
    markers[tuple(peaks.T)] = np.arange(1, len(peaks) + 1)
    labels: NDArray[np.int32] = watershed(-distance, markers, mask=foreground).astype(np.int32)
    return labels


def _foreground(rgb: NDArray[np.uint8], mpp: float) -> NDArray[np.bool_]:
    haematoxylin = ndimage.gaussian_filter(rgb2hed(rgb)[..., 0], SMOOTHING_UM / mpp)
    if np.ptp(haematoxylin) == 0:
        return np.zeros(haematoxylin.shape, dtype=bool)
    mask = haematoxylin > threshold_otsu(haematoxylin)
    mask = ndimage.binary_opening(mask, disk(round(OPENING_UM / mpp)))
    min_area = MIN_AREA_UM2 / mpp**2
    return ~_without_small(~_without_small(mask, min_area), min_area)


def _without_small(mask: NDArray[np.bool_], min_area: float) -> NDArray[np.bool_]:
    """Drop 4-connected objects below `min_area` pixels."""
    # skimage's remove_small_objects renamed its argument; this works with every version.
    objects, _ = ndimage.label(mask)
    areas = np.bincount(objects.ravel())
    areas[0] = 0
    kept: NDArray[np.bool_] = (areas >= min_area)[objects]
    return kept

"""What of a slide is done: a coarse map of its tissue, and its share in numbers."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping
from types import MappingProxyType
from typing import Final

import numpy as np
from numpy.typing import NDArray

from ..core.instances import Box
from ..io.slides.region_results import RegionState

TO_DO: Final = 1
"""Tissue that no region has."""

VALUES: Final[Mapping[RegionState, int]] = MappingProxyType(
    {
        RegionState.DAMAGED: 2,
        RegionState.NEW: 2,
        RegionState.SEGMENTED: 3,
        RegionState.CORRECTED: 4,
    }
)
"""What tissue in a region counts as: the highest, where regions overlap."""


def progress_map(
    tissue: NDArray[np.bool_], downsample: float, regions: Iterable[tuple[Box, RegionState]]
) -> NDArray[np.uint8]:
    """Return what has become of each place of a slide.

    Parameters
    ----------
    tissue
        (h, w) overview.
    downsample
        How many full-resolution pixels one of its pixels is wide.
    regions
        Box, in full-resolution pixels, and state of each.

    Returns
    -------
    numpy.ndarray
        (h, w): 0 is glass, 1 tissue to do, and others as of :data:`VALUES`.
    """
    found = np.full(tissue.shape, TO_DO, np.uint8)
    for box, state in regions:
        y0, x0, y1, x1 = (max(math.ceil(edge / downsample - 0.5), 0) for edge in box)
        np.maximum(found[y0:y1, x0:x1], VALUES[state], out=found[y0:y1, x0:x1])
    found[~tissue] = 0
    return found


def share_done(found: NDArray[np.uint8]) -> float:
    """Return how much of the tissue is segmented, 0 to 1; 0 where there is no tissue."""
    tissue = np.count_nonzero(found)
    done = np.count_nonzero(found >= VALUES[RegionState.SEGMENTED])
    return done / tissue if tissue else 0.0

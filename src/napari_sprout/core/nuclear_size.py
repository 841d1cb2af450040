"""How large the nuclei of an image are, from its stain alone, and the tiles that suit them.

SAM outlines what is neither tiny nor huge in its frame. Nuclei of a kidney are two
thirds as wide as those of a lung carcinoma; tiles that follow their size show SAM both
at much the same size.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Iterator
from typing import Final

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from ..models.frame import EMBEDDING
from .prompts import watershed_regions
from .proposals import solidity
from .reference import otsu_threshold, smooth_within
from .settings import PromptSettings

SMOOTHING: Final = 0.5
"""Gaussian smoothing of the haematoxylin, um."""

LEAST_AREA: Final = 6.0
"""Of a nucleus, um^2."""

SPLITTING: Final = PromptSettings(split_depth=0.1, smoothing=0.5, min_area=LEAST_AREA)
"""How regions are split; whatever the settings of the prompts are or become."""

LEAST_SOLIDITY: Final = 0.9
"""Regions that fill less of their convex hull are clumps or shreds."""

LEAST_REGIONS: Final = 10
"""Fewer say nothing of a typical nucleus."""

BLOCK: Final = 1536
"""Largest side of the parts of a large image that are looked at, working pixels."""

MOST_BLOCKS: Final = 4
"""How many of them are enough."""

USUAL_DIAMETER, USUAL_TILE = 7.0, 512
"""um and px: tiles of this side suit nuclei of this diameter (measured at 0.25 um/px)."""

TILE_PER_UM: Final = 160
"""px of tile for each um of diameter: more than in proportion, for regions of the stain are
more alike in size than the nuclei in them."""

SMALLEST_TILE, LARGEST_TILE = 448, 768
"""px; smaller ones cost more tiles than they gain."""


def nuclear_diameter(
    haematoxylin: NDArray[np.float32], tissue: NDArray[np.bool_], mpp: float
) -> float:
    """Return the diameter of a typical nucleus: half of the nuclear area is in larger ones.

    Parameters
    ----------
    haematoxylin
        (H, W) concentration.
    tissue
        (H, W).
    mpp
        Pixel size, um.

    Returns
    -------
    float
        um, of the circle of equal area; NaN if there are too few to tell.
    """
    areas = np.concatenate(
        [_areas(haematoxylin[part], tissue[part], mpp) for part in _parts(tissue)]
    )
    if len(areas) < LEAST_REGIONS:
        return math.nan
    areas = np.sort(areas)
    half = np.searchsorted(np.cumsum(areas), areas.sum() / 2)
    return float(2 * math.sqrt(areas[half] / math.pi) * mpp)


def matched_tile(diameter: float, mpp: float) -> int:
    """Return the side of the tiles that suit nuclei of a diameter.

    Parameters
    ----------
    diameter
        um, from :func:`nuclear_diameter`; NaN if not known.
    mpp
        Pixel size, um.

    Returns
    -------
    int
        Working pixels, a multiple of SAM's 64 tokens a side.
    """
    known = USUAL_DIAMETER if math.isnan(diameter) else diameter
    side = USUAL_TILE + TILE_PER_UM * (known - USUAL_DIAMETER)
    side = min(max(side, SMALLEST_TILE), LARGEST_TILE) * 0.25 / mpp
    return EMBEDDING * min(max(round(side / EMBEDDING), 2), 16)


def _parts(tissue: NDArray[np.bool_]) -> Iterator[tuple[slice, slice]]:
    """Yield the whole of a small image, or a few parts of a large one that hold tissue."""
    edges = (
        np.linspace(0, length, math.ceil(length / BLOCK) + 1).round().astype(int).tolist()
        for length in tissue.shape
    )
    rows, columns = ([slice(*pair) for pair in itertools.pairwise(cuts)] for cuts in edges)
    blocks = list(itertools.product(rows, columns))
    shares = [np.count_nonzero(tissue[block]) for block in blocks]
    full = [block for block, share in zip(blocks, shares, strict=True) if 2 * share >= max(shares)]
    chosen = np.unique(np.linspace(0, len(full) - 1, MOST_BLOCKS).round().astype(int))
    yield from (full[index] for index in chosen.tolist())


def _areas(
    haematoxylin: NDArray[np.float32], tissue: NDArray[np.bool_], mpp: float
) -> NDArray[np.int64]:
    """Return the areas in pixels of the dark convex regions."""
    smoothed = smooth_within(haematoxylin, tissue, SMOOTHING / mpp)
    dark = tissue & (smoothed > otsu_threshold(smoothed, tissue))
    labels = watershed_regions(dark, SPLITTING, mpp).labels
    areas = []
    for value, where in enumerate(ndimage.find_objects(labels), 1):
        region = np.pad(labels[where] == value, 1)
        area = int(np.count_nonzero(region))
        if area * mpp**2 >= LEAST_AREA and solidity(region) >= LEAST_SOLIDITY:
            areas.append(area)
    return np.array(areas, dtype=np.int64)

"""Point prompts from activation, stain or a plain grid (paper 3.2 and B.6)."""

from __future__ import annotations

from dataclasses import dataclass

import cv2
import numpy as np
from numpy.typing import NDArray
from scipy import ndimage
from scipy.spatial import cKDTree
from skimage.morphology import local_maxima
from skimage.segmentation import watershed

from .activation import ActivationMap
from .coordinates import Scale
from .morphology import reconstruct
from .reference import ReferenceMasks
from .settings import PromptSettings


@dataclass(frozen=True, eq=False)
class Regions:
    """Watershed regions, one per proposed nucleus.

    Attributes
    ----------
    labels
        (H, W) int32 at working resolution; 0 is background, region ids are 1..n
        in the raster order of their points.
    points
        (n, 2) float, (y, x) working pixel centres; point i lies inside region i + 1.
    """

    labels: NDArray[np.int32]
    points: NDArray[np.float64]


def remove_small(mask: NDArray[np.bool_], min_area: float) -> NDArray[np.bool_]:
    """Remove 8-connected regions of fewer than `min_area` pixels from a mask."""
    count, labels, stats, _ = cv2.connectedComponentsWithStats(mask.astype(np.uint8))
    keep = stats[:count, cv2.CC_STAT_AREA] >= min_area
    keep[0] = False
    kept: NDArray[np.bool_] = keep[labels]
    return kept


def _fill_small_holes(mask: NDArray[np.bool_], max_area: float) -> NDArray[np.bool_]:
    """Fill holes of fewer than `max_area` pixels, as pale chromatin leaves them."""
    return ~remove_small(~mask, max_area)


def watershed_regions(
    foreground: NDArray[np.bool_], settings: PromptSettings, mpp: float
) -> Regions:
    """Split a foreground mask into one region per nucleus (paper B.6).

    Parameters
    ----------
    foreground
        (H, W) bool at working resolution.
    settings
        Smallest region (um^2), smoothing (um) and depth of a waist (um).
    mpp
        Working pixel size in um.

    Returns
    -------
    Regions
        The basins of the inverted, smoothed distance transform. Each point is its
        region's centroid, or, where that falls outside (a bent nucleus), the
        region's pixel deepest inside it.
    """
    min_area = settings.min_area / mpp**2
    mask = remove_small(_fill_small_holes(foreground, min_area), min_area)
    distance = np.asarray(
        cv2.distanceTransform(mask.astype(np.uint8), cv2.DIST_L2, cv2.DIST_MASK_PRECISE),
        dtype=np.float32,
    )
    depth = ndimage.gaussian_filter(distance, settings.smoothing / mpp)
    height = max(settings.split_depth / mpp, 1e-3)
    # Far below any depth, so that even a nucleus shallower than `height` keeps its peak.
    depth[~mask] = -10 * (height + 1)
    peaks = _peaks(depth, mask, height)
    labels = watershed(np.negative(depth, out=depth), peaks, mask=mask).astype(np.int32, copy=False)
    sizes = np.bincount(labels.ravel())
    labels[sizes[labels] < min_area] = 0
    return ordered(labels, distance)


def _peaks(depth: NDArray[np.float32], mask: NDArray[np.bool_], height: float) -> NDArray[np.int32]:
    """Return a number for what rises by more than `height` above every way to a higher peak."""
    # The h-maximum transform; skimage's own h_maxima would keep two equal peaks apart.
    seed = np.where(mask, depth - height, depth)
    highest = local_maxima(reconstruct(seed, depth)) & mask
    peaks, _ = ndimage.label(highest, structure=np.ones((3, 3)))
    return np.asarray(peaks, dtype=np.int32)


def ordered(labels: NDArray[np.int32], distance: NDArray[np.float32]) -> Regions:
    """Find each region's point and number the regions in raster order of the points.

    Parameters
    ----------
    labels
        (H, W) regions under any numbers; 0 is background.
    distance
        (H, W) how deep each pixel lies.
    """
    ids = 1 + np.flatnonzero(np.bincount(labels.ravel())[1:])
    if len(ids) == 0:
        return Regions(np.zeros_like(labels), np.empty((0, 2)))
    points = inner_points(labels, ids, distance)
    order = np.lexsort((points[:, 1], points[:, 0]))
    renumber = np.zeros(int(ids[-1]) + 1, dtype=np.int32)
    renumber[ids[order]] = np.arange(1, len(ids) + 1)
    return Regions(renumber[labels], points[order])


def inner_points(
    labels: NDArray[np.int32], ids: NDArray[np.integer], distance: NDArray[np.float32]
) -> NDArray[np.float64]:
    """Return the pixel nearest to each region's centroid, or its deepest if that lies outside.

    Parameters
    ----------
    labels
        (H, W) regions.
    ids
        (n,) those wanted; each must have a pixel.
    distance
        (H, W) how deep each pixel lies.

    Returns
    -------
    ndarray
        (n, 2), (y, x).
    """
    inside = np.flatnonzero(labels)
    owners = labels.ravel()[inside]
    sizes = np.bincount(owners)[ids]
    places = np.divmod(inside, labels.shape[1])
    centroids = [np.bincount(owners, at)[ids] / sizes for at in places]
    points: NDArray[np.float64] = np.rint(np.stack(centroids, axis=1))
    rows, columns = points.astype(int).T
    outside = np.flatnonzero(labels[rows, columns] != ids)
    if len(outside):
        boxes = ndimage.find_objects(labels)
        for index in outside.tolist():
            box = boxes[ids[index] - 1]
            depth = np.where(labels[box] == ids[index], distance[box], -1)
            deepest = np.unravel_index(depth.argmax(), depth.shape)
            points[index] = [side.start + at for side, at in zip(box, deepest, strict=True)]
    return points


def combine(
    step: ActivationMap | None,
    reference: ReferenceMasks,
    tissue: NDArray[np.bool_],
    scale: Scale,
) -> tuple[NDArray[np.bool_], NDArray[np.bool_]]:
    """Combine a step's activation with the self-reference masks (paper 3.2).

    Activation knows what a nucleus is but not, at one token per 8 px, where it
    ends; the stain knows the edge but not what it belongs to. A pixel is
    foreground where both agree.

    Parameters
    ----------
    step
        The activation map taken; None if there is none (nothing was stained).
    reference
        Coarse and sure masks at working resolution.
    tissue
        (H, W) bool.
    scale
        The image's grids.

    Returns
    -------
    foreground, background
        (H, W) bool; a pixel can be neither.
    """
    if step is None:
        return np.zeros_like(tissue), tissue
    active = scale.map_to_working(step.foreground) > step.threshold
    return active & reference.foreground & tissue, reference.background & ~active


def grid_points(mask: NDArray[np.bool_], spacing: float) -> NDArray[np.float64]:
    """Return the points of a regular grid of `spacing` px that fall inside a mask, (n, 2)."""
    step = max(1, round(spacing))
    rows, columns = np.meshgrid(
        np.arange(step // 2, mask.shape[0], step),
        np.arange(step // 2, mask.shape[1], step),
        indexing="ij",
    )
    inside = mask[rows, columns]
    return np.stack([rows[inside], columns[inside]], axis=1).astype(float)


def grid_regions(tissue: NDArray[np.bool_], settings: PromptSettings, mpp: float) -> Regions:
    """Points on a plain grid, without regions: SAM's automatic prompting (Table 11, row 1)."""
    points = grid_points(tissue, settings.grid_spacing / mpp)
    return Regions(np.zeros(tissue.shape, dtype=np.int32), points)


def negative_points(
    background: NDArray[np.bool_], settings: PromptSettings, mpp: float
) -> NDArray[np.float64]:
    """Return grid points on the background, kept away from nuclei, (n, 2).

    Parameters
    ----------
    background
        (H, W) bool: tissue that is not nucleus.
    settings
        Spacing of the grid and margin to nuclei, both um.
    mpp
        Working pixel size in um.
    """
    margin = settings.negative_margin / mpp
    clear = cv2.distanceTransform(background.astype(np.uint8), cv2.DIST_L2, 5) > margin
    return grid_points(clear, settings.negative_spacing / mpp)


def nearest_negatives(
    positives: NDArray[np.float64], negatives: NDArray[np.float64], count: int
) -> NDArray[np.intp]:
    """Return, for each positive point, the indices of its `count` nearest negatives.

    Parameters
    ----------
    positives, negatives
        (n, 2) and (m, 2) points.
    count
        The paper's y.

    Returns
    -------
    ndarray
        (n, min(count, m)) indices into `negatives`, nearest first.
    """
    count = min(count, len(negatives))
    if count == 0 or len(positives) == 0:
        return np.empty((len(positives), count), dtype=np.intp)
    _, indices = cKDTree(negatives).query(positives, k=np.arange(1, count + 1))
    return np.asarray(indices, dtype=np.intp)

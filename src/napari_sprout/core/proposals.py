"""Regions on which several ways of outlining nuclei agree.

One threshold outlines some nuclei well and merges, splits or misses others. What
is a nucleus is outlined much the same by many: at several thresholds of the
haematoxylin map, as a blob at two scales (Laplacian of Gaussian), and where the
activation says so. Of all regions that these propose, those are kept on which most
agree, that are convex, darker than their surroundings, and active; of several on
one place the best. (Stability over thresholds is the idea of maximally stable
extremal regions, Matas et al. 2002; nothing here is trained.)
"""

from __future__ import annotations

import heapq
import itertools
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial

import cv2
import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from .activation import ActivationMap
from .coordinates import Scale
from .prompts import Regions, combine, ordered, watershed_regions
from .reference import ReferenceMasks
from .settings import PromptSettings
from .threads import in_threads, threads_for

Labels = NDArray[np.integer]

LEVELS = (0.75, 1.25, 1.5, 1.8)
"""Thresholds, in units of Otsu's; at 1 the activation has its say."""

BLOBS = (1.5, 2.25)
"""Scales of the blob filter, um: nuclei of about 4 and 6 um across, and elongated larger ones."""

BLOB_RESPONSE = 0.1
"""Least response of the blob filter, in units of Otsu's threshold."""

PALEST = 0.5
"""Paler pixels, in units of Otsu's threshold, belong to no blob."""

RING = (0.25, 1.25)
"""Where the surroundings of a region begin and end, um from its edge."""

SAME_IOU, SAME_SHARE = 0.3, 0.6
"""Two regions stand for one nucleus above this IoU, or this share of the smaller one."""


def stable_regions(
    step: ActivationMap,
    reference: ReferenceMasks,
    tissue: NDArray[np.bool_],
    settings: PromptSettings,
    scale: Scale,
) -> Regions:
    """Propose one region per nucleus from several outlines of the image.

    Parameters
    ----------
    step
        The activation map taken.
    reference
        The smoothed haematoxylin map and its threshold, at working resolution.
    tissue
        (H, W) bool.
    settings
        How a map is split into regions, and the least agreement.
    scale
        The image's grids.

    Returns
    -------
    Regions
        As of :func:`.watershed_regions`. No two share a pixel: where two overlap, the
        better one has it.
    """
    mpp = scale.mpp
    stain = reference.smoothed / max(reference.threshold, 1e-6)
    outlines: list[Callable[[], NDArray[np.bool_]]] = [
        *(partial(np.greater, stain, level) for level in LEVELS),
        *(partial(_blobs, stain, size / mpp) for size in BLOBS),
        lambda: combine(step, reference, tissue, scale)[0],
    ]
    sources = list(
        in_threads(
            lambda one: _split(one() & tissue, settings, mpp), outlines, threads_for(scale.working)
        )
    )
    active = scale.map_to_working(step.foreground) > step.threshold
    pool = Pool.of(sources, stain, active, mpp)
    labels = np.zeros(tissue.shape, dtype=np.int32)
    for number, index in enumerate(pool.best(settings.agreement), 1):
        source, value, where = pool.places[index]
        crop = labels[where]
        crop[(sources[source][where] == value) & (crop == 0)] = number
    sizes = np.bincount(labels.ravel())
    labels[sizes[labels] < settings.min_area / mpp**2] = 0
    distance = cv2.distanceTransform((labels > 0).astype(np.uint8), cv2.DIST_L2, 5)
    return ordered(labels, np.asarray(distance, dtype=np.float32))


def _blobs(stain: NDArray[np.float32], sigma: float) -> NDArray[np.bool_]:
    """Return where a Laplacian of Gaussian of width `sigma`, px, sees dark blobs."""
    response = -(sigma**2) * ndimage.gaussian_laplace(stain, sigma)
    seen: NDArray[np.bool_] = (response > BLOB_RESPONSE) & (stain > PALEST)
    return seen


def _split(outlined: NDArray[np.bool_], settings: PromptSettings, mpp: float) -> Labels:
    """Return the regions of a map, in as few bytes as hold their numbers: many maps are kept."""
    labels = watershed_regions(outlined, settings, mpp).labels
    return labels.astype(np.min_scalar_type(labels.max(initial=0)))


@dataclass(frozen=True, eq=False)
class Pool:
    """All proposed regions, those of the first source first.

    Attributes
    ----------
    places
        (source, value in that source's labels, where) of each.
    areas
        (n,) pixels.
    pairs
        (m, 2) indices of regions that overlap, of different sources.
    shared
        (m,) the pixels that they share.
    agreement
        (n,) 0 to 1: how much the other sources agree on each.
    look
        Says of each, by its index, how much it looks like a nucleus, 0 to 1.
    """

    places: tuple[tuple[int, int, tuple[slice, slice]], ...]
    areas: NDArray[np.int64]
    pairs: NDArray[np.int64]
    shared: NDArray[np.int64]
    agreement: NDArray[np.float64]
    look: Callable[[int], float]

    @classmethod
    def of(
        cls,
        sources: Sequence[Labels],
        stain: NDArray[np.float32],
        active: NDArray[np.bool_],
        mpp: float,
    ) -> Pool:
        """Gather and judge the regions of several label images.

        Parameters
        ----------
        sources
            (H, W) each, regions numbered from 1 without gaps.
        stain
            (H, W) haematoxylin in units of the threshold.
        active
            (H, W) where the activation says nucleus.
        mpp
            Pixel size, um.
        """
        places = tuple(
            (number, value, (where[0], where[1]))
            for number, labels in enumerate(sources)
            for value, where in enumerate(ndimage.find_objects(labels), 1)
            if where is not None
        )
        areas = np.concatenate([np.bincount(labels.ravel())[1:] for labels in sources])
        owner = np.array([source for source, _, _ in places], dtype=np.int64)
        pairs, shared = _overlaps(sources)
        likeness = _likeness(areas, pairs, shared)
        agreement = _agreement(owner, len(sources), pairs, likeness)

        def look(index: int) -> float:
            source, value, where = places[index]
            return _look(sources[source], value, where, stain, active, mpp)

        return cls(places, areas, pairs, shared, agreement, look)

    def best(self, least: float) -> list[int]:
        """Return the indices of the regions to keep, best first: one for each place.

        What speaks for a region is how much the sources agree, times how it looks. The
        second takes time, so it is asked only of those that may be next.
        """
        likeness = _likeness(self.areas, self.pairs, self.shared)
        smaller = self.areas[self.pairs].min(axis=1) if len(self.pairs) else self.shared
        same = (likeness > SAME_IOU) | (self.shared > SAME_SHARE * smaller)
        rivals: dict[int, list[int]] = {}
        for i, j in self.pairs[same].tolist():
            rivals.setdefault(i, []).append(j)
            rivals.setdefault(j, []).append(i)
        beaten: set[int] = set()
        kept = []
        # (-what speaks for it at most, whether that is known exactly, index)
        queue = [(-most, False, index) for index, most in enumerate(self.agreement.tolist())]
        heapq.heapify(queue)
        while queue and -queue[0][0] >= least:
            negative, known, index = heapq.heappop(queue)
            if index in beaten:
                continue
            if known:
                kept.append(index)
                beaten.update(rivals.get(index, ()))
            else:
                heapq.heappush(queue, (negative * self.look(index), True, index))
        return kept


def _overlaps(sources: Sequence[Labels]) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Find the regions of different sources that share pixels, and how many."""
    counts = [int(labels.max(initial=0)) for labels in sources]
    first = np.concatenate([[0], np.cumsum(counts)])
    pairs, shared = [np.empty((0, 2), np.int64)], [np.empty(0, np.int64)]
    for a, b in itertools.combinations(range(len(sources)), 2):
        both = (sources[a] > 0) & (sources[b] > 0)
        key = sources[a][both].astype(np.int64) * (counts[b] + 1) + sources[b][both]
        found, pixels = np.unique(key, return_counts=True)
        one, other = np.divmod(found, counts[b] + 1)
        pairs.append(np.column_stack([first[a] + one - 1, first[b] + other - 1]))
        shared.append(pixels)
    return np.concatenate(pairs), np.concatenate(shared).astype(np.int64)


def _likeness(
    areas: NDArray[np.int64], pairs: NDArray[np.int64], shared: NDArray[np.int64]
) -> NDArray[np.float64]:
    """Return the IoU of each pair."""
    likeness: NDArray[np.float64] = shared / (areas[pairs].sum(axis=1) - shared)
    return likeness


def _agreement(
    owner: NDArray[np.int64], count: int, pairs: NDArray[np.int64], likeness: NDArray[np.float64]
) -> NDArray[np.float64]:
    """Return each region's mean IoU with the likest region of every other source."""
    best = np.zeros((len(owner), count))
    np.maximum.at(best, (pairs[:, 0], owner[pairs[:, 1]]), likeness)
    np.maximum.at(best, (pairs[:, 1], owner[pairs[:, 0]]), likeness)
    agreement: NDArray[np.float64] = best.sum(axis=1) / max(count - 1, 1)
    return agreement


def _look(
    labels: Labels,
    value: int,
    where: tuple[slice, slice],
    stain: NDArray[np.float32],
    active: NDArray[np.bool_],
    mpp: float,
) -> float:
    """Say how much a region looks like a nucleus, 0 to 1: convex, dark among others, active."""
    near, far = (max(1, round(distance / mpp)) for distance in RING)
    rows, columns = (slice(max(side.start - far - 1, 0), side.stop + far + 1) for side in where)
    part = rows, columns
    mask = (labels[part] == value).astype(np.uint8)
    around = _grown(mask, far) > _grown(mask, near)
    inside = mask > 0
    values = stain[part]
    contrast = float(values[inside].mean()) - (float(values[around].mean()) if around.any() else 0)
    activity = np.count_nonzero(active[part] & inside) / np.count_nonzero(inside)
    darkness = np.sqrt(np.tanh(2 * max(contrast, 0.0)))
    return float(solidity(inside) * darkness * (0.5 + 0.5 * activity))


def _grown(mask: NDArray[np.uint8], radius: int) -> NDArray[np.uint8]:
    side = 2 * radius + 1
    return np.asarray(cv2.dilate(mask, np.ones((side, side), np.uint8)), dtype=np.uint8)


def solidity(mask: NDArray[np.bool_]) -> float:
    """Return the share of its convex hull that a region fills; of its largest piece if of several.

    Parameters
    ----------
    mask
        (h, w), with at least one pixel inside.
    """
    outlines, _ = cv2.findContours(mask.astype(np.uint8), cv2.RETR_EXTERNAL, cv2.CHAIN_APPROX_NONE)
    outline = max(outlines, key=cv2.contourArea)
    hull = cv2.contourArea(cv2.convexHull(outline))
    return float(min(1.0, cv2.contourArea(outline) / hull)) if hull > 0 else 0.0

"""From kept masks to a label image, and from a label image to measured nuclei."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping
from dataclasses import replace

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage
from skimage.measure import regionprops_table

from ..errors import SproutError
from .coordinates import Scale
from .crops import Mask, fill_holes, resample, slices, tight
from .instances import Box, Candidate, Nucleus
from .suppression import ranked

_EIGHT_CONNECTED = np.ones((3, 3), dtype=bool)


def assemble(
    candidates: Mapping[int, Candidate],
    kept: Iterable[tuple[int, float]],
    shape: tuple[int, int],
    min_area: int = 1,
    pinned: frozenset[int] = frozenset(),
    min_visible: float = 0.0,
) -> tuple[NDArray[np.int32], list[int]]:
    """Paint kept masks into one label image: the best mask that covers a pixel owns it.

    Masks are taken best first and each gets what is still free of its own
    pixels, holes filled (nuclei have none). A nucleus left in several pieces
    keeps the largest (8-connected; the first in reading order if equal), and one
    left with fewer than `min_area` pixels is dropped. What is given up so stays
    free for the next best mask that covers it. The label of a nucleus therefore
    depends on the masks that overlap it alone.

    Parameters
    ----------
    candidates
        Masks by id, in pixels of the label image and inside it.
    kept
        (id, score) of the masks to paint, in any order.
    shape
        Height and width of the label image.
    min_area
        Least visible area, in pixels.
    pinned
        Ids that a person chose: painted first, and kept however small.
    min_visible
        Least share of its mask that a nucleus must show, 0 to 1.

    Returns
    -------
    labels : numpy.ndarray
        Shape (H, W), int32: 0 for background, else the id of the owner.
    dropped : list of int
        Kept ids that own no pixel in the end, in increasing order.
    """
    labels = np.zeros(shape, dtype=np.int32)
    areas = paint(labels, candidates, kept, min_area, pinned, min_visible)
    return labels, sorted(ident for ident, area in areas.items() if area == 0)


def paint(
    labels: NDArray[np.int32],
    candidates: Mapping[int, Candidate],
    kept: Iterable[tuple[int, float]],
    min_area: int = 1,
    pinned: frozenset[int] = frozenset(),
    min_visible: float = 0.0,
) -> dict[int, int]:
    """Paint kept masks onto the background of a label image, as :func:`assemble` does.

    Parameters
    ----------
    labels
        Shape (H, W), int32; painted in place. What is not 0 stays.
    candidates, kept, min_area, pinned, min_visible
        As for :func:`assemble`, in pixels of `labels`.

    Returns
    -------
    dict
        The visible area of each kept id; 0 for those that own no pixel in the end.
    """
    areas: dict[int, int] = {}
    for ident, _ in ranked(kept, pinned):
        candidate = candidates[ident]
        crop = labels[slices(candidate.box)]
        mask = fill_holes(candidate.mask)
        visible = largest_piece(mask & (crop == 0))
        area = int(np.count_nonzero(visible))
        # What better masks leave of a nucleus, a ring or a rim, is not a nucleus.
        least = max(1, min_area, min_visible * np.count_nonzero(mask))
        areas[ident] = area if area >= (1 if ident in pinned else least) else 0
        if areas[ident]:
            crop[visible] = ident
    return areas


def on_full_grid(candidates: Iterable[Candidate], scale: Scale) -> dict[int, Candidate]:
    """Bring masks from working to full-resolution pixels and fill their holes.

    Parameters
    ----------
    candidates
        In working pixels.
    scale
        The image's grids.

    Returns
    -------
    dict
        Masks by id, in full-resolution pixels. One of a pixel or two that holds no
        pixel's centre there, where the image is the coarser grid, is left out.
    """
    found = {}
    for candidate in candidates:
        shrunk = tight(*resample(candidate.box, candidate.mask, scale.working, scale.full))
        if shrunk is not None:
            box, mask = shrunk[0], fill_holes(shrunk[1])
            found[candidate.id] = replace(candidate, box=box, mask=mask)
    return found


def on_working_grid(box: Box, mask: Mask, scale: Scale) -> tuple[Box, Mask]:
    """Bring a crop that is not empty from full-resolution to working pixels; it stays so.

    One that holds no working pixel's centre becomes the pixel that it lies in.
    """
    found = tight(*resample(box, mask, scale.full, scale.working))
    if found is not None:
        return found
    y, x = (int(v + 0.5) for v in scale.to_working(np.array([box[:2]], dtype=float))[0])
    y, x = min(y, scale.working[0] - 1), min(x, scale.working[1] - 1)
    return (y, x, y + 1, x + 1), np.ones((1, 1), dtype=bool)


def largest_piece(mask: NDArray[np.bool_]) -> NDArray[np.bool_]:
    """Return the largest 8-connected piece of a mask, the first in reading order if equal."""
    pieces, count = ndimage.label(mask, structure=_EIGHT_CONNECTED)
    if count < 2:
        return mask
    largest: NDArray[np.bool_] = pieces == 1 + np.argmax(np.bincount(pieces.ravel())[1:])
    return largest


def to_full_resolution(labels: NDArray[np.int32], full_shape: tuple[int, int]) -> NDArray[np.int32]:
    """Resample working labels onto the original pixel grid, by nearest neighbour.

    Pixel i of the original lies at (i + 0.5) * working / full - 0.5 in working
    pixels; the two grids have the same outer edges.

    Parameters
    ----------
    labels
        Shape (h, w), int32, at working resolution.
    full_shape
        Height and width of the original image, in its pixels.

    Returns
    -------
    numpy.ndarray
        Shape `full_shape`, int32; `labels` itself if the shapes are equal. When
        the original is the coarser grid, a nucleus of a pixel or two can vanish.
    """
    if labels.shape == tuple(full_shape):
        return labels
    # floor((i + 0.5) * working / full) in whole numbers, which cannot round wrongly.
    rows, columns = (
        (2 * np.arange(side, dtype=np.int64) + 1) * working // (2 * side)
        for side, working in zip(full_shape, labels.shape, strict=True)
    )
    full: NDArray[np.int32] = labels[rows].take(columns, axis=1)
    return full


def measure(
    labels: NDArray[np.int32],
    concentrations: NDArray[np.floating],
    candidates: Mapping[int, Candidate],
    scores: Mapping[int, float],
) -> list[Nucleus]:
    """Measure every nucleus of a label image.

    Parameters
    ----------
    labels
        Shape (H, W): 0 for background, else any positive ids.
    concentrations
        Shape (H, W, 2): haematoxylin and eosin in optical density, same grid.
    candidates, scores
        By id: where `predicted_iou`, `stability` and `score` come from. They are NaN for a
        label that is in neither (painted by hand).

    Returns
    -------
    list of Nucleus
        One for each label present, sorted by id; lengths in pixels of `labels`.

    Raises
    ------
    SproutError
        If the stain map is not on the grid of the labels.
    """
    if concentrations.shape != (*labels.shape, 2):
        raise SproutError(
            f"The stain map has shape {concentrations.shape} but the labels {labels.shape}; "
            "compute both from the same image at the same resolution."
        )
    place = np.flatnonzero(labels)
    ids, index = np.unique(labels.ravel()[place], return_inverse=True)
    if not ids.size:
        return []
    y, x = np.divmod(place, labels.shape[1])
    area = np.bincount(index)
    stains = concentrations.reshape(-1, 2)
    means = [
        np.bincount(index, weights=values) / area
        for values in (y, x, stains[place, 0], stains[place, 1])
    ]
    # regionprops keeps one slot for each number up to the largest label: count from 1.
    compact = np.zeros(labels.shape, dtype=np.int32)
    compact.ravel()[place] = index + 1
    shapes = regionprops_table(compact, properties=("perimeter", "eccentricity"))
    columns = (area, *means, shapes["perimeter"], shapes["eccentricity"])
    return [
        Nucleus(
            id=ident,
            y=cy,
            x=cx,
            area=pixels,
            perimeter=perimeter,
            eccentricity=eccentricity,
            haematoxylin=haematoxylin,
            eosin=eosin,
            predicted_iou=(
                float(candidates[ident].predicted_iou) if ident in candidates else math.nan
            ),
            score=float(scores.get(ident, math.nan)),
            stability=candidates[ident].stability if ident in candidates else math.nan,
        )
        for ident, pixels, cy, cx, haematoxylin, eosin, perimeter, eccentricity in zip(
            ids.tolist(), *(column.tolist() for column in columns), strict=True
        )
    ]

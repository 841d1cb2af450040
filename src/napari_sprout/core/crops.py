"""Masks as crops: a box and a boolean array of the box's size, never the whole image."""

from __future__ import annotations

from collections.abc import Iterable

import cv2
import numpy as np
from numpy.typing import NDArray

from ..errors import SproutError
from .instances import Box

Mask = NDArray[np.bool_]


def slices(box: Box) -> tuple[slice, slice]:
    """Return the rows and columns of a box, to index an image with."""
    y0, x0, y1, x1 = box
    return slice(y0, y1), slice(x0, x1)


def tight(box: Box, mask: Mask) -> tuple[Box, Mask] | None:
    """Shrink a crop until its first and last rows and columns hold a True; None if it is empty."""
    rows, columns = np.flatnonzero(mask.any(axis=1)), np.flatnonzero(mask.any(axis=0))
    if not len(rows):
        return None
    y0, y1, x0, x1 = int(rows[0]), int(rows[-1]) + 1, int(columns[0]), int(columns[-1]) + 1
    shrunk = (box[0] + y0, box[1] + x0, box[0] + y1, box[1] + x1)
    return shrunk, np.ascontiguousarray(mask[y0:y1, x0:x1])


def check_drawn(box: Box, mask: Mask, shape: tuple[int, ...]) -> Mask:
    """Return a copy of a mask drawn by hand as booleans, if it fits its box and the image.

    Raises
    ------
    SproutError
        If it does not.
    """
    y0, x0, y1, x1 = box
    drawn = np.array(mask, dtype=bool)
    if drawn.shape != (y1 - y0, x1 - x0):
        raise SproutError(f"A drawn mask of shape {drawn.shape} does not fit its box {box}.")
    if not (0 <= y0 <= y1 <= shape[0] and 0 <= x0 <= x1 <= shape[1]):
        raise SproutError(f"The box {box} lies outside the image of {shape[0]} x {shape[1]} px.")
    return drawn


def subtract(box: Box, mask: Mask, others: Iterable[tuple[Box, Mask]]) -> Mask:
    """Return a copy of a crop's mask without the pixels of other crops."""
    left = mask.copy()
    for other, theirs in others:
        if meet(box, other):
            both = common(box, other)
            left[slices(within(both, box))] &= ~theirs[slices(within(both, other))]
    return left


def meet(box: Box, other: Box) -> bool:
    """Whether two boxes share a pixel."""
    return box[0] < other[2] and other[0] < box[2] and box[1] < other[3] and other[1] < box[3]


def common(box: Box, other: Box) -> Box:
    """Return the box of the pixels that two boxes share; they must :func:`meet`."""
    y0, x0 = max(box[0], other[0]), max(box[1], other[1])
    return y0, x0, min(box[2], other[2]), min(box[3], other[3])


def within(box: Box, outer: Box) -> Box:
    """Express a box in pixels of another."""
    return box[0] - outer[0], box[1] - outer[1], box[2] - outer[0], box[3] - outer[1]


def fill_holes(mask: Mask) -> Mask:
    """Fill what no 4-connected path leads out of (as ``scipy.ndimage.binary_fill_holes``).

    A mask without holes is returned as it is.
    """
    padded = np.zeros((mask.shape[0] + 2, mask.shape[1] + 2), dtype=np.uint8)
    padded[1:-1, 1:-1] = mask
    cv2.floodFill(padded, None, (0, 0), (2,), flags=4)
    filled: Mask = padded[1:-1, 1:-1] != 2
    return mask if np.array_equal(filled, mask) else filled


def union_box(boxes: list[Box]) -> Box:
    """Return the smallest box around at least one box."""
    y0, x0, y1, x1 = zip(*boxes, strict=True)
    return min(y0), min(x0), max(y1), max(x1)


def resample(
    box: Box, mask: Mask, source: tuple[int, int], target: tuple[int, int]
) -> tuple[Box, Mask]:
    """Bring a crop from one grid over an image to another, by nearest neighbour.

    Pixel i of the target lies at (i + 0.5) * source / target - 0.5 in pixels of
    the source; the two grids have the same outer edges.

    Parameters
    ----------
    box, mask
        The crop, on the source grid.
    source, target
        (H, W) of the whole image on either grid.
    """
    if source == target:
        return box, mask
    spans = [_covered(box[axis], box[axis + 2], source[axis], target[axis]) for axis in (0, 1)]
    (y0, rows), (x0, columns) = spans
    return (y0, x0, y0 + len(rows), x0 + len(columns)), mask[rows][:, columns]


def _covered(begin: int, end: int, source: int, target: int) -> tuple[int, NDArray[np.int64]]:
    """Return the first target pixel over begin..end, and for it and its followers the source's."""
    # (2 i + 1) * source >= 2 * target * begin, in whole numbers, which cannot round wrongly.
    first, last = (
        max(0, -(-(2 * target * edge - source) // (2 * source))) for edge in (begin, end)
    )
    indices = (2 * np.arange(first, last, dtype=np.int64) + 1) * source // (2 * target)
    return first, indices - begin

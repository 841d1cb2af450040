"""Lines and regions that a person draws over the nuclei."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from itertools import pairwise
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage
from skimage.draw import line, polygon2mask
from skimage.morphology import convex_hull_image

from ..core.crops import Mask, tight
from ..core.edits import SplitNucleus
from ..core.instances import Box, Prompt
from .labels_sync import mask_of

_SLIVER: Final = 0.03
"""Share of a nucleus below which what a line cuts off is no nucleus."""

_NEAR: Final = 64
"""Pixels from a line within which a nucleus in pieces is looked for."""

_REACH: Final = 2.0
"""Pixels by which a line is drawn longer at both ends: nobody stops right at the edge."""


def cuts(
    labels: NDArray[np.integer[Any]],
    path: NDArray[np.floating[Any]],
    *,
    new_id: Callable[[], int],
    prompts: Mapping[int, Prompt],
    locked: frozenset[int] = frozenset(),
) -> tuple[SplitNucleus, ...]:
    """Split every nucleus that a drawn line divides.

    Parameters
    ----------
    labels
        (H, W) nuclei.
    path
        (N, 2) corners of the line, (y, x) in pixels of `labels`; N >= 2.
    new_id
        Returns an identifier that was never used, at each call.
    prompts
        By identifier: the piece with the nucleus's own prompt keeps its identifier,
        or the largest if none has it.
    locked
        Nuclei to leave as they are.

    Returns
    -------
    tuple of SplitNucleus
        One for each nucleus that falls apart; none if the line divides nothing.
    """
    rows, columns = _pixels(path, labels.shape)
    crossed = set(labels[rows, columns].tolist()) | _passed_between(labels, rows, columns)
    found = []
    for ident in sorted(crossed - {0} - locked):
        box, mask = mask_of(labels, ident)
        pieces = divide(mask, rows - box[0], columns - box[1])
        if len(pieces) < 2:
            continue
        own = _holding(pieces, box, prompts.get(ident))
        ordered = [pieces[own], *pieces[:own], *pieces[own + 1 :]]
        ids = [ident, *(new_id() for _ in ordered[1:])]
        parts = [
            (ident, *(tight(box, piece) or (box, piece)))
            for ident, piece in zip(ids, ordered, strict=True)
        ]
        found.append(SplitNucleus(ident, tuple(parts)))
    return tuple(found)


def _passed_between(
    labels: NDArray[np.integer[Any]], rows: NDArray[np.intp], columns: NDArray[np.intp]
) -> set[int]:
    """Find the nuclei in several pieces, as merging makes them, between which a line passes."""
    if not len(rows):
        return set()
    top, left = max(rows.min() - _NEAR, 0), max(columns.min() - _NEAR, 0)
    around = labels[top : rows.max() + _NEAR, left : columns.max() + _NEAR]
    found = set()
    for ident in np.unique(around[around != 0]).tolist():
        if ndimage.label(around == ident)[1] < 2:
            continue
        box, mask = mask_of(labels, ident)
        y, x = rows - box[0], columns - box[1]
        inside = (y >= 0) & (y < mask.shape[0]) & (x >= 0) & (x < mask.shape[1])
        if convex_hull_image(mask)[y[inside], x[inside]].any():
            found.add(ident)
    return found


def divide(mask: Mask, rows: NDArray[np.intp], columns: NDArray[np.intp]) -> list[Mask]:
    """Divide a mask along pixels, which may lie outside it.

    Every pixel of the mask ends up in one of the pieces, largest first; the cut's
    own pixels, and slivers, go to the nearest.

    Parameters
    ----------
    mask
        (h, w) bool.
    rows, columns
        The pixels of the cut: an unbroken line, diagonal steps allowed.
    """
    inside = (rows >= 0) & (rows < mask.shape[0]) & (columns >= 0) & (columns < mask.shape[1])
    rest = mask.copy()
    rest[rows[inside], columns[inside]] = False
    # Pieces that touch at corners alone are apart: a diagonal line is not a wall else.
    pieces, count = ndimage.label(rest)
    areas = np.bincount(pieces.ravel(), minlength=count + 1)
    large = [i for i in range(1, count + 1) if areas[i] >= max(1, _SLIVER * mask.sum())]
    if len(large) < 2:
        return [mask]
    nearest = ndimage.distance_transform_edt(
        ~np.isin(pieces, large), return_distances=False, return_indices=True
    )
    owner = np.where(mask, pieces[tuple(nearest)], 0)
    found = [owner == i for i in large]
    return sorted(found, key=np.count_nonzero, reverse=True)


def nuclei_inside(
    labels: NDArray[np.integer[Any]], outline: NDArray[np.floating[Any]]
) -> frozenset[int]:
    """Return the nuclei that lie in a drawn region with more than half of their pixels.

    Parameters
    ----------
    labels
        (H, W) nuclei.
    outline
        (N, 2) corners of the region, (y, x) in pixels of `labels`.
    """
    low = np.clip(np.floor(outline.min(axis=0)).astype(int), 0, labels.shape)
    high = np.clip(np.ceil(outline.max(axis=0)).astype(int) + 1, 0, labels.shape)
    if (high <= low).any():
        return frozenset()
    part = labels[low[0] : high[0], low[1] : high[1]]
    within = np.bincount(part[polygon2mask(part.shape, outline - low)].ravel())
    touched = np.flatnonzero(within)
    areas = np.bincount(labels.ravel(), minlength=len(within))
    return frozenset(i for i in touched.tolist() if i and 2 * within[i] > areas[i])


def _pixels(
    path: NDArray[np.floating[Any]], shape: tuple[int, ...]
) -> tuple[NDArray[np.intp], NDArray[np.intp]]:
    """Return the pixels of a line, made a little longer, that lie inside the image."""
    corners = np.asarray(path, dtype=float).copy()
    for end, inner in ((0, 1), (-1, -2)):
        step = corners[end] - corners[inner]
        length = float(np.hypot(*step))
        if length > 0:
            corners[end] += step / length * _REACH
    points = np.rint(corners).astype(int)
    drawn = [np.stack(line(*start, *stop)) for start, stop in pairwise(points)]
    rows, columns = np.concatenate(drawn, axis=1)
    inside = (rows >= 0) & (rows < shape[0]) & (columns >= 0) & (columns < shape[1])
    return rows[inside], columns[inside]


def _holding(pieces: list[Mask], box: Box, prompt: Prompt | None) -> int:
    """Return which piece holds a prompt; the first if none does."""
    if prompt is not None:
        y, x = round(prompt.y) - box[0], round(prompt.x) - box[1]
        for index, piece in enumerate(pieces):
            if 0 <= y < piece.shape[0] and 0 <= x < piece.shape[1] and piece[y, x]:
                return index
    return 0

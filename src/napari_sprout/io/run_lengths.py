"""Masks as COCO's run lengths, made from crops and turned back into them.

COCO counts down the columns of the whole image: zeros, ones, zeros, ... pycocotools packs
such counts into text; it unpacks them only into masks of the whole image, of which a slide
with a million nuclei would need a million.
"""

from __future__ import annotations

from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from ..core.crops import Mask
from ..core.instances import Box
from .extras import needed

MOST_PIXELS: Final = 2**32 - 1
"""pycocotools counts in 32 bits."""

_LONGEST: Final = 12
"""Letters of a number of 60 bits."""

Counts = NDArray[np.int64]


def counts_of(box: Box, mask: Mask, shape: tuple[int, int]) -> Counts:
    """Return the run lengths of a mask over the whole image.

    Parameters
    ----------
    box
        (y0, x0, y1, x1), half open, inside the image.
    mask
        Boolean, of the shape of the box.
    shape
        (H, W) of the image.

    Returns
    -------
    ndarray
        int64; of zeros first, perhaps none. They add up to H * W.
    """
    height, width = shape
    y0, x0 = box[:2]
    padded = np.zeros((mask.shape[1], mask.shape[0] + 2), np.int8)
    padded[:, 1:-1] = mask.T
    steps = np.diff(padded, axis=1)
    begins, ends = (
        (columns + x0) * height + rows + y0
        for columns, rows in (np.nonzero(steps == 1), np.nonzero(steps == -1))
    )
    # Runs that reach from the bottom of a column go on at the top of the next.
    apart = np.append(True, begins[1:] != ends[:-1]) if len(begins) else np.zeros(0, bool)
    begins, ends = begins[apart], ends[np.append(apart[1:], True)] if len(ends) else ends
    edges = np.stack([begins, ends], axis=1).ravel()
    counts = np.diff(np.concatenate([[0], edges, [height * width]]))
    return counts[:-1] if len(counts) > 1 and counts[-1] == 0 else counts


def crop_of(counts: Counts, shape: tuple[int, int]) -> tuple[Box, Mask]:
    """Return the tight box and the mask that run lengths stand for; an empty box if none.

    Raises
    ------
    ValueError
        If they do not add up to the image.
    """
    height, width = shape
    if len(counts) and (counts.min() < 0 or counts.max() > height * width):
        raise ValueError("run lengths out of range")
    edges = np.cumsum(counts)
    if not len(edges) or edges[-1] != height * width:
        raise ValueError("run lengths that do not fill the image")
    begins, ends = edges[:-1:2], edges[1::2]
    begins, ends = begins[ends > begins], ends[ends > begins]
    if not len(begins):
        return (0, 0, 0, 0), np.zeros((0, 0), bool)
    first, last = begins // height, (ends - 1) // height
    x0, x1 = int(first.min()), int(last.max()) + 1
    if (first < last).any():
        y0, y1 = 0, height
    else:
        y0, y1 = int((begins % height).min()), int(((ends - 1) % height).max()) + 1
    lengths = ends - begins
    # Every pixel of all runs, one after the other.
    within = np.arange(lengths.sum()) - np.repeat(np.cumsum(lengths) - lengths, lengths)
    columns, rows = np.divmod(np.repeat(begins, lengths) + within, height)
    mask = np.zeros((y1 - y0, x1 - x0), bool)
    mask[rows - y0, columns - x0] = True
    return (y0, x0, y1, x1), mask


def packed(counts: Counts, shape: tuple[int, int]) -> str:
    """Return run lengths as COCO's text."""
    run_lengths: dict[str, Any] = {"size": list(shape), "counts": counts.tolist()}
    text: bytes = needed("pycocotools.mask").frPyObjects(run_lengths, *shape)["counts"]
    return text.decode("ascii")


def unpacked(text: str) -> Counts:
    """Return the run lengths in COCO's text.

    Raises
    ------
    ValueError
        If it is no such text.
    """
    letters = np.frombuffer(text.encode("ascii"), np.uint8).astype(np.int64) - 48
    if not len(letters):
        return np.zeros(0, np.int64)
    if letters.min() < 0 or letters.max() > 63 or letters[-1] & 32:
        raise ValueError("text that is no run lengths")
    # Five bits a letter, the lowest first; the sixth says that more follow.
    ends = np.flatnonzero(letters & 32 == 0)
    starts = np.append(0, ends[:-1] + 1)
    lengths = ends - starts + 1
    if lengths.max() > _LONGEST:
        raise ValueError("a run length that is too long")
    place = np.arange(len(letters)) - np.repeat(starts, lengths)
    values = np.add.reduceat((letters & 31) << (5 * place), starts)
    values -= np.where(letters[ends] & 16, np.int64(1) << (5 * lengths), 0)
    # From the fourth on, what is stored is the difference to the last but one.
    values[1::2] = np.cumsum(values[1::2])
    values[2::2] = np.cumsum(values[2::2])
    return values

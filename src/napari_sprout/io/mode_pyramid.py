"""Coarser levels of label images, on which every label is one that is there."""

from __future__ import annotations

from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

SMALLEST: Final = 1024
"""px; the coarsest level is no larger."""


def halved(labels: NDArray[Any]) -> NDArray[Any]:
    """Return (ceil(H / 2), ceil(W / 2)) labels for (H, W).

    A coarse pixel has the label that most of the four pixels under it have; where two
    are equally many, a label rather than background.
    """
    height, width = labels.shape
    if not labels.any():
        return np.zeros((-(-height // 2), -(-width // 2)), labels.dtype)
    even = np.pad(labels, ((0, height % 2), (0, width % 2)), mode="edge")
    four = np.stack([even[::2, ::2], even[::2, 1::2], even[1::2, ::2], even[1::2, 1::2]])
    votes = np.stack([(four == one).sum(axis=0, dtype=np.uint8) for one in four])
    # A label before background where votes are equal; of labels, the first in reading order.
    best = (2 * votes + (four != 0)).argmax(axis=0)
    chosen: NDArray[Any] = np.take_along_axis(four, best[None], axis=0)[0]
    return chosen


def level_shapes(shape: tuple[int, int]) -> list[tuple[int, int]]:
    """Return (H, W) of all levels, each half the size of the one before, rounded up."""
    shapes = [(int(shape[0]), int(shape[1]))]
    while max(shapes[-1]) > SMALLEST:
        height, width = shapes[-1]
        shapes.append((-(-height // 2), -(-width // 2)))
    return shapes

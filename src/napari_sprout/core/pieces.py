"""A label image as one crop a nucleus."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from .edits import Piece
from .instances import Box


def pieces_of(labels: NDArray[np.integer]) -> tuple[Piece, ...]:
    """Cut a label image, (H, W) with 0 for background, into (id, box, mask) pieces by id."""
    place = np.flatnonzero(labels)
    ids, index = np.unique(labels.reshape(-1)[place], return_inverse=True)
    # find_objects keeps a slot for every number up to the largest: count from 1.
    compact = np.zeros(labels.shape, dtype=np.int32)
    compact.reshape(-1)[place] = index + 1
    found: list[Piece] = []
    for number, (ident, where) in enumerate(
        zip(ids.tolist(), ndimage.find_objects(compact), strict=True), 1
    ):
        rows, columns = where
        box: Box = (rows.start, columns.start, rows.stop, columns.stop)
        found.append((ident, box, compact[where] == number))
    return tuple(found)

"""Regions of large label images, read from arrays that hold them in chunks."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from .raster import damaged


def read_window(path: Path, array: Any, y: int, x: int, height: int, width: int) -> NDArray[Any]:
    """Return (height, width) labels, (y, x) being the first pixel; 0 outside the image.

    Parameters
    ----------
    path
        The image, for the message.
    array
        Of zarr; its last two axes are rows and columns, all others of length 1.
    y, x, height, width
        The region, which may lie outside.

    Raises
    ------
    ImageError
        If a chunk is damaged.
    """
    rows, columns = array.shape[-2:]
    top, left = max(y, 0), max(x, 0)
    bottom, right = min(y + height, rows), min(x + width, columns)
    out = np.zeros((height, width), array.dtype)
    if top < bottom and left < right:
        leading = (0,) * (array.ndim - 2)
        try:
            part = array[(*leading, slice(top, bottom), slice(left, right))]
        except MemoryError:
            raise
        except Exception as exc:
            # The bytes are not ours: reading them leads to whatever damage suggests.
            raise damaged(path, exc) from exc
        out[top - y : bottom - y, left - x : right - x] = part
    return out

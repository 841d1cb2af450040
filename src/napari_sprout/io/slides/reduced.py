"""Regions of a slide at resolutions it does not store, as means over the pixels that it does."""

from __future__ import annotations

import math
from collections.abc import Iterator

import cv2
import numpy as np
from numpy.typing import NDArray

from .protocol import Slide

_BLOCK_PIXELS = 4_000_000


def read_reduced(
    slide: Slide,
    level: int,
    shape: tuple[int, int],
    y: int = 0,
    x: int = 0,
    height: int | None = None,
    width: int | None = None,
) -> NDArray[np.uint8]:
    """Return a region of a level as it is when the whole level is shrunk to `shape`.

    However much the region covers, only some megapixels of it are in memory at a time.

    Parameters
    ----------
    slide
        An open slide.
    level
        The level that is read.
    shape
        (H, W) of the shrunk level, no larger than the level.
    y, x
        First pixel of the region on the shrunk level.
    height, width
        Size of the region on the shrunk level, within it; None for all that follows.

    Returns
    -------
    numpy.ndarray
        (height, width, 3) uint8.
    """
    height = shape[0] - y if height is None else height
    width = shape[1] - x if width is None else width
    full, tile = slide.levels[level].shape, slide.levels[level].tile
    down, across = full[0] / shape[0], full[1] / shape[1]
    out = np.empty((height, width, 3), dtype=np.uint8)
    # Blocks of whole tiles' size, so that few tiles are decoded twice.
    wide = max(min(_BLOCK_PIXELS // tile[0], math.ceil(width * across)), tile[1])
    high = max(_BLOCK_PIXELS // wide, tile[0])
    for top, bottom in _steps(height, max(int(high / down), 1)):
        for left, right in _steps(width, max(int(wide / across), 1)):
            y0, y1 = round((y + top) * down), round((y + bottom) * down)
            x0, x1 = round((x + left) * across), round((x + right) * across)
            block = slide.read(level, y0, x0, y1 - y0, x1 - x0)
            size = (right - left, bottom - top)
            same = size == (x1 - x0, y1 - y0)
            small = block if same else cv2.resize(block, size, interpolation=cv2.INTER_AREA)
            out[top:bottom, left:right] = small
    return out


def thumbnail(slide: Slide, longest: int = 1024) -> tuple[NDArray[np.uint8], float]:
    """Return a small picture of a whole slide, from the coarsest level that suffices.

    Parameters
    ----------
    slide
        An open slide.
    longest
        Length in px that the longest side has at most.

    Returns
    -------
    rgb
        (h, w, 3) uint8; the slide itself if it is no larger.
    downsample
        How many full-resolution pixels one of its pixels is wide, at least 1.
    """
    suffice = [i for i, one in enumerate(slide.levels) if max(one.shape) >= longest]
    level = suffice[-1] if suffice else 0
    height, width = slide.levels[level].shape
    factor = max(max(height, width) / longest, 1.0)
    shape = (max(round(height / factor), 1), max(round(width / factor), 1))
    rgb = read_reduced(slide, level, shape)
    return rgb, slide.levels[level].downsample * factor


def _steps(length: int, step: int) -> Iterator[tuple[int, int]]:
    return ((first, min(first + step, length)) for first in range(0, length, step))

"""Slides as layers: arrays of all their resolutions that are read as they come into view."""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache
from typing import TYPE_CHECKING, Any, Final

import numpy as np
from numpy.typing import NDArray

from .protocol import Slide
from .reduced import read_reduced, thumbnail
from .source import SlideSource

if TYPE_CHECKING:
    import dask.array as da

__all__ = ["LevelPixels", "multiscale", "thumbnail"]

_CHUNK: Final = 1024
_SMALLEST_WANTED: Final = 256
_LARGEST_OVERVIEW: Final = 4096
_STEP: Final = 4


def multiscale(slide: Slide | SlideSource) -> list[da.Array]:
    """Return a slide's resolutions as lazy arrays, the full one first.

    A block is read when it is needed, from the slide opened once in whichever process
    needs it; the arrays can be pickled. Levels smaller than 256 px are left out. A slide
    whose smallest level is larger than 4096 px gets coarser ones that are computed from
    that level when they are looked at, a block at a time.

    Parameters
    ----------
    slide
        The slide, or where it is. An open one is opened anew by its path.

    Returns
    -------
    list of dask.array.Array
        Each (H, W, 3) uint8, in chunks of about 1024 px that are whole tiles of the slide.

    Raises
    ------
    ImageError
        If the slide cannot be opened.
    """
    import dask.array as da

    source = slide if isinstance(slide, SlideSource) else SlideSource(slide.path)
    opened = slide if isinstance(slide, Slide) else _open(source)
    return [
        da.from_array(pixels, chunks=pixels.chunks, asarray=False, fancy=False, inline_array=True)
        for pixels in _all_levels(source, opened)
    ]


def _all_levels(source: SlideSource, slide: Slide) -> list[LevelPixels]:
    levels = [one for one in slide.levels if max(one.shape) >= _SMALLEST_WANTED]
    levels = levels or list(slide.levels[:1])
    pixels = [LevelPixels(source, i, (*one.shape, 3), one.tile) for i, one in enumerate(levels)]
    last, shape = len(levels) - 1, levels[-1].shape
    while max(shape) > _LARGEST_OVERVIEW:
        shape = (-(-shape[0] // _STEP), -(-shape[1] // _STEP))
        pixels.append(LevelPixels(source, last, (*shape, 3), (_CHUNK // 2, _CHUNK // 2)))
    return pixels


@dataclass(frozen=True)
class LevelPixels:
    """What dask slices: one resolution of a slide, by where the slide is.

    Attributes
    ----------
    source
        Where the slide is.
    level
        The level that is read.
    shape
        (H, W, 3); where this is smaller than the level, the level is shrunk to it.
    tile
        (height, width) of the blocks it is stored in.
    """

    source: SlideSource
    level: int
    shape: tuple[int, int, int]
    tile: tuple[int, int]

    dtype = np.dtype(np.uint8)
    ndim = 3

    @property
    def chunks(self) -> tuple[int, int, int]:
        """(height, width, 3) of the blocks to read at once: whole tiles, about 1024 px."""
        high, wide = (
            side * max(round(_CHUNK / side), 1) if side <= 2 * _CHUNK else _CHUNK
            for side in self.tile
        )
        return high, wide, 3

    def __getitem__(self, index: Any) -> NDArray[np.uint8]:
        """Return the pixels of a region, given as slices."""
        places = index if isinstance(index, tuple) else (index,)
        places = (*places, *(slice(None),) * (3 - len(places)))
        (y0, y1, down), (x0, x1, across) = (
            place.indices(size) for place, size in zip(places[:2], self.shape[:2], strict=True)
        )
        if y0 >= y1 or x0 >= x1:
            return np.empty((max(y1 - y0, 0), max(x1 - x0, 0), 3), np.uint8)[:, :, places[2]]
        slide = _open(self.source)
        if slide.levels[self.level].shape == self.shape[:2]:
            pixels = slide.read(self.level, y0, x0, y1 - y0, x1 - x0)
        else:
            pixels = read_reduced(slide, self.level, self.shape[:2], y0, x0, y1 - y0, x1 - x0)
        return pixels[::down, ::across, places[2]]


def _open(source: SlideSource) -> Slide:
    """Return the slide, opened at most once in this process while the file stays as it is."""
    try:
        facts = source.path.stat()
        changed = (facts.st_size, facts.st_mtime_ns)
    except OSError:
        changed = (0, 0)
    return _opened(source, changed)


@lru_cache(maxsize=8)
def _opened(source: SlideSource, changed: tuple[int, int]) -> Slide:
    return source.open()

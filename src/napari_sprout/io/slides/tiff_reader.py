"""Pyramids in TIFF: generic, OME-TIFF, BigTIFF, and the SVS of Aperio's scanners."""

from __future__ import annotations

import threading
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import numpy as np
import tifffile
from numpy.typing import NDArray

from ...errors import ImageError, UnsuitableImageError
from ..images import eight_bit_rgb
from ..raster import MAX_PIXELS, Raster, damaged
from ..tiff import (
    alpha_of,
    bits_per_sample,
    check_colours,
    check_complete,
    extent,
    largest_series,
    single_image_order,
    stated_mpp,
)
from .base import SlideFile, blocks_of, levels_of
from .tiff_index import check_index

# tifffile does not turn these colours into RGB, and the file may call them so.
_APERIO_YCBCR: Final = 33003


@dataclass(frozen=True)
class _Pyramid:
    """One level: its pages, several if each holds one colour, and how they are cut up."""

    pages: tuple[Any, ...]
    key: Any
    shape: tuple[int, int]
    tile: tuple[int, int]
    planes: int

    @classmethod
    def of(cls, path: Path, level: Any) -> _Pyramid:
        key = level.keyframe
        shape = extent(level)
        order = single_image_order(path, level)
        tile = (key.tilelength, key.tilewidth) if key.is_tiled else (key.rowsperstrip, shape[1])
        tile = (min(int(tile[0]), shape[0]), int(tile[1]))
        if tile[0] * tile[1] > MAX_PIXELS:
            raise ImageError(
                f"'{path}' is stored in one piece that does not fit in memory "
                f"({shape[1]} x {shape[0]} px); save it again as a tiled pyramid."
            )
        planes = order[0][1] if order[0][0] in "SC" else 1
        pages = tuple(level.pages)
        if len(pages) not in {1, planes}:
            raise UnsuitableImageError(
                f"'{path}' stores each colour in several pieces; save it again as RGB."
            )
        return cls(pages, key, shape, tile, planes)

    @property
    def samples(self) -> int:
        """How many numbers a pixel has."""
        return self.planes if self.planes > 1 else int(self.key.samplesperpixel)

    def segments(self, row: int, column: int) -> Iterator[tuple[Any, int]]:
        """Yield the page and the number in it of all that one tile of this level is made of."""
        high, wide = self.tile
        across, down = -(-self.shape[1] // wide), -(-self.shape[0] // high)
        for plane in range(self.planes):
            if len(self.pages) > 1:
                yield self.pages[plane], row * across + column
            else:
                yield self.pages[0], (plane * down + row) * across + column


class TiffSlide(SlideFile):
    """The largest image of a TIFF file, of which tiles are decoded as they are asked for.

    Parameters
    ----------
    path
        The file, absolute.
    mpp
        Pixel size in um that overrides the file's.

    Raises
    ------
    ImageError
        If it is damaged, truncated, or stored in one piece that is too large.
    UnsuitableImageError
        If it is a stack of several images or not in colour.
    """

    def __init__(self, path: Path, mpp: float | None = None) -> None:
        self._lock = threading.Lock()
        self._file = tifffile.TiffFile(path)
        try:
            number, series = largest_series(path, self._file)
            check_index(path, self._file)
            self._pyramids = _pyramids(path, series)
            key = self._pyramids[0].key
            levels = levels_of(
                [one.shape for one in self._pyramids], [one.tile for one in self._pyramids]
            )
            stated = stated_mpp(self._file, number, key)
            super().__init__(path, _kind(self._file, series), levels, stated, mpp)
            # Grey is told here, where tiles may be missing.
            self._colours(key, np.zeros((1, 1, self._pyramids[0].samples), key.dtype))
            self._read_last_tile()
        except BaseException:
            self._file.close()
            raise

    def _fill(self, out: NDArray[np.uint8], level: int, y: int, x: int) -> None:
        pyramid = self._pyramids[level]
        (high, wide), (height, width) = pyramid.tile, out.shape[:2]
        for row in range(y // high, -(-(y + height) // high)):
            for column in range(x // wide, -(-(x + width) // wide)):
                tile = self._tile(pyramid, row, column)
                if tile is not None:
                    _paste(out, tile, row * high - y, column * wide - x)

    def _tile(self, pyramid: _Pyramid, row: int, column: int) -> NDArray[np.uint8] | None:
        """Return the colours of one tile, None if the file holds none for it."""
        planes = [self._segment(*segment) for segment in pyramid.segments(row, column)]
        stored = [plane for plane in planes if plane is not None]
        if len(stored) < len(planes):
            return None
        pixels = stored[0] if len(stored) == 1 else np.concatenate(stored, axis=-1)
        return self._colours(pyramid.key, pixels)

    def _colours(self, key: Any, pixels: NDArray[Any]) -> NDArray[np.uint8]:
        palette = key.photometric == tifffile.PHOTOMETRIC.PALETTE
        raster = Raster(
            pixels,
            bits=bits_per_sample(key),
            alpha=alpha_of(key, pixels),
            rgb_first=key.photometric == tifffile.PHOTOMETRIC.RGB,
            colormap=key.colormap if palette else None,
        )
        return eight_bit_rgb(self._path, raster)

    def _segment(self, page: Any, index: int) -> NDArray[Any] | None:
        offset, count = page.dataoffsets[index], page.databytecounts[index]
        if count == 0:
            return None
        handle = page.parent.filehandle
        with self._lock:
            handle.seek(offset)
            data = handle.read(count)
        key = page.keyframe
        header = {"jpegtables": page.jpegtables, "jpegheader": key.jpegheader}
        pixels, _, _ = key.decode(data, index, **header)
        if pixels is None:
            return None
        plane: NDArray[Any] = pixels[0]
        return plane

    def _identifying(self) -> Iterable[bytes]:
        yield str(self._pyramids[0].key.description).encode()
        yield from blocks_of(self._path)

    def close(self) -> None:
        """Let go of the file; harmless if done already."""
        self._file.close()


def _pyramids(path: Path, series: Any) -> list[_Pyramid]:
    """Return the levels that show the first one smaller, largest first."""
    for level in series.levels:
        check_complete(path, level)
    full = _Pyramid.of(path, series.levels[0])
    check_colours(path, full.key)
    if full.key.compression == _APERIO_YCBCR:
        raise UnsuitableImageError(
            f"'{path}' stores its colours as YCbCr in JPEG 2000; run "
            "pip install 'napari-sprout[slides]' to read it."
        )
    height, width = full.shape
    if height < 1 or width < 1:
        raise damaged(path)
    kept = [full]
    for level in series.levels[1:]:
        one = _Pyramid.of(path, level)
        smaller = 0 < one.shape[0] < kept[-1].shape[0] and 0 < one.shape[1] < kept[-1].shape[1]
        if smaller and (one.key.photometric, one.planes) == (full.key.photometric, full.planes):
            kept.append(one)
    return kept


def _kind(file: tifffile.TiffFile, series: Any) -> str:
    if file.is_svs:
        return "aperio"
    return "ome-tiff" if series.kind == "ome" else "tiff"


def _paste(out: NDArray[np.uint8], tile: NDArray[np.uint8], y: int, x: int) -> None:
    """Write a tile into `out`, in which its first pixel lies at (y, x), perhaps outside."""
    top, left = max(y, 0), max(x, 0)
    bottom = min(y + tile.shape[0], out.shape[0])
    right = min(x + tile.shape[1], out.shape[1])
    if top < bottom and left < right:
        out[top:bottom, left:right] = tile[top - y : bottom - y, left - x : right - x]

"""Scanners' own formats, through OpenSlide: SVS, NDPI, MRXS, SCN, BIF, VMS, DICOM and others."""

from __future__ import annotations

import threading
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any, Final

import numpy as np
import tifffile
from numpy.typing import NDArray

from ...errors import ImageError
from ..extras import needed
from ..images import over_white
from ..pixel_size import both_axes
from ..raster import damaged
from ..tiff import TIFF_SIGNATURES, check_complete
from .base import SlideFile, blocks_of, levels_of
from .tiff_index import check_index

GENERIC_TIFF: Final = "generic-tiff"

_NO_TILE: Final = 256
_PIECE: Final = 512
# What OpenSlide computes or the reading of one file, not the slide, depends on.
_SEVERAL_FILES: Final = frozenset({"mirax", "dicom", "hamamatsu"})


def scanner_of(path: Path) -> str | None:
    """Return which scanner's format a file has, None for none that OpenSlide knows.

    Raises
    ------
    SproutError
        If OpenSlide is not installed.
    """
    found = needed("openslide").OpenSlide.detect_format(str(path))
    return None if found is None else str(found)


class ScannerSlide(SlideFile):
    """A slide that OpenSlide reads.

    Coordinates are those of the whole slide, as QuPath counts them, not of the
    part that was scanned.

    Parameters
    ----------
    path
        What stands for the slide, absolute: the file or folder it is known by.
    file
        The file to open, where that is another.
    mpp
        Pixel size in um that overrides the slide's.

    Attributes
    ----------
    properties
        What OpenSlide says of it, by its names.

    Raises
    ------
    ImageError
        If it is damaged or truncated.
    SproutError
        If OpenSlide is not installed.
    """

    def __init__(self, path: Path, mpp: float | None = None, file: Path | None = None) -> None:
        self._openslide = needed("openslide")
        self._file = file or path
        self._lock = threading.Lock()
        self._closed = False
        self._handle = self._opened(path)
        try:
            self.properties: dict[str, str] = dict(self._handle.properties)
            properties = self.properties
            # (width, height) there.
            shapes = [(h, w) for w, h in self._handle.level_dimensions]
            tiles = [_tile(properties, i) for i in range(len(shapes))]
            kept = [0]
            for i, shape in enumerate(shapes):
                if all(0 < n < m for n, m in zip(shape, shapes[kept[-1]], strict=True)):
                    kept.append(i)
            self._numbers = kept
            levels = levels_of([shapes[i] for i in kept], [tiles[i] for i in kept])
            vendor = properties["openslide.vendor"]
            super().__init__(path, vendor, levels, _mpp(properties), mpp)
            _check_tiff(self._file)
            self._read_last_tile()
        except BaseException:
            self._handle.close()
            raise

    def _opened(self, path: Path) -> Any:
        try:
            return self._openslide.OpenSlide(str(self._file))
        except self._openslide.OpenSlideError as exc:
            raise damaged(path, exc) from exc

    def _fill(self, out: NDArray[np.uint8], level: int, y: int, x: int) -> None:
        number, handle = self._numbers[level], self._handle
        factor = float(handle.level_downsamples[number])
        (height, width), (bottom, right) = out.shape[:2], (y + out.shape[0], x + out.shape[1])
        try:
            for oy, ny in _starts(y, bottom, factor):
                for ox, nx in _starts(x, right, factor):
                    size = (min(nx, right) - ox, min(ny, bottom) - oy)
                    place = (round(ox * factor), round(oy * factor))
                    rgba = np.asarray(handle.read_region(place, number, size))
                    rgba = rgba[max(y - oy, 0) :, max(x - ox, 0) :]
                    top, left = max(oy - y, 0), max(ox - x, 0)
                    out[top : min(ny - y, height), left : min(nx - x, width)] = over_white(
                        rgba[..., :3], rgba[..., 3:], premultiplied=False
                    )
        except self._openslide.OpenSlideError:
            self._reopen(handle)
            raise

    def _reopen(self, failed: Any) -> None:
        """Take a new handle: after one tile that cannot be read, OpenSlide refuses all others."""
        with self._lock:
            if self._handle is failed:
                self._handle = self._opened(self._path)

    def _identifying(self) -> Iterable[bytes]:
        for name, value in sorted(self.properties.items()):
            yield f"{name}={value}".encode()
        if self._format not in _SEVERAL_FILES:
            yield from blocks_of(self._file)

    def close(self) -> None:
        """Let go of the file; harmless if done already."""
        with self._lock:
            if not self._closed:
                self._handle.close()
            self._closed = True


def _starts(first: int, stop: int, factor: float) -> Iterator[tuple[int, int]]:
    """Yield pieces (start, next start) that together cover `first` to `stop` on a level.

    OpenSlide takes full-resolution pixels alone. Where no such pixel is the
    corner of one of the level, it interpolates, and a pixel would depend on where
    reading began. Pieces begin at pixels that have such a corner, or so nearly that
    it makes no difference, and always at the same ones.
    """
    if factor.is_integer():
        yield first, stop
        return
    number = max(first // _PIECE - 1, 0)
    start, following = _start(number, factor), _start(number + 1, factor)
    while start < stop:
        if following > first:
            yield start, following
        number += 1
        start, following = following, _start(number + 1, factor)


def _start(number: int, factor: float) -> int:
    if number == 0:
        return 0
    near = number * _PIECE + np.arange(_PIECE // 2)
    places = near * factor
    return int(near[np.abs(places - np.rint(places)).argmin()])


def _tile(properties: dict[str, str], level: int) -> tuple[int, int]:
    sides = [properties.get(f"openslide.level[{level}].tile-{s}") for s in ("height", "width")]
    high, wide = (int(side) if side else _NO_TILE for side in sides)
    return high, wide


def _mpp(properties: dict[str, str]) -> float | None:
    sizes: list[float | None] = []
    for axis in "xy":
        try:
            sizes.append(float(properties[f"openslide.mpp-{axis}"]))
        except (KeyError, ValueError):
            sizes.append(None)
    return both_axes(*sizes)


def _check_tiff(file: Path) -> None:
    """Refuse a TIFF whose index says that it goes on beyond its end; OpenSlide does not look."""
    with file.open("rb") as opened:
        if not opened.read(4).startswith(TIFF_SIGNATURES):
            return
    try:
        with tifffile.TiffFile(file) as tiff:
            check_index(file, tiff)
            for series in tiff.series:
                for level in series.levels:
                    check_complete(file, level)
    except (ImageError, MemoryError):
        raise
    except Exception:
        # Of a scanner's own variety of TIFF OpenSlide may know more than tifffile does.
        return

"""What slides of all formats have in common: borders, white, digests, plain sentences."""

from __future__ import annotations

import hashlib
from abc import ABC, abstractmethod
from collections.abc import Iterable, Sequence
from functools import cached_property
from pathlib import Path
from typing import Final, Self

import numpy as np
from numpy.typing import NDArray

from ...errors import ImageError
from ..pixel_size import checked_mpp
from ..raster import damaged
from .protocol import Level

WHITE: Final = 255

_BLOCKS: Final = 16
_BLOCK_BYTES: Final = 65536


class SlideFile(ABC):
    """A slide that is open; what the formats add is how a region within it is read.

    Parameters
    ----------
    path
        The file or folder.
    format
        What kind of slide it is, in a word.
    levels
        Its resolutions, the full one first.
    stated_mpp
        Pixel size in um that the file states; None if none.
    mpp
        Pixel size in um that a person gave, which overrides it.
    """

    def __init__(
        self,
        path: Path,
        format: str,
        levels: Sequence[Level],
        stated_mpp: float | None,
        mpp: float | None,
    ) -> None:
        self._path = path
        self._format = format
        self._levels = tuple(levels)
        self._stated_mpp = stated_mpp
        self._mpp = stated_mpp if mpp is None else checked_mpp(mpp)

    @property
    def path(self) -> Path:
        """The file or folder it was opened from, absolute."""
        return self._path

    @property
    def format(self) -> str:
        """What kind of slide it is, in a word."""
        return self._format

    @property
    def levels(self) -> tuple[Level, ...]:
        """Its resolutions, the full one first, each smaller than the one before."""
        return self._levels

    @property
    def mpp(self) -> float | None:
        """Pixel size of the full resolution in um; None if it is not known."""
        return self._mpp

    @cached_property
    def fingerprint(self) -> str:
        """Hexadecimal digest that tells it from other slides.

        The same for the same content at another path, and whatever pixel size a person gave.
        """
        digest = hashlib.sha256()
        shapes = [(*level.shape, round(level.downsample, 6)) for level in self._levels]
        digest.update(repr((self._format, shapes, self._stated_mpp)).encode())
        try:
            for part in self._identifying():
                digest.update(len(part).to_bytes(8, "little"))
                digest.update(part)
        except OSError as exc:
            raise damaged(self._path, exc) from exc
        return digest.hexdigest()

    def read(self, level: int, y: int, x: int, height: int, width: int) -> NDArray[np.uint8]:
        """Return (height, width, 3) RGB, (y, x) being the first pixel on that level.

        What lies outside the slide, was not scanned, or is transparent is white.

        Raises
        ------
        ImageError
            If the pixels cannot be read.
        """
        out = np.full((height, width, 3), WHITE, dtype=np.uint8)
        rows, columns = self._levels[level].shape
        top, left = max(y, 0), max(x, 0)
        bottom, right = min(y + height, rows), min(x + width, columns)
        if top < bottom and left < right:
            inside = out[top - y : bottom - y, left - x : right - x]
            try:
                self._fill(inside, level, top, left)
            except (ImageError, MemoryError):
                raise
            except Exception as exc:
                # The bytes are not ours: decoders raise whatever damaged ones lead them to.
                raise damaged(self._path, exc) from exc
        return out

    @abstractmethod
    def _fill(self, out: NDArray[np.uint8], level: int, y: int, x: int) -> None:
        """Write the pixels of a region that lies within the level into `out`, white as given."""

    @abstractmethod
    def _identifying(self) -> Iterable[bytes]:
        """Yield what of the content tells this slide from another of the same shape."""

    @abstractmethod
    def close(self) -> None:
        """Let go of the file; harmless if done already."""

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *exc: object) -> None:
        self.close()

    def _read_last_tile(self) -> None:
        """Decode the last tile of the full resolution, where a file that was cut ends."""
        full = self._levels[0]
        (rows, columns), (high, wide) = full.shape, full.tile
        y, x = (rows - 1) // high * high, (columns - 1) // wide * wide
        self.read(0, y, x, min(high, rows - y), min(wide, columns - x))


def blocks_of(path: Path) -> Iterable[bytes]:
    """Yield the size of a file and some blocks of it, its start and end among them."""
    size = path.stat().st_size
    yield size.to_bytes(8, "little")
    last = max(size - _BLOCK_BYTES, 0)
    with path.open("rb") as file:
        for place in sorted({last * i // (_BLOCKS - 1) for i in range(_BLOCKS)}):
            file.seek(place)
            yield file.read(_BLOCK_BYTES)


def levels_of(
    shapes: Sequence[tuple[int, int]], tiles: Sequence[tuple[int, int]]
) -> tuple[Level, ...]:
    """Return levels of these shapes, the largest first, with their downsamples."""
    full = shapes[0]
    pairs = zip(shapes, tiles, strict=True)
    return tuple(Level(shape, _downsample(full, shape), tile) for shape, tile in pairs)


def _downsample(full: tuple[int, int], shape: tuple[int, int]) -> float:
    ratios = [n / m for n, m in zip(full, shape, strict=True)]
    mean = sum(ratios) / 2
    whole = round(mean)
    # 1001 px halved are 500, but their pixels are 2 wide, not 2.002.
    if all(abs(n / whole - m) < 1 for n, m in zip(full, shape, strict=True)):
        return float(whole)
    return mean

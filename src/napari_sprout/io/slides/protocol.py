"""What a slide is to the rest of the program, whatever scanner wrote it."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Protocol, runtime_checkable

import numpy as np
from numpy.typing import NDArray


@dataclass(frozen=True)
class Level:
    """One resolution of a slide.

    Attributes
    ----------
    shape
        (H, W) in this level's pixels.
    downsample
        How many full-resolution pixels one of its pixels is wide, at least 1.
    tile
        (height, width) of the blocks that it is stored in: what is read in multiples of
        these is decoded once.
    """

    shape: tuple[int, int]
    downsample: float
    tile: tuple[int, int] = (512, 512)


@runtime_checkable
class Slide(Protocol):
    """An open slide, of which any region can be read at any of its resolutions.

    Opening one reads its metadata alone. It may be read from several threads; to another
    process goes a :class:`~.source.SlideSource`, which opens it again there.
    """

    @property
    def path(self) -> Path:
        """The file or folder it was opened from."""
        ...

    @property
    def format(self) -> str:
        """What kind of slide it is, in a word: "aperio", "hamamatsu", "ome-zarr", ..."""
        ...

    @property
    def levels(self) -> tuple[Level, ...]:
        """Its resolutions, the full one first, each smaller than the one before."""
        ...

    @property
    def mpp(self) -> float | None:
        """Pixel size of the full resolution in um; None if it states none."""
        ...

    @property
    def fingerprint(self) -> str:
        """Hexadecimal digest that tells it from other slides, from little of its content."""
        ...

    def read(self, level: int, y: int, x: int, height: int, width: int) -> NDArray[np.uint8]:
        """Return (height, width, 3) RGB, (y, x) being the first pixel on that level.

        What lies outside the slide, was not scanned, or is transparent is white.

        Raises
        ------
        ImageError
            If the pixels cannot be read.
        """
        ...

    def close(self) -> None:
        """Let go of the file; harmless if done already."""
        ...

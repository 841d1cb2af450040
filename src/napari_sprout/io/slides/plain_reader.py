"""An ordinary image as a slide of one resolution, so that whatever takes slides takes it."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from ..images import read_image
from .base import SlideFile, levels_of


class PlainSlide(SlideFile):
    """A TIFF, PNG or JPEG image that fits in memory, where it is held.

    Parameters
    ----------
    path
        The image file, absolute.
    mpp
        Pixel size in um that overrides the file's.

    Raises
    ------
    ImageError
        If the file is missing, unreadable, damaged, too large, or not a colour image.
    """

    def __init__(self, path: Path, mpp: float | None = None) -> None:
        image = read_image(path)
        self._rgb = image.rgb
        self._sha256 = image.sha256
        shape = (image.rgb.shape[0], image.rgb.shape[1])
        tile = (min(512, shape[0]), min(512, shape[1]))
        super().__init__(path, "image", levels_of([shape], [tile]), image.mpp, mpp)

    def _fill(self, out: NDArray[np.uint8], level: int, y: int, x: int) -> None:
        height, width = out.shape[:2]
        out[...] = self._rgb[y : y + height, x : x + width]

    def _identifying(self) -> Iterable[bytes]:
        yield self._sha256.encode()

    def close(self) -> None:
        """Do nothing: the file was closed when it had been read."""

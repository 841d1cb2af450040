"""Label images of any size as pyramids in OME-TIFF, written and read tile by tile."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any, Final

import numpy as np
import tifffile
from numpy.typing import NDArray

from ..errors import ImageError
from .extras import needed
from .label_pyramid import LabelPyramid
from .labels import stored_metadata
from .ome_tiff import TiffLevel, write_ome_tiff
from .raster import damaged, file_errors_in_words
from .tiff import check_complete, extent, largest_series, stated_mpp
from .windows import read_window

_TILES: Final = (256, 512, 1024)


def label_pyramid_to_tiff(
    pyramid: LabelPyramid,
    path: str | Path,
    *,
    mpp: float | None = None,
    metadata: Mapping[str, Any] | None = None,
    step: Callable[[float], None] = lambda fraction: None,
) -> None:
    """Write a label pyramid as a tiled OME-TIFF with its levels, whole or not at all.

    The file is a BigTIFF whose coarser levels are SubIFDs, losslessly compressed, as QuPath
    and Fiji (Bio-Formats) read it. Memory does not grow with the image. The same pyramid
    gives the same bytes.

    Parameters
    ----------
    pyramid
        Finished.
    path
        The file, ending in ``.tif``.
    mpp
        Pixel size in um per px, 0.01 to 20; None for the pyramid's own.
    metadata
        Anything JSON can hold, read back by :func:`.read_labels`.
    step
        Called with the finished share, 0 to 1; may raise to stop.

    Raises
    ------
    OutputError
        If the file cannot be written.
    ImageError
        If a chunk of the pyramid is damaged.
    SettingsError
        If `mpp` is out of range.
    """
    shapes, dtype = pyramid.shapes, pyramid.dtype
    size = pyramid.mpp if mpp is None else mpp
    # A tile as large as a chunk decodes each chunk once.
    tile = pyramid.chunk[0] if pyramid.chunk in {(side, side) for side in _TILES} else 512
    coarsest = pyramid.read(len(shapes) - 1, 0, 0, *shapes[-1])
    write_ome_tiff(
        path,
        [TiffLevel(one, _tiles(pyramid, number, tile, step)) for number, one in enumerate(shapes)],
        dtype,
        tile=tile,
        mpp=size,
        metadata=metadata or {},
        digest=hashlib.sha256(f"{shapes} {dtype.str}".encode() + coarsest.tobytes()),
    )


def _tiles(
    pyramid: LabelPyramid, level: int, tile: int, step: Callable[[float], None]
) -> Iterator[NDArray[Any]]:
    height, width = pyramid.shapes[level]
    for y in range(0, height, tile):
        if level == 0:
            step(y / height)
        for x in range(0, width, tile):
            yield pyramid.read(level, y, x, tile, tile)


class LabelTiff:
    """A label image in a TIFF file of any size, of which regions are read.

    Parameters
    ----------
    path
        The file.

    Attributes
    ----------
    shape
        (H, W).
    mpp
        Pixel size in um; None if the file states none.
    metadata
        What :func:`.write_labels` was given; empty for files of other programs.

    Raises
    ------
    ImageError
        If it is missing, damaged, or no label image.
    SproutError
        If zarr is not installed.
    """

    def __init__(self, path: str | Path) -> None:
        self.path = Path(path)
        zarr = needed("zarr")
        with file_errors_in_words(self.path):
            self._file = tifffile.TiffFile(self.path)
        try:
            number, series = largest_series(self.path, self._file)
            level = series.levels[0]
            check_complete(self.path, level)
            self.shape = extent(level)
            self.mpp = stated_mpp(self._file, number, level.keyframe)
            self.metadata = stored_metadata(self._file.ome_metadata or "")
            self._store = series.aszarr(level=0)
            self._array = zarr.open_array(self._store, mode="r")
        except ImageError:
            self._file.close()
            raise
        except Exception as exc:
            # The bytes are not ours: reading them leads to whatever damage suggests.
            self._file.close()
            raise damaged(self.path, exc) from exc
        flat = self._array.shape[-2:] == self.shape and self._array.size == np.prod(self.shape)
        if not flat or self._array.dtype.kind not in "iu":
            self.close()
            raise ImageError(
                f"'{path}' is not a flat label image ({self._array.dtype.name} of shape "
                f"{self._array.shape}); give the labels, one number a nucleus."
            )

    def read(self, y: int, x: int, height: int, width: int) -> NDArray[Any]:
        """Return (height, width) labels, (y, x) being the first pixel; 0 outside the image.

        Raises
        ------
        ImageError
            If a tile is damaged.
        """
        return read_window(self.path, self._array, y, x, height, width)

    def close(self) -> None:
        """Let go of the file; harmless if done already."""
        self._store.close()
        self._file.close()

"""OME-Zarr images, versions 0.4 and 0.5: folders of compressed chunks."""

from __future__ import annotations

import math
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from ...errors import ImageError, UnsuitableImageError
from ..extras import needed
from ..images import eight_bit_rgb
from ..ome_metadata import METADATA_NAMES, Multiscale, attributes_of
from ..raster import Raster, damaged
from .base import SlideFile, levels_of

_FIRST_SERIES: Final = "0"
_RGB: Final = ("FF0000", "00FF00", "0000FF")
_SAMPLES: Final = 16


@dataclass(frozen=True)
class _Image:
    """An image in a folder: where it lies, its metadata, the colours its channels are shown in."""

    group: Path
    scales: Multiscale
    colours: tuple[str, ...]

    @classmethod
    def read(cls, path: Path) -> _Image | None:
        """Return the image in a folder, None if there is none.

        Raises
        ------
        ImageError
            If the metadata are damaged.
        """
        attributes, group = attributes_of(path), path
        if "bioformats2raw.layout" in attributes:
            group = path / _FIRST_SERIES
            attributes = attributes_of(group)
        scales = Multiscale.of(path, attributes)
        if scales is None:
            return None
        try:
            channels = (attributes.get("omero") or {}).get("channels", ())
            colours = tuple(str(one.get("color", "")) for one in channels)
        except (TypeError, AttributeError) as exc:
            raise damaged(path, exc) from exc
        return cls(group, scales, colours)

    @property
    def arrays(self) -> list[Path]:
        """The folders of its resolutions, the full one first."""
        return [self.group / name for name in self.scales.levels]

    @property
    def said_to_be_rgb(self) -> bool | None:
        """Whether its channels are shown in red, green and blue; None if it does not say."""
        if not all(self.colours) or not self.colours:
            return None
        return tuple(one.upper().lstrip("#")[:6] for one in self.colours) == _RGB


class OmeZarrSlide(SlideFile):
    """An OME-Zarr image in three channels, red, green and blue.

    Where a chunk is missing and would be black, it is white: it was not scanned.

    Parameters
    ----------
    path
        The folder, absolute.
    mpp
        Pixel size in um that overrides its own.

    Raises
    ------
    ImageError
        If it is damaged or truncated.
    UnsuitableImageError
        If it is no OME-Zarr image of three channels, or a stack.
    SproutError
        If zarr is not installed.
    """

    def __init__(self, path: Path, mpp: float | None = None) -> None:
        image = _Image.read(path)
        if image is None:
            raise UnsuitableImageError(
                f"'{path}' holds no OME-Zarr image; give the folder of one, or another file."
            )
        self._axes = image.scales.axes
        arrays = [_array(path, folder) for folder in image.arrays]
        _check_rgb(path, image, arrays[0])
        kept = [arrays[0]]
        for array in arrays[1:]:
            pairs = zip(self._plane(array.shape), self._plane(kept[-1].shape), strict=True)
            if array.dtype == arrays[0].dtype and all(0 < n < m for n, m in pairs):
                kept.append(array)
        self._arrays = kept
        levels = levels_of(
            [self._plane(one.shape) for one in kept], [self._plane(one.chunks) for one in kept]
        )
        super().__init__(path, "ome-zarr", levels, image.scales.mpp, mpp)
        self._read_last_tile()

    def _plane(self, lengths: tuple[int, ...]) -> tuple[int, int]:
        return lengths[self._axes.index("y")], lengths[self._axes.index("x")]

    def _fill(self, out: NDArray[np.uint8], level: int, y: int, x: int) -> None:
        height, width = out.shape[:2]
        where = {"y": slice(y, y + height), "x": slice(x, x + width), "c": slice(None)}
        pixels = self._arrays[level][tuple(where.get(axis, 0) for axis in self._axes)]
        order = [axis for axis in self._axes if axis in where]
        pixels = pixels.transpose([order.index(axis) for axis in "yxc"])
        raster = Raster(pixels, bits=8 * pixels.dtype.itemsize, rgb_first=True)
        out[...] = eight_bit_rgb(self._path, raster)

    def _identifying(self) -> Iterable[bytes]:
        level = len(self.levels) - 1
        (rows, columns), (high, wide) = self.levels[level].shape, self.levels[level].tile
        across = math.ceil(columns / wide)
        count = math.ceil(rows / high) * across
        for number in sorted({i * (count - 1) // (_SAMPLES - 1) for i in range(_SAMPLES)}):
            y, x = number // across * high, number % across * wide
            yield self.read(level, y, x, high, wide).tobytes()

    def close(self) -> None:
        """Do nothing: each chunk's file is closed when it has been read."""


def is_zarr(path: Path) -> bool:
    """Tell whether a folder is a Zarr, of whatever content."""
    return any((path / name).is_file() for name in (*METADATA_NAMES, ".zgroup", ".zarray"))


def is_rgb_image(path: Path) -> bool:
    """Tell whether a folder is an OME-Zarr image in red, green and blue.

    Fluorescence in three channels that are not said to be shown in these, or in
    more than 8 bits and not said to be RGB, is not.
    """
    image = _Image.read(path)
    if image is None or image.said_to_be_rgb is False:
        return False
    first = _array(path, image.arrays[0])
    try:
        _check_rgb(path, image, first)
    except UnsuitableImageError:
        return False
    return first.dtype == np.uint8 or image.said_to_be_rgb is True


def _check_rgb(path: Path, image: _Image, array: Any) -> None:
    lengths = dict(zip(image.scales.axes, array.shape, strict=True))
    if not {"y", "x"} <= lengths.keys() or min(lengths["y"], lengths["x"]) < 1:
        raise damaged(path)
    stack = [f"{n}" for axis, n in lengths.items() if axis not in "yxc" and n != 1]
    if stack:
        raise UnsuitableImageError(
            f"'{path}' is a stack of {' x '.join(stack)} images, not one; save the one to segment "
            "by itself."
        )
    rgb = lengths.get("c") == len(_RGB) and image.said_to_be_rgb is not False
    if not rgb or array.dtype not in (np.uint8, np.uint16):
        raise UnsuitableImageError(
            f"'{path}' is not an RGB image of 8 or 16 bits ({lengths.get('c', 1)} channels, "
            f"{array.dtype}); export the colour image."
        )


def _array(path: Path, folder: Path) -> Any:
    """Open a level, in which missing chunks are white where they would be black."""
    zarr = needed("zarr")
    try:
        array = zarr.open_array(str(folder), mode="r")
        if array.dtype.kind == "u" and not array.fill_value:
            facts = array.metadata.to_dict()
            facts["fill_value"] = int(np.iinfo(array.dtype).max)
            array = zarr.Array.from_dict(array.store_path, facts)
    except (ImageError, MemoryError, PermissionError):
        raise
    except Exception as exc:
        raise damaged(path, exc) from exc
    return array

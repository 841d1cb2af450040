"""Label images as OME-TIFF: the same tags and metadata, whether of one level or of many."""

from __future__ import annotations

import json
import uuid
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import numpy as np
import tifffile
from numpy.typing import DTypeLike, NDArray

from .._version import __version__
from .atomic import replacing
from .pixel_size import checked_mpp

NAMESPACE: Final = "napari-sprout"
KEY: Final = "metadata"
"""Where our own metadata are, in an OME MapAnnotation."""

_CREATOR: Final = f"napari-sprout {__version__}"


@dataclass(frozen=True)
class TiffLevel:
    """One resolution of an image.

    Attributes
    ----------
    shape
        (H, W).
    pixels
        All of it, or its tiles, row by row, each of the full size of a tile.
    """

    shape: tuple[int, int]
    pixels: NDArray[Any] | Iterator[NDArray[Any]]


def write_ome_tiff(
    path: str | Path,
    levels: Sequence[TiffLevel],
    dtype: DTypeLike,
    *,
    tile: int,
    mpp: float | None,
    metadata: Mapping[str, Any],
    digest: Any,
) -> None:
    """Write a label image as a tiled, losslessly compressed OME-TIFF, whole or not at all.

    Coarser levels, each half the size of the one before, are SubIFDs of a BigTIFF. The
    same input gives the same bytes: no time and no random number is stored.

    Parameters
    ----------
    path
        The file.
    levels
        The full resolution first.
    dtype
        Of the labels.
    tile
        Side of the tiles in px, a multiple of 16.
    mpp
        Pixel size in um per px, 0.01 to 20; None leaves it out.
    metadata
        Anything JSON can hold (NumPy numbers and paths too).
    digest
        A hash of :mod:`hashlib` that has seen the content; the file's UUID is made of it.

    Raises
    ------
    OutputError
        If the file cannot be written.
    SettingsError
        If `mpp` is out of range.
    """
    size = None if mpp is None else checked_mpp(mpp)
    note = json.dumps(dict(metadata), sort_keys=True, default=_plain)
    digest.update(f"{size} {note}".encode())
    ome = _ome(size, note) | {"UUID": str(uuid.UUID(bytes=digest.digest()[:16], version=5))}
    several = len(levels) > 1
    with (
        replacing(path) as temporary,
        tifffile.TiffWriter(temporary, bigtiff=several, ome=True) as file,
    ):
        for number, level in enumerate(levels):
            first = number == 0
            per_cm = None if size is None else 1e4 / size / 2**number
            file.write(
                level.pixels,
                shape=level.shape,
                dtype=np.dtype(dtype),
                subifds=len(levels) - 1 if first and several else None,
                subfiletype=0 if first else 1,
                photometric="minisblack",
                tile=(tile, tile),
                compression="zlib",
                predictor=True,
                software=_CREATOR,
                metadata=ome if first else None,
                resolution=None if per_cm is None else (per_cm, per_cm),
                resolutionunit=None if per_cm is None else "CENTIMETER",
            )


def _ome(mpp: float | None, note: str) -> dict[str, Any]:
    ome: dict[str, Any] = {
        "Creator": _CREATOR,
        "Name": "Nuclei",
        "axes": "YX",
        "MapAnnotation": {"Namespace": NAMESPACE, "Value": {KEY: note}},
    }
    if mpp is not None:
        for axis in "XY":
            ome[f"PhysicalSize{axis}"] = mpp
            ome[f"PhysicalSize{axis}Unit"] = "µm"
    return ome


def _plain(value: object) -> object:
    """Return what JSON can hold for a NumPy number or array, a path, or any other object."""
    return value.tolist() if isinstance(value, np.generic | np.ndarray) else str(value)

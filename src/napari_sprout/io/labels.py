"""Label images: OME-TIFF out; any whole-number TIFF or PNG in."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final
from xml.etree import ElementTree

import numpy as np
from numpy.typing import NDArray

from ..errors import ImageError, OutputError
from .images import read_raster
from .mode_pyramid import SMALLEST, halved
from .ome_tiff import KEY, NAMESPACE, TiffLevel, write_ome_tiff
from .raster import Raster

_LARGEST_LABEL: Final = 2**31 - 1


@dataclass(frozen=True, eq=False)
class LoadedLabels:
    """A label image.

    Attributes
    ----------
    labels
        C-contiguous int32 array of shape (H, W); 0 is background.
    mpp
        Pixel size in um per px, None if the file states none.
    metadata
        What :func:`write_labels` was given; empty for files of other programs.
    """

    labels: NDArray[np.int32]
    mpp: float | None
    metadata: dict[str, Any]


def write_labels(
    path: str | Path,
    labels: NDArray[np.integer[Any]],
    *,
    mpp: float | None = None,
    metadata: Mapping[str, Any] | None = None,
    pyramid: bool = False,
) -> None:
    """Write a label image as a tiled, losslessly compressed OME-TIFF, whole or not at all.

    Labels are stored in 16 bits where the largest fits, else in 32. The same
    input gives the same bytes: no time and no random number is stored. The
    metadata travel as JSON in an OME MapAnnotation, which other programs show
    as a key and a value.

    Parameters
    ----------
    path
        The file, ending in ``.tif``.
    labels
        Whole numbers from 0 to 2**31 - 1, of shape (H, W).
    mpp
        Pixel size in um per px, 0.01 to 20; None leaves it out.
    metadata
        Anything JSON can hold (NumPy numbers and paths too), read back by
        :func:`read_labels`.
    pyramid
        Whether coarser levels are written too, as SubIFDs of a BigTIFF, down to 1024 px:
        large images then open at once in QuPath and Fiji (Bio-Formats).

    Raises
    ------
    OutputError
        If the file cannot be written, or `labels` are not labels.
    SettingsError
        If `mpp` is out of range.
    """
    path = Path(path)
    stored = _compact(path, np.asarray(labels))
    levels = [TiffLevel(_shape(stored), stored)]
    while pyramid and max(levels[-1].shape) > SMALLEST:
        smaller = halved(np.asarray(levels[-1].pixels))
        levels.append(TiffLevel(_shape(smaller), smaller))
    write_ome_tiff(
        path,
        levels,
        stored.dtype,
        tile=512 if pyramid else 256,
        mpp=mpp,
        metadata=metadata or {},
        digest=hashlib.sha256(f"{stored.shape} {stored.dtype}".encode() + stored.tobytes()),
    )


def _shape(labels: NDArray[Any]) -> tuple[int, int]:
    return labels.shape[0], labels.shape[1]


def _compact(path: Path, labels: NDArray[Any]) -> NDArray[np.uint16] | NDArray[np.uint32]:
    """Return `labels` in the smallest of the two types that label images use."""
    if labels.ndim != 2 or labels.size == 0 or labels.dtype.kind not in "iu":
        raise OutputError(
            f"'{path}' was not written: labels must be whole numbers of shape (H, W), not "
            f"{labels.dtype.name} of shape {labels.shape}."
        )
    low, high = int(labels.min()), int(labels.max())
    if low < 0 or high > _LARGEST_LABEL:
        raise OutputError(
            f"'{path}' was not written: labels must lie between 0 and {_LARGEST_LABEL}, "
            f"not {low} to {high}."
        )
    if high < 2**16:
        return np.ascontiguousarray(labels, dtype=np.uint16)
    return np.ascontiguousarray(labels, dtype=np.uint32)


def read_labels(path: str | Path) -> LoadedLabels:
    """Read a label image: ours, napari's, or any two-dimensional TIFF or PNG of whole numbers.

    Parameters
    ----------
    path
        The label image.

    Raises
    ------
    ImageError
        If the file is missing, unreadable, damaged or not an image; or if it
        holds colours, negative or fractional numbers, or labels beyond 2**31 - 1.
    """
    path = Path(path)
    raster, _ = read_raster(path)
    labels = _as_labels(path, raster)
    return LoadedLabels(labels, raster.mpp, stored_metadata(raster.ome_xml))


def _as_labels(path: Path, raster: Raster) -> NDArray[np.int32]:
    pixels = raster.pixels
    if pixels.ndim != 2:
        raise ImageError(
            f"'{path}' is a colour picture ({pixels.shape[2]} channels), not a label image; "
            "give the file in which each nucleus has one number."
        )
    if pixels.dtype.kind not in "buif":
        raise ImageError(f"'{path}' holds {pixels.dtype.name} values, not labels.")
    if pixels.dtype.kind == "f" and not np.array_equal(pixels, np.rint(pixels)):
        raise ImageError(
            f"'{path}' holds numbers that are not whole; labels are whole numbers, "
            "so save the label layer itself."
        )
    low, high = float(pixels.min()), float(pixels.max())
    if low < 0 or high > _LARGEST_LABEL:
        raise ImageError(
            f"'{path}' holds labels from {low:.0f} to {high:.0f}, where 0 to {_LARGEST_LABEL} "
            "is allowed; renumber them."
        )
    return np.ascontiguousarray(pixels, dtype=np.int32)


def stored_metadata(ome_xml: str) -> dict[str, Any]:
    """Return our own metadata, or nothing if another program wrote or changed them."""
    try:
        root = ElementTree.fromstring(ome_xml)
        for annotation in root.iterfind("{*}StructuredAnnotations/{*}MapAnnotation"):
            if annotation.get("Namespace") == NAMESPACE:
                found = json.loads(annotation.findtext(f"{{*}}Value/{{*}}M[@K='{KEY}']") or "{}")
                return found if isinstance(found, dict) else {}
    except (ElementTree.ParseError, json.JSONDecodeError):
        pass
    return {}

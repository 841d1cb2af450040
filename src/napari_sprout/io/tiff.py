"""TIFF, OME-TIFF and BigTIFF files: the largest image in them, as stored."""

from __future__ import annotations

import logging
import struct
from pathlib import Path
from typing import Any, Final

import numpy as np
import tifffile

from ..errors import ImageError, UnsuitableImageError
from .pixel_size import both_axes, from_aperio, from_ome, per_length, um_per_unit
from .raster import Alpha, Raster, check_dimensions, damaged

TIFF_SIGNATURES: Final = (b"II*\x00", b"MM\x00*", b"II+\x00", b"MM\x00+")

_IMAGE_DESCRIPTION: Final = 270
_RESOLUTION_UNIT: Final = 296
_X_RESOLUTION: Final = 282
_Y_RESOLUTION: Final = 283
_RESOLUTION_UNITS_UM: Final = {2: 25400.0, 3: 10000.0}
# tifffile turns YCbCr into RGB for these alone (JPEG, lossy DNG and WebP).
_RGB_WHEN_DECODED: Final = frozenset({6, 7, 33007, 34892, 50001})
_ALPHA: Final[dict[int, Alpha]] = {1: "premultiplied", 2: "straight"}

# Without any handler, what tifffile logs about a damaged file would be printed on
# the terminal beside our own sentence; programs that set up logging still get it.
logging.getLogger("tifffile").addHandler(logging.NullHandler())


def read_tiff(path: Path) -> Raster:
    """Read the largest image of a TIFF file; of a pyramid, its full-resolution level.

    Raises
    ------
    ImageError
        If it is damaged, incomplete or too large, holds a stack of several
        images, or stores colours that are neither RGB nor a palette.
    """
    try:
        with tifffile.TiffFile(path) as file:
            return _largest(path, file)
    except (ImageError, MemoryError, FileNotFoundError, PermissionError):
        raise
    except Exception as exc:
        # The bytes are not ours: decoders raise whatever damaged ones lead them to.
        raise damaged(path, exc) from exc


def _largest(path: Path, file: tifffile.TiffFile) -> Raster:
    number, series = largest_series(path, file)
    level, page = series.levels[0], series.levels[0].keyframe
    height, width = extent(level)
    check_dimensions(path, height, width)
    check_colours(path, page)
    check_complete(path, level)
    pixels = _single_image(path, level)
    return Raster(
        pixels,
        bits=bits_per_sample(page),
        alpha=alpha_of(page, pixels),
        rgb_first=page.photometric == tifffile.PHOTOMETRIC.RGB,
        colormap=page.colormap if page.photometric == tifffile.PHOTOMETRIC.PALETTE else None,
        mpp=stated_mpp(file, number, page),
        ome_xml=file.ome_metadata or "",
    )


def largest_series(path: Path, file: tifffile.TiffFile) -> tuple[int, Any]:
    """Return the image with the most pixels, and its number in the file.

    Raises
    ------
    ImageError
        If the file holds no image.
    """
    if not file.series:
        raise damaged(path)
    return max(enumerate(file.series), key=lambda item: _pixel_count(item[1].levels[0]))


def extent(level: Any) -> tuple[int, int]:
    """Return the height and width of one level of a series, 0 where it has no such axis."""
    sizes = dict(zip(level.get_axes(squeeze=False), level.get_shape(squeeze=False), strict=True))
    return int(sizes.get("Y", 0)), int(sizes.get("X", 0))


def _pixel_count(level: Any) -> int:
    height, width = extent(level)
    return height * width


def check_colours(path: Path, page: Any) -> None:
    """Refuse colours that are neither grey, RGB, a palette, nor decoded to one of these.

    Raises
    ------
    UnsuitableImageError
        For any other, CMYK for one.
    """
    kinds = tifffile.PHOTOMETRIC
    plain = {kinds.MINISBLACK, kinds.MINISWHITE, kinds.RGB, kinds.PALETTE}
    decoded = (
        page.photometric == kinds.YCBCR
        and page.compression in _RGB_WHEN_DECODED
        and page.planarconfig == 1
        and not page.extrasamples
    )
    if page.photometric not in plain and not decoded:
        name = getattr(page.photometric, "name", str(page.photometric))
        raise UnsuitableImageError(
            f"'{path}' stores its colours as {name}, not RGB; export it again as RGB."
        )


def check_complete(path: Path, level: Any) -> None:
    """Refuse a file shorter than its own index says; some decoders would fill the rest.

    Raises
    ------
    ImageError
        If the pixels or the description of this level reach beyond the end of the file.
    """
    for page in level.pages:
        if page is None:
            raise damaged(path)
        size = page.parent.filehandle.size
        # A slide has a hundred thousand tiles.
        offsets = np.asarray(page.dataoffsets, dtype=np.uint64)
        counts = np.asarray(page.databytecounts, dtype=np.uint64)
        outside = (offsets > size) | (counts > size - np.minimum(offsets, np.uint64(size)))
        if outside.any():
            raise damaged(path)
    if _description_end(level.keyframe) > level.keyframe.parent.filehandle.size:
        raise damaged(path)


def _description_end(page: Any) -> int:
    """Return where the ImageDescription ends in the file, 0 if it has none.

    It often lies last, and tifffile merely logs that it could not be read; the
    pixel size and our metadata would be lost without a word.
    """
    tiff, handle = page.parent.tiff, page.parent.filehandle
    number, entry = ("Q", "HHQQ") if tiff.is_bigtiff else ("H", "HHII")
    inline = 8 if tiff.is_bigtiff else 4
    handle.seek(page.offset)
    (count,) = struct.unpack(tiff.byteorder + number, handle.read(struct.calcsize("=" + number)))
    entries = handle.read(count * struct.calcsize("=" + entry))
    for code, _, length, offset in struct.iter_unpack(tiff.byteorder + entry, entries):
        if code == _IMAGE_DESCRIPTION and length > inline:
            return int(offset + length)
    return 0


def single_image_order(path: Path, level: Any) -> list[tuple[str, int]]:
    """Return the axes of one image and their lengths, or refuse a stack.

    Returns
    -------
    list of (str, int)
        Rows "Y" and columns "X", and samples or channels, "S" or "C", before or after them.

    Raises
    ------
    UnsuitableImageError
        If there are other axes.
    """
    axes, shape = level.get_axes(squeeze=False), level.get_shape(squeeze=False)
    kept = [(a, int(n)) for a, n in zip(axes, shape, strict=True) if a in "YX" or n != 1]
    order = "".join(axis for axis, _ in kept)
    if order not in {"YX", "YXS", "YXC", "SYX", "CYX"}:
        others = " x ".join(f"{n}" for a, n in kept if a not in "YXS")
        raise UnsuitableImageError(
            f"'{path}' is a stack of {others} images, not one; save the one to segment by itself."
        )
    return kept


def _single_image(path: Path, level: Any) -> np.ndarray[Any, Any]:
    """Return (Y, X) or (Y, X, S) pixels, or refuse a stack."""
    kept = single_image_order(path, level)
    pixels: np.ndarray[Any, Any] = np.asarray(level.asarray()).reshape([n for _, n in kept])
    return np.moveaxis(pixels, 0, -1) if kept[0][0] in "SC" else pixels


def bits_per_sample(page: Any) -> int:
    """Return how many bits a sample uses; the most, where they differ."""
    bits = page.bitspersample
    return int(bits if isinstance(bits, int) else max(bits))


def alpha_of(page: Any, pixels: np.ndarray[Any, Any]) -> Alpha:
    """Return what the fourth sample of (Y, X, S) pixels is."""
    if pixels.ndim == 3 and pixels.shape[2] > 3 and page.extrasamples:
        return _ALPHA.get(int(page.extrasamples[0]), "none")
    return "none"


def stated_mpp(file: tifffile.TiffFile, number: int, page: Any) -> float | None:
    """Return the most explicit pixel size: OME-XML, Aperio, ImageJ, then the resolution tags."""
    stated = from_ome(file.ome_metadata, number) if file.ome_metadata else None
    stated = stated or from_aperio(page.description or "")
    if stated is not None:
        return stated
    if file.imagej_metadata is not None and file.imagej_metadata.get("unit"):
        unit_um = um_per_unit(str(file.imagej_metadata["unit"]))
    else:
        unit_um = _RESOLUTION_UNITS_UM.get(int(page.tags.valueof(_RESOLUTION_UNIT, 2)))
    return both_axes(*(_per_tag(page, code, unit_um) for code in (_X_RESOLUTION, _Y_RESOLUTION)))


def _per_tag(page: Any, code: int, unit_um: float | None) -> float | None:
    numerator, denominator = page.tags.valueof(code, (0, 1))
    return per_length(numerator / denominator, unit_um) if denominator else None

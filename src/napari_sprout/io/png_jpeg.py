"""PNG and JPEG files, refused when they end early.

The decoders fill what is missing from a cut-off JPEG with grey and say nothing,
so both kinds are walked to their end marker before they are decoded. EXIF
orientation is ignored: labels lie on the grid of pixels as stored.
"""

from __future__ import annotations

import re
import struct
import zlib
from dataclasses import dataclass
from pathlib import Path
from struct import unpack_from
from typing import Final

import imagecodecs

from ..errors import UnsuitableImageError
from .pixel_size import both_axes, per_length
from .raster import Alpha, Raster, check_dimensions, damaged

PNG_SIGNATURE: Final = b"\x89PNG\r\n\x1a\n"
JPEG_SIGNATURE: Final = b"\xff\xd8\xff"

_JPEG_FRAMES: Final = frozenset(range(0xC0, 0xD0)) - {0xC4, 0xC8, 0xCC}
_JPEG_NEXT_MARKER: Final = re.compile(rb"\xff[^\x00\xd0-\xd7\xff]", re.DOTALL)
_JFIF_UNITS_UM: Final = {1: 25400.0, 2: 10000.0}
# Samples a pixel for each colour type; a palette (type 3) is decoded to three.
_PNG_SAMPLES: Final = {0: 1, 2: 3, 3: 3, 4: 2, 6: 4}


@dataclass(frozen=True)
class _Header:
    """What a header says; `complete` is False if the file is cut off or fails a checksum."""

    height: int
    width: int
    samples: int
    bits: int
    mpp: float | None
    complete: bool


def read_png(path: Path, data: bytes) -> Raster:
    """Decode a PNG file: palettes become RGB, transparent colours become an alpha sample.

    Raises
    ------
    ImageError
        If it is damaged, incomplete or too large.
    """
    try:
        header = _png_header(data)
    except struct.error as exc:
        raise damaged(path) from exc
    check_dimensions(path, header.height, header.width)
    if not header.complete:
        raise damaged(path)
    try:
        pixels = imagecodecs.png_decode(data)
    except (imagecodecs.PngError, ValueError) as exc:
        raise damaged(path, exc) from exc
    bits = 8 * pixels.dtype.itemsize
    if header.samples == 1 and header.bits < bits:
        # The decoder stretches 1, 2 and 4 bit greys to 0..255; labels need them as stored.
        pixels //= 255 // (2**header.bits - 1)
        bits = header.bits
    alpha: Alpha = "straight" if pixels.ndim == 3 and pixels.shape[2] == 4 else "none"
    return Raster(pixels, bits, alpha, mpp=header.mpp)


def _png_header(data: bytes) -> _Header:
    """Walk the chunks to the end (PNG specification, 5.3 and 11).

    The decoder leaves the last chunk's checksum unread, so all that carry the
    image are checked here.
    """
    width, height, bits, colour = unpack_from(">IIBB", data, 16)
    mpp, complete, position = None, False, len(PNG_SIGNATURE)
    view = memoryview(data)
    while position + 12 <= len(data):
        length, kind = unpack_from(">I4s", data, position)
        if kind == b"pHYs" and length == 9:
            x, y, unit = unpack_from(">IIB", data, position + 8)
            if unit == 1:
                mpp = both_axes(per_length(x, 1e6), per_length(y, 1e6))
        if kind[:1].isupper():
            (checksum,) = unpack_from(">I", data, position + 8 + length)
            if checksum != zlib.crc32(view[position + 4 : position + 8 + length]):
                break
        if kind == b"IEND":
            complete = True
            break
        position += 12 + length
    return _Header(height, width, _PNG_SAMPLES.get(colour, 0), bits, mpp, complete)


def read_jpeg(path: Path, data: bytes) -> Raster:
    """Decode a JPEG file.

    Raises
    ------
    ImageError
        If it is damaged, incomplete, too large, or holds the four inks of print.
    """
    try:
        header = _jpeg_header(data)
    except struct.error as exc:
        raise damaged(path) from exc
    if header.samples == 0:
        raise damaged(path)
    check_dimensions(path, header.height, header.width)
    if header.samples > 3:
        raise UnsuitableImageError(
            f"'{path}' holds colours for printing (CMYK), not RGB; export it again as RGB."
        )
    if not header.complete:
        raise damaged(path)
    try:
        pixels = imagecodecs.jpeg8_decode(data)
    except (imagecodecs.Jpeg8Error, ValueError) as exc:
        raise damaged(path, exc) from exc
    return Raster(pixels, header.bits, mpp=header.mpp)


def _jpeg_header(data: bytes) -> _Header:
    """Walk the marker segments and scans to the end of the image (ITU T.81, annex B)."""
    height = width = samples = 0
    bits, mpp, position = 8, None, 2
    while found := _JPEG_NEXT_MARKER.search(data, position):
        # Searching from the end of a segment also steps over a scan's coded data,
        # in which 0xFF is always followed by a zero or a restart marker.
        marker, position = data[found.start() + 1], found.end()
        if marker == 0xD9:
            return _Header(height, width, samples, bits, mpp, complete=True)
        if marker == 0x01:
            continue
        (length,) = unpack_from(">H", data, position)
        if marker in _JPEG_FRAMES:
            bits, height, width, samples = unpack_from(">BHHB", data, position + 2)
        elif marker == 0xE0 and data[position + 2 : position + 7] == b"JFIF\x00":
            unit, x, y = unpack_from(">BHH", data, position + 9)
            unit_um = _JFIF_UNITS_UM.get(unit)
            mpp = both_axes(per_length(x, unit_um), per_length(y, unit_um))
        position += length
    return _Header(height, width, samples, bits, mpp, complete=False)

"""Whether the index of a TIFF file is whole: a file that was cut may have lost part of it."""

from __future__ import annotations

import struct
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Final

import tifffile

from ..raster import damaged

_SUB_IFDS: Final = 330
# The description, tiles, strips, further resolutions and JPEG tables. What lies
# elsewhere, colour profiles for one, is not needed and often written carelessly.
_NEEDED: Final = frozenset({270, 273, 279, 324, 325, _SUB_IFDS, 347})
_BYTES: Final = {1: 1, 2: 1, 3: 2, 4: 4, 6: 1, 7: 1, 8: 2, 9: 4, 5: 8, 10: 8, 11: 4, 12: 8}
_BYTES_BIG: Final = {13: 4, 16: 8, 17: 8, 18: 8}


def check_index(path: Path, file: tifffile.TiffFile) -> None:
    """Refuse a file of which a directory, or a list in one, lies beyond its end.

    Libraries read what is left of such a file, and say nothing of the
    resolutions that are gone.

    Raises
    ------
    ImageError
        If part of the index is missing.
    """
    if file.is_ndpi:
        # Its 64 bit offsets do not follow the standard.
        return
    size = file.filehandle.size
    waiting = [_first(file)]
    seen: set[int] = set()
    while waiting:
        offset = waiting.pop()
        if offset == 0 or offset in seen:
            continue
        seen.add(offset)
        if offset >= size:
            raise damaged(path)
        try:
            waiting.extend(_directory(path, file, offset))
        except struct.error as exc:
            raise damaged(path) from exc


def _first(file: tifffile.TiffFile) -> int:
    tiff = file.tiff
    return int(_read(file, 8 if tiff.is_bigtiff else 4, "Q" if tiff.is_bigtiff else "I", 1)[0])


def _directory(path: Path, file: tifffile.TiffFile, offset: int) -> Iterator[int]:
    """Check one directory, and yield where those lie that it leads to."""
    big = file.tiff.is_bigtiff
    number, entry, pointer = ("Q", "HHQ", "Q") if big else ("H", "HHI", "I")
    (count,) = _read(file, offset, number, 1)
    start = offset + struct.calcsize("=" + number)
    width = struct.calcsize("=" + entry + pointer)
    for i in range(count):
        place = start + i * width
        code, kind, length = _read(file, place, entry, 1)
        value = place + struct.calcsize("=" + entry)
        nbytes = length * (_BYTES | _BYTES_BIG).get(kind, 1)
        if code in _NEEDED and nbytes > struct.calcsize("=" + pointer):
            (value,) = _read(file, value, pointer, 1)
            if value + nbytes > file.filehandle.size:
                raise damaged(path)
        if code == _SUB_IFDS:
            wide = "Q" if nbytes == 8 * length else "I"
            yield from _read(file, value, wide, length)
    yield _read(file, start + count * width, pointer, 1)[0]


def _read(file: tifffile.TiffFile, offset: int, format_: str, times: int) -> tuple[Any, ...]:
    layout = file.tiff.byteorder + format_ * times
    file.filehandle.seek(offset)
    data = file.filehandle.read(struct.calcsize(layout))
    return struct.unpack(layout, data)

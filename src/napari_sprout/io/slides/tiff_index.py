"""Whether the index of a TIFF file is whole: a file that was cut may have lost part of it."""

from __future__ import annotations

import struct
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import tifffile

from ..raster import damaged

_SUB_IFDS: Final = 330
# The description, tiles, strips, further resolutions and JPEG tables. What lies
# elsewhere, colour profiles for one, is not needed and often written carelessly.
_NEEDED: Final = frozenset({270, 273, 279, 324, 325, _SUB_IFDS, 347})
# By the number of a type; of those that are missing each value is one byte.
_BYTES: Final = {3: 2, 4: 4, 5: 8, 8: 2, 9: 4, 10: 8, 11: 4, 12: 8, 13: 4, 16: 8, 17: 8, 18: 8}


@dataclass(frozen=True)
class _Layout:
    """How directories are written: their length, entries, values, and the next one's place."""

    number: str
    entry: str
    value: str
    following: str

    @classmethod
    def of(cls, file: tifffile.TiffFile) -> _Layout:
        if file.tiff.is_bigtiff:
            return cls("Q", "HHQ", "Q", "Q")
        # Hamamatsu's directories may lie beyond 4 GB, though their form is the small one.
        return cls("H", "HHI", "I", "Q" if file.is_ndpi else "I")


def check_index(path: Path, file: tifffile.TiffFile) -> None:
    """Refuse a file of which a directory, or a list in one, lies beyond its end.

    Libraries read what is left of such a file, and say nothing of the
    resolutions that are gone.

    Raises
    ------
    ImageError
        If part of the index is missing.
    """
    layout = _Layout.of(file)
    start = 8 if file.tiff.is_bigtiff else 4
    waiting = [_read(file, start, layout.following, 1)[0]]
    seen: set[int] = set()
    while waiting:
        offset = waiting.pop()
        if offset == 0 or offset in seen:
            continue
        seen.add(offset)
        if offset >= file.filehandle.size:
            raise damaged(path)
        try:
            waiting.extend(_directory(path, file, layout, offset))
        except struct.error as exc:
            raise damaged(path) from exc


def _directory(path: Path, file: tifffile.TiffFile, layout: _Layout, offset: int) -> Iterator[int]:
    """Check one directory, and yield where those lie that it leads to."""
    (count,) = _read(file, offset, layout.number, 1)
    start = offset + struct.calcsize("=" + layout.number)
    width = struct.calcsize("=" + layout.entry + layout.value)
    # Where the upper halves of its values are, only Hamamatsu knows.
    complete = not file.is_ndpi or file.filehandle.size < 2**32
    for i in range(count):
        place = start + i * width
        code, kind, length = _read(file, place, layout.entry, 1)
        value = place + struct.calcsize("=" + layout.entry)
        nbytes = length * _BYTES.get(kind, 1)
        if code in _NEEDED and complete and nbytes > struct.calcsize("=" + layout.value):
            (value,) = _read(file, value, layout.value, 1)
            if value + nbytes > file.filehandle.size:
                raise damaged(path)
        if code == _SUB_IFDS:
            yield from _read(file, value, "Q" if nbytes == 8 * length else "I", length)
    yield _read(file, start + count * width, layout.following, 1)[0]


def _read(file: tifffile.TiffFile, offset: int, format_: str, times: int) -> tuple[Any, ...]:
    layout = file.tiff.byteorder + format_ * times
    file.filehandle.seek(offset)
    data = file.filehandle.read(struct.calcsize(layout))
    return struct.unpack(layout, data)

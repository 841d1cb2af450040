"""Finished measurements, one line each, durable the moment they are added."""

from __future__ import annotations

import dataclasses
import errno
import json
import math
import os
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from ...core.metrics import Scores
from ...core.prompt_quality import PromptQuality
from ..atomic import fsync_folder, output_error

_FORMAT: Final = 1


@dataclass(frozen=True)
class Cell:
    """What one image, whole or altered, scored with one choice of settings.

    Attributes
    ----------
    key
        Hash of all that the scores depend on.
    scores
        Agreement with the reference labels.
    quality
        Where the points lay; None for what needs no points.
    seconds
        Time of all stages but the encoding of the tiles, as if nothing had been
        kept from another cell.
    encoding_seconds
        Time of encoding the tiles; None if they were kept from an earlier run.
    """

    key: str
    scores: Scores
    quality: PromptQuality | None
    seconds: float
    encoding_seconds: float | None


class CellFile:
    """The file of finished cells, open for appending by one process.

    A last line that was torn by a crash is dropped; so is any line that cannot be
    read, since its cell can be measured again.

    Parameters
    ----------
    path
        The file; made if needed.

    Raises
    ------
    OutputError
        If it cannot be read or written.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self.cells: dict[str, Cell] = {}
        try:
            data = path.read_bytes() if path.exists() else b""
            whole = data.rfind(b"\n") + 1
            for line in data[:whole].splitlines():
                cell = _read(line)
                if cell is not None:
                    self.cells[cell.key] = cell
            self._file = path.open("ab", buffering=0)
            if whole < len(data):
                self._file.truncate(whole)
            self._file.seek(0, os.SEEK_END)
            fsync_folder(path.parent)
        except OSError as exc:
            raise output_error(path, exc) from exc

    def close(self) -> None:
        """Close the file; harmless if done already."""
        self._file.close()

    def append(self, cell: Cell, about: Mapping[str, Any]) -> None:
        """Add a cell; when this returns, it survives a crash.

        Parameters
        ----------
        cell
            The measurement.
        about
            What a person who reads the file wants to know of it.

        Raises
        ------
        OutputError
            If it cannot be written; the file is as before.
        """
        values = {"format": _FORMAT, **about, **_plain(cell)}
        line = json.dumps(values, ensure_ascii=False, allow_nan=False).encode() + b"\n"
        size = self._file.tell()
        try:
            if self._file.write(line) != len(line):
                raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
            os.fsync(self._file.fileno())
        except OSError as exc:
            with suppress(OSError):
                self._file.truncate(size)
            raise output_error(self.path, exc) from exc
        self.cells[cell.key] = cell


def _plain(cell: Cell) -> dict[str, Any]:
    quality = None
    if cell.quality is not None:
        found = dataclasses.asdict(cell.quality)
        quality = {name: None if math.isnan(value) else value for name, value in found.items()}
    return {
        "key": cell.key,
        "scores": dataclasses.asdict(cell.scores),
        "quality": quality,
        "seconds": cell.seconds,
        "encoding_seconds": cell.encoding_seconds,
    }


def _read(line: bytes) -> Cell | None:
    try:
        values = json.loads(line)
        if values["format"] != _FORMAT:
            return None
        quality = values["quality"]
        if quality is not None:
            nan = math.nan
            quality = PromptQuality(**{k: nan if v is None else v for k, v in quality.items()})
        return Cell(
            str(values["key"]),
            Scores(**values["scores"]),
            quality,
            float(values["seconds"]),
            values["encoding_seconds"],
        )
    except (ValueError, KeyError, TypeError):
        return None

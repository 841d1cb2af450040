"""What was found in a tile, as a file: whole or not there at all."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np

from ...core.fit import SlideFit
from ...core.seams import Cell, TileNuclei
from ...errors import OutputError, SproutError
from ..atomic import replacing
from ..nuclei_arrays import pack, unpack


def record_path(folder: Path, cell: Cell) -> Path:
    """Return the file of a tile in a folder of records."""
    return folder / f"{cell[0]:05d}_{cell[1]:05d}.npz"


def write_record(folder: Path, found: TileNuclei) -> None:
    """Write what was found in a tile.

    Raises
    ------
    OutputError
        If it cannot be written.
    """
    arrays: dict[str, Any] = pack(found.nuclei, found.boxes, found.masks)
    with replacing(record_path(folder, found.cell)) as temporary, temporary.open("wb") as file:
        np.savez(file, owned=found.owned, **arrays)


def read_record(folder: Path, cell: Cell) -> TileNuclei:
    """Read what was found in a tile; nothing if nobody has looked there.

    Raises
    ------
    OutputError
        If the file is damaged.
    """
    path = record_path(folder, cell)
    try:
        with np.load(path, allow_pickle=False) as stored:
            nuclei, boxes, masks = unpack(stored)
            owned = stored["owned"]
    except FileNotFoundError:
        return TileNuclei(cell)
    except Exception as error:
        # The bytes may be anything by now, and so may what reading them leads to.
        raise _damaged(path, error) from error
    return TileNuclei(cell, nuclei, boxes, masks, owned)


def record_count(folder: Path, cell: Cell) -> int:
    """Return how many nuclei a tile's record holds, without reading their masks.

    Raises
    ------
    OutputError
        If the file is missing or damaged.
    """
    path = record_path(folder, cell)
    try:
        with np.load(path, allow_pickle=False) as stored:
            return len(stored["owned"])
    except Exception as error:
        raise _damaged(path, error) from error


def _damaged(path: Path, error: Exception) -> OutputError:
    return OutputError(
        f"'{path}' is damaged ({error}); delete it and run the same command again: this tile "
        "alone is done anew."
    )


def write_fit(path: Path, fit: SlideFit, warnings: tuple[str, ...]) -> None:
    """Write what was found on the sample, and what a person should know of it.

    Raises
    ------
    OutputError
        If it cannot be written.
    """
    with replacing(path) as temporary, temporary.open("wb") as file:
        arrays: dict[str, Any] = fit.to_arrays()
        np.savez(file, warnings=np.array(warnings, np.str_), **arrays)


def read_fit(path: Path) -> SlideFit:
    """Read what was found on the sample.

    Raises
    ------
    OutputError
        If the file is missing or damaged.
    """
    try:
        with np.load(path, allow_pickle=False) as stored:
            return SlideFit.from_arrays(stored)
    except SproutError as error:
        raise OutputError(f"'{path}': {error} Run again with --overwrite.") from error
    except Exception as error:
        raise OutputError(
            f"'{path}' is missing or damaged ({error}); run again with --overwrite."
        ) from error


def read_warnings(path: Path) -> tuple[str, ...]:
    """Read what a person should know of the sample, from a file that :func:`read_fit` has read."""
    with np.load(path, allow_pickle=False) as stored:
        return tuple(map(str, stored["warnings"]))

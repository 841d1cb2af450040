"""An experiment in its folder: locked, resumed, and written down."""

from __future__ import annotations

import csv
from collections.abc import Generator, Mapping, Sequence
from contextlib import closing
from fnmatch import fnmatchcase
from pathlib import Path
from typing import Final

from ...errors import OutputError, ProjectError, SettingsError, SproutError, nearest
from ...models.weights import resolve_device
from ..atomic import replacing, writable_folder
from ..lock import FolderLock
from ..pairing import Annotated
from .cells import CellFile
from .matrix import Matrix
from .measure import Measured
from .plan import cells_of, tasks_for
from .plots import write_plots
from .summary import Results
from .tables import write_images_csv, write_table
from .workers import Message, Setup, run_tasks

CELLS: Final = "cells.jsonl"
CACHE: Final = "cache"
NO_PLOTS: Final = (
    "Plots need matplotlib, which is not installed: install it with "
    "'pip install napari-sprout[experiment]' and run the same command again. The tables are made."
)
_LOCK: Final = ".lock"


class Experiment:
    """A matrix, the images it is measured on, and the folder of its results.

    Parameters
    ----------
    matrix
        What is compared.
    images
        On which images.
    folder
        Where results go; made if needed. What is measured there already is not
        measured again.
    groups
        The group of each image, if they have any.
    device
        Where to compute.

    Attributes
    ----------
    device
        The kind of device, on which measurements depend: "cpu", "cuda" or "mps".

    Raises
    ------
    SproutError
        If the folder is in use or cannot be written, or there is no such device.
    """

    def __init__(
        self,
        matrix: Matrix,
        images: Sequence[Annotated],
        folder: Path,
        *,
        groups: Mapping[str, str] | None = None,
        device: str = "auto",
    ) -> None:
        self.matrix = matrix
        self.folder = writable_folder(folder)
        self._images = list(images)
        self._groups = groups
        self._device = device
        self.device = resolve_device(device).type
        self._places = cells_of(matrix, images, device)
        self._lock = _locked(self.folder)
        try:
            self._file = CellFile(self.folder / CELLS)
        except BaseException:
            self._lock.release()
            raise

    def close(self) -> None:
        """Let others use the folder; harmless if done already."""
        self._file.close()
        self._lock.release()

    def __enter__(self) -> Experiment:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    @property
    def total(self) -> int:
        """How many different cells there are."""
        return len({wanted.key for wanted in self._places.values()})

    @property
    def left(self) -> int:
        """How many of them are not measured yet."""
        keys = {wanted.key for wanted in self._places.values()}
        return len(keys - self._file.cells.keys())

    def run(
        self, processes: int = 1, cache: Path | None = None, *, debug: bool = False
    ) -> Generator[Message, None, None]:
        """Measure what is left; every cell is on disk before it is yielded.

        Parameters
        ----------
        processes
            How many to spread the work over. The processor's cores are shared out among so
            many, however few are kept busy, since the number of threads moves the last digits.
        cache
            The folder of encoded tiles; None for none.
        debug
            Show the traceback of every error.

        Yields
        ------
        Measured, Failed or Note
            What came of each cell.

        Raises
        ------
        SproutError
            If a finished cell cannot be written, or a process cannot be set up.
        """
        tasks = tasks_for(self._places, self._images, self._file.cells)
        setup = Setup(self._device, cache, debug=debug)
        with closing(run_tasks(tasks, setup, processes)) as messages:
            for message in messages:
                if isinstance(message, Measured):
                    self._file.append(message.cell, message.wanted.place.about())
                yield message

    def results(self) -> Results:
        """Return all that is measured so far."""
        names = [image.name for image in self._images]
        return Results(self.matrix, self._places, self._file.cells, names, self._groups)

    def write(self, source: bytes, command: str) -> list[str]:
        """Write the tables, the plots and a copy of the matrix.

        Parameters
        ----------
        source
            The content of the matrix's file.
        command
            How to measure it again.

        Returns
        -------
        list of str
            Sentences on what could not be made though it is no error.

        Raises
        ------
        OutputError
            If a file cannot be written.
        """
        results = self.results()
        write_images_csv(self.folder / "images.csv", results)
        write_table(self.folder / "table.md", results, command)
        with replacing(self.folder / "matrix.toml") as temporary:
            temporary.write_bytes(source)
        try:
            write_plots(self.folder / "plots", results)
        except ImportError:
            return [NO_PLOTS]
        return []


def _locked(folder: Path) -> FolderLock:
    path = folder / _LOCK
    try:
        return FolderLock(path)
    except ProjectError as exc:
        raise OutputError(
            f"Another run writes its results to '{folder}'; wait until it has ended or give "
            f"another folder. (If none is running on any computer, delete '{path}'.)"
        ) from exc


def chosen_images(images: Sequence[Annotated], names: Sequence[str]) -> list[Annotated]:
    """Return the images of these names, which may hold ``*`` and ``?``; all without names.

    Raises
    ------
    SproutError
        If a name fits no image.
    """
    for name in names:
        if not any(fnmatchcase(image.name, name) for image in images):
            known = [image.name for image in images]
            raise SproutError(f"There is no annotated image '{name}'. {nearest(name, known)}")
    if not names:
        return list(images)
    return [image for image in images if any(fnmatchcase(image.name, name) for name in names)]


def read_groups(path: Path, images: Sequence[Annotated]) -> dict[str, str]:
    """Read which image belongs to which group from a CSV file with columns image and group.

    Raises
    ------
    SettingsError
        If it cannot be read, has other columns, or lacks an image.
    """
    try:
        with path.open(encoding="utf-8-sig", newline="") as file:
            rows = list(csv.DictReader(file))
    except (OSError, UnicodeDecodeError, csv.Error) as exc:
        reason = getattr(exc, "strerror", None) or exc
        raise SettingsError(f"The groups '{path}' cannot be read ({reason}).") from exc
    if any(row.get("image") is None or row.get("group") is None for row in rows) or not rows:
        raise SettingsError(f"The groups '{path}' must be a CSV file with columns image and group.")
    groups = {row["image"].strip(): row["group"].strip() for row in rows}
    lacking = [image.name for image in images if not groups.get(image.name)]
    if lacking:
        raise SettingsError(
            f"The groups '{path}' do not say to which group {', '.join(lacking)} belongs; "
            "add a line for each."
        )
    return {image.name: groups[image.name] for image in images}

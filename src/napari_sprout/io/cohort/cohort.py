"""Finds the slides of a cohort: the finished ones, and those that something is wrong with."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

from ...errors import ResultsError, SproutError
from .summary import SLIDE_FOLDER, SUMMARY, SlideSummary, read_summary


@dataclass(frozen=True)
class FinishedSlide:
    """A slide with a summary, and the folder that holds its results."""

    folder: Path
    summary: SlideSummary

    @property
    def name(self) -> str:
        """The slide's name, as its folder is called now."""
        return _name(self.folder)

    @property
    def left_out(self) -> int:
        """How many of its tiles have no result."""
        return len(self.summary.tiles.left_out)


@dataclass(frozen=True)
class DamagedSlide:
    """A slide whose summary cannot be read, and a sentence that says why."""

    name: str
    reason: str


@dataclass(frozen=True)
class Cohort:
    """The slides of one folder, each kind by name.

    Attributes
    ----------
    folder
        Where they are.
    finished
        Those with a summary.
    unfinished
        Names of those without one: not done yet, or interrupted.
    damaged
        Those with a summary that cannot be read.
    absent
        Names of those that were expected and have no folder: not begun, or refused.
    """

    folder: Path
    finished: tuple[FinishedSlide, ...]
    unfinished: tuple[str, ...] = ()
    damaged: tuple[DamagedSlide, ...] = ()
    absent: tuple[str, ...] = ()

    @property
    def summaries(self) -> Sequence[SlideSummary]:
        """The summaries of the finished slides."""
        return [slide.summary for slide in self.finished]

    @property
    def complete(self) -> bool:
        """Whether every slide is finished and has all its tiles."""
        missing = self.unfinished or self.damaged or self.absent
        return not missing and not any(slide.left_out for slide in self.finished)

    @property
    def nuclei(self) -> int:
        """How many nuclei the finished slides have together."""
        return sum(summary.nuclei for summary in self.summaries)

    @property
    def tissue_mm2(self) -> float:
        """Their tissue, in mm^2."""
        return sum(summary.tissue_mm2 for summary in self.summaries)


def slide_name(slide: str | Path) -> str:
    """Return how the results of a slide are called, given its file or folder.

    ``scans/case1.ome.tif`` is ``case1``, and its results are in ``case1.slide``. Of a folder
    only the ending of an OME-Zarr is left out: the dots in a DICOM series' number are its own.
    """
    path = Path(slide)
    if path.is_dir() and path.suffix.lower() != ".zarr":
        return path.name
    return path.stem.removesuffix(".ome")


def expected_slides(path: str | Path) -> list[str]:
    """Read which slides a cohort should have, from a text file with one a line.

    Parameters
    ----------
    path
        The file; each line is the path or the file name of a slide.

    Returns
    -------
    list of str
        Their names, each once.

    Raises
    ------
    ResultsError
        If it cannot be read.
    """
    try:
        lines = Path(path).read_text(encoding="utf-8-sig").splitlines()
    except (OSError, UnicodeDecodeError) as exc:
        raise ResultsError(
            f"The list of slides '{path}' cannot be read; give a text file with one slide a line."
        ) from exc
    return list(dict.fromkeys(slide_name(line.strip()) for line in lines if line.strip()))


def read_cohort(folder: str | Path, expected: Iterable[str] = ()) -> Cohort:
    """Read the summaries of all slides in a folder.

    Parameters
    ----------
    folder
        Holds a folder ``NAME.slide`` for each slide.
    expected
        Names of slides that should be there, in addition to those that are.

    Returns
    -------
    Cohort
        What was found; a slide that cannot be read keeps no other from it.

    Raises
    ------
    ResultsError
        If the folder does not exist, cannot be read, or holds no slides and none are
        expected.
    """
    folder, wanted = Path(folder), list(expected)
    finished, unfinished, damaged = [], [], []
    places = _slide_folders(folder, needed=not wanted)
    for place in places:
        name = _name(place)
        if not (place / SUMMARY).exists():
            unfinished.append(name)
            continue
        try:
            finished.append(FinishedSlide(place, read_summary(place)))
        except SproutError as error:
            damaged.append(DamagedSlide(name, str(error)))
    absent = sorted(set(wanted) - set(map(_name, places)))
    return Cohort(folder, tuple(finished), tuple(unfinished), tuple(damaged), tuple(absent))


def _name(folder: Path) -> str:
    return folder.name.removesuffix(SLIDE_FOLDER)


def _slide_folders(folder: Path, needed: bool) -> list[Path]:
    if not folder.exists():
        raise ResultsError(f"The folder '{folder}' does not exist; check its name.")
    try:
        found = [
            place
            for place in folder.iterdir()
            if place.name.endswith(SLIDE_FOLDER) and place.is_dir()
        ]
    except OSError as exc:
        raise ResultsError(
            f"'{folder}' cannot be read ({exc.strerror or exc}); give the folder of the results."
        ) from exc
    if needed and not found:
        raise ResultsError(
            f"'{folder}' holds no slides; give the folder into which 'napari-sprout slide' wrote "
            f"its results (NAME{SLIDE_FOLDER}, one for each slide)."
        )
    return sorted(found, key=lambda place: place.name)

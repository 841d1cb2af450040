"""Finds the slides of a cohort: the finished ones, and those that something is wrong with."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from ...errors import ProjectError, SproutError
from .summary import SLIDE_FOLDER, SUMMARY, SlideSummary, read_summary


@dataclass(frozen=True)
class FinishedSlide:
    """A slide with a summary, and the folder that holds its results."""

    folder: Path
    summary: SlideSummary

    @property
    def name(self) -> str:
        """The slide's name, as its folder is called now."""
        return slide_name(self.folder)

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
    """

    folder: Path
    finished: tuple[FinishedSlide, ...]
    unfinished: tuple[str, ...] = ()
    damaged: tuple[DamagedSlide, ...] = ()

    @property
    def summaries(self) -> Sequence[SlideSummary]:
        """The summaries of the finished slides."""
        return [slide.summary for slide in self.finished]

    @property
    def complete(self) -> bool:
        """Whether every slide is finished and has all its tiles."""
        missing = self.unfinished or self.damaged
        return not missing and not any(slide.left_out for slide in self.finished)

    @property
    def nuclei(self) -> int:
        """How many nuclei the finished slides have together."""
        return sum(summary.nuclei for summary in self.summaries)

    @property
    def tissue_mm2(self) -> float:
        """Their tissue, in mm^2."""
        return sum(summary.tissue_mm2 for summary in self.summaries)


def slide_name(folder: Path) -> str:
    """Return the name of the slide whose results are in a folder."""
    return folder.name.removesuffix(SLIDE_FOLDER)


def read_cohort(folder: str | Path) -> Cohort:
    """Read the summaries of all slides in a folder.

    Parameters
    ----------
    folder
        Holds a folder ``NAME.slide`` for each slide.

    Returns
    -------
    Cohort
        What was found; a slide that cannot be read keeps no other from it.

    Raises
    ------
    ProjectError
        If the folder does not exist, cannot be read, or holds no slides.
    """
    folder = Path(folder)
    finished, unfinished, damaged = [], [], []
    for place in _slide_folders(folder):
        name = slide_name(place)
        if not (place / SUMMARY).exists():
            unfinished.append(name)
            continue
        try:
            finished.append(FinishedSlide(place, read_summary(place)))
        except SproutError as error:
            damaged.append(DamagedSlide(name, str(error)))
    return Cohort(folder, tuple(finished), tuple(unfinished), tuple(damaged))


def _slide_folders(folder: Path) -> list[Path]:
    if not folder.exists():
        raise ProjectError(f"The folder '{folder}' does not exist; check its name.")
    try:
        found = [
            place
            for place in folder.iterdir()
            if place.name.endswith(SLIDE_FOLDER) and place.is_dir()
        ]
    except OSError as exc:
        raise ProjectError(
            f"'{folder}' cannot be read ({exc.strerror or exc}); give the folder of the results."
        ) from exc
    if not found:
        raise ProjectError(
            f"'{folder}' holds no slides; give the folder into which 'napari-sprout slide' wrote "
            f"its results (NAME{SLIDE_FOLDER}, one for each slide)."
        )
    return sorted(found, key=lambda place: place.name)

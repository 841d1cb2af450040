"""What is done to a slide in turn, each time as far as it is not done already."""

from __future__ import annotations

import os
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from typing import TypeVar

from ...core.seams import Cell, around
from ...errors import OutputError, SproutError
from ..cohort.facts import LeftOutTile
from ..cohort.summary import SUMMARY
from ..failures import failure
from ..label_pyramid import LabelPyramid
from ..slides.protocol import Slide
from .executors import Executor
from .plan import COMPLETE, Overview, delete
from .records import read_fit, read_warnings, record_count, record_path
from .sample import sample_boxes
from .work import (
    FIT,
    FOUND,
    JOINED,
    SPLIT,
    TileWork,
    UnfitWorkerError,
    fit_sample,
    join_tile,
    mark,
    mark_path,
    paint_tile,
    segment_tile,
)

Item = TypeVar("Item")
Told = Callable[[float, str], None]


@dataclass(frozen=True)
class Sample:
    """What a run knows of the slide as a whole.

    Attributes
    ----------
    key
        Of the fit.
    warnings
        What a person should know of it.
    """

    key: str
    warnings: tuple[str, ...]


class Phases:
    """The phases of a run: the sample, tiles, seams, and the label image.

    Parameters
    ----------
    work
        The slide.
    workers
        Who does it.
    progress
        Called with the finished share of the run and what is done.
    """

    def __init__(self, work: TileWork, workers: Executor, progress: Told) -> None:
        self._work = work
        self._workers = workers
        self._progress = progress
        self._key = ""

    def fit(self, slide: Slide, seen: Overview) -> Sample:
        """Find on a sample of the tissue what holds for all of it.

        Raises
        ------
        SproutError
            If the sample cannot be read or segmented.
        """
        work, path = self._work, self._work.folder / FIT
        if not path.exists():
            self._progress(0.01, "learning the slide's stain and nuclei")
            shape, seed = slide.levels[0].shape, work.settings.seed
            boxes = sample_boxes(seen.tissue, seen.downsample, shape, work.mpp, seed)
            if not boxes:
                return Sample("", ("No tissue was found: the slide seems to be blank glass.",))
            task = partial(fit_sample, work, seen.white)
            for _, outcome in self._workers.run(task, [tuple(boxes)]):
                self._check(outcome)
        fit = read_fit(path)
        self._key = fit.key
        return Sample(fit.key, read_warnings(path))

    def segment(self) -> list[LeftOutTile]:
        """Find the nuclei of all tiles; return those that could not be done, and why.

        Raises
        ------
        OutputError
            If results cannot be written: on a full disk the other tiles would be in vain.
        SchedulerError
            If the workers are lost.
        UnfitWorkerError
            If one of them would give another result.
        """
        work = self._work
        waiting = [c for c in work.grid.cells if not record_path(work.folder / FOUND, c).exists()]
        if waiting:
            # What was made without them may be otherwise with them.
            delete(work.labels.parent / SUMMARY)
            delete(work.folder / COMPLETE)
            for path in (work.folder / JOINED).iterdir():
                delete(path)
        whole: list[Cell] = []
        halves: list[Cell] = []
        for cell in waiting:
            (halves if was_split(work, cell) else whole).append(cell)
        failed = self._segment(whole, len(halves), split=False)
        for cell, error in failed.items():
            if _is_memory(error):
                mark(work.folder / SPLIT, cell)
                halves.append(cell)
        failed = {c: e for c, e in failed.items() if not _is_memory(e)}
        failed |= self._segment(halves, 0, split=True)
        return [_left_out(work, cell, failed[cell]) for cell in sorted(failed)]

    def _segment(self, cells: Sequence[Cell], others: int, *, split: bool) -> dict[Cell, Exception]:
        total = len(self._work.grid.cells)
        done = total - len(cells) - others
        failed: dict[Cell, Exception] = {}
        task = partial(segment_tile, self._work, self._key, split=split)
        for cell, outcome in self._workers.run(task, cells):
            if isinstance(outcome, OutputError | UnfitWorkerError):
                raise outcome
            if isinstance(outcome, Exception):
                failed[cell] = outcome
            done += 1
            self._progress(0.05 + 0.88 * done / total, f"{done} of {total} tiles")
        return failed

    def settled(self) -> bool:
        """Whether an earlier run has joined and painted all tiles, and its work is still there."""
        work = self._work
        joined = (record_path(work.folder / JOINED, cell) for cell in work.grid.cells)
        return (work.folder / COMPLETE).exists() and all(path.exists() for path in joined)

    def join(self) -> None:
        """Settle the nuclei where tiles meet.

        Raises
        ------
        SproutError
            If a file cannot be read or written.
        """
        work = self._work
        waiting = [c for c in work.grid.cells if not record_path(work.folder / JOINED, c).exists()]
        self._each(partial(join_tile, work), waiting, 0.93, "joining tiles")

    def counts(self) -> dict[Cell, int]:
        """Return how many nuclei each tile has, once they are joined."""
        work = self._work
        return {cell: record_count(work.folder / JOINED, cell) for cell in work.grid.cells}

    def paint(self) -> None:
        """Paint the label image, chunk by chunk, and make what is there last on the disk.

        It is begun anew each time: chunks are not waited for one by one, so a computer that
        lost power may have lost some, and painting takes little.

        Raises
        ------
        SproutError
            If a file cannot be read or written.
        """
        work = self._work
        # A folder with a summary is whole, and the labels are not while they are painted.
        delete(work.labels.parent / SUMMARY)
        # Whatever is left of another, which may not even be a label image any more.
        delete(work.labels)
        LabelPyramid.create(work.labels, work.grid.shape, work.mpp, chunk=work.grid.chunk)
        before, numbered = 0, {}
        for cell, count in self.counts().items():
            numbered[cell] = before
            before += count
        near = {
            cell: {c: numbered[c] for c in (cell, *around(cell)) if c in numbered}
            for cell in work.grid.cells
        }
        tasks = tuple((cell, tuple(known.items())) for cell, known in near.items())
        self._each(partial(_paint, work), tasks, 0.95, "painting labels")
        self._progress(0.97, "smaller levels of the labels")
        LabelPyramid.open(work.labels).finish()
        if hasattr(os, "sync"):
            # Before the summary says that all is there.
            os.sync()

    def _each(
        self, task: Callable[[Item], object], items: Sequence[Item], share: float, text: str
    ) -> None:
        for done, (_, outcome) in enumerate(self._workers.run(task, items)):
            self._check(outcome)
            self._progress(share + 0.02 * done / len(items), text)

    def _check(self, outcome: object) -> None:
        """Raise what went wrong as a sentence for a person."""
        if isinstance(outcome, SproutError):
            raise outcome
        if isinstance(outcome, Exception):
            raise SproutError(failure(self._work.source.path, outcome, "slide")) from outcome


def _paint(work: TileWork, item: tuple[Cell, tuple[tuple[Cell, int], ...]]) -> None:
    paint_tile(work, item[0], dict(item[1]))


def was_split(work: TileWork, cell: Cell) -> bool:
    """Whether a tile is done in quarters, for want of memory."""
    return mark_path(work.folder / SPLIT, cell).exists()


def _is_memory(error: Exception) -> bool:
    full = type(error).__name__ == "OutOfMemoryError" or "Insufficient memory" in str(error)
    return full or isinstance(error, MemoryError)


def _left_out(work: TileWork, cell: Cell, error: Exception) -> LeftOutTile:
    y0, x0, y1, x1 = work.grid.core(cell)
    if _is_memory(error):
        why = "it does not fit in a worker's memory, not even in quarters; use fewer workers."
    else:
        why = failure(work.source.path, error, "slide")
    return LeftOutTile(y0, x0, y1 - y0, x1 - x0, why)

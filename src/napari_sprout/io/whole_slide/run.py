"""A whole slide from file to results: what workers do, in which order, and what is kept."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path

from ...core.loaded import LoadedModels, weights_hashes
from ...core.settings import Settings
from ...errors import OutputError
from ..atomic import replacing, writable_folder
from ..cohort.cohort import slide_name
from ..cohort.facts import Method, SlideFacts, Tiles
from ..cohort.summary import SLIDE_FOLDER, SUMMARY, SlideSummary, read_summary
from ..lock import FolderLock
from ..slides.protocol import Slide
from ..slides.source import SlideSource
from .executors import Executor
from .grid import TILE_UM, SlideGrid
from .phases import Phases, Told, was_split
from .plan import (
    GEOJSON,
    LABELS,
    LOCK,
    TIME,
    clear_work,
    overview,
    pixel_size,
    run_facts,
    same_run,
    work_folder,
)
from .results import write_results
from .work import TileWork


@dataclass(frozen=True)
class SlideOrder:
    """A slide to segment, and how.

    Attributes
    ----------
    source
        The slide.
    output
        The folder in which its own folder, ``NAME.slide``, is made.
    settings
        The method's.
    device
        Where to compute.
    threads
        In which every worker computes.
    tile_um
        About the side of a tile, um.
    geojson
        Whether outlines are written for QuPath as well.
    overwrite
        Begin anew whatever is there.
    keep_work
        Keep what workers leave, once all is done.
    models
        Gives the models of a device.
    """

    source: SlideSource
    output: Path
    settings: Settings
    device: str = "auto"
    threads: int = 1
    tile_um: float = TILE_UM
    geojson: bool = False
    overwrite: bool = False
    keep_work: bool = False
    models: Callable[[str], LoadedModels] = LoadedModels

    @property
    def name(self) -> str:
        """What the slide is called."""
        return slide_name(self.source.path)

    @property
    def folder(self) -> Path:
        """Where its results go."""
        return self.output / f"{self.name}{SLIDE_FOLDER}"


@dataclass(frozen=True)
class SlideOutcome:
    """What came of a slide.

    Attributes
    ----------
    summary
        As it is written beside the results.
    done_before
        Whether there was nothing to do.
    """

    summary: SlideSummary
    done_before: bool


def segment_slide(
    order: SlideOrder,
    workers: Callable[[int], Executor],
    progress: Told = lambda fraction, text: None,
) -> SlideOutcome:
    """Label every nucleus of a slide; an earlier run of the same that was cut short goes on.

    Parameters
    ----------
    order
        The slide, and how.
    workers
        Called with the number of tiles that are to be done, gives who does them.
    progress
        Called with the finished share, 0 to 1, and what is done.

    Raises
    ------
    ImageError
        If the slide cannot be read, or states no pixel size and none is given.
    OutputError
        If results cannot be written, or are there of another run.
    ProjectError
        If another run is at work on the same results.
    SchedulerError
        If the workers are lost. All that is finished is kept.
    """
    slide = order.source.open()
    try:
        mpp = pixel_size(slide, order.source.mpp)
        folder = writable_folder(order.folder)
        lock = FolderLock(folder / LOCK, "results")
        try:
            return _segment(order, slide, mpp, workers, progress)
        finally:
            lock.release()
    finally:
        slide.close()


def _segment(
    order: SlideOrder,
    slide: Slide,
    mpp: float,
    workers: Callable[[int], Executor],
    progress: Told,
) -> SlideOutcome:
    settings, folder = order.settings, order.folder
    weights = weights_hashes(settings.features)
    grid = SlideGrid.over(slide.levels[0].shape, mpp, settings, order.tile_um)
    run_is = run_facts(slide, mpp, settings, grid, weights)
    same_run(folder, run_is, order.overwrite)
    if (done := _finished(order)) is not None:
        return SlideOutcome(done, True)
    workplace = work_folder(folder, run_is)
    with _stopwatch(workplace / TIME) as seconds:
        progress(0.0, "looking for tissue")
        seen = overview(slide, mpp, settings)
        grid = grid.over_tissue(seen.tissue)
        work = _work(order, workplace, grid, mpp, slide.fingerprint)
        phases = Phases(work, workers(len(grid.cells)), progress)
        sample = phases.fit(slide, seen)
        left_out = []
        if not phases.settled():
            left_out = phases.segment()
            phases.join()
            phases.paint()
        counts = phases.counts()
        progress(0.98, "writing")
        summary = write_results(
            work,
            counts,
            seen,
            SlideFacts.of(order.name, slide, mpp),
            lambda builder: builder.summary(
                Method.of(settings, weights),
                seen.tissue_um2,
                Tiles(
                    grid.total,
                    len(grid.cells),
                    sum(was_split(work, cell) for cell in grid.cells),
                    tuple(left_out),
                ),
                sample.warnings,
                seconds(),
            ),
            # Outlines that are there are of the same nuclei as all else.
            geojson=order.geojson or (folder / GEOJSON).exists(),
        )
    if not (order.keep_work or left_out):
        clear_work(work.folder)
    progress(1.0, "done")
    return SlideOutcome(summary, False)


def _work(
    order: SlideOrder, folder: Path, grid: SlideGrid, mpp: float, fingerprint: str
) -> TileWork:
    return TileWork(
        SlideSource(order.source.path.absolute(), order.source.mpp),
        folder.absolute(),
        order.folder.absolute() / LABELS,
        grid,
        mpp,
        order.settings,
        order.device,
        order.threads,
        order.models,
        fingerprint,
    )


def _finished(order: SlideOrder) -> SlideSummary | None:
    """Return the summary of a slide that needs nothing more."""
    if not (order.folder / SUMMARY).exists():
        return None
    if order.geojson and not (order.folder / GEOJSON).exists():
        return None
    summary = read_summary(order.folder)
    return None if summary.tiles.left_out else summary


@contextmanager
def _stopwatch(path: Path) -> Iterator[Callable[[], float]]:
    """Give what tells how long all runs together have taken; a file keeps it between them."""
    before = 0.0
    with suppress(OSError, ValueError):
        before = float(path.read_text(encoding="utf-8"))
    begun = time.perf_counter()

    def seconds() -> float:
        return before + time.perf_counter() - begun

    try:
        yield seconds
    finally:
        # A run is not to fail for want of a stopwatch.
        with suppress(OutputError), replacing(path) as temporary:
            temporary.write_text(f"{seconds():.3f}\n", encoding="utf-8")

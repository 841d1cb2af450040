"""Many images, one model: a bad image is reported and the others go on."""

from __future__ import annotations

import time
import traceback
from collections.abc import Sequence
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

from ..errors import OutputError, SproutError
from .jobs import Job, check_names, segment_image
from .report import Report

if TYPE_CHECKING:
    from ..core.settings import Settings


@dataclass
class Summary:
    """What came of all jobs.

    Attributes
    ----------
    done, skipped, failed
        The jobs that were carried out, found finished, and that went wrong.
    nuclei
        How many were labelled in all.
    seconds
        How long it took.
    """

    done: list[Job] = field(default_factory=list)
    skipped: list[Job] = field(default_factory=list)
    failed: list[Job] = field(default_factory=list)
    nuclei: int = 0
    seconds: float = 0.0

    def sentence(self, where: Path) -> str:
        """Return the line that closes a run whose results are in `where`."""
        others = ((self.skipped, "skipped"), (self.failed, "failed"))
        aside = ", ".join(f"{len(jobs)} {word}" for jobs, word in others if jobs)
        return (
            f"{_count(self.nuclei, 'nucleus', 'nuclei')} in "
            f"{_count(len(self.done), 'image', 'images')}"
            f"{f' ({aside})' if aside else ''} in {self.seconds:.1f} s; "
            f"the results are in '{where}'."
        )


def _count(number: int, one: str, many: str) -> str:
    return f"{number} {one if number == 1 else many}"


def run_batch(
    jobs: Sequence[Job],
    settings: Settings,
    *,
    device: str = "auto",
    overwrite: bool = False,
    quiet: bool = False,
    debug: bool = False,
) -> Summary:
    """Segment images one after the other with one loaded model.

    Parameters
    ----------
    jobs
        What to do.
    settings
        The method's settings.
    device
        Where to compute.
    overwrite
        Also do what is finished already.
    quiet
        Show warnings and errors alone.
    debug
        Show the traceback of every error.

    Raises
    ------
    OutputError
        If results would overwrite each other, or their folder cannot be written.
    SettingsError
        If the device is not there.
    WeightsError
        If the model cannot be loaded.
    """
    from ..io.atomic import writable_folder
    from ..models.weights import load_segmenter

    begin = time.perf_counter()
    check_names(jobs)
    for folder in dict.fromkeys(job.folder for job in jobs):
        writable_folder(folder)
    summary = Summary()
    summary.skipped = [job for job in jobs if job.finished and not overwrite]
    waiting = [job for job in jobs if job not in summary.skipped]
    segmenter = load_segmenter(settings.features.segmenter, device) if waiting else None
    assumed: dict[Job, float] = {}
    with Report(len(jobs), quiet=quiet) as report:
        for number, job in enumerate(jobs):
            started = time.perf_counter()
            report.progress(number, 0.0, job.image.name)
            if segmenter is None or job in summary.skipped:
                report.finished(number + 1, f"{job.image.name}: skipped, it is finished already")
                continue
            show = partial(_show, report, number, job)
            try:
                outcome = segment_image(job, settings, segmenter, show)
            except Exception as error:
                if debug:
                    traceback.print_exc()
                report.error(_reason(job, error))
                summary.failed.append(job)
                if isinstance(error, OutputError):
                    # On a full disk the other images would be computed for nothing.
                    writable_folder(job.folder)
                continue
            summary.done.append(job)
            summary.nuclei += outcome.nuclei
            for warning in outcome.warnings:
                report.warning(f"{job.image}: {warning}")
            if outcome.assumed_mpp is not None:
                assumed[job] = outcome.assumed_mpp
            took = time.perf_counter() - started
            nuclei = _count(outcome.nuclei, "nucleus", "nuclei")
            report.finished(number + 1, f"{job.image.name}: {nuclei} in {took:.1f} s")
        _warn_of_assumed_size(report, assumed)
    summary.seconds = time.perf_counter() - begin
    return summary


def _show(report: Report, number: int, job: Job, fraction: float, stage: str) -> None:
    report.progress(number, fraction, f"{job.image.name}: {stage}")


def _warn_of_assumed_size(report: Report, assumed: dict[Job, float]) -> None:
    if not assumed:
        return
    job, mpp = next(iter(assumed.items()))
    others = f" and {_count(len(assumed) - 1, 'other', 'others')}" if len(assumed) > 1 else ""
    report.warning(
        f"{job.image}{others}: no pixel size is stated, so {mpp:g} um per pixel was assumed; "
        "if that is wrong, give it with --mpp."
    )


def _reason(job: Job, error: Exception) -> str:
    """Return one sentence that names the image and says what went wrong."""
    path = str(job.image)
    if isinstance(error, SproutError):
        text = str(error)
        named = path in text or str(job.folder / job.name) in text
        return text if named else f"{path}: {text}"
    if isinstance(error, MemoryError) or type(error).__name__ == "OutOfMemoryError":
        return f"{path}: it does not fit in memory; cut out a region, or try --device cpu."
    if isinstance(error, OSError):
        return f"{path}: {error.strerror or error}."
    first = (str(error).splitlines() or [""])[0]
    return (
        f"{path}: an unexpected {type(error).__name__} ({first}); this is a fault in the program, "
        "'napari-sprout --debug segment ...' shows where."
    )

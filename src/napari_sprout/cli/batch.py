"""Many images, one model: a bad image is reported and the others go on."""

from __future__ import annotations

import time
import traceback
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

from ..errors import OutputError
from ..io.failures import failure
from .jobs import Job, check_names, segment_image
from .report import Report

if TYPE_CHECKING:
    from ..core.embeddings import EmbeddingStore
    from ..core.loaded import LoadedModels
    from ..core.settings import Settings


@dataclass
class Summary:
    """What came of all jobs.

    Attributes
    ----------
    done, skipped, failed
        The jobs that were carried out, found finished, and that went wrong.
    assumed
        The pixel size in um that was taken for granted where none was stated.
    nuclei
        How many were labelled in all.
    seconds
        How long it took.
    """

    done: list[Job] = field(default_factory=list)
    skipped: list[Job] = field(default_factory=list)
    failed: list[Job] = field(default_factory=list)
    assumed: dict[Job, float] = field(default_factory=dict)
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
    cache: Path | None = None,
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
    cache
        Folder of encoded tiles; none are kept by default.
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
    from ..core.ahead import import_at_once
    from ..io.atomic import writable_folder

    begin = time.perf_counter()
    check_names(jobs)
    for folder in dict.fromkeys(job.folder for job in jobs):
        writable_folder(folder)
    waiting = [job for job in jobs if overwrite or not job.finished]
    summary = Summary(skipped=[job for job in jobs if job not in waiting])
    if waiting:
        import_at_once()
    # Now that it can be imported without Python's search for garbage.
    from ..core.loaded import LoadedModels
    from ..io.embeddings import EmbeddingCache

    models = LoadedModels(device)
    if waiting:
        models.load(settings.features)
    with Report(len(jobs), quiet=quiet) as report:
        store = None if cache is None else EmbeddingCache(cache, tell=report.warning)
        for number, job in enumerate(jobs):
            report.progress(number, 0.0, job.image.name)
            if job not in waiting:
                told = "skipped, it is finished already (--overwrite redoes it)"
                report.finished(number, f"{job.image.name}: {told}")
                continue
            try:
                _run_one(number, job, settings, models, store, report, summary)
            except Exception as error:
                if debug:
                    traceback.print_exc()
                known_as = [str(job.folder / job.name)]
                report.error(failure(job.image, error, "segment", known_as))
                summary.failed.append(job)
                if isinstance(error, OutputError):
                    # On a full disk the other images would be computed for nothing.
                    writable_folder(job.folder)
        report.progress(len(jobs), 0.0, "")
        _warn_of_assumed_size(report, summary.assumed)
    summary.seconds = time.perf_counter() - begin
    return summary


def _run_one(
    number: int,
    job: Job,
    settings: Settings,
    models: LoadedModels,
    store: EmbeddingStore | None,
    report: Report,
    summary: Summary,
) -> None:
    """Carry out one job, and say and note what came of it."""
    name = job.image.name
    started = time.perf_counter()

    def show(fraction: float, stage: str) -> None:
        report.progress(number, fraction, f"{name}: {stage}")

    outcome = segment_image(job, settings, models, show, store)
    summary.done.append(job)
    summary.nuclei += outcome.nuclei
    if outcome.assumed_mpp is not None:
        summary.assumed[job] = outcome.assumed_mpp
    for warning in outcome.warnings:
        report.warning(f"{job.image}: {warning}")
    took = time.perf_counter() - started
    report.finished(
        number, f"{name}: {_count(outcome.nuclei, 'nucleus', 'nuclei')} in {took:.1f} s"
    )


def _warn_of_assumed_size(report: Report, assumed: dict[Job, float]) -> None:
    if not assumed:
        return
    job, mpp = next(iter(assumed.items()))
    others = f" and {_count(len(assumed) - 1, 'other', 'others')}" if len(assumed) > 1 else ""
    report.assumed_size(f"{job.image}{others}", mpp)

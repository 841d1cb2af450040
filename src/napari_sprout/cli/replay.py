"""``napari-sprout replay``: do again, without a window, all that was done in a project."""

from __future__ import annotations

import time
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Annotated

import typer

from ..errors import OutputError, ProjectError, SproutWarning
from .batch import Summary
from .jobs import Job
from .options import Device, Geojson, Output, Quiet
from .report import Report


def replay_command(
    folder: Annotated[
        Path,
        typer.Argument(metavar="FOLDER", help="The project: NAME.sprout.", show_default=False),
    ],
    output: Output,
    image: Annotated[
        Path | None,
        typer.Option(metavar="FILE", help="Where the image is, if it is not found."),
    ] = None,
    geojson: Geojson = False,
    device: Device = "auto",
    overwrite: Annotated[
        bool, typer.Option("--overwrite", help="Replace results that are there already.")
    ] = False,
    quiet: Quiet = False,
) -> None:
    """Repeat every run and every correction of a project, and write its nuclei.

    The results are those of "napari-sprout segment", with the corrections made
    by hand in napari: NAME_labels.tif, NAME_overlay.png and NAME_nuclei.csv. The
    project itself is not changed, and may be open in napari meanwhile.
    """
    begin = time.perf_counter()
    with Report(1, quiet=quiet) as report, _reported(report):
        report.progress(0, 0.0, "reading")
        job, nuclei = _replay(folder, output, image, geojson, device, overwrite, report)
        report.progress(1, 0.0, "")
    if not quiet:
        summary = Summary(done=[job], nuclei=nuclei, seconds=time.perf_counter() - begin)
        typer.echo(summary.sentence(output))


def _replay(
    folder: Path,
    output: Path,
    image: Path | None,
    geojson: bool,
    device: str,
    overwrite: bool,
    report: Report,
) -> tuple[Job, int]:
    """Write the results of a project, and return them with their number of nuclei."""
    from ..io.atomic import writable_folder
    from ..io.export import check_replaceable, export, results_of
    from ..io.history import replay
    from ..io.project import Project

    with Project.open(folder, image, read_only=True) as project:
        job = Job(project.image.path, output, geojson=geojson)
        if not overwrite and (there := [path for path in job.results if path.exists()]):
            raise OutputError(
                f"'{there[0]}' exists already; choose another folder, or give --overwrite to "
                "replace it."
            )
        writable_folder(output)
        check_replaceable(job.results)
        name = project.folder.name
        correction = replay(
            project,
            lambda fraction, what: report.progress(0, 0.97 * fraction, f"{name}: {what}"),
            device=device,
        )
        if not correction.ready:
            raise ProjectError(
                f"The project '{project.folder}' has no nuclei yet: open it in napari and run it."
            )
        report.progress(0, 0.97, f"{name}: writing")
        results = results_of(correction, project.origin)
        export(output, job.name, results, job.formats)
        for warning in results.metadata.get("warnings", ()):
            report.warning(f"{job.image}: {warning}")
    return job, len(results.nuclei)


@contextmanager
def _reported(report: Report) -> Iterator[None]:
    """Show this program's own warnings as it shows all else, even if an error follows."""
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always", SproutWarning)
        try:
            yield
        finally:
            for warning in caught:
                if issubclass(warning.category, SproutWarning):
                    report.warning(str(warning.message))

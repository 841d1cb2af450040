"""``napari-sprout cohort``: one table and one report over many slides."""

from __future__ import annotations

from datetime import date
from pathlib import Path
from typing import Annotated

import typer

from .options import Quiet

INCOMPLETE = 3
"""Exit code if the report is written, but slides or tiles are missing from it."""


def cohort_command(
    folder: Annotated[
        Path,
        typer.Argument(
            metavar="FOLDER",
            help="Folder into which 'napari-sprout slide' wrote its results.",
            show_default=False,
        ),
    ],
    output: Annotated[
        Path | None,
        typer.Option(
            "--output",
            "-o",
            metavar="DIR",
            help="Folder for the report; made if needed.",
            show_default="FOLDER",
        ),
    ] = None,
    expected: Annotated[
        Path | None,
        typer.Option(
            metavar="FILE",
            help="Text file with a slide a line: those without results are named.",
            show_default=False,
        ),
    ] = None,
    quiet: Quiet = False,
) -> None:
    """Sum up the slides of a folder: cohort.csv, one row a slide, and cohort.html.

    The report is one file with all its pictures, and opens without a network. Both are
    made anew each time. Exit codes: 0 all slides are in it; 1 no report could be made, or
    the results of a slide are damaged; 3 slides are missing or not finished, or some of
    their tiles were left out.
    """
    from ..io.atomic import writable_folder
    from ..io.cohort.cohort import expected_slides, read_cohort
    from ..io.cohort.remarks import remarks
    from ..io.cohort.report import REPORT, write_report
    from ..io.cohort.table import TABLE, write_cohort_csv

    cohort = read_cohort(folder, expected_slides(expected) if expected else ())
    place = writable_folder(output or folder)
    write_cohort_csv(place / TABLE, cohort)
    write_report(place / REPORT, cohort, date.today())
    for text in remarks(cohort):
        typer.echo(f"napari-sprout: warning: {text}", err=True)
    if not quiet:
        slides = "slide" if len(cohort.finished) == 1 else "slides"
        typer.echo(
            f"{len(cohort.finished)} {slides} with {cohort.nuclei:,} nuclei; the table and the "
            f"report are '{place / TABLE}' and '{place / REPORT}'."
        )
    if cohort.damaged:
        raise typer.Exit(1)
    if not cohort.complete:
        raise typer.Exit(INCOMPLETE)

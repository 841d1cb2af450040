"""``napari-sprout experiment``: a matrix of settings measured on annotated images."""

from __future__ import annotations

import shlex
import time
from collections.abc import Sequence
from contextlib import closing
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from ..errors import SettingsError
from .options import Device, Output, Quiet
from .report import Report

if TYPE_CHECKING:
    from ..io.experiment.measure import Measured
    from ..io.experiment.run import Experiment


def experiment_command(
    ctx: typer.Context,
    matrix: Annotated[
        Path,
        typer.Argument(
            metavar="MATRIX", help="What to compare, as a TOML file.", show_default=False
        ),
    ],
    folder: Annotated[
        Path,
        typer.Argument(
            metavar="FOLDER",
            help="Images, each with its label image beside it: case1.png, case1_labels.tif.",
            show_default=False,
        ),
    ],
    output: Output,
    processes: Annotated[
        int | None,
        typer.Option(
            min=1, help="How many images to work on at a time.", show_default="cores, 8 at most"
        ),
    ] = None,
    seed: Annotated[
        list[int] | None,
        typer.Option(help="Seed in the place of the matrix's; can be given more than once."),
    ] = None,
    images: Annotated[
        list[str] | None,
        typer.Option(
            metavar="NAME",
            help='Only this image ("TCGA-B0*" for several); can be given more than once.',
        ),
    ] = None,
    groups: Annotated[
        Path | None,
        typer.Option(
            metavar="FILE", help="CSV with columns image and group, to leave out one at a time."
        ),
    ] = None,
    cache: Annotated[
        Path | None,
        typer.Option(
            metavar="DIR", help="Folder of encoded tiles, to share.", show_default="DIR/cache"
        ),
    ] = None,
    no_cache: Annotated[
        bool, typer.Option("--no-cache", help="Keep no encoded tiles on disk.")
    ] = False,
    device: Device = "auto",
    quiet: Quiet = False,
) -> None:
    """Measure many choices of settings on annotated images.

    Writes table.md (means over the images), images.csv (every measurement) and
    plots. Run the same command again to go on after an interruption; after rows
    were added to MATRIX only these are measured.
    """
    from ..io.experiment.matrix import read_matrix
    from ..io.experiment.run import CACHE, Experiment, chosen_images, read_groups
    from ..io.experiment.workers import usual_processes
    from ..io.pairing import find_annotated

    if cache is not None and no_cache:
        raise SettingsError("Give either --cache or --no-cache, not both.")
    started = time.perf_counter()
    compared, source = read_matrix(matrix, seed or ()), matrix.read_bytes()
    chosen = chosen_images(find_annotated(folder), images or ())
    grouped = read_groups(groups, chosen) if groups else None
    tiles = None if no_cache else cache or output / CACHE
    with Experiment(compared, chosen, output, groups=grouped, device=device) as experiment:
        failed = _run(
            experiment,
            processes or usual_processes(device),
            tiles,
            quiet=quiet,
            debug=bool(ctx.find_root().params.get("debug")),
        )
        command = _command(matrix, folder, output, seed, images, groups, experiment.device)
        for note in experiment.write(source, command):
            typer.echo(f"napari-sprout: warning: {note}", err=True)
        if not quiet:
            seconds = time.perf_counter() - started
            typer.echo(
                f"{experiment.total - experiment.left} of {experiment.total} measurements are "
                f"there, after {seconds:.1f} s; the tables are in '{output}'."
            )
    if failed:
        raise typer.Exit(1)


def _run(
    experiment: Experiment, processes: int, cache: Path | None, *, quiet: bool, debug: bool
) -> bool:
    """Measure what is left, and say what comes of it; return whether anything failed."""
    from ..io.experiment.measure import Failed, Measured

    total, done = experiment.total, experiment.total - experiment.left
    told: set[str] = set()
    with Report(total, quiet=quiet) as report:
        report.progress(done, 0.0, "")
        with closing(experiment.run(processes, cache, debug=debug)) as messages:
            for message in messages:
                if isinstance(message, Measured):
                    report.finished(done, _line(message))
                    done += 1
                    report.progress(done, 0.0, message.wanted.place.image)
                elif isinstance(message, Failed):
                    # An image that cannot be read fails in every alteration, but once is enough.
                    if message.reason not in told:
                        report.error(message.reason)
                    told.add(message.reason)
                else:
                    report.warning(message.text)
    return bool(told)


def _line(message: Measured) -> str:
    place, scores = message.wanted.place, message.cell.scores
    altered = place.alteration
    what = f" ({altered})" if altered else ""
    seed = "" if place.seed in (None, 0) else f", seed {place.seed}"
    return f"{place.image}{what}, {place.row}{seed}: AJI {scores.aji:.3f}, PQ {scores.pq:.3f}"


def _command(
    matrix: Path,
    folder: Path,
    output: Path,
    seeds: Sequence[int] | None,
    images: Sequence[str] | None,
    groups: Path | None,
    device: str,
) -> str:
    words = ["napari-sprout", "experiment", str(matrix), str(folder), "-o", str(output)]
    for seed in seeds or ():
        words += ["--seed", str(seed)]
    for name in images or ():
        words += ["--images", name]
    if groups:
        words += ["--groups", str(groups)]
    # "auto" would name another kind of device on another computer.
    return shlex.join([*words, "--device", device])

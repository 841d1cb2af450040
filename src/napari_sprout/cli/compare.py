"""``napari-sprout compare``: one image with several models, side by side."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from ..errors import OutputError, SettingsError
from .options import Device, Mpp, Output, Quiet
from .settings import PresetName, SettingsFile, chosen_settings

if TYPE_CHECKING:
    from ..io.comparison import Compared

_PIPED_WIDTH = 140


def compare_command(
    image: Annotated[
        Path, typer.Argument(metavar="IMAGE", help="TIFF, PNG or JPEG file.", show_default=False)
    ],
    output: Output,
    encoders: Annotated[
        str,
        typer.Option(metavar="A,B,...", help="Encoders; 'sam' is the one of the SAM itself."),
    ] = "sam",
    sams: Annotated[
        str, typer.Option(metavar="A,B,...", help="SAM variants that draw the masks.")
    ] = "mobile_sam",
    truth: Annotated[
        Path | None,
        typer.Option(metavar="LABELS", help="Reference label image, to score the results."),
    ] = None,
    mpp: Mpp = None,
    settings: SettingsFile = None,
    preset: PresetName = None,
    device: Device = "auto",
    overwrite: Annotated[
        bool, typer.Option("--overwrite", help="Replace an earlier comparison of this image.")
    ] = False,
    quiet: Quiet = False,
) -> None:
    """Segment one image with several encoders and SAM variants, and show them side by side.

    The folder receives NAME_compare.png (the activation map, the points and the nuclei
    of every combination) and NAME_compare.csv (a row a combination). What there is to
    choose from: 'napari-sprout models list'. A model whose weights are not on this
    computer is told, and the others go on.
    """
    from ..io.atomic import writable_folder
    from ..io.comparison import Choice, compare, gallery, write_comparison_csv
    from ..io.images import read_image
    from ..io.labels import read_labels
    from ..io.overlay import write_png
    from .report import Report

    chosen = chosen_settings(settings, preset, None)
    choices = [Choice(one, other) for one in _names(encoders) for other in _names(sams)]
    if not choices:
        raise SettingsError("Name at least one encoder and one SAM variant to compare.")
    name = image.stem.removesuffix(".ome")
    picture, table = output / f"{name}_compare.png", output / f"{name}_compare.csv"
    for earlier in (picture, table):
        if earlier.exists() and not overwrite:
            raise OutputError(
                f"'{earlier}' is there from an earlier comparison; choose another folder, or give "
                "--overwrite to replace it."
            )
    loaded = read_image(image, mpp)
    labels = None if truth is None else read_labels(truth).labels
    writable_folder(output)
    results: list[Compared] = []
    with Report(len(choices), quiet=quiet) as report:
        told = compare(
            loaded, chosen, choices, device=device, truth=labels, progress=report.progress
        )
        for number, one in enumerate(told):
            results.append(one)
            # After each, so that nothing is lost if a later one is interrupted.
            write_png(picture, gallery(results))
            write_comparison_csv(table, results)
            for warning in one.warnings:
                report.warning(f"{one.choice}: {warning}")
            if one.failed:
                report.error(f"{one.choice}: {one.failed}")
            else:
                report.finished(number, f"{one.choice}: {one.nuclei} nuclei")
        if loaded.mpp is None:
            report.assumed_size(str(image), chosen.image.mpp)
    if not quiet:
        _show(results)
        typer.echo(f"The picture is '{picture}'.")
    if any(one.failed for one in results):
        raise typer.Exit(1)


def _names(text: str) -> list[str]:
    return list(dict.fromkeys(part.strip() for part in text.split(",") if part.strip()))


def _show(results: Sequence[Compared]) -> None:
    from rich import box
    from rich.console import Console
    from rich.table import Table

    table = Table(box=box.SIMPLE)
    table.add_column("Encoder", overflow="fold")
    table.add_column("SAM", overflow="fold")
    scored = any(one.scores for one in results)
    for title in ("Points", "Nuclei", "Seconds", *(("AJI", "PQ") if scored else ())):
        table.add_column(title, justify="right", no_wrap=True)
    for one in results:
        numbers = ["-", "-", "-"]
        if one.seconds is not None:
            numbers = [str(one.points), str(one.nuclei), f"{sum(one.seconds.values()):.1f}"]
        if one.scores is not None:
            numbers += [f"{one.scores.aji:.4f}", f"{one.scores.pq:.4f}"]
        table.add_row(one.choice.encoder, one.choice.segmenter, *numbers)
    console = Console()
    if not console.is_terminal:
        console = Console(width=_PIPED_WIDTH)
    console.print(table)

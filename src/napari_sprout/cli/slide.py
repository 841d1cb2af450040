"""``napari-sprout slide``: label the nuclei of a whole slide."""

from __future__ import annotations

import os
from contextlib import ExitStack
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from ..errors import ProjectError
from .options import Device, Geojson, Mpp, Output, Quiet
from .report import Report
from .settings import PresetName, SettingsFile, chosen_settings

if TYPE_CHECKING:
    from ..io.whole_slide.executors import Executor
    from ..io.whole_slide.run import SlideOutcome

LEFT_OUT = 3
"""Exit code of a slide that is finished but for some tiles."""

IN_USE = 4
"""Exit code where another run is at work on the same results."""

INTERRUPTED = 130
"""Exit code after Ctrl+C, as shells have it."""

TILE_UM = 512.0
"""As of :data:`~napari_sprout.io.whole_slide.grid.TILE_UM`, which takes long to import."""

WORKER_BYTES = 2_500_000_000
"""What a worker needs for a tile."""


def slide_command(
    slide: Annotated[
        Path,
        typer.Argument(
            metavar="SLIDE",
            help="SVS, NDPI, MRXS, SCN, BIF, DICOM, OME-Zarr or pyramidal TIFF; or any image.",
            show_default=False,
        ),
    ],
    output: Output,
    mpp: Mpp = None,
    settings: SettingsFile = None,
    preset: PresetName = None,
    scheduler: Annotated[
        str | None,
        typer.Option(
            metavar="ADDRESS",
            help="Work on the workers of this dask scheduler, which see the same files.",
            show_default="processes on this computer",
        ),
    ] = None,
    workers: Annotated[
        int | None,
        typer.Option(
            min=0,
            help="Processes on this computer; 0 works in one, without dask.",
            show_default="as processors or graphics cards and memory allow",
        ),
    ] = None,
    tile: Annotated[
        float, typer.Option(help="About the side of a tile, um.", min=32.0, max=4096.0)
    ] = TILE_UM,
    geojson: Geojson = False,
    device: Device = "auto",
    seed: Annotated[int | None, typer.Option(help="Seed of everything random.")] = None,
    overwrite: Annotated[
        bool, typer.Option("--overwrite", help="Begin anew, whatever is finished already.")
    ] = False,
    quiet: Quiet = False,
) -> None:
    """Label every nucleus of a whole slide.

    The folder receives NAME.slide/ with labels.ome.zarr (a label pyramid), nuclei.parquet
    and nuclei.csv (one row a nucleus), thumbnail.png, density.png and, last of all,
    summary.json. Every finished tile is kept: run the same command again after an
    interruption, and it goes on; a finished slide is left as it is.

    Exit codes: 0 finished, now or before; 1 the slide or the output cannot be used; 2 a
    wrong option; 3 finished, but tiles were left out (run again to try them once more);
    4 another run is at work on these results; 130 interrupted.
    """
    from ..io.pixel_size import checked_mpp
    from ..io.slides.source import SlideSource
    from ..io.whole_slide.run import SlideOrder, segment_slide

    order = SlideOrder(
        SlideSource(slide, None if mpp is None else checked_mpp(mpp)),
        output,
        chosen_settings(settings, preset, seed),
        device,
        tile_um=tile,
        geojson=geojson,
        overwrite=overwrite,
    )
    with ExitStack() as stack:
        report = stack.enter_context(Report(1, quiet=quiet))

        def begin(tiles: int) -> Executor:
            from ..io.whole_slide.executors import executor

            count = _workers(device, tiles) if workers is None else min(workers, tiles)
            return stack.enter_context(executor(count, order.threads, scheduler))

        try:
            outcome = segment_slide(
                order, begin, lambda share, text: report.progress(0, share, f"{slide.name}: {text}")
            )
        except ProjectError as error:
            report.error(str(error))
            raise typer.Exit(IN_USE) from None
        except KeyboardInterrupt:
            report.error("interrupted; finished tiles are kept: run the same command again.")
            raise typer.Exit(INTERRUPTED) from None
        _tell(report, order.folder, outcome)
    if outcome.summary.tiles.left_out:
        raise typer.Exit(LEFT_OUT)


def _workers(device: str, tiles: int) -> int:
    """Return how many processes a slide of so many tiles is worth on this computer."""
    import psutil
    import torch

    if device.startswith("cuda") or (device == "auto" and torch.cuda.is_available()):
        most = 1 if ":" in device else torch.cuda.device_count()
    elif device == "mps":
        most = 1
    else:
        usable = (
            len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count()
        )
        most = min(usable or 1, max(1, psutil.virtual_memory().available // WORKER_BYTES))
    # One tile is not worth the start of a process.
    return 0 if min(most, tiles) <= 1 else min(most, tiles)


def _tell(report: Report, folder: Path, outcome: SlideOutcome) -> None:
    summary = outcome.summary
    for warning in summary.warnings:
        report.warning(warning)
    for tile in summary.tiles.left_out:
        where = f"{tile.width} x {tile.height} px from x = {tile.x}, y = {tile.y}"
        report.error(f"left out: the tile of {where}: {tile.reason}")
    if outcome.done_before:
        report.finished(0, f"finished already (--overwrite redoes it): '{folder}'")
    else:
        report.finished(
            0,
            f"{summary.nuclei} nuclei in {summary.tissue_mm2:.2f} mm2 of tissue in "
            f"{summary.seconds:.1f} s; the results are in '{folder}'",
        )

"""``napari-sprout segment``: label the nuclei of image files."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from .batch import run_batch
from .jobs import Job
from .options import Cache, Device, Geojson, Mpp, Output, Quiet
from .settings import PresetName, SettingsFile, chosen_settings


def segment_command(
    ctx: typer.Context,
    images: Annotated[
        list[Path],
        typer.Argument(
            metavar="IMAGE",
            help="TIFF, PNG or JPEG files, or folders of them.",
            show_default=False,
        ),
    ],
    output: Output,
    mpp: Mpp = None,
    settings: SettingsFile = None,
    preset: PresetName = None,
    stage_images: Annotated[
        bool,
        typer.Option("--stage-images", help="Also save every intermediate map as a picture."),
    ] = False,
    geojson: Geojson = False,
    device: Device = "auto",
    cache: Cache = None,
    seed: Annotated[int | None, typer.Option(help="Seed of everything random.")] = None,
    overwrite: Annotated[
        bool, typer.Option("--overwrite", help="Redo images that are finished already.")
    ] = False,
    quiet: Quiet = False,
) -> None:
    """Label every nucleus of H&E images.

    For each image NAME the folder receives NAME_labels.tif (a label image),
    NAME_overlay.png (the outlines on the image) and NAME_nuclei.csv (one row a
    nucleus). Images that are finished already are skipped. With both --preset and
    --settings, what the file names takes the place of the preset's.
    """
    from ..io.images import find_images
    from ..io.pixel_size import checked_mpp

    chosen = chosen_settings(settings, preset, seed)
    given = None if mpp is None else checked_mpp(mpp)
    jobs = [Job(image, output, given, stage_images, geojson) for image in find_images(images)]
    summary = run_batch(
        jobs,
        chosen,
        device=device,
        cache=cache,
        overwrite=overwrite,
        quiet=quiet,
        debug=bool(ctx.find_root().params.get("debug")),
    )
    if not quiet:
        typer.echo(summary.sentence(output))
    if summary.failed:
        raise typer.Exit(1)

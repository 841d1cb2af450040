"""``napari-sprout demo``: the sample images from start to end."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from .batch import run_batch
from .jobs import Job
from .options import Device


def demo_command(
    ctx: typer.Context,
    output: Annotated[
        Path, typer.Option("--output", "-o", metavar="DIR", help="Folder for the results.")
    ] = Path("demo_output"),
    device: Device = "auto",
) -> None:
    """Segment the two sample images that come with the program."""
    from ..core.settings import Settings
    from ..samples import SAMPLES

    jobs = [Job(sample.path, output, sample.mpp, stage_images=True) for sample in SAMPLES]
    debug = bool(ctx.find_root().params.get("debug"))
    summary = run_batch(jobs, Settings(), device=device, overwrite=True, debug=debug)
    typer.echo(summary.sentence(output))
    if summary.failed:
        raise typer.Exit(1)
    for sample, job in zip(SAMPLES, jobs, strict=True):
        typer.echo(f"\n{sample.title}")
        typer.echo(f"  {job.overlay}  look at this first: the outlines on the image")
        typer.echo(f"  {job.labels}  the label image: 0 is background, each nucleus has a number")
        typer.echo(f"  {job.nuclei}  one row of measurements for each nucleus")
        typer.echo(f"  {job.stages}  every intermediate map, in order")

"""``napari-sprout convert``: nuclei from one format to another."""

from __future__ import annotations

import re
from enum import StrEnum
from pathlib import Path
from typing import Annotated

import typer

from ..errors import SettingsError
from .options import Quiet


class ObjectKind(StrEnum):
    """What QuPath takes the nuclei for."""

    detection = "detection"
    cell = "cell"


class ZarrVersion(StrEnum):
    """Of OME-Zarr."""

    v04 = "0.4"
    v05 = "0.5"


def convert_command(
    source: Annotated[
        Path,
        typer.Argument(
            metavar="IN",
            help="Label image (TIFF, PNG), GeoJSON, COCO JSON, OME-Zarr labels, or a table.",
            show_default=False,
        ),
    ],
    target: Annotated[
        Path,
        typer.Argument(
            metavar="OUT",
            help="Its ending names the format: .tif, .zarr, .geojson, .coco.json, .csv, .parquet.",
            show_default=False,
        ),
    ],
    mpp: Annotated[
        float | None,
        typer.Option(help="Pixel size in um, if IN states none or a wrong one."),
    ] = None,
    image_size: Annotated[
        str | None,
        typer.Option(
            metavar="HxW",
            help="Height and width of the image in px, which GeoJSON does not state.",
            show_default="as large as the outlines",
        ),
    ] = None,
    like: Annotated[
        Path | None,
        typer.Option(
            metavar="IMAGE",
            help="Image or slide that the nuclei are of: its size, and pixel size, hold.",
            show_default=False,
        ),
    ] = None,
    measurements: Annotated[
        Path | None,
        typer.Option(
            metavar="TABLE",
            help="CSV or Parquet of the same nuclei: its stains and scores are written too.",
            show_default=False,
        ),
    ] = None,
    classification: Annotated[
        str, typer.Option(metavar="NAME", help="Class of the nuclei in GeoJSON and COCO.")
    ] = "Nucleus",
    object_type: Annotated[
        ObjectKind, typer.Option(help="What the nuclei are in QuPath.")
    ] = ObjectKind.detection,
    simplify: Annotated[
        float | None,
        typer.Option(
            metavar="UM",
            help="How far outlines in GeoJSON may move to have fewer points, um.",
            show_default="exact",
        ),
    ] = None,
    pyramid: Annotated[
        bool | None,
        typer.Option(
            "--pyramid/--no-pyramid",
            help="Coarser levels in a label TIFF.",
            show_default="over 4096 px",
        ),
    ] = None,
    zarr_version: Annotated[
        ZarrVersion, typer.Option(help="Of OME-Zarr; QuPath reads 0.4.")
    ] = ZarrVersion.v04,
    overwrite: Annotated[
        bool, typer.Option("--overwrite", help="Replace OUT if it is there.")
    ] = False,
    quiet: Quiet = False,
) -> None:
    """Write nuclei in another format; label numbers stay.

    Label TIFF, OME-Zarr and COCO keep every pixel; so do the outlines of GeoJSON, which
    follow pixel edges, unless --simplify is given. Whole slides are read and written
    piece by piece.
    """
    from ..io.convert import Conversion, convert
    from ..io.geojson import Classification
    from .report import Report

    shape, stated = _like(like)
    if image_size is not None:
        shape = _size(image_size)
    order = Conversion(
        source,
        target,
        shape=shape,
        mpp=stated if mpp is None else mpp,
        measurements=measurements,
        simplify_um=simplify,
        classification=Classification(classification),
        object_type=object_type.value,
        pyramid=pyramid,
        version=zarr_version.value,
        overwrite=overwrite,
    )
    with Report(1, quiet=quiet) as report:
        count = convert(order, lambda share: report.progress(0, share, source.name), report.warning)
        nuclei = "nucleus" if count == 1 else "nuclei"
        report.finished(0, f"{count:,} {nuclei} written to '{target}'")


def _like(image: Path | None) -> tuple[tuple[int, int] | None, float | None]:
    """Return the size and pixel size of an image."""
    if image is None:
        return None, None
    from ..io.slides.opening import open_slide

    slide = open_slide(image)
    try:
        return slide.levels[0].shape, slide.mpp
    finally:
        slide.close()


def _size(text: str) -> tuple[int, int]:
    found = re.fullmatch(r"\s*(\d{1,7})\s*[xX×,]\s*(\d{1,7})\s*", text)
    sizes = tuple(map(int, found.groups())) if found else (0, 0)
    if min(sizes) < 1:
        raise SettingsError(
            f"The image size must be height x width in px, such as 20000x30000, not '{text}'."
        )
    return sizes[0], sizes[1]

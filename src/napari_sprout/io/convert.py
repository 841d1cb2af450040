"""Nuclei from one format to another, in memory that does not grow with the image."""

from __future__ import annotations

import tempfile
from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from ..core.instances import Nucleus
from ..errors import OutputError, SettingsError, warn
from .atomic import output_error, replacing_folder
from .coco import ENDING as COCO
from .coco import CocoWriter
from .crop_labels import check_covered
from .geojson import NUCLEUS, Classification, GeoJsonWriter, ObjectType
from .label_pyramid import LabelPyramid, Version
from .label_sources import IN_MEMORY, LabelSource, nuclei_of, open_labels
from .label_tiff import label_pyramid_to_tiff
from .labels import write_labels
from .nuclei_table import ENDINGS as TABLES
from .nuclei_table import NucleiTableWriter, nuclei_batches, read_nuclei_table, table_mpp
from .pieces import NucleusPiece
from .raster import check_dimensions

PYRAMID_FROM: Final = 4096
"""px; a label TIFF with a longer side gets coarser levels, unless it is said not to."""

_ENDINGS: Final = {
    COCO: "coco",
    ".geojson": "geojson",
    ".json": "geojson",
    ".tif": "tiff",
    ".tiff": "tiff",
    ".zarr": "zarr",
    ".csv": "table",
    ".parquet": "table",
}

Step = Callable[[float], None]


@dataclass(frozen=True)
class Conversion:
    """What to convert, and how.

    Attributes
    ----------
    source
        A label TIFF or PNG, GeoJSON, COCO's JSON, OME-Zarr labels; or a table, for a table.
    target
        Whose ending names the format: ``.tif``, ``.zarr``, ``.geojson`` (``.json``),
        ``.coco.json``, ``.csv`` or ``.parquet``.
    shape
        (H, W) of the image, where the source does not state it.
    mpp
        Pixel size in um, 0.01 to 20, that overrides the source's.
    measurements
        A table whose stains and scores go to the nuclei of the same numbers.
    simplify_um
        How far outlines in GeoJSON may move to have fewer points, um; None leaves them exact.
    classification, object_type
        Of QuPath's objects; the class is COCO's category too.
    pyramid
        Whether a label TIFF gets coarser levels; None: where a side is longer than 4096 px.
    version
        Of OME-Zarr.
    overwrite
        Whether a target that is there is replaced.
    """

    source: Path
    target: Path
    shape: tuple[int, int] | None = None
    mpp: float | None = None
    measurements: Path | None = None
    simplify_um: float | None = None
    classification: Classification = NUCLEUS
    object_type: ObjectType = "detection"
    pyramid: bool | None = None
    version: Version = "0.4"
    overwrite: bool = False


def convert(
    order: Conversion,
    progress: Step = lambda fraction: None,
    tell: Callable[[str], None] = warn,
) -> int:
    """Write nuclei in another format, whole or not at all.

    Parameters
    ----------
    order
        What, and how.
    progress
        Called with the finished share, 0 to 1; may raise to stop.
    tell
        Called with a sentence that a person should know; by default that is a SproutWarning.

    Returns
    -------
    int
        How many nuclei were written.

    Raises
    ------
    ImageError
        If the source cannot be read, or is no label image.
    OutputError
        If the target cannot be written, is there already, or its ending is unknown.
    SettingsError
        If a value is out of range, or outlines are to be simplified without a pixel size.
    SproutError
        If a library of the extra `slides` is needed and not installed.
    """
    form = _format(order)
    if order.source.suffix.lower() in TABLES:
        return _table_to_table(order, form)
    with open_labels(order.source, order.shape, order.mpp) as source:
        known = dict(source.known()) if form in ("geojson", "table", "coco") else {}
        if order.measurements is not None:
            known |= {n.id: n for n in read_nuclei_table(order.measurements).nuclei}
        if form in ("tiff", "zarr"):
            count = _raster(order, form, source, progress)
        else:
            count = _vector(order, form, source, known, progress)
        if source.shapes is not None:
            check_covered(order.source, source.shapes, count, source.shape, tell)
    progress(1.0)
    return count


def _format(order: Conversion) -> str:
    name = order.target.name.lower()
    form = next((form for ending, form in _ENDINGS.items() if name.endswith(ending)), None)
    if form is None:
        raise OutputError(
            f"'{order.target}' was not written: end its name in .tif or .zarr for a label image, "
            ".geojson for QuPath, .coco.json, .csv or .parquet."
        )
    if order.target.exists():
        if order.source.exists() and order.target.samefile(order.source):
            raise OutputError(f"'{order.target}' is what is converted; choose another name.")
        if not order.overwrite:
            raise OutputError(
                f"'{order.target}' exists already; add --overwrite to replace it, or choose "
                "another name."
            )
    return form


def _table_to_table(order: Conversion, form: str) -> int:
    if form != "table":
        raise OutputError(
            f"'{order.target}' was not written: the table '{order.source}' holds no outlines; "
            "convert the label image or GeoJSON that belongs to it."
        )
    mpp = table_mpp(order.source) if order.mpp is None else order.mpp
    count = 0
    with NucleiTableWriter(order.target, mpp) as table:
        for nuclei in nuclei_batches(order.source):
            table.add(nuclei)
            count += len(nuclei)
    return count


def _vector(
    order: Conversion,
    form: str,
    source: LabelSource,
    known: Mapping[int, Nucleus],
    progress: Step,
) -> int:
    """Write what has an entry for each nucleus."""
    count = 0
    with ExitStack() as stack:
        add: Callable[[list[NucleusPiece]], None]
        if form == "geojson":
            add = stack.enter_context(_geojson(order, source)).add
        elif form == "coco":
            writer = CocoWriter(
                order.target,
                source.shape,
                mpp=source.mpp,
                image_name=order.source.name,
                category=order.classification.name,
            )
            add = stack.enter_context(writer).add
        else:
            table = stack.enter_context(NucleiTableWriter(order.target, source.mpp))

            def add(pieces: list[NucleusPiece]) -> None:
                table.add([one.nucleus for one in pieces])

        for pieces in nuclei_of(source, known, progress, shapes=form != "coco"):
            add(pieces)
            count += len(pieces)
    return count


def _geojson(order: Conversion, source: LabelSource) -> GeoJsonWriter:
    simplify = None
    if order.simplify_um is not None:
        if source.mpp is None:
            raise SettingsError(
                f"'{order.source}' states no pixel size, so its outlines cannot be simplified by "
                "micrometres; give the size with --mpp."
            )
        simplify = order.simplify_um / source.mpp
    return GeoJsonWriter(
        order.target,
        mpp=source.mpp,
        image=str(source.metadata.get("image_sha256") or order.source.name),
        classification=order.classification,
        object_type=order.object_type,
        simplify=simplify,
    )


def _raster(order: Conversion, form: str, source: LabelSource, progress: Step) -> int:
    seen: set[int] = set()
    if form == "zarr":
        with replacing_folder(order.target) as draft:
            _to_zarr(draft, order, source, seen, progress)
        return len(seen)
    height, width = source.shape
    pyramid = max(height, width) > PYRAMID_FROM if order.pyramid is None else order.pyramid
    if not pyramid or height * width <= IN_MEMORY:
        check_dimensions(order.source, height, width)
        labels = source.read(0, 0, height, width)
        _note(seen, labels)
        write_labels(
            order.target, labels, mpp=source.mpp, metadata=source.metadata, pyramid=pyramid
        )
        return len(seen)
    with _scratch(order.target) as draft:
        tiled = _to_zarr(draft, order, source, seen, lambda share: progress(share / 2))
        label_pyramid_to_tiff(
            tiled,
            order.target,
            metadata=source.metadata,
            step=lambda share: progress(0.5 + share / 2),
        )
    return len(seen)


@contextmanager
def _scratch(target: Path) -> Iterator[Path]:
    """Give a folder beside a target, which is removed at the end."""
    try:
        with tempfile.TemporaryDirectory(prefix=".sprout-", dir=target.parent) as folder:
            yield Path(folder) / "labels.zarr"
    except OSError as exc:
        raise output_error(target, exc) from exc


def _to_zarr(
    path: Path, order: Conversion, source: LabelSource, seen: set[int], progress: Step
) -> LabelPyramid:
    name = order.target.name.removesuffix(".zarr").removesuffix(".ome")
    pyramid = LabelPyramid.create(
        path, source.shape, source.mpp, image_name=name, version=order.version
    )
    blocks = list(pyramid.blocks(side=2048))
    for number, (y, x, height, width) in enumerate(blocks):
        labels = source.read(y, x, height, width)
        if labels.any():
            _note(seen, labels)
            pyramid.write(y, x, labels)
        progress(0.8 * number / len(blocks))
    pyramid.finish()
    return pyramid


def _note(seen: set[int], labels: NDArray[Any]) -> None:
    seen.update(np.unique(labels[labels > 0]).tolist())

"""Results as files: the one way out, for the command line and the plugin alike."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Callable, Collection, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import numpy as np
from numpy.typing import NDArray

from ..core.instances import Nucleus
from ..errors import OutputError
from .atomic import replacing, replacing_folder
from .coco import write_coco
from .geojson import write_geojson
from .label_pyramid import LabelPyramid
from .labels import write_labels
from .nuclei_table import write_nuclei_table
from .overlay import overlay, write_png

if TYPE_CHECKING:
    from ..core.correction import Correction

_OF_THE_LAST_RUN: Final = ("rho", "stain_source", "stain_vectors", "warnings", "working_mpp")


@dataclass(frozen=True, eq=False)
class Results:
    """What there is to export of one image.

    Attributes
    ----------
    labels
        Whole numbers of shape (H, W); 0 is background.
    nuclei
        Measurements of the labels, by id.
    rgb
        The image, uint8 of shape (H, W, 3); None where it is not at hand, and no
        overlay can be drawn.
    mpp
        Pixel size in um per px, 0.01 to 20; None if unknown.
    metadata
        What made the labels; kept in the label image.
    """

    labels: NDArray[np.integer[Any]]
    nuclei: Sequence[Nucleus] = ()
    rgb: NDArray[np.uint8] | None = None
    mpp: float | None = None
    metadata: Mapping[str, Any] = field(default_factory=dict)


def results_of(correction: Correction, origin: Mapping[str, Any] | None = None) -> Results:
    """Return what there is to export of a corrected image, its nuclei measured.

    Parameters
    ----------
    correction
        The session's result with all that a person did to it.
    origin
        What else the metadata say: the image's file, for example.

    Raises
    ------
    SproutError
        If nothing has been run yet.
    """
    session, made_with = correction.session, correction.state.ground.settings
    metadata = session.metadata()
    if metadata["settings"] != made_with.to_dict():
        # Undoing went back behind the last run, and these are that run's.
        for name in _OF_THE_LAST_RUN:
            metadata.pop(name, None)
        metadata |= {"settings": made_with.to_dict(), "seed": made_with.seed}
    opened = correction.state.ground.opened
    metadata |= {"corrected": True, "nuclei_given": len(opened or ()), **(origin or {})}
    nuclei = correction.measure()
    return Results(correction.labels.copy(), nuclei, session.image, session.mpp, metadata)


@dataclass(frozen=True)
class _Format:
    """How one kind of result is called and written; `suffixes` tell it from a file's name."""

    ending: str
    suffixes: tuple[str, ...]
    write: Callable[[Path, Results], None]


def _write_table(path: Path, results: Results) -> None:
    write_nuclei_table(path, results.nuclei, results.mpp)


def _write_overlay(path: Path, results: Results) -> None:
    if results.rgb is None:
        raise OutputError(
            f"'{path}' was not written: outlines are drawn on the image, which is not at hand; "
            "open it first."
        )
    # Half a um wide, so that small nuclei stay visible.
    width = 2 if results.mpp is None else max(1, round(0.5 / results.mpp))
    write_png(path, overlay(results.rgb, results.labels, width))


def _write_geojson(path: Path, results: Results) -> None:
    image = results.metadata.get("image_sha256")
    if image is None and results.rgb is not None:
        image = hashlib.sha256(results.rgb.tobytes()).hexdigest()
    write_geojson(path, results.labels, results.nuclei, results.mpp, image or "")


def _write_labels(path: Path, results: Results) -> None:
    write_labels(path, results.labels, mpp=results.mpp, metadata=results.metadata)


def _write_coco(path: Path, results: Results) -> None:
    scores = {nucleus.id: nucleus.score for nucleus in results.nuclei}
    name = str(results.metadata.get("file", ""))
    write_coco(path, results.labels, mpp=results.mpp, image_name=name, scores=scores)


def _write_zarr(path: Path, results: Results) -> None:
    height, width = results.labels.shape
    name = path.stem.removesuffix(".ome")
    with replacing_folder(path) as draft:
        pyramid = LabelPyramid.create(draft, (height, width), results.mpp, image_name=name)
        pyramid.write(0, 0, results.labels)
        pyramid.finish()


# Labels last: where they are, all is.
_FORMATS: Final[Mapping[str, _Format]] = {
    "csv": _Format("_nuclei.csv", (".csv",), _write_table),
    "overlay": _Format("_overlay.png", (".png",), _write_overlay),
    "geojson": _Format("_nuclei.geojson", (".geojson", ".json"), _write_geojson),
    "labels": _Format("_labels.tif", (".tif", ".tiff"), _write_labels),
}
_SINGLE: Final[Mapping[str, Callable[[Path, Results], None]]] = {
    ".coco.json": _write_coco,
    ".parquet": _write_table,
    ".zarr": _write_zarr,
}
"""What a single file, or folder, may be besides."""

FORMATS: Final = tuple(_FORMATS)
"""The names of all formats, in the order in which they are written."""


def result_path(folder: str | Path, stem: str, name: str) -> Path:
    """Return the file to which :func:`export` writes format `name`."""
    return Path(folder) / f"{stem}{_FORMATS[name].ending}"


def export(
    folder: str | Path, stem: str, results: Results, formats: Collection[str] = FORMATS
) -> tuple[Path, ...]:
    """Write results to files in a folder, all of them or none.

    Every file is first written under a temporary name; only when all are there
    do they take their places, the label image last. If one cannot be written,
    what was there before stays.

    Parameters
    ----------
    folder
        Where to; it must exist.
    stem
        What the files' names begin with.
    results
        What to write.
    formats
        Any of :data:`FORMATS`.

    Returns
    -------
    tuple of Path
        The files, in the order of :data:`FORMATS`.

    Raises
    ------
    OutputError
        If a file cannot be written, or a format is unknown.
    """
    if unknown := sorted(set(formats) - set(FORMATS)):
        raise OutputError(
            f"There is no format '{unknown[0]}' for results; use some of {', '.join(FORMATS)}."
        )
    paths = {name: result_path(folder, stem, name) for name in FORMATS if name in formats}
    check_replaceable(paths.values())
    with ExitStack() as stack:
        # The last to be opened is the first to be put in place: labels come last.
        drafts = {
            name: stack.enter_context(replacing(path)) for name, path in reversed(paths.items())
        }
        for name, path in paths.items():
            try:
                _FORMATS[name].write(drafts[name], results)
            except OutputError as error:
                # A person knows the file by its own name, not by its draft's.
                raise OutputError(str(error).replace(str(drafts[name]), str(path))) from error
    return tuple(paths.values())


def export_file(path: str | Path, results: Results) -> None:
    """Write the one format that a file's name asks for, whole or not at all.

    Parameters
    ----------
    path
        A name that ends in ``.tif`` or ``.zarr`` (label image), ``.png`` (outlines on the
        image), ``.csv`` or ``.parquet`` (measurements), ``.geojson`` (outlines for QuPath)
        or ``.coco.json``.
    results
        What to write.

    Raises
    ------
    OutputError
        If the file cannot be written, or has another ending.
    SproutError
        If a library of the extra `slides` is needed and not installed.
    """
    path = Path(path)
    for ending, write in _SINGLE.items():
        if path.name.lower().endswith(ending):
            write(path, results)
            return
    for chosen in _FORMATS.values():
        if path.suffix.lower() in chosen.suffixes:
            chosen.write(path, results)
            return
    raise OutputError(
        f"'{path}' was not written: end its name in .tif or .zarr for a label image, .png for "
        "outlines on the image, .csv or .parquet for a table, .geojson for QuPath or .coco.json."
    )


def check_replaceable(paths: Collection[Path]) -> None:
    """Refuse what is write-protected before anything is computed or replaced.

    Raises
    ------
    OutputError
        Naming the file.
    """
    for path in paths:
        if path.exists() and not os.access(path, os.W_OK):
            raise OutputError(
                f"'{path}' is write-protected; allow writing or choose another folder."
            )

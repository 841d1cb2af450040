"""Label images in any format, read region by region, and their nuclei one by one."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, Final

import numpy as np
import tifffile
from numpy.typing import NDArray

from ..core.edits import Piece
from ..core.instances import Box, Nucleus
from ..core.labels import measure
from ..core.pieces import pieces_of
from ..errors import ImageError
from .coco import coco_labels, is_coco
from .crop_labels import CropLabels, check_covered
from .geojson_reader import Features, geojson_labels, geojson_measurements
from .json_file import read_json
from .label_pyramid import LabelPyramid
from .label_tiff import LabelTiff
from .labels import read_labels
from .pieces import NucleusPiece
from .raster import file_errors_in_words
from .tiff import TIFF_SIGNATURES, extent, largest_series

IN_MEMORY: Final = 64_000_000
"""Pixels up to which a label image is read as a whole."""

_SIDE: Final = 2048
"""px; about the side of what is read at once of larger ones."""

_FROM_ELSEWHERE: Final = ("haematoxylin", "eosin", "predicted_iou", "stability", "score")


@dataclass(frozen=True, eq=False)
class LabelSource:
    """An open label image.

    Attributes
    ----------
    path
        Where it is from.
    shape
        (H, W).
    mpp
        Pixel size in um; None if unknown.
    read
        Called with y, x, height and width, gives that region; 0 is background.
    side
        Height and width of the blocks that are best read at once.
    shapes
        How many nuclei the file says there are, where some may hide behind others.
    metadata
        What our own label images say of how they were made.
    known
        Measurements that the file holds, by label.
    """

    path: Path
    shape: tuple[int, int]
    mpp: float | None
    read: Callable[[int, int, int, int], NDArray[Any]]
    side: tuple[int, int]
    shapes: int | None = None
    metadata: Mapping[str, Any] = field(default_factory=dict)
    known: Callable[[], Mapping[int, Nucleus]] = dict

    def blocks(self) -> Iterator[Box]:
        """Yield (y0, x0, y1, x1) of blocks that cover the image, row by row."""
        (height, width), (high, wide) = self.shape, self.side
        for y in range(0, height, high):
            for x in range(0, width, wide):
                yield y, x, min(y + high, height), min(x + wide, width)


@contextmanager
def open_labels(
    path: str | Path, shape: tuple[int, int] | None = None, mpp: float | None = None
) -> Iterator[LabelSource]:
    """Open a label image: TIFF or PNG, GeoJSON, COCO's JSON, or OME-Zarr.

    Parameters
    ----------
    path
        The file, or the folder of an OME-Zarr. What JSON it is, its content says.
    shape
        (H, W) of the image, which GeoJSON does not state; None for the smallest that holds
        all outlines. Other files are checked against it.
    mpp
        Pixel size in um that overrides the file's.

    Raises
    ------
    ImageError
        If it is missing, damaged, no label image, or of another shape.
    SproutError
        If a library of the extra `slides` is needed and not installed.
    """
    path = Path(path)
    with _opened(path, shape) as source:
        if shape is not None and source.shape != tuple(shape):
            raise ImageError(
                f"'{path}' is {source.shape[1]} x {source.shape[0]} px, not {shape[1]} x "
                f"{shape[0]} px; leave the size out or give the right image."
            )
        yield source if mpp is None else replace(source, mpp=mpp)


@contextmanager
def _opened(path: Path, shape: tuple[int, int] | None) -> Iterator[LabelSource]:
    if path.is_dir():
        yield _of_pyramid(path)
    elif path.suffix.lower() in (".json", ".geojson"):
        yield _of_json(path, shape)
    elif _is_large_tiff(path):
        large = LabelTiff(path)
        try:
            yield LabelSource(
                path, large.shape, large.mpp, large.read, (_SIDE, _SIDE), metadata=large.metadata
            )
        finally:
            large.close()
    else:
        loaded = read_labels(path)
        yield _in_memory(path, loaded.labels, loaded.mpp, metadata=loaded.metadata)


def _in_memory(path: Path, labels: NDArray[Any], mpp: float | None, **others: Any) -> LabelSource:
    def read(y: int, x: int, height: int, width: int) -> NDArray[Any]:
        return labels[y : y + height, x : x + width]

    shape = (labels.shape[0], labels.shape[1])
    return LabelSource(path, shape, mpp, read, shape, **others)


def _of_pyramid(path: Path) -> LabelSource:
    pyramid = LabelPyramid.open(path)
    high, wide = (one * max(1, _SIDE // one) for one in pyramid.chunk)

    def read(y: int, x: int, height: int, width: int) -> NDArray[Any]:
        return pyramid.read(0, y, x, height, width)

    return LabelSource(path, pyramid.shape, pyramid.mpp, read, (high, wide))


def _of_json(path: Path, shape: tuple[int, int] | None) -> LabelSource:
    if path.suffix.lower() == ".json":
        document = read_json(path, "GeoJSON or COCO file")
        if is_coco(document):
            crops, mpp = coco_labels(path, document)
            return _of_crops(path, crops, mpp)
        features = Features(path, document)
    else:
        features = Features(path)
    crops = geojson_labels(path, shape, features)
    return _of_crops(path, crops, None, known=lambda: geojson_measurements(path, features))


def _of_crops(path: Path, crops: CropLabels, mpp: float | None, **others: Any) -> LabelSource:
    if crops.empty:
        check_covered(path, len(crops), 0, crops.shape, lambda text: None)
    side = (_SIDE, _SIDE)
    return LabelSource(path, crops.shape, mpp, crops.read, side, shapes=len(crops), **others)


def _is_large_tiff(path: Path) -> bool:
    with file_errors_in_words(path), path.open("rb") as file:
        if file.read(4) not in TIFF_SIGNATURES:
            return False
    try:
        with tifffile.TiffFile(path) as tiff:
            height, width = extent(largest_series(path, tiff)[1].levels[0])
    except Exception:
        # Whoever reads it says what is wrong.
        return False
    return height * width > IN_MEMORY


def nuclei_of(
    source: LabelSource,
    known: Mapping[int, Nucleus],
    step: Callable[[float], None] = lambda fraction: None,
    *,
    shapes: bool = True,
) -> Iterator[list[NucleusPiece]]:
    """Yield the nuclei of a label image, measured, batch by batch and each once.

    A nucleus that lies in several blocks comes with its whole box, in the block that holds
    the corner of that box; so does one in several pieces. Memory grows by 24 bytes a
    nucleus. Every label is read twice.

    Parameters
    ----------
    source
        The label image.
    known
        By label: nuclei whose stains and scores were measured on the image. Where all in
        a block are known, of the same areas and with their centroids, all of their
        measurements are believed.
    step
        Called with the finished share, 0 to 1; may raise to stop.
    shapes
        Whether centroids, perimeters and eccentricities are wanted, which takes most of
        the time; else they are NaN unless they are known.

    Raises
    ------
    ImageError
        If it cannot be read, or a label is no nucleus: too large to be held in memory.
    """
    ids, boxes = _boxes(source, lambda share: step(share / 2))
    columns = -(-source.shape[1] // source.side[1])
    owner = boxes[:, 0] // source.side[0] * columns + boxes[:, 1] // source.side[1]
    order = np.argsort(owner, kind="stable")
    starts = np.flatnonzero(np.diff(owner[order], prepend=-1))
    for number, part in enumerate(np.split(order, starts[1:]) if len(order) else ()):
        yield _pieces(source, ids[part], boxes[part], known, shapes)
        step(0.5 + 0.5 * (number + 1) / len(starts))


def _boxes(
    source: LabelSource, step: Callable[[float], None]
) -> tuple[NDArray[np.int64], NDArray[np.int32]]:
    """Return all labels, in order, and the box of each over all blocks."""
    found: list[NDArray[np.int64]] = []
    blocks = list(source.blocks())
    for number, (y0, x0, y1, x1) in enumerate(blocks):
        labels = source.read(y0, x0, y1 - y0, x1 - x0)
        if labels.any():
            rows = [(ident, *box) for ident, box, _ in pieces_of(labels)]
            found.append(np.array(rows, np.int64) + np.array([0, y0, x0, y0, x0]))
        step((number + 1) / len(blocks))
    if not found:
        return np.zeros(0, np.int64), np.zeros((0, 4), np.int32)
    rows_of = np.concatenate(found)
    rows_of = rows_of[np.argsort(rows_of[:, 0], kind="stable")]
    starts = np.flatnonzero(np.diff(rows_of[:, 0], prepend=0))
    low = np.minimum.reduceat(rows_of[:, 1:3], starts)
    high = np.maximum.reduceat(rows_of[:, 3:5], starts)
    return rows_of[starts, 0], np.concatenate([low, high], axis=1).astype(np.int32)


def _pieces(
    source: LabelSource,
    ids: NDArray[np.int64],
    boxes: NDArray[np.int32],
    known: Mapping[int, Nucleus],
    shapes: bool,
) -> list[NucleusPiece]:
    (y0, x0), (y1, x1) = boxes[:, :2].min(axis=0).tolist(), boxes[:, 2:].max(axis=0).tolist()
    if (y1 - y0) * (x1 - x0) > max(IN_MEMORY, 4 * math.prod(source.side)):
        raise _too_large(source, ids, boxes)
    window = source.read(y0, x0, y1 - y0, x1 - x0).astype(np.int64)
    window[~np.isin(window, ids)] = 0
    compact = np.searchsorted(ids, window).astype(np.int32) + 1
    compact[window == 0] = 0
    crops = [
        (int(ids[number - 1]), (top + y0, left + x0, bottom + y0, right + x0), mask)
        for number, (top, left, bottom, right), mask in pieces_of(compact)
    ]
    nuclei = [
        known.get(ident) or _unmeasured(ident, int(np.count_nonzero(mask)))
        for ident, _, mask in crops
    ]
    if shapes and not _fit(nuclei, crops):
        nuclei = _measured(compact, (y0, x0), nuclei)
    return [
        NucleusPiece(nucleus, box, mask)
        for nucleus, (_, box, mask) in zip(nuclei, crops, strict=True)
    ]


def _fit(nuclei: list[Nucleus], crops: list[Piece]) -> bool:
    """Whether what is known of nuclei was measured on these very masks."""
    return all(
        math.isfinite(nucleus.y) and nucleus.area == np.count_nonzero(mask)
        for nucleus, (_, _, mask) in zip(nuclei, crops, strict=True)
    )


def _measured(
    labels: NDArray[np.int32], corner: tuple[int, int], nuclei: list[Nucleus]
) -> list[Nucleus]:
    """Measure labels, numbered by their order; ids, stains and scores are those of `nuclei`."""
    y, x = corner
    stains = np.full((*labels.shape, 2), np.nan, np.float32)
    return [
        replace(
            shape,
            id=nucleus.id,
            y=shape.y + y,
            x=shape.x + x,
            **{name: getattr(nucleus, name) for name in _FROM_ELSEWHERE},
        )
        for shape, nucleus in zip(measure(labels, stains, {}, {}), nuclei, strict=True)
    ]


def _unmeasured(ident: int, area: int) -> Nucleus:
    return Nucleus(ident, math.nan, math.nan, area, *[math.nan] * 7)


def _too_large(source: LabelSource, ids: NDArray[np.int64], boxes: NDArray[np.int32]) -> ImageError:
    widest = int(np.argmax(np.ptp(boxes.reshape(-1, 2, 2), axis=1).max(axis=1)))
    y0, x0, y1, x1 = boxes[widest].tolist()
    return ImageError(
        f"The number {ids[widest]} in '{source.path}' reaches over {x1 - x0} x {y1 - y0} px, "
        "which no nucleus does; save the label image, with a number for each nucleus."
    )

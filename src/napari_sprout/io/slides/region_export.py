"""All regions of a slide as one result: a label pyramid, outlines for QuPath, a table."""

from __future__ import annotations

import secrets
import shutil
from collections.abc import Callable, Collection, Iterable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Final

import numpy as np
from numpy.typing import NDArray

from ...core.crops import Mask, common, meet, slices, within
from ...core.instances import Box, Nucleus
from ...core.loaded import SegmenterSource
from ...core.region_union import RegionNuclei, RegionUnion
from ...errors import ProjectError
from ..atomic import filling
from .region_results import bring_up_to_date, result_of
from .regions import Region, SlideRegions

FORMATS: Final = {
    "labels": "_labels.ome.zarr",
    "geojson": "_nuclei.geojson",
    "csv": "_nuclei.csv",
}
"""What can be written, and how the names of the files end."""

CHUNK: Final = 512
BLOCK: Final = 4 * CHUNK
"""px; side of what is painted at once."""

Told = Callable[[float, str], None]
_Pieces = list[tuple[Nucleus, Box, Mask]]


@dataclass(frozen=True)
class Exported:
    """What was written.

    Attributes
    ----------
    paths
        The files and folders.
    nuclei
        How many nuclei there are in all.
    regions
        How many regions they are from.
    """

    paths: tuple[Path, ...]
    nuclei: int
    regions: int


def export_regions(
    regions: SlideRegions,
    folder: Path,
    formats: Collection[str] = tuple(FORMATS),
    progress: Told = lambda fraction, what: None,
    *,
    device: str = "auto",
    segmenter: SegmenterSource | None = None,
) -> Exported:
    """Add up the nuclei of all regions, and write them as of one slide.

    The files take their places when all are written. Memory does not grow with the
    slide or the number of regions.

    Parameters
    ----------
    regions
        Of one slide. Those without nuclei are left out.
    folder
        Where to.
    formats
        Any of :data:`FORMATS`.
    progress
        Called with the finished share, 0 to 1, and what is done; may raise to stop.
    device, segmenter
        For regions that have to be done again, see
        :func:`~.region_results.bring_up_to_date`.

    Raises
    ------
    ProjectError
        If there are no nuclei, or a region's project is damaged.
    OutputError
        If a file cannot be written.
    """
    done = _prepared(regions, progress, device, segmenter)
    by_box = {region.box: region for region in done}
    union = RegionUnion(
        by_box,
        lambda box: _nuclei(by_box[box]),
        regions.facts.shape,
        lambda count: progress(0.5 + 0.1 * count / len(done), "adding up regions"),
    )
    name = regions.folder.stem
    targets = {kind: folder / f"{name}{FORMATS[kind]}" for kind in FORMATS if kind in formats}
    with _room_for(targets.values()) as make_room, filling(folder) as draft:
        drafts = {kind: draft / target.name for kind, target in targets.items()}
        _write_rows(union, drafts, regions, progress)
        if "labels" in drafts:
            _write_labels(union, drafts["labels"], regions, progress)
        make_room()
    progress(1.0, "done")
    return Exported(tuple(targets.values()), len(union), len(done))


def _prepared(
    regions: SlideRegions, progress: Told, device: str, segmenter: SegmenterSource | None
) -> list[Region]:
    """Return the regions that have nuclei, which are up to date then."""
    every, done = regions.regions(), []
    for index, region in enumerate(every):

        def told(fraction: float, what: str, index: int = index) -> None:
            text = f"region {index + 1} of {len(every)}: {what}"
            progress(0.5 * (index + fraction) / len(every), text)

        told(0.0, "reading")
        if bring_up_to_date(region, told, device=device, segmenter=segmenter):
            done.append(region)
    if not done:
        raise ProjectError(
            f"No region of '{regions.facts.name}' has nuclei yet: choose one and press Run."
        )
    return done


def _nuclei(region: Region) -> RegionNuclei:
    found = result_of(region)
    if found is None:
        raise ProjectError(
            f"The region '{region.image.stem}' was changed while it was being exported; export "
            "again."
        )
    return found


def _write_rows(
    union: RegionUnion, drafts: dict[str, Path], regions: SlideRegions, progress: Told
) -> None:
    """Write what has a row for each nucleus."""
    from ..geojson import GeoJsonWriter
    from ..nuclei_table import NucleiTableWriter
    from ..pieces import NucleusPiece

    facts = regions.facts
    with ExitStack() as stack:
        outlines = table = None
        if "geojson" in drafts:
            writer = GeoJsonWriter(drafts["geojson"], mpp=facts.mpp, image=facts.fingerprint)
            outlines = stack.enter_context(writer)
        if "csv" in drafts:
            table = stack.enter_context(NucleiTableWriter(drafts["csv"], facts.mpp))
        for index in range(len(union.boxes)):
            progress(0.6 + 0.2 * index / len(union.boxes), "writing nuclei")
            pieces = list(union.pieces(index))
            if table is not None:
                table.add([nucleus for nucleus, _, _ in pieces])
            if outlines is not None:
                outlines.add(NucleusPiece(*piece) for piece in pieces)


def _write_labels(union: RegionUnion, path: Path, regions: SlideRegions, progress: Told) -> None:
    from ..label_pyramid import LabelPyramid

    shape = regions.facts.shape
    pyramid = LabelPyramid.create(path, shape, regions.facts.mpp, chunk=CHUNK, overwrite=True)
    # Regions come in reading order, and so do blocks: few regions are needed at a time.
    pieces: Callable[[int], _Pieces] = lru_cache(maxsize=8)(lambda i: list(union.pieces(i)))
    blocks = list(_blocks(union.boxes, shape))
    for count, block in enumerate(blocks):
        progress(0.8 + 0.18 * count / len(blocks), "painting labels")
        labels = np.zeros((block[2] - block[0], block[3] - block[1]), np.uint32)
        for index, box in enumerate(union.boxes):
            if meet(box, block):
                _paint(labels, block, pieces(index))
        pyramid.write(block[0], block[1], labels)
    progress(0.98, "smaller levels of the labels")
    pyramid.finish()


def _blocks(boxes: Collection[Box], shape: tuple[int, int]) -> Iterator[Box]:
    """Yield the blocks of a plain grid that any region reaches into."""
    for y in range(0, shape[0], BLOCK):
        for x in range(0, shape[1], BLOCK):
            block = (y, x, min(y + BLOCK, shape[0]), min(x + BLOCK, shape[1]))
            if any(meet(box, block) for box in boxes):
                yield block


def _paint(labels: NDArray[np.uint32], block: Box, pieces: _Pieces) -> None:
    for nucleus, box, mask in pieces:
        if meet(box, block):
            both = common(box, block)
            here = labels[slices(within(both, block))]
            here[mask[slices(within(both, box))]] = nucleus.id


@contextmanager
def _room_for(targets: Iterable[Path]) -> Iterator[Callable[[], None]]:
    """Give what puts folders aside that new ones are to replace; at the end they are deleted.

    A folder cannot take another's place in one step, as a file can. Where the new one
    has not come, the old one is put back.
    """
    aside: dict[Path, Path] = {}

    def make_room() -> None:
        for target in targets:
            if target.is_dir():
                aside[target] = target.with_name(f".sprout-{secrets.token_hex(6)}")
                target.rename(aside[target])

    try:
        yield make_room
    finally:
        for target, old in aside.items():
            if target.exists():
                shutil.rmtree(old, ignore_errors=True)
            else:
                old.rename(target)

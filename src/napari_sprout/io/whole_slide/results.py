"""The results of a slide whose tiles are joined: tables, outlines, pictures, the summary."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from contextlib import ExitStack
from dataclasses import replace

import numpy as np
from numpy.typing import NDArray

from ...core.instances import Nucleus
from ...core.seams import Cell
from ..cohort.facts import SlideFacts
from ..cohort.summary import SlideSummary, SummaryBuilder, write_summary
from ..geojson import GeoJsonWriter
from ..nuclei_table import NucleiTableWriter
from ..overlay import write_png
from ..pieces import NucleusPiece
from .density import density_map
from .plan import CSV, DENSITY, GEOJSON, PARQUET, THUMBNAIL, Overview
from .records import read_record
from .work import JOINED, TileWork


def write_results(
    work: TileWork,
    counts: Mapping[Cell, int],
    seen: Overview,
    facts: SlideFacts,
    summarised: Callable[[SummaryBuilder], SlideSummary],
    *,
    geojson: bool,
) -> SlideSummary:
    """Write what is read of a slide's nuclei, tile by tile, and at last the summary.

    Parameters
    ----------
    work
        The slide, its tiles joined.
    counts
        How many nuclei each tile has.
    seen
        The slide at a glance.
    facts
        Which slide.
    summarised
        Makes the summary, once all nuclei are counted.
    geojson
        Whether to write outlines for QuPath.

    Raises
    ------
    OutputError
        If a file cannot be written.
    """
    folder = work.labels.parent
    builder = SummaryBuilder(facts)
    places = np.zeros(seen.tissue.shape, np.int64)
    before = 0
    with ExitStack() as stack:
        tables = [
            stack.enter_context(NucleiTableWriter(folder / name, work.mpp))
            for name in (CSV, PARQUET)
        ]
        outlines = None
        if geojson:
            writer = GeoJsonWriter(folder / GEOJSON, mpp=work.mpp, image=facts.fingerprint)
            outlines = stack.enter_context(writer)
        for cell in work.grid.cells:
            if not counts[cell]:
                continue
            found = read_record(work.folder / JOINED, cell)
            nuclei = [replace(n, id=n.id + before) for n in found.nuclei]
            before += len(nuclei)
            builder.add(nuclei)
            _count(places, nuclei, seen.downsample)
            for table in tables:
                table.add(nuclei)
            if outlines is not None:
                outlines.add(
                    NucleusPiece(n, found.box(i), found.masks[i]) for i, n in enumerate(nuclei)
                )
    write_png(folder / THUMBNAIL, seen.rgb)
    size = work.mpp * seen.downsample
    write_png(folder / DENSITY, density_map(places, seen.tissue, size))
    summary = summarised(builder)
    write_summary(folder, summary)
    return summary


def _count(places: NDArray[np.int64], nuclei: list[Nucleus], downsample: float) -> None:
    """Count nuclei in the overview's pixel that their centroid lies in."""
    points = (np.array([(n.y, n.x) for n in nuclei]) + 0.5) / downsample
    rows, columns = np.clip(points.astype(int), 0, np.array(places.shape) - 1).T
    np.add.at(places, (rows, columns), 1)

"""Summaries of slides that were never segmented."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np

from napari_sprout.core.instances import Nucleus
from napari_sprout.core.settings import Settings
from napari_sprout.io.cohort.summary import (
    LeftOutTile,
    Method,
    SlideFacts,
    SlideSummary,
    SummaryBuilder,
    Tiles,
)


def nucleus(
    ident: int,
    area: int = 400,
    eccentricity: float = 0.5,
    score: float = 1.5,
    haematoxylin: float = 0.8,
    eosin: float = 0.2,
) -> Nucleus:
    stain = (haematoxylin, eosin)
    return Nucleus(ident, 10.0, 20.0, area, 70.0, eccentricity, *stain, 0.9, score, 0.9)


def many(number: int, seed: int = 0, scale: float = 1.0) -> list[Nucleus]:
    """Nuclei whose areas spread as in tissue, in px at 0.25 um."""
    random = np.random.default_rng(seed)
    areas = np.clip(random.lognormal(np.log(560 * scale), 0.4, number), 100, 6400).astype(int)
    round_ness, scores = random.beta(4, 2, number), random.uniform(0.5, 2.0, number)
    stain = random.normal([1.1, 0.25], [0.25, 0.12], (number, 2))
    columns = np.column_stack([round_ness, scores, stain]).tolist()
    rows = zip(areas.tolist(), columns, strict=True)
    return [nucleus(i, area, *row) for i, (area, row) in enumerate(rows, start=1)]


def summarised(
    name: str = "case1",
    nuclei: Sequence[Nucleus] | None = None,
    *,
    mpp: float = 0.25,
    tissue_mm2: float = 2.0,
    settings: Settings | None = None,
    software: str | None = None,
    left_out: Sequence[LeftOutTile] = (),
    warnings: Sequence[str] = (),
    fingerprint: str = "ab12",
    weights: Mapping[str, str] | None = None,
) -> SlideSummary:
    slide = SlideFacts(name, "ome-tiff", fingerprint, mpp, (20000, 30000))
    method = Method.of(settings or Settings(), weights or {"mobile_sam": "0123" * 16})
    if software:
        method = Method(software, method.settings_hash, method.preset, method.weights)
    builder = SummaryBuilder(slide)
    builder.add(many(200) if nuclei is None else nuclei)
    tiles = Tiles(96, 40, 1, tuple(left_out))
    return builder.summary(method, tissue_mm2 * 1e6, tiles, warnings, 321.0)

"""``cohort.csv``: one row a slide."""

from __future__ import annotations

import csv
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Final

from ..atomic import replacing
from .cohort import Cohort, FinishedSlide
from .distribution import QUANTILES
from .summary import MEASURES

TABLE: Final = "cohort.csv"
_STATISTICS: Final = ("mean", "sd", *QUANTILES)
_COLUMNS: Final = (
    *("slide", "status", "format", "fingerprint", "width_px", "height_px", "mpp"),
    *("tissue_mm2", "nuclei", "density_per_mm2"),
    *(f"{measure}_{name}" for measure in MEASURES for name in _STATISTICS),
    *("tiles_total", "tiles_with_tissue", "tiles_split", "tiles_left_out", "warnings"),
    *("seconds", "software", "preset", "settings_hash", "weights"),
)


def write_cohort_csv(path: str | Path, cohort: Cohort) -> None:
    """Write one row a slide, by name; those without numbers have nothing but their status.

    The status is "finished", "incomplete" (tiles were left out), "unfinished", "absent"
    (expected, but without any results) or "damaged". Numbers carry six significant digits.

    Parameters
    ----------
    path
        The CSV file; what is there is replaced.
    cohort
        The slides.

    Raises
    ------
    OutputError
        If it cannot be written.
    """
    rows = sorted(_rows(cohort), key=lambda row: str(row["slide"]))
    with replacing(path) as temporary, temporary.open("w", encoding="utf-8", newline="") as file:
        writer = csv.DictWriter(file, _COLUMNS, lineterminator="\n")
        writer.writeheader()
        for row in rows:
            writer.writerow({name: _plain(value) for name, value in row.items()})


def _rows(cohort: Cohort) -> Iterator[dict[str, Any]]:
    for slide in cohort.finished:
        yield _row(slide)
    for name in cohort.unfinished:
        yield {"slide": name, "status": "unfinished"}
    for name in cohort.absent:
        yield {"slide": name, "status": "absent"}
    for damaged in cohort.damaged:
        yield {"slide": damaged.name, "status": "damaged", "warnings": damaged.reason}


def _row(slide: FinishedSlide) -> dict[str, Any]:
    summary = slide.summary
    facts, method, tiles = summary.slide, summary.method, summary.tiles
    return {
        "slide": slide.name,
        "status": "incomplete" if slide.left_out else "finished",
        "format": facts.format,
        "fingerprint": facts.fingerprint,
        "width_px": facts.shape[1],
        "height_px": facts.shape[0],
        "mpp": facts.mpp,
        "tissue_mm2": summary.tissue_mm2,
        "nuclei": summary.nuclei,
        "density_per_mm2": summary.density_per_mm2,
        **{
            f"{measure}_{name}": getattr(found, name)
            for measure, found in summary.measures.items()
            for name in _STATISTICS
        },
        "tiles_total": tiles.total,
        "tiles_with_tissue": tiles.with_tissue,
        "tiles_split": tiles.split,
        "tiles_left_out": slide.left_out,
        "warnings": " ".join(summary.warnings),
        "seconds": summary.seconds,
        "software": method.software,
        "preset": method.preset,
        "settings_hash": method.settings_hash,
        "weights": " ".join(f"{name}:{sha256}" for name, sha256 in sorted(method.weights.items())),
    }


def _plain(value: object) -> str:
    if isinstance(value, float):
        return f"{value:.6g}"
    return "" if value is None else str(value)

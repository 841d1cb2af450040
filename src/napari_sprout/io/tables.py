"""Measurements as a table that any spreadsheet opens."""

from __future__ import annotations

import csv
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from ..core.instances import Nucleus
from .atomic import replacing
from .pixel_size import checked_mpp


def write_nuclei_csv(path: str | Path, nuclei: Sequence[Nucleus], mpp: float | None = None) -> None:
    """Write one row per nucleus, whole or not at all; without nuclei, the header alone.

    Columns: id, centroid_y_px, centroid_x_px, area_px, perimeter_px,
    eccentricity, mean_haematoxylin and mean_eosin (optical density),
    predicted_iou, stability, score; and with `mpp`, centroid_y_um, centroid_x_um,
    area_um2, perimeter_um. Numbers carry six significant digits.

    Parameters
    ----------
    path
        The CSV file.
    nuclei
        What to write, in this order.
    mpp
        Pixel size in um per px, 0.01 to 20; None leaves out the columns in um.

    Raises
    ------
    OutputError
        If the file cannot be written.
    SettingsError
        If `mpp` is out of range.
    """
    size = None if mpp is None else checked_mpp(mpp)
    columns = list(_row(_EXAMPLE, size))
    with replacing(path) as temporary, temporary.open("w", encoding="utf-8", newline="") as file:
        writer = csv.DictWriter(file, columns, lineterminator="\n")
        writer.writeheader()
        for nucleus in nuclei:
            writer.writerow({k: _rounded(v) for k, v in _row(nucleus, size).items()})


def _row(nucleus: Nucleus, mpp: float | None) -> dict[str, float]:
    row: dict[str, float] = {
        "id": nucleus.id,
        "centroid_y_px": nucleus.y,
        "centroid_x_px": nucleus.x,
        "area_px": nucleus.area,
        "perimeter_px": nucleus.perimeter,
        "eccentricity": nucleus.eccentricity,
        "mean_haematoxylin": nucleus.haematoxylin,
        "mean_eosin": nucleus.eosin,
        "predicted_iou": nucleus.predicted_iou,
        "stability": nucleus.stability,
        "score": nucleus.score,
    }
    if mpp is not None:
        row |= {
            "centroid_y_um": nucleus.y * mpp,
            "centroid_x_um": nucleus.x * mpp,
            "area_um2": nucleus.area * mpp**2,
            "perimeter_um": nucleus.perimeter * mpp,
        }
    return row


def _rounded(value: Any) -> str:
    return str(value) if isinstance(value, int) else f"{value:.6g}"


_EXAMPLE = Nucleus(1, 0.0, 0.0, 1, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0)

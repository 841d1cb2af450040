from __future__ import annotations

import csv
import errno
from collections.abc import Sequence
from pathlib import Path

import pytest

from napari_sprout.core.instances import Nucleus
from napari_sprout.errors import OutputError, SettingsError
from napari_sprout.io.nuclei_table import write_nuclei_table

NUCLEI = [
    Nucleus(12, 100.123456, 7.5, 400, 71.98765432, 0.5, 0.8123456789, 0.1, 0.93, 1.25, 0.875),
    Nucleus(3, 0.0, 12345.678, 2_000_000, 5000.0, 0.0, 1 / 3, 0.0, 1e-7, 0.0, 1.0),
]
PIXELS = [
    "id",
    "centroid_y_px",
    "centroid_x_px",
    "area_px",
    "perimeter_px",
    "eccentricity",
    "mean_haematoxylin",
    "mean_eosin",
    "predicted_iou",
    "stability",
    "score",
]
MICRONS = ["centroid_y_um", "centroid_x_um", "area_um2", "perimeter_um"]


def rows(path: Path) -> list[dict[str, str]]:
    with path.open(newline="", encoding="utf-8") as file:
        return list(csv.DictReader(file))


def test_one_row_per_nucleus_in_order(tmp_path: Path) -> None:
    write_nuclei_table(tmp_path / "a.csv", NUCLEI)
    first, second = rows(tmp_path / "a.csv")
    assert list(first) == PIXELS
    assert (first["id"], second["id"]) == ("12", "3")
    assert first["centroid_y_px"] == "100.123"
    assert first["perimeter_px"] == "71.9877"
    assert first["mean_haematoxylin"] == "0.812346"
    assert second["area_px"] == "2000000"
    assert float(second["predicted_iou"]) == 1e-7
    assert first["stability"] == "0.875"


def test_micrometres_follow_when_the_pixel_size_is_known(tmp_path: Path) -> None:
    write_nuclei_table(tmp_path / "a.csv", NUCLEI, mpp=0.5)
    first, _ = rows(tmp_path / "a.csv")
    assert list(first) == PIXELS + MICRONS
    assert float(first["centroid_x_um"]) == 3.75
    assert float(first["area_um2"]) == 100.0
    assert float(first["perimeter_um"]) == pytest.approx(35.9938)


@pytest.mark.parametrize(("mpp", "header"), [(None, PIXELS), (0.25, PIXELS + MICRONS)])
def test_without_nuclei_the_header_stands_alone(
    tmp_path: Path, mpp: float | None, header: Sequence[str]
) -> None:
    write_nuclei_table(tmp_path / "a.csv", [], mpp=mpp)
    assert (tmp_path / "a.csv").read_text() == ",".join(header) + "\n"


def test_a_failure_halfway_keeps_the_old_table(tmp_path: Path) -> None:
    class Interrupted(Sequence[Nucleus]):
        def __len__(self) -> int:
            return 2

        def __getitem__(self, index: int) -> Nucleus:  # type: ignore[override]
            if index:
                raise OSError(errno.ENOSPC, "No space left on device")
            return NUCLEI[0]

    (tmp_path / "a.csv").write_text("old")
    with pytest.raises(OutputError, match="free some space"):
        write_nuclei_table(tmp_path / "a.csv", Interrupted())
    assert (tmp_path / "a.csv").read_text() == "old"
    assert len(list(tmp_path.iterdir())) == 1


def test_a_senseless_pixel_size_is_refused(tmp_path: Path) -> None:
    with pytest.raises(SettingsError):
        write_nuclei_table(tmp_path / "a.csv", NUCLEI, mpp=0.0)

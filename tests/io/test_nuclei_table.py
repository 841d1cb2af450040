from __future__ import annotations

import csv
import dataclasses
import errno
from collections.abc import Sequence
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from pyarrow import parquet

from napari_sprout.core.instances import Nucleus
from napari_sprout.errors import ImageError, OutputError, SettingsError
from napari_sprout.io import nuclei_table
from napari_sprout.io.nuclei_table import (
    NucleiTableWriter,
    nuclei_batches,
    read_nuclei_table,
    write_nuclei_table,
)

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


# Whole slides: batch by batch, and back

numbers = st.floats(allow_nan=True, allow_infinity=False, width=64)
nuclei_lists = st.lists(
    st.builds(
        Nucleus,
        st.integers(1, 2**31 - 1),
        st.floats(0, 1e6),
        st.floats(0, 1e6),
        st.integers(1, 10**9),
        *[numbers] * 7,
    ),
    max_size=6,
)
here = settings(
    max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)


@here
@given(nuclei=nuclei_lists, mpp=st.none() | st.floats(0.01, 20))
def test_parquet_keeps_every_digit(
    tmp_path: Path, nuclei: list[Nucleus], mpp: float | None
) -> None:
    write_nuclei_table(tmp_path / "a.parquet", nuclei, mpp)
    read = read_nuclei_table(tmp_path / "a.parquet")
    # NaN is nothing's equal.
    assert list(map(repr, read.nuclei)) == list(map(repr, nuclei))
    assert read.mpp == mpp


@here
@given(nuclei=nuclei_lists, mpp=st.none() | st.floats(0.01, 20))
def test_csv_keeps_six_digits(tmp_path: Path, nuclei: list[Nucleus], mpp: float | None) -> None:
    write_nuclei_table(tmp_path / "a.csv", nuclei, mpp)
    read = read_nuclei_table(tmp_path / "a.csv")
    for before, after in zip(nuclei, read.nuclei, strict=True):
        assert (after.id, after.area) == (before.id, before.area)
        values = dataclasses.astuple(after)
        assert values == pytest.approx(dataclasses.astuple(before), rel=5e-6, abs=0, nan_ok=True)
    if nuclei and mpp is not None:
        assert read.mpp == pytest.approx(mpp, rel=1e-4)
    else:
        assert read.mpp is None


def test_both_tables_have_the_same_columns(tmp_path: Path) -> None:
    for name in ("a.csv", "a.parquet"):
        write_nuclei_table(tmp_path / name, NUCLEI, 0.5)
    table = parquet.read_table(tmp_path / "a.parquet")
    assert table.column_names == PIXELS + MICRONS
    with (tmp_path / "a.csv").open() as file:
        assert next(csv.reader(file)) == PIXELS + MICRONS
    assert table["area_um2"].to_pylist() == [100.0, 500_000.0]
    assert str(table.schema.field("id").type) == "int64"


@pytest.mark.parametrize("name", ["a.csv", "a.parquet"])
def test_batches_make_no_difference(
    tmp_path: Path, name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(nuclei_table, "_ROWS", 4)
    many = [dataclasses.replace(NUCLEI[0], id=ident) for ident in range(1, 31)]
    made = []
    for size in (1, 3, 30):
        with NucleiTableWriter(tmp_path / name, 0.25) as table:
            for start in range(0, len(many), size):
                table.add(iter(many[start : start + size]))
        made.append((tmp_path / name).read_bytes())
    assert made[0] == made[1] == made[2]
    batches = list(nuclei_batches(tmp_path / name))
    assert max(map(len, batches)) <= 4
    assert [one.id for batch in batches for one in batch] == [one.id for one in many]


@pytest.mark.parametrize("name", ["a.csv", "a.parquet"])
def test_an_interruption_keeps_the_old_table(tmp_path: Path, name: str) -> None:
    (tmp_path / name).write_text("old")

    def interrupted() -> None:
        with NucleiTableWriter(tmp_path / name) as table:
            table.add(NUCLEI)
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        interrupted()
    assert (tmp_path / name).read_text() == "old"
    assert len(list(tmp_path.iterdir())) == 1


def test_another_ending_is_refused(tmp_path: Path) -> None:
    with pytest.raises(OutputError, match=r"\.csv or \.parquet"):
        write_nuclei_table(tmp_path / "a.xlsx", NUCLEI)
    with pytest.raises(ImageError, match=r"\.csv or \.parquet"):
        read_nuclei_table(tmp_path / "a.xlsx")


def test_a_table_of_another_program_needs_few_columns(tmp_path: Path) -> None:
    (tmp_path / "a.csv").write_text(
        "note,area_px,id,centroid_x_px,centroid_y_px\nmine,80.0,7,1.5,2.5\n"
    )
    ((nucleus,), mpp) = dataclasses.astuple(read_nuclei_table(tmp_path / "a.csv"))
    assert nucleus[:4] == (7, 2.5, 1.5, 80)
    assert mpp is None


@pytest.mark.parametrize(
    ("name", "content"),
    [
        ("a.csv", b""),
        ("a.csv", b"a,b\n1,2\n"),
        ("a.csv", b"id,centroid_y_px,centroid_x_px,area_px\n1,2,3,x\n"),
        ("a.csv", b"id,centroid_y_px,centroid_x_px,area_px\n0,2,3,4\n"),
        ("a.csv", b"id,centroid_y_px,centroid_x_px,area_px\n1.5,2,3,4\n"),
        ("a.csv", b"id,centroid_y_px,centroid_x_px,area_px\ninf,2,3,4\n"),
        ("a.csv", b"id,centroid_y_px,centroid_x_px,area_px\n1,2\n"),
        ("a.csv", b"\xff\xfe\x00"),
        ("a.parquet", b""),
        ("a.parquet", b"PAR1 and then nothing of it"),
    ],
)
def test_what_is_no_table_of_nuclei_is_refused(tmp_path: Path, name: str, content: bytes) -> None:
    path = tmp_path / name
    path.write_bytes(content)
    with pytest.raises(ImageError) as caught:
        read_nuclei_table(path)
    assert str(path) in str(caught.value)


def test_a_missing_table_is_refused(tmp_path: Path) -> None:
    for name in ("a.csv", "a.parquet"):
        with pytest.raises(ImageError, match="does not exist"):
            read_nuclei_table(tmp_path / name)

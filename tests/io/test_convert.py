from __future__ import annotations

import itertools
import json
import math
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import tifffile
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import array_shapes, arrays
from numpy.typing import NDArray

from napari_sprout.core.instances import Nucleus
from napari_sprout.errors import ImageError, OutputError, SettingsError, SproutError, SproutWarning
from napari_sprout.io import convert as module
from napari_sprout.io import label_sources
from napari_sprout.io.convert import Conversion, convert
from napari_sprout.io.geojson import Classification, write_geojson
from napari_sprout.io.label_pyramid import LabelPyramid
from napari_sprout.io.label_sources import open_labels
from napari_sprout.io.labels import read_labels, write_labels
from napari_sprout.io.nuclei_table import read_nuclei_table, write_nuclei_table

ENDINGS = (".tif", ".ome.tif", ".zarr", ".geojson", ".json", ".coco.json")

LABELS = np.zeros((40, 50), np.int32)
LABELS[3:9, 4:12] = 7
LABELS[5, 6] = 0
LABELS[20:30, 30:41] = 70_000
LABELS[38, 48] = 2


@pytest.fixture
def source(tmp_path: Path) -> Path:
    write_labels(tmp_path / "source.tif", LABELS, mpp=0.5, metadata={"image_sha256": "ab"})
    return tmp_path / "source.tif"


@pytest.fixture
def blockwise(monkeypatch: pytest.MonkeyPatch) -> None:
    """Small images are handled as large ones are."""
    monkeypatch.setattr(label_sources, "IN_MEMORY", 100)
    monkeypatch.setattr(label_sources, "_SIDE", 16)
    monkeypatch.setattr(module, "IN_MEMORY", 100)
    monkeypatch.setattr(module, "PYRAMID_FROM", 30)


def labels_in(path: Path, shape: tuple[int, int]) -> NDArray[np.int32]:
    with open_labels(path, shape) as opened:
        return np.asarray(opened.read(0, 0, *shape))


@settings(
    max_examples=15, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
@given(
    labels=arrays(
        np.int32,
        array_shapes(min_dims=2, max_dims=2, max_side=9),
        elements=st.sampled_from([0, 1, 2, 7000]),
    ).filter(np.any),
    order=st.permutations(ENDINGS),
)
def test_labels_survive_a_journey_through_all_formats(
    tmp_path: Path, labels: NDArray[np.int32], order: list[str]
) -> None:
    write_labels(tmp_path / "start.tif", labels, mpp=0.5)
    before = tmp_path / "start.tif"
    for number, ending in enumerate(order):
        after = tmp_path / f"{number}{ending}"
        convert(Conversion(before, after, shape=labels.shape, mpp=0.5, overwrite=True))
        np.testing.assert_array_equal(labels_in(after, labels.shape), labels)
        before = after


@pytest.mark.parametrize(("first", "second"), [*itertools.permutations(ENDINGS, 2)])
def test_any_format_to_any_other(
    tmp_path: Path, source: Path, blockwise: None, first: str, second: str
) -> None:
    one, other = tmp_path / f"a{first}", tmp_path / f"b{second}"
    shape = (40, 50)
    assert convert(Conversion(source, one)) == 3
    assert convert(Conversion(one, other, shape=shape)) == 3
    np.testing.assert_array_equal(labels_in(other, shape), LABELS)
    with open_labels(other) as opened:
        stated = second in (".tif", ".ome.tif", ".zarr", ".coco.json")
        kept = first not in (".geojson", ".json")
        assert opened.mpp == (0.5 if stated and kept else None)


@pytest.mark.parametrize("ending", [".csv", ".parquet"])
def test_labels_are_measured(tmp_path: Path, source: Path, blockwise: None, ending: str) -> None:
    convert(Conversion(source, tmp_path / f"a{ending}"))
    table = read_nuclei_table(tmp_path / f"a{ending}")
    found = {one.id: one for one in table.nuclei}
    assert table.mpp == 0.5
    assert (found[70_000].y, found[70_000].x, found[70_000].area) == (24.5, 35, 110)
    assert math.isnan(found[7].haematoxylin)


def test_measurements_of_a_table_go_along(tmp_path: Path, source: Path) -> None:
    known = Nucleus(7, 0.0, 0.0, 1, 0.0, 0.0, 0.75, 0.25, 0.5, 1.5)
    write_nuclei_table(tmp_path / "known.parquet", [known])
    order = Conversion(source, tmp_path / "a.geojson", measurements=tmp_path / "known.parquet")
    convert(order)
    convert(Conversion(tmp_path / "a.geojson", tmp_path / "a.csv", mpp=0.5))
    found = {one.id: one for one in read_nuclei_table(tmp_path / "a.csv").nuclei}
    assert (found[7].haematoxylin, found[7].score, found[7].area) == (0.75, 1.5, 47)
    assert math.isnan(found[2].eosin)


@pytest.mark.parametrize(("first", "second"), [(".csv", ".parquet"), (".parquet", ".csv")])
def test_tables_become_tables(tmp_path: Path, source: Path, first: str, second: str) -> None:
    one, other = tmp_path / f"a{first}", tmp_path / f"b{second}"
    convert(Conversion(source, one))
    assert convert(Conversion(one, other)) == 3
    tables = read_nuclei_table(one), read_nuclei_table(other)
    assert tables[0].mpp == tables[1].mpp == 0.5
    for before, after in zip(*(table.nuclei for table in tables), strict=True):
        assert (after.id, after.area) == (before.id, before.area)
        assert after.perimeter == pytest.approx(before.perimeter, rel=1e-5)


def test_metadata_stay_in_label_tiffs(tmp_path: Path, source: Path) -> None:
    convert(Conversion(source, tmp_path / "a.tif", pyramid=True))
    assert read_labels(tmp_path / "a.tif").metadata == {"image_sha256": "ab"}


@pytest.mark.parametrize(
    ("shape", "asked", "levels"),
    [((60, 4097), None, 4), ((60, 4096), None, 1), ((60, 4097), False, 1), ((60, 1100), True, 2)],
)
def test_large_label_tiffs_get_coarser_levels(
    tmp_path: Path, shape: tuple[int, int], asked: bool | None, levels: int
) -> None:
    write_labels(tmp_path / "source.tif", np.ones(shape, np.int32))
    convert(Conversion(tmp_path / "source.tif", tmp_path / "a.ome.tif", pyramid=asked))
    with tifffile.TiffFile(tmp_path / "a.ome.tif") as file:
        assert len(file.series[0].levels) == levels


def test_qupath_gets_class_cells_and_simpler_outlines(tmp_path: Path, source: Path) -> None:
    order = Conversion(
        source,
        tmp_path / "a.geojson",
        classification=Classification("Tumour"),
        object_type="cell",
        simplify_um=0.5,
    )
    convert(order)
    features = json.loads(order.target.read_text())["features"]
    assert {one["properties"]["classification"]["name"] for one in features} == {"Tumour"}
    assert all("nucleusGeometry" in one for one in features)
    with pytest.raises(SettingsError, match="--mpp"):
        convert(Conversion(order.target, tmp_path / "b.geojson", simplify_um=0.5))


def test_the_version_of_ome_zarr_can_be_chosen(tmp_path: Path, source: Path) -> None:
    for version, name in (("0.4", ".zattrs"), ("0.5", "zarr.json")):
        convert(Conversion(source, tmp_path / f"{version}.zarr", version=version))  # type: ignore[arg-type]
        assert (tmp_path / f"{version}.zarr" / name).exists()


def test_shapes_outside_the_image_are_told_of(tmp_path: Path) -> None:
    labels = np.zeros((9, 9), np.int32)
    labels[1, 1], labels[7, 7] = 1, 2
    write_geojson(tmp_path / "a.geojson", labels, [])
    with pytest.warns(SproutWarning, match="1 of the 2 shapes"):
        assert convert(Conversion(tmp_path / "a.geojson", tmp_path / "a.tif", shape=(4, 4))) == 1


# What cannot be done is said, and nothing is lost


@pytest.mark.parametrize("name", ["a.tif", "a.zarr", "a.geojson", "a.coco.json", "a.csv"])
def test_what_is_there_stays_unless_it_may_be_replaced(
    tmp_path: Path, source: Path, name: str
) -> None:
    target = tmp_path / name
    convert(Conversion(source, target))
    write_labels(tmp_path / "other.tif", np.eye(30, dtype=np.int32))
    with pytest.raises(OutputError, match="--overwrite"):
        convert(Conversion(tmp_path / "other.tif", target))
    before = {p: p.read_bytes() for p in [target, *target.rglob("*")] if p.is_file()}
    write_geojson(tmp_path / "outside.geojson", LABELS, [])
    with pytest.raises(ImageError, match="None of the 3"):
        convert(Conversion(tmp_path / "outside.geojson", target, shape=(2, 2), overwrite=True))
    assert before == {p: p.read_bytes() for p in [target, *target.rglob("*")] if p.is_file()}
    assert convert(Conversion(tmp_path / "other.tif", target, overwrite=True)) == 1
    assert not [path for path in tmp_path.iterdir() if path.name.startswith(".")]


@pytest.mark.parametrize("name", ["a.tif", "a.zarr", "a.geojson", "a.coco.json", "a.parquet"])
def test_an_interruption_leaves_nothing_behind(
    tmp_path: Path, source: Path, blockwise: None, name: str
) -> None:
    def stop(fraction: float) -> None:
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        convert(Conversion(source, tmp_path / name), stop)
    assert list(tmp_path.iterdir()) == [source]


def test_a_file_is_not_converted_onto_itself(tmp_path: Path, source: Path) -> None:
    before = source.read_bytes()
    with pytest.raises(OutputError, match="another name"):
        convert(Conversion(source, source, overwrite=True))
    assert source.read_bytes() == before


def test_a_table_holds_no_outlines(tmp_path: Path, source: Path) -> None:
    convert(Conversion(source, tmp_path / "a.csv"))
    with pytest.raises(OutputError, match="holds no outlines"):
        convert(Conversion(tmp_path / "a.csv", tmp_path / "a.tif"))


@pytest.mark.parametrize("name", ["a.xlsx", "a", "tif", "a.png"])
def test_an_unknown_ending_is_refused_with_those_there_are(
    tmp_path: Path, source: Path, name: str
) -> None:
    with pytest.raises(OutputError, match=r"\.geojson for QuPath"):
        convert(Conversion(source, tmp_path / name))


@pytest.mark.parametrize("name", ["none.tif", "none.zarr", "none.geojson", "none.csv"])
def test_a_missing_source_is_named(tmp_path: Path, name: str) -> None:
    with pytest.raises(ImageError, match="does not exist") as caught:
        convert(Conversion(tmp_path / name, tmp_path / "a.parquet"))
    assert str(tmp_path / name) in str(caught.value)


@pytest.mark.parametrize(
    ("library", "name"),
    [
        ("zarr", "a.zarr"),
        ("pyarrow.parquet", "a.parquet"),
        ("pycocotools.mask", "a.coco.json"),
        ("shapely", "a.geojson"),
    ],
)
def test_a_library_that_is_missing_is_named(
    tmp_path: Path, source: Path, library: str, name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, library, None)
    with pytest.raises(SproutError, match=r"pip install 'napari-sprout\[slides\]'"):
        convert(Conversion(source, tmp_path / name, simplify_um=0.5))
    assert list(tmp_path.iterdir()) == [source]


MEMORY = """
import resource, sys
from pathlib import Path
from napari_sprout.io.convert import Conversion, convert
for target in sys.argv[2:]:
    convert(Conversion(Path(sys.argv[1]), Path(target), mpp=0.25, overwrite=True))
print(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss)
"""


def test_memory_does_not_grow_with_the_slide(tmp_path: Path) -> None:
    peaks = []
    for side in (4096, 12288):
        path = tmp_path / f"{side}.zarr"
        pyramid = LabelPyramid.create(path, (side, side), 0.25)
        labels = np.zeros((1024, 1024), np.uint32)
        labels[100:130, 1000:] = 1
        for number, (y, x, _, _) in enumerate(pyramid.blocks(side=1024)):
            if number % 5 == 0:
                pyramid.write(y, x, labels * (number + 1))
        pyramid.finish()
        targets = [str(tmp_path / f"a{ending}") for ending in (".parquet", ".ome.tif")]
        run = subprocess.run(
            [sys.executable, "-c", MEMORY, str(path), *targets],
            check=True,
            capture_output=True,
            timeout=300,
        )
        peaks.append(int(run.stdout) / 1024)
    # The larger one has 600 MB of labels.
    assert peaks[1] < peaks[0] + 150

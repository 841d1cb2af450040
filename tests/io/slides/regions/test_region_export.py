"""All regions of a slide as one result."""

from __future__ import annotations

import csv
import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from napari_sprout.core.correction import Correction
from napari_sprout.core.edits import RemoveNuclei
from napari_sprout.errors import ProjectError, StoppedError
from napari_sprout.io import history
from napari_sprout.io.geojson_reader import read_geojson
from napari_sprout.io.label_pyramid import LabelPyramid
from napari_sprout.io.project import Project
from napari_sprout.io.slides import region_export
from napari_sprout.io.slides.region_export import export_regions
from napari_sprout.io.slides.region_results import keep_result
from napari_sprout.io.slides.regions import SlideRegions

LEFT, RIGHT = (0, 0, 256, 220), (0, 150, 256, 384)
SHAPE = (256, 384)
WorkOn = Callable[..., tuple[Project, Correction]]


@pytest.fixture(autouse=True)
def small_blocks(monkeypatch: pytest.MonkeyPatch) -> None:
    """Paint in many steps, though the slide is small."""
    monkeypatch.setattr(region_export, "CHUNK", 64)
    monkeypatch.setattr(region_export, "BLOCK", 128)


def labels_in(folder: Path) -> NDArray[Any]:
    pyramid = LabelPyramid.open(folder / "case_labels.ome.zarr")
    assert pyramid.shape == SHAPE
    assert pyramid.mpp == pytest.approx(0.25)
    return np.asarray(pyramid.read(0, 0, 0, *SHAPE))


def rows_in(folder: Path) -> list[dict[str, str]]:
    with (folder / "case_nuclei.csv").open() as file:
        return list(csv.DictReader(file))


def done(work_on: WorkOn, *boxes: tuple[int, int, int, int]) -> list[NDArray[np.int32]]:
    """Segment some regions, and return their labels."""
    found = []
    for box in boxes:
        project, correction = work_on(box)
        keep_result(project, correction)
        found.append(correction.labels.copy())
        project.close()
    return found


def test_one_region_is_where_it_was_on_the_slide(
    regions: SlideRegions, work_on: WorkOn, tmp_path: Path
) -> None:
    box = (32, 64, 192, 256)
    (own,) = done(work_on, box)
    result = export_regions(regions, tmp_path / "out")
    labels = labels_in(tmp_path / "out")
    assert np.array_equal(labels[32:192, 64:256] > 0, own > 0)
    assert np.count_nonzero(labels) == np.count_nonzero(own)
    rows = rows_in(tmp_path / "out")
    assert len(rows) == result.nuclei == len(np.unique(own)) - 1
    for row in rows:
        inside = np.argwhere(labels == int(row["id"]))
        assert len(inside) == int(row["area_px"])
        centre = [float(row["centroid_y_px"]), float(row["centroid_x_px"])]
        assert inside.mean(axis=0) == pytest.approx(centre, abs=0.01)


def test_all_files_tell_the_same_and_no_nucleus_counts_twice(
    regions: SlideRegions, work_on: WorkOn, tmp_path: Path
) -> None:
    left, right = done(work_on, LEFT, RIGHT)
    result = export_regions(regions, tmp_path / "out")
    labels = labels_in(tmp_path / "out")
    assert result.regions == 2
    assert len(np.unique(labels)) - 1 == result.nuclei == len(rows_in(tmp_path / "out"))
    outlines = tmp_path / "out" / "case_nuclei.geojson"
    assert np.array_equal(read_geojson(outlines, SHAPE), labels)
    features = json.loads(outlines.read_text())["features"]
    assert len({one["id"] for one in features}) == result.nuclei
    # Both show the overlap, and there as much is nucleus as either says, not the sum.
    both = slice(150, 220)
    areas = [np.count_nonzero(one) for one in (labels[:, both], left[:, both], right[:, :70])]
    assert 0 < areas[0] < 0.75 * (areas[1] + areas[2])
    # Where only one region is, its nuclei are there.
    assert np.array_equal(labels[:, :120] > 0, left[:, :120] > 0)
    assert np.array_equal(labels[:, 250:] > 0, right[:, 100:] > 0)


def test_regions_made_in_another_order_give_the_same_files(
    regions: SlideRegions, work_on: WorkOn, tmp_path: Path
) -> None:
    done(work_on, LEFT, RIGHT)
    export_regions(regions, tmp_path / "first")
    shutil.rmtree(regions.folder)
    done(work_on, RIGHT, LEFT)
    export_regions(regions, tmp_path / "second")
    assert np.array_equal(labels_in(tmp_path / "first"), labels_in(tmp_path / "second"))
    for name in ("case_nuclei.csv", "case_nuclei.geojson"):
        first, second = tmp_path / "first" / name, tmp_path / "second" / name
        assert first.read_bytes() == second.read_bytes()


def test_work_that_was_cut_short_is_in_the_sum(
    regions: SlideRegions, work_on: WorkOn, tmp_path: Path, fake_type: Any
) -> None:
    project, correction = work_on(LEFT)
    history.apply(project, correction, RemoveNuclei((int(correction.labels.max()),)))
    own = correction.labels.copy()
    project.close()
    export_regions(regions, tmp_path / "out", segmenter=fake_type())
    assert np.array_equal(labels_in(tmp_path / "out")[:, :220] > 0, own > 0)


def test_regions_without_nuclei_are_left_out(
    regions: SlideRegions, work_on: WorkOn, tmp_path: Path
) -> None:
    work_on(RIGHT, run=False)[0].close()
    with pytest.raises(ProjectError, match="No region"):
        export_regions(regions, tmp_path / "out")
    assert not (tmp_path / "out").exists()
    done(work_on, LEFT)
    assert export_regions(regions, tmp_path / "out").regions == 1


def test_an_earlier_export_is_replaced_whole_or_stays_as_it_was(
    regions: SlideRegions, work_on: WorkOn, tmp_path: Path
) -> None:
    out = tmp_path / "out"
    done(work_on, LEFT)
    export_regions(regions, out)
    before = labels_in(out)
    names = {path.name for path in out.iterdir()}

    def stop(share: float, what: str) -> None:
        if share > 0.85:
            raise StoppedError("enough")

    done(work_on, RIGHT)
    with pytest.raises(StoppedError):
        export_regions(regions, out, progress=stop)
    assert np.array_equal(labels_in(out), before)
    assert {path.name for path in out.iterdir()} == names
    export_regions(regions, out)
    assert not np.array_equal(labels_in(out), before)
    assert {path.name for path in out.iterdir()} == names


def test_only_what_is_asked_for_is_written(
    regions: SlideRegions, work_on: WorkOn, tmp_path: Path
) -> None:
    done(work_on, LEFT)
    result = export_regions(regions, tmp_path / "out", ["csv"])
    assert [path.name for path in result.paths] == ["case_nuclei.csv"]
    assert [path.name for path in (tmp_path / "out").iterdir()] == ["case_nuclei.csv"]

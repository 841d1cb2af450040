from __future__ import annotations

import csv
import errno
import json
import os
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import skimage.io
from numpy.typing import NDArray

from napari_sprout.core.instances import Nucleus
from napari_sprout.errors import ImageError, OutputError
from napari_sprout.io.coco import read_coco
from napari_sprout.io.export import FORMATS, Results, export, export_file
from napari_sprout.io.geojson_reader import read_geojson
from napari_sprout.io.label_pyramid import LabelPyramid
from napari_sprout.io.labels import read_labels
from napari_sprout.io.nuclei_table import read_nuclei_table

NUCLEUS = Nucleus(7, 12.0, 9.0, 80, 30.0, 0.5, 0.8, 0.1, 0.9, 1.25, 0.75)


@pytest.fixture
def results(he: NDArray[np.uint8]) -> Results:
    labels = np.zeros(he.shape[:2], np.int32)
    labels[8:16, 4:14] = 7
    return Results(labels, [NUCLEUS], he, 0.5, {"image_sha256": "ab", "seed": 3})


def names(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir())


def test_every_format_is_written_and_says_the_same(tmp_path: Path, results: Results) -> None:
    paths = export(tmp_path, "case", results)
    assert sorted(path.name for path in paths) == names(tmp_path)
    assert names(tmp_path) == [
        "case_labels.tif",
        "case_nuclei.csv",
        "case_nuclei.geojson",
        "case_overlay.png",
    ]
    read = read_labels(tmp_path / "case_labels.tif")
    assert np.array_equal(read.labels, results.labels)
    assert (read.mpp, read.metadata) == (0.5, results.metadata)
    outlines = read_geojson(tmp_path / "case_nuclei.geojson", results.labels.shape)
    assert np.array_equal(outlines, results.labels)
    with (tmp_path / "case_nuclei.csv").open(newline="", encoding="utf-8") as file:
        (row,) = csv.DictReader(file)
    assert (row["id"], row["area_um2"]) == ("7", "20")
    drawn = (skimage.io.imread(tmp_path / "case_overlay.png") != results.rgb).any(-1)
    assert drawn.any()
    assert not (drawn & (results.labels == 0)).any()


@pytest.mark.parametrize("form", FORMATS)
def test_what_was_not_asked_for_is_not_touched(tmp_path: Path, results: Results, form: str) -> None:
    paths = export(tmp_path, "case", results)
    for path in paths:
        path.write_bytes(b"old")
    (written,) = export(tmp_path, "case", results, {form})
    assert [path for path in paths if path.read_bytes() != b"old"] == [written]


def test_outlines_are_half_a_micrometre_wide(tmp_path: Path, results: Results) -> None:
    drawn = []
    for mpp in (0.5, 0.25, 0.1):
        (path,) = export(tmp_path, "case", replace(results, mpp=mpp), ["overlay"])
        drawn.append(np.count_nonzero((skimage.io.imread(path) != results.rgb).any(-1)))
    # A frame of 8 x 10 px that is 1, 2 and (filled) 5 px wide.
    assert drawn == [32, 56, 80]


def test_an_export_that_fails_leaves_every_earlier_file_as_it_was(
    tmp_path: Path, results: Results
) -> None:
    paths = export(tmp_path, "case", results)
    before = {path: path.read_bytes() for path in paths}
    assert results.rgb is not None
    with pytest.raises(ImageError, match="do not fit"):
        export(tmp_path, "case", replace(results, labels=results.labels[:-1]))
    assert {path: path.read_bytes() for path in sorted(tmp_path.iterdir())} == before


def test_a_disk_that_fills_up_names_the_file_and_leaves_nothing_new(
    tmp_path: Path, results: Results, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(descriptor: int) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(
        OutputError, match=r"case_nuclei\.csv' could not be written: the disk is full"
    ):
        export(tmp_path, "case", results)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    ("name", "form"),
    [
        ("mine.TIF", "labels"),
        ("mine.tiff", "labels"),
        ("mine.png", "overlay"),
        ("mine.csv", "csv"),
        ("mine.geojson", "geojson"),
        ("mine.json", "geojson"),
    ],
)
def test_a_single_file_holds_what_its_ending_says(
    tmp_path: Path, results: Results, name: str, form: str
) -> None:
    (expected,) = export(tmp_path, "case", results, [form])
    export_file(tmp_path / name, results)
    assert (tmp_path / name).read_bytes() == expected.read_bytes()


def test_a_single_file_may_be_parquet_coco_or_ome_zarr(tmp_path: Path, results: Results) -> None:
    for name in ("mine.parquet", "mine.coco.json", "mine.ome.zarr", "mine.ome.zarr"):
        export_file(tmp_path / name, results)
    assert names(tmp_path) == ["mine.coco.json", "mine.ome.zarr", "mine.parquet"]
    assert read_nuclei_table(tmp_path / "mine.parquet").nuclei == (NUCLEUS,)
    assert np.array_equal(read_coco(tmp_path / "mine.coco.json"), results.labels)
    pyramid = LabelPyramid.open(tmp_path / "mine.ome.zarr")
    assert pyramid.mpp == results.mpp
    assert np.array_equal(pyramid.read(0, 0, 0, *results.labels.shape), results.labels)


def test_an_unknown_ending_is_refused_with_those_there_are(
    tmp_path: Path, results: Results
) -> None:
    with pytest.raises(OutputError, match=r"\.geojson for QuPath") as caught:
        export_file(tmp_path / "mine.xlsx", results)
    assert str(tmp_path / "mine.xlsx") in str(caught.value)
    assert names(tmp_path) == []


def test_an_unknown_format_is_refused_before_anything_is_written(
    tmp_path: Path, results: Results
) -> None:
    with pytest.raises(OutputError, match="no format 'excel'"):
        export(tmp_path, "case", results, ["csv", "excel"])
    assert names(tmp_path) == []


def test_outlines_need_the_image(tmp_path: Path, results: Results) -> None:
    without = replace(results, rgb=None)
    with pytest.raises(OutputError, match="the image, which is not at hand"):
        export_file(tmp_path / "mine.png", without)
    export(tmp_path, "case", without, ["labels", "csv", "geojson"])
    assert len(names(tmp_path)) == 3


def test_qupaths_identifiers_belong_to_the_image(tmp_path: Path, results: Results) -> None:
    def ident(changed: Results) -> str:
        export_file(tmp_path / "mine.geojson", changed)
        text = (tmp_path / "mine.geojson").read_text(encoding="utf-8")
        found: str = json.loads(text)["features"][0]["id"]
        return found

    assert results.rgb is not None
    unknown = replace(results, metadata={})
    assert ident(results) == ident(replace(results, mpp=None))
    assert ident(unknown) == ident(replace(unknown, mpp=None))
    assert ident(unknown) != ident(replace(unknown, rgb=255 - results.rgb))


@pytest.mark.skipif(os.name == "nt", reason="permissions differ")
def test_nothing_is_replaced_if_one_file_is_write_protected(
    tmp_path: Path, results: Results, monkeypatch: pytest.MonkeyPatch
) -> None:
    paths = export(tmp_path, "case", results)
    for path in paths:
        path.write_bytes(b"old")
    access = os.access
    monkeypatch.setattr(os, "access", lambda path, mode: path != paths[-1] and access(path, mode))
    with pytest.raises(OutputError, match=r"case_labels\.tif' is write-protected"):
        export(tmp_path, "case", results)
    assert {path.read_bytes() for path in paths} == {b"old"}


def test_a_missing_folder_is_refused(tmp_path: Path, results: Results) -> None:
    with pytest.raises(OutputError, match="folder does not exist"):
        export(tmp_path / "none", "case", results)

from __future__ import annotations

import json

import numpy as np
import pytest
import tifffile

from napari_sprout.io.label_pyramid import LabelPyramid
from napari_sprout.io.labels import read_labels, write_labels


@pytest.fixture
def labels():
    image = np.zeros((40, 50), np.int32)
    image[3:9, 4:12] = 7
    image[20:30, 30:41] = 9
    return image


@pytest.fixture
def source(tmp_path, labels):
    write_labels(tmp_path / "a.tif", labels, mpp=0.5)
    return tmp_path / "a.tif"


def test_labels_go_to_qupath_and_back(run, tmp_path, source, labels):
    result = run("convert", source, tmp_path / "a.geojson", "--classification", "Tumour")
    assert result.exit_code == 0, result.output
    assert "2 nuclei written to" in result.output
    text = (tmp_path / "a.geojson").read_text(encoding="utf-8")
    assert json.loads(text)["features"][0]["properties"]["classification"]["name"] == "Tumour"
    back = ("convert", tmp_path / "a.geojson", tmp_path / "b.ome.tif", "--mpp", "0.5")
    assert run(*back, "--image-size", "40x50", "-q").output == ""
    read = read_labels(tmp_path / "b.ome.tif")
    np.testing.assert_array_equal(read.labels, labels)
    assert read.mpp == 0.5


def test_the_image_gives_size_and_pixel_size(run, tmp_path, source, labels):
    run("convert", source, tmp_path / "a.geojson")
    rgb = np.full((40, 50, 3), 255, np.uint8)
    per_cm = (1e4 / 0.25,) * 2
    tifffile.imwrite(
        tmp_path / "he.tif", rgb, photometric="rgb", resolution=per_cm, resolutionunit="CENTIMETER"
    )
    result = run(
        "convert", tmp_path / "a.geojson", tmp_path / "a.zarr", "--like", tmp_path / "he.tif"
    )
    assert result.exit_code == 0, result.output
    pyramid = LabelPyramid.open(tmp_path / "a.zarr")
    assert (pyramid.shape, pyramid.mpp) == ((40, 50), 0.25)
    np.testing.assert_array_equal(pyramid.read(0, 0, 0, 40, 50), labels)


def test_nothing_is_replaced_unasked(run, tmp_path, source):
    (tmp_path / "a.csv").write_text("old")
    result = run("convert", source, tmp_path / "a.csv")
    assert result.exit_code == 1
    assert "--overwrite" in result.stderr
    assert (tmp_path / "a.csv").read_text() == "old"
    assert run("convert", source, tmp_path / "a.csv", "--overwrite").exit_code == 0
    assert (tmp_path / "a.csv").read_text().startswith("id,")


@pytest.mark.parametrize(
    ("options", "said"),
    [
        (["--image-size", "40"], "height x width"),
        (["--image-size", "0x5"], "height x width"),
        (["--image-size", "40x51"], "is 50 x 40 px, not 51 x 40 px"),
        (["--mpp", "0"], "pixel size"),
        (["--simplify", "-1"], "0 or more pixels"),
        (["--like", "none.svs"], "none.svs' does not exist"),
        (["--measurements", "none.csv"], "none.csv' does not exist"),
    ],
)
def test_what_cannot_be_is_said_in_one_line(run, tmp_path, source, options, said):
    result = run("convert", source, tmp_path / "a.geojson", *options)
    assert result.exit_code == 1
    assert said in result.stderr
    assert len([line for line in result.stderr.splitlines() if "error" in line]) == 1
    assert not (tmp_path / "a.geojson").exists()


def test_options_that_there_are_not_end_with_2(run, tmp_path, source):
    for options in (["--object-type", "blob"], ["--zarr-version", "0.3"]):
        assert run("convert", source, tmp_path / "a.geojson", *options).exit_code == 2

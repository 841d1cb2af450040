from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import tifffile
from napari.components import ViewerModel
from napari.layers import Image, Labels, Layer
from npe2 import PluginManager, io_utils

from napari_sprout.core.labels import measure
from napari_sprout.errors import ImageError, ProjectError
from napari_sprout.io.geojson import write_geojson
from napari_sprout.io.images import read_image
from napari_sprout.io.labels import write_labels
from napari_sprout.io.overlay import write_png
from napari_sprout.io.project import Project
from napari_sprout.napari_.image_layer import pixel_size_of
from napari_sprout.napari_.readers import PROJECT, image_reader, outline_reader, project_reader

PLUGIN = "napari-sprout"


@pytest.fixture(autouse=True)
def installed() -> None:
    """Let napari know of the plugins that are installed, as its window does when it opens."""
    PluginManager.instance().discover()


@pytest.fixture
def rgb(synthetic):
    return synthetic.rgb


@pytest.fixture
def labels(synthetic):
    return synthetic.labels.astype(np.int32)


def opened(path: Path) -> Layer:
    """Open a file as a person does who chooses this plugin for it."""
    (layer,) = ViewerModel().open(path, plugin=PLUGIN)
    return layer


def test_an_image_opens_with_its_pixel_size_and_its_file(tmp_path, rgb):
    path = tmp_path / "case 7.ome.tif"
    options = {"resolution": (20000, 20000), "resolutionunit": "CENTIMETER"}
    tifffile.imwrite(path, rgb, photometric="rgb", **options)
    layer = opened(path)
    assert isinstance(layer, Image)
    assert layer.rgb
    assert layer.name == "case 7"
    np.testing.assert_array_equal(layer.data, rgb)
    assert tuple(layer.scale) == (0.5, 0.5)
    assert {str(unit) for unit in layer.units} == {"micrometer"}
    assert pixel_size_of(layer) == 0.5
    assert layer.metadata["path"] == str(path)


@pytest.mark.parametrize("name", ["case.TIF", "case.tif", "case.tiff"])
def test_an_image_of_unknown_pixel_size_opens_in_pixels(tmp_path, rgb, name):
    path = tmp_path / name
    tifffile.imwrite(path, rgb, photometric="rgb")
    layer = opened(path)
    assert tuple(layer.scale) == (1, 1)
    assert pixel_size_of(layer) is None


def test_deep_colours_become_the_eight_bits_that_can_be_segmented(tmp_path, rgb):
    path = tmp_path / "deep.tif"
    tifffile.imwrite(path, rgb.astype(np.uint16) * 257, photometric="rgb")
    np.testing.assert_array_equal(opened(path).data, rgb)


@pytest.mark.parametrize(
    "pixels",
    [
        np.random.default_rng(0).poisson(300, (64, 64)).astype(np.uint16),
        np.random.default_rng(1).integers(0, 255, (64, 64), np.uint8),
        np.random.default_rng(2).normal(size=(64, 64)).astype(np.float32),
        np.zeros((5, 64, 64), np.uint16),
        np.zeros((64, 64), np.uint16),
    ],
    ids=["fluorescence", "grey", "decimal", "stack", "blank"],
)
def test_pictures_of_another_kind_are_left_to_other_readers(tmp_path, pixels):
    path = tmp_path / "other.tif"
    tifffile.imwrite(path, pixels, photometric="minisblack")
    assert image_reader(str(path)) is None
    with pytest.raises(ValueError, match="refused the file"):
        io_utils.read([str(path)], plugin_name=PLUGIN, stack=False)
    data, reader = io_utils.read_get_reader([str(path)], stack=False)
    assert reader.plugin_name == "napari"
    assert np.shape(data[0][0]) == pixels.shape


def test_several_files_to_be_stacked_are_left_to_other_readers(tmp_path, rgb):
    paths = [tmp_path / "1.png", tmp_path / "2.png"]
    for path in paths:
        write_png(path, rgb)
    for reader in (image_reader, outline_reader, project_reader):
        assert reader([str(path) for path in paths]) is None


def test_a_damaged_image_is_refused_with_a_sentence(tmp_path, rgb):
    path = tmp_path / "torn.tif"
    tifffile.imwrite(path, rgb, photometric="rgb")
    path.write_bytes(path.read_bytes()[:-2000])
    with pytest.raises(ImageError, match=r"torn.tif' is damaged or incomplete"):
        opened(path)


def test_our_label_image_opens_as_labels_with_its_pixel_size(tmp_path, labels):
    path = tmp_path / "case_labels.tif"
    write_labels(path, labels, mpp=0.25, metadata={"seed": 1})
    layer = opened(path)
    assert isinstance(layer, Labels)
    np.testing.assert_array_equal(layer.data, labels)
    assert tuple(layer.scale) == (0.25, 0.25)
    assert pixel_size_of(layer) == 0.25


@pytest.mark.parametrize("kind", [np.uint8, np.uint16, np.uint32, np.int32])
def test_label_images_of_other_programs_open_as_labels(tmp_path, labels, kind):
    path = tmp_path / "masks.tif"
    tifffile.imwrite(path, labels.astype(kind))
    layer = opened(path)
    assert isinstance(layer, Labels)
    np.testing.assert_array_equal(layer.data, labels)


def test_an_empty_label_image_of_ours_is_labels_still(tmp_path):
    path = tmp_path / "none_labels.tif"
    write_labels(path, np.zeros((40, 50), np.int32), metadata={"seed": 1})
    assert isinstance(opened(path), Labels)


def test_outlines_open_as_labels_as_large_as_they_need(tmp_path, labels):
    path = tmp_path / "case.geojson"
    write_geojson(path, labels, measure(labels, np.zeros((*labels.shape, 2)), {}, {}))
    layer = opened(path)
    assert isinstance(layer, Labels)
    height, width = layer.data.shape
    rows, columns = np.nonzero(labels)
    assert (height, width) == (rows.max() + 1, columns.max() + 1)
    np.testing.assert_array_equal(layer.data, labels[:height, :width])


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ('{"type": "FeatureCollection", "features": []}', "holds no outlines"),
        ('{"type": "Other"}', "not a GeoJSON file of shapes"),
        ("not JSON", "damaged or not a GeoJSON file"),
        (
            '{"type": "Polygon", "coordinates": [[[0, 0], [9e6, 0], [9e6, 9e6], [0, 0]]]}',
            "too large",
        ),
    ],
)
def test_outlines_that_cannot_be_read_are_refused_with_a_sentence(tmp_path, text, reason):
    path = tmp_path / "case.geojson"
    path.write_text(text, encoding="utf-8")
    with pytest.raises(ImageError, match=reason):
        opened(path)


@pytest.fixture
def project(tmp_path, rgb):
    path = tmp_path / "case.png"
    write_png(path, rgb)
    with Project.create(tmp_path / "case.sprout", read_image(path, 0.25)) as made:
        yield made


def test_a_project_opens_as_its_image_though_it_is_in_use(project, rgb):
    layer = opened(project.folder / "project.json")
    np.testing.assert_array_equal(layer.data, rgb)
    assert layer.name == "case"
    assert pixel_size_of(layer) == 0.25
    assert layer.metadata["path"] == str(project.image.path)
    assert layer.metadata[PROJECT] == str(project.folder)


def test_a_project_whose_image_was_changed_is_refused_with_a_sentence(project, rgb):
    write_png(project.image.path, 255 - rgb)
    with pytest.raises(ProjectError, match=r"case\.png"):
        opened(project.folder / "project.json")


def test_other_folders_are_left_to_other_readers(tmp_path):
    (tmp_path / "project.json").write_text("{}")
    assert project_reader(str(tmp_path)) is None
    assert project_reader(str(tmp_path / "project.json")) is None
    assert project_reader(str(tmp_path / "missing.sprout")) is None

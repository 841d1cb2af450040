from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import zarr
from napari.components import ViewerModel
from napari.layers import Image, Labels, Layer
from npe2 import PluginManager, io_utils

from napari_sprout.errors import ImageError
from napari_sprout.napari_.image_layer import is_colour_image, pixel_size_of
from napari_sprout.napari_.readers import SLIDE, image_reader, slide_reader
from slide_files import (
    Rgb,
    pattern,
    pyramid,
    write_dicom,
    write_ome_tiff,
    write_ome_zarr,
    write_svs,
    write_tiff,
)

PLUGIN = "napari-sprout"


@pytest.fixture(autouse=True)
def installed() -> None:
    """Let napari know of the plugins that are installed, as its window does when it opens."""
    PluginManager.instance().discover()


@pytest.fixture(scope="module")
def levels() -> list[Rgb]:
    return pyramid(pattern(1100, 1300))


def opened(path: Path) -> Layer:
    """Open a file as a person does who chooses this plugin for it."""
    (layer,) = ViewerModel().open(path, plugin=PLUGIN)
    return layer


@pytest.mark.parametrize(
    ("name", "write"),
    [
        ("case 7.svs", write_svs),
        ("case 7.ome.tif", write_ome_tiff),
        ("case 7.ome.zarr", write_ome_zarr),
    ],
)
def test_a_slide_opens_with_all_its_resolutions(tmp_path, levels, name, write):
    path = tmp_path / name
    write(path, levels, 0.5)
    layer = opened(path)
    assert isinstance(layer, Image)
    assert layer.multiscale
    assert is_colour_image(layer)
    assert layer.name == "case 7"
    assert tuple(layer.scale) == (0.5, 0.5)
    assert {str(unit) for unit in layer.units} == {"micrometer"}
    assert pixel_size_of(layer) == 0.5
    assert layer.metadata == {"path": str(path), "mpp": 0.5, SLIDE: str(path)}
    for shown, level in zip(layer.data, levels, strict=True):
        np.testing.assert_array_equal(np.asarray(shown), level)


def test_a_slide_of_unknown_pixel_size_opens_in_pixels(tmp_path, levels):
    path = tmp_path / "a.tif"
    write_tiff(path, levels)
    layer = opened(path)
    assert layer.multiscale
    assert tuple(layer.scale) == (1, 1)
    assert pixel_size_of(layer) is None


def test_the_files_of_a_dicom_slide_open_as_one(tmp_path, levels):
    write_dicom(tmp_path / "slide", levels, 0.5)
    layer = opened(tmp_path / "slide" / "level0.dcm")
    assert layer.metadata[SLIDE].endswith("level0.dcm")
    assert [one.shape for one in layer.data] == [level.shape for level in levels]


def test_a_slide_without_coarse_levels_is_a_picture_read_lazily(tmp_path, levels):
    path = tmp_path / "a.svs"
    write_svs(path, levels[:1], 0.5)
    layer = opened(path)
    assert not layer.multiscale
    assert SLIDE in layer.metadata
    assert not isinstance(layer.data, np.ndarray)


def test_a_truncated_slide_says_so(tmp_path, levels):
    path = tmp_path / "a.svs"
    write_svs(path, levels, 0.5)
    path.write_bytes(path.read_bytes()[:-1000])
    with pytest.raises(ImageError, match="damaged or incomplete"):
        slide_reader(str(path))


def test_other_ome_zarr_and_other_folders_are_left_to_others(tmp_path):
    fluorescence = tmp_path / "fluorescence.zarr"
    write_ome_zarr(fluorescence, [np.zeros((64, 64, 4), np.uint8)], 0.5)
    labels = tmp_path / "labels.zarr"
    group = zarr.open_group(str(labels), mode="w", zarr_format=2)
    group.create_array("0", shape=(64, 64), dtype="i4", chunks=(64, 64))
    axes = [{"name": name} for name in "yx"]
    group.attrs["multiscales"] = [{"axes": axes, "datasets": [{"path": "0"}]}]
    plain = tmp_path / "plain.zarr"
    zarr.create_array(str(plain), shape=(64, 64), dtype="u1")
    folder = tmp_path / "folder.zarr"
    folder.mkdir()
    for path in (fluorescence, labels, plain, folder, tmp_path / "missing.zarr"):
        assert slide_reader(str(path)) is None
    assert slide_reader([str(fluorescence)]) is None


def test_a_dicom_of_something_else_is_left_to_others(tmp_path, levels):
    path = tmp_path / "a.dcm"
    path.write_bytes(bytes(128) + b"DICM" + bytes(500))
    assert slide_reader(str(path)) is None


def test_napari_asks_this_plugin_for_slides(tmp_path, levels):
    names = ("a.svs", "a.ndpi", "a.mrxs", "a.scn", "a.bif", "a.vms", "a.btf", "a.dcm")
    for name in names:
        path = tmp_path / name
        path.touch()
        readers = PluginManager.instance().iter_compatible_readers([str(path)])
        assert "napari-sprout.read_slide" in {one.command for one in readers}
    folder = tmp_path / "a.zarr"
    write_ome_zarr(folder, levels, 0.5)
    readers = PluginManager.instance().iter_compatible_readers([str(folder)])
    assert "napari-sprout.read_slide" in {one.command for one in readers}


def test_small_images_are_held_in_memory_as_before(tmp_path, levels):
    path = tmp_path / "a.tif"
    write_tiff(path, levels[:1])
    ((data, options, kind),) = image_reader(str(path))(str(path))
    assert isinstance(data, np.ndarray)
    assert SLIDE not in options["metadata"]
    assert kind == "image"


def test_a_pyramid_of_labels_is_still_labels(tmp_path):
    labels = np.zeros((512, 512), np.uint16)
    labels[100:200, 100:200] = 7
    path = tmp_path / "a.tif"
    write_tiff(path, [labels, labels[::2, ::2]], photometric="minisblack")
    ((data, _, kind),), _ = io_utils.read_get_reader([str(path)], plugin_name=PLUGIN, stack=False)
    assert kind == "labels"
    np.testing.assert_array_equal(data, labels)
    assert isinstance(opened(path), Labels)

from __future__ import annotations

import csv
import json

import numpy as np
import pytest
from napari.components import ViewerModel
from npe2 import PluginManager

from napari_sprout.errors import OutputError
from napari_sprout.io.geojson_reader import read_geojson
from napari_sprout.io.labels import read_labels
from napari_sprout.napari_.writers import save_labels

PLUGIN = "napari-sprout"
TIFF = (".tif", ".tiff")


@pytest.fixture(autouse=True)
def installed() -> None:
    """Let napari know of the plugins that are installed, as its window does when it opens."""
    PluginManager.instance().discover()


@pytest.fixture
def labels(synthetic):
    return synthetic.labels.astype(np.int32)


def layer_of(data, **options):
    return ViewerModel().add_labels(data, **options)


def save(layer, path):
    """Save a layer as a person does who chooses one of this plugin's kinds of file."""
    return layer.save(str(path), plugin=PLUGIN)


@pytest.mark.parametrize("kind", [np.uint8, np.uint16, np.int32, np.uint32, np.int64])
def test_any_labels_layer_becomes_a_label_image_with_its_pixel_size(tmp_path, labels, kind):
    path = tmp_path / "mine.tif"
    layer = layer_of(labels.astype(kind), scale=(250, 250), units=("nm", "nm"))
    assert save(layer, path) == [str(path)]
    read = read_labels(path)
    np.testing.assert_array_equal(read.labels, labels)
    assert read.mpp == pytest.approx(0.25)
    assert read.metadata == {}


@pytest.mark.parametrize(
    "options",
    [{}, {"scale": (2, 2)}, {"scale": (1, 2), "units": ("um", "um")}, {"scale": (99, 99)}],
    ids=["pixels", "no unit", "uneven", "no microscope"],
)
def test_a_scale_that_is_no_pixel_size_is_left_out(tmp_path, labels, options):
    path = tmp_path / "mine.tif"
    save(layer_of(labels, **options), path)
    assert read_labels(path).mpp is None


def test_any_labels_layer_becomes_outlines_for_qupath(tmp_path, labels):
    path = tmp_path / "mine.geojson"
    save(layer_of(labels, scale=(0.5, 0.5), units=("um", "um")), path)
    np.testing.assert_array_equal(read_geojson(path, labels.shape), labels)
    first = json.loads(path.read_text())["features"][0]["properties"]
    area = np.count_nonzero(labels == int(first["name"]))
    assert first["measurements"]["Area px^2"] == area
    assert first["measurements"]["Area µm^2"] == area / 4
    assert not any("OD" in name for name in first["measurements"])


def test_any_labels_layer_becomes_a_table(tmp_path, labels):
    path = tmp_path / "mine.csv"
    save(layer_of(labels), path)
    with path.open(encoding="utf-8", newline="") as file:
        rows = list(csv.DictReader(file))
    assert [int(row["id"]) for row in rows] == sorted(set(np.unique(labels)) - {0})
    assert [int(row["area_px"]) for row in rows] == list(np.bincount(labels.ravel())[1:])
    assert {row["mean_haematoxylin"] for row in rows} == {"nan"}


def test_no_outlines_are_drawn_on_an_image_that_is_not_known(tmp_path, labels):
    path = tmp_path / "mine.png"
    with pytest.raises(OutputError, match="drawn on the image, which is not at hand"):
        save(layer_of(labels), path)
    assert not path.exists()


@pytest.mark.parametrize(
    ("data", "reason"),
    [
        (np.ones((3, 40, 50), np.int32), "no flat image"),
        (np.full((40, 50), -1, np.int32), "from -1 to -1"),
        (np.full((40, 50), 2**31, np.int64), "renumber"),
    ],
    ids=["stack", "negative", "large"],
)
def test_what_is_no_label_image_is_refused_with_a_sentence(tmp_path, data, reason):
    path = tmp_path / "mine.tif"
    path.write_text("what was there before")
    with pytest.raises(OutputError, match=reason):
        save(layer_of(data), path)
    assert path.read_text() == "what was there before"


def test_a_single_plane_of_a_stack_is_flat_enough(tmp_path, labels):
    path = tmp_path / "mine.tif"
    save(layer_of(labels[None]), path)
    np.testing.assert_array_equal(read_labels(path).labels, labels)


def test_a_folder_that_is_not_there_is_told_in_a_sentence(tmp_path, labels):
    with pytest.raises(OutputError, match="its folder does not exist"):
        save(layer_of(labels), tmp_path / "missing" / "mine.tif")


def test_a_name_without_ending_gets_one_but_replaces_nothing_unasked(tmp_path, labels):
    data, meta, _ = layer_of(labels).as_layer_data_tuple()
    written = save_labels(tmp_path / "Nuclei v1.2", data, meta, TIFF)
    assert written == [str(tmp_path / "Nuclei v1.2.tif")]
    np.testing.assert_array_equal(read_labels(written[0]).labels, labels)
    with pytest.raises(OutputError, match="is there already"):
        save_labels(tmp_path / "Nuclei v1.2", data, meta, TIFF)
    save_labels(tmp_path / "Nuclei v1.2.TIF", data, meta, TIFF)


def of_session(opened, path, layer=None):
    data, meta, _ = (layer or opened.nuclei).as_layer_data_tuple()
    endings = TIFF if path.suffix == ".tif" else (path.suffix,)
    save_labels(path, data, meta, endings, [opened.control])
    return path


def test_the_nuclei_of_a_session_are_saved_with_what_made_them(tmp_path, opened):
    read = read_labels(of_session(opened, tmp_path / "mine.tif"))
    np.testing.assert_array_equal(read.labels, opened.labels)
    assert read.metadata["settings"] == opened.control.settings.to_dict()
    assert read.metadata["corrected"] is True
    with of_session(opened, tmp_path / "mine.csv").open(encoding="utf-8") as file:
        assert all(float(row["mean_haematoxylin"]) > 0 for row in csv.DictReader(file))
    assert of_session(opened, tmp_path / "mine.png").stat().st_size > 0


def test_a_copy_of_the_nuclei_layer_is_a_layer_like_any_other(tmp_path, opened):
    data, meta, _ = opened.nuclei.as_layer_data_tuple()
    copy = opened.viewer.add_labels(data.copy(), metadata=meta["metadata"])
    copy.data[:20] = 0
    read = read_labels(of_session(opened, tmp_path / "mine.tif", copy))
    np.testing.assert_array_equal(read.labels, copy.data)
    assert read.metadata == {}


def test_nuclei_that_are_being_worked_on_are_not_saved_half_done(tmp_path, open_session, later):
    made = open_session(run=False, submit=later)
    made.control.run()
    later.finish()
    made.control.run()
    path = tmp_path / "mine.tif"
    with pytest.raises(OutputError, match="being worked on"):
        of_session(made, path)
    assert not path.exists()
    later.finish()
    assert of_session(made, path).exists()

from __future__ import annotations

import numpy as np
import pytest
import tifffile
from napari._qt.dialogs.qt_reader_dialog import QtReaderDialog
from napari.layers import Image, Labels
from napari.settings import get_settings

from napari_sprout.io.geojson import write_geojson
from napari_sprout.io.labels import write_labels
from napari_sprout.io.overlay import write_png

PLUGIN = "napari-sprout"


@pytest.fixture
def labels(sparse):
    return sparse.labels.astype(np.int32)


def test_an_image_with_a_pixel_size_needs_none_to_be_typed(desk, tmp_path, sparse):
    made = desk()
    path = tmp_path / "case.tif"
    options = {"resolution": (40000, 40000), "resolutionunit": "CENTIMETER"}
    tifffile.imwrite(path, sparse.rgb, photometric="rgb", **options)
    made.viewer.open(path, plugin=PLUGIN)
    assert made.dock.sessions.draft.mpp == 0.25
    assert made.dock.segment.image.pixel_size.value() == 0.25


def test_a_project_dropped_on_the_window_is_gone_on_with(working, desk, tmp_path):
    working.control.actions.select(frozenset({working.lonely()}))
    working.control.actions.remove_selected()
    working.wait_until_done()
    labels, folder = working.labels, working.control.project.folder
    working.close()
    # The work was put elsewhere since: only what was dropped says where.
    elsewhere = tmp_path / "handed on" / folder.name
    elsewhere.parent.mkdir()
    folder.rename(elsewhere)
    again = desk()
    (layer,) = again.viewer.open(elsewhere / "project.json", plugin=PLUGIN)
    assert isinstance(layer, Image)
    box = again.dock.segment.earlier
    assert box.asks
    assert folder.name in box.note.text()
    assert not again.dock.segment.run_button.isEnabled()
    box.go_on.click()
    again.wait_until_done()
    assert again.failures == []
    assert again.control.project.folder == elsewhere
    assert again.control.image_layer is layer
    np.testing.assert_array_equal(again.labels, labels)


@pytest.fixture
def scaled(desk, tmp_path, sparse):
    """A window with an image that lies somewhere in micrometres."""
    made = desk()
    path = tmp_path / "case.png"
    write_png(path, sparse.rgb)
    options = {"scale": (0.5, 0.5), "translate": (7, 9), "units": ("um", "um")}
    made.viewer.add_image(sparse.rgb, rgb=True, **options)
    return made


def lies_on(layer, image) -> bool:
    same_place = np.array_equal(layer.translate, image.translate)
    return bool(same_place and np.array_equal(layer.scale, image.scale))


def test_outlines_lie_on_the_open_image_and_have_its_size(scaled, tmp_path, labels):
    path = tmp_path / "qupath.geojson"
    write_geojson(path, labels, ())
    (layer,) = scaled.viewer.open(path, plugin=PLUGIN)
    assert isinstance(layer, Labels)
    np.testing.assert_array_equal(layer.data, labels)
    assert lies_on(layer, scaled.viewer.layers[0])


def test_outlines_of_a_larger_image_do_not_lie_on_the_open_one(scaled, tmp_path, labels):
    path = tmp_path / "qupath.geojson"
    write_geojson(path, np.kron(labels, np.ones((3, 3), np.int32)), ())
    (layer,) = scaled.viewer.open(path, plugin=PLUGIN)
    assert not lies_on(layer, scaled.viewer.layers[0])
    assert layer.data.shape[0] > labels.shape[0]


def test_labels_of_the_open_image_s_size_lie_on_it(scaled, tmp_path, labels):
    path = tmp_path / "masks.tif"
    write_labels(path, labels)
    (layer,) = scaled.viewer.open(path, plugin=PLUGIN)
    assert lies_on(layer, scaled.viewer.layers[0])
    write_labels(path, labels[:-1])
    (layer,) = scaled.viewer.open(path, plugin=PLUGIN)
    assert not lies_on(layer, scaled.viewer.layers[0])


class Asked:
    """Answers napari's question which reader to use."""

    def __init__(self, monkeypatch) -> None:
        self.answer = "SPROUT"
        self.offered: list[set[str]] = []
        monkeypatch.setattr(QtReaderDialog, "get_user_choices", lambda dialog: self._choose(dialog))

    def _choose(self, dialog) -> tuple[str, bool]:
        self.offered.append({button.text() for button in dialog.reader_btn_group.buttons()})
        return self.answer, False


@pytest.fixture
def asked(monkeypatch):
    return Asked(monkeypatch)


def drop(desk, path) -> list:
    """Drop a file or folder on the window; returns the layers that it brings."""
    before = set(desk.viewer.layers)
    desk.viewer.window._qt_viewer._qt_open([str(path)], stack=False)
    return [layer for layer in desk.viewer.layers if layer not in before]


def test_pictures_are_dropped_without_a_question(desk, asked, tmp_path, sparse):
    path = tmp_path / "case.png"
    write_png(path, sparse.rgb)
    made = desk()
    drop(made, path)
    assert asked.offered == []
    assert made.dock.sessions.layer.name == "case"


def test_napari_asks_which_reader_opens_a_tiff(desk, asked, tmp_path, sparse):
    path = tmp_path / "case.tif"
    tifffile.imwrite(path, sparse.rgb)
    (layer,) = drop(desk(), path)
    assert asked.offered == [{"SPROUT", "napari builtins"}]
    assert layer.metadata["path"] == str(path)


def test_what_is_not_ours_goes_on_to_napari_s_reader(desk, asked, tmp_path, monkeypatch):
    path = tmp_path / "cells.tif"
    tifffile.imwrite(path, np.random.default_rng(0).poisson(300, (64, 64)).astype(np.uint16))
    monkeypatch.setattr(get_settings().plugins, "extension2reader", {"*.tif": PLUGIN})
    asked.answer = "napari builtins"
    (layer,) = drop(desk(), path)
    assert asked.offered == [{"napari builtins"}]
    assert layer.data.dtype == np.uint16
    assert not layer.rgb


def test_a_project_can_be_dropped_without_a_question(working, desk, asked):
    folder = working.control.project.folder
    working.close()
    again = desk()
    (layer,) = drop(again, folder / "project.json")
    assert asked.offered == []
    assert layer.name == "case"
    assert again.dock.segment.earlier.asks


def test_outlines_are_dropped_without_a_question(scaled, asked, tmp_path, labels):
    path = tmp_path / "qupath.geojson"
    write_geojson(path, labels, ())
    (layer,) = drop(scaled, path)
    assert asked.offered == []
    assert isinstance(layer, Labels)

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from qtpy.QtWidgets import QFileDialog

from napari_sprout.errors import OutputError
from napari_sprout.io.export import result_path
from napari_sprout.io.labels import read_labels
from napari_sprout.napari_.roles import LayerRole

PLUGIN = "napari-sprout"
ENDINGS = {"labels": ".tif", "csv": ".csv", "geojson": ".geojson", "overlay": ".png"}


def choose_nuclei(desk) -> None:
    desk.viewer.layers.selection.active = desk.layer(LayerRole.NUCLEI)


def exported(desk, folder: Path) -> dict[str, Path]:
    """Press Export with everything chosen."""
    export = desk.dock.export
    export.folder.setText(str(folder))
    export.export_button.click()
    desk.until(lambda: export.export_button.isEnabled() and not desk.control.is_busy)
    return {name: result_path(folder, "case", name) for name in ENDINGS}


def test_a_session_s_nuclei_are_saved_byte_for_byte_as_the_export_tab_does(working, tmp_path):
    ident = working.lonely()
    working.control.actions.select(frozenset({ident}))
    working.control.actions.remove_selected()
    working.wait_until_done()
    made = exported(working, tmp_path / "exported")
    choose_nuclei(working)
    for name, path in made.items():
        mine = tmp_path / f"mine{ENDINGS[name]}"
        saved = working.viewer.layers.save(str(mine), selected=True, plugin=PLUGIN)
        assert saved == [str(mine)]
        assert mine.read_bytes() == path.read_bytes(), name
    assert ident not in read_labels(tmp_path / "mine.tif").labels
    assert read_labels(tmp_path / "mine.tif").metadata["project"]


def test_the_save_dialog_offers_each_kind_of_file(working, tmp_path, monkeypatch):
    choose_nuclei(working)
    offered: list[str] = []

    def answer(*args, filter: str, **options):
        offered.extend(filter.split(";;"))
        (ours,) = [one for one in offered if one.startswith("SPROUT label image")]
        return str(tmp_path / "Nuclei"), ours

    monkeypatch.setattr(QFileDialog, "getSaveFileName", answer)
    working.viewer.window._qt_viewer._save_layers_dialog(selected=True)
    assert {
        "SPROUT label image (*.tif *.tiff)",
        "SPROUT table (*.csv)",
        "SPROUT QuPath (*.geojson)",
        "SPROUT picture with outlines (*.png)",
    } <= set(offered)
    np.testing.assert_array_equal(read_labels(tmp_path / "Nuclei.tif").labels, working.labels)


def test_nuclei_are_not_saved_while_a_run_changes_them(working, tmp_path):
    draft = working.dock.sessions.draft
    draft.settings = draft.settings.with_changes(suppression={"overlap_threshold": 0.3})
    working.dock.segment.run_button.click()
    choose_nuclei(working)
    with pytest.raises(OutputError, match="being worked on"):
        working.viewer.layers.save(str(tmp_path / "a.tif"), selected=True, plugin=PLUGIN)
    working.wait_until_done()
    assert working.viewer.layers.save(str(tmp_path / "a.tif"), selected=True, plugin=PLUGIN)


def test_the_layer_outlives_the_dock_and_is_saved_plain(working, tmp_path):
    nuclei, labels = working.layer(LayerRole.NUCLEI), working.labels
    working.dock.shut_down()
    nuclei.save(str(tmp_path / "mine.tif"), plugin=PLUGIN)
    read = read_labels(tmp_path / "mine.tif")
    np.testing.assert_array_equal(read.labels, labels)
    assert read.metadata == {}

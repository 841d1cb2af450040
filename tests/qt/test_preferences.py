from __future__ import annotations

import threading
from pathlib import Path

import pytest
import torch
from napari import settings
from npe2 import PluginManager

from napari_sprout.io.project import default_folder
from napari_sprout.qt.earlier import earlier_work
from napari_sprout.qt.keeping import base_folder
from napari_sprout.qt.preferences import Preferences, preferences, use_threads


@pytest.fixture
def work():
    """The preferences as napari's own window changes them."""
    PluginManager.instance().discover()
    return settings.get_plugin_settings("napari-sprout").work


def test_without_any_choice_the_defaults_count(work):
    assert preferences() == Preferences("auto", None, 0)


def test_choices_are_kept_on_disk(work):
    work.device, work.projects, work.threads = "cpu", "/data/work", 3
    assert preferences() == Preferences("cpu", Path("/data/work"), 3)
    settings._clear_plugin_settings_cache()
    assert preferences() == Preferences("cpu", Path("/data/work"), 3)


def test_a_choice_that_is_none_is_refused(work):
    for name, value in (("device", "quantum"), ("threads", -1)):
        with pytest.raises(ValueError, match=name):
            setattr(work, name, value)


def test_a_napari_without_preferences_for_plugins_has_the_defaults(work, monkeypatch):
    work.device = "cpu"
    monkeypatch.delattr(settings, "get_plugin_settings")
    assert preferences() == Preferences()


def test_a_plugin_that_napari_does_not_know_has_the_defaults(monkeypatch):
    monkeypatch.setattr(settings, "_PLUGIN_SETTINGS", {"another": object()})
    assert preferences() == Preferences()


def test_a_device_of_another_computer_becomes_automatic(work, monkeypatch):
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    work.device = "cuda"
    assert preferences().device == "auto"
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    assert preferences().device == "cuda:0"


def test_a_folder_without_a_place_is_at_home(work, monkeypatch, tmp_path):
    monkeypatch.setenv("HOME", str(tmp_path))
    for text in ("sprout", "~/sprout", " sprout "):
        work.projects = text
        assert preferences().projects == tmp_path / "sprout"


def test_the_device_is_chosen_for_images_that_are_opened(work, desk, tmp_path, sparse):
    work.device = "cpu"
    made = desk()
    made.open(tmp_path / "case.png", sparse.rgb)
    assert made.dock.sessions.draft.device == "cpu"
    assert made.dock.segment.image.device.currentData() == "cpu"


def test_work_is_kept_in_the_chosen_folder_and_found_there(work, desk, tmp_path, sparse):
    work.projects = str(tmp_path / "work")
    made = desk()
    layer = made.open(tmp_path / "case.png", sparse.rgb)
    made.run()
    folder = made.control.project.folder
    assert folder.parent == tmp_path / "work"
    assert folder.name.startswith("case-")
    assert made.dock.export.folder.text() == str(tmp_path)
    assert earlier_work(layer) == folder
    assert not default_folder(tmp_path / "case.png").exists()


def test_images_of_the_same_name_keep_apart_in_the_chosen_folder(work, tmp_path):
    work.projects = str(tmp_path / "work")
    files = [tmp_path / name / "case.png" for name in "ab"]
    for file in files:
        file.parent.mkdir()
    assert len({base_folder(file) for file in files}) == 2


def test_work_beside_the_image_is_still_found_when_the_folder_has_changed(working, work, tmp_path):
    folder = working.control.project.folder
    work.projects = str(tmp_path / "work")
    assert folder.parent == tmp_path
    assert earlier_work(working.control.image_layer) == folder


def test_a_folder_that_cannot_be_made_is_told_and_the_run_goes_on(work, desk, tmp_path, sparse):
    (tmp_path / "file").write_text("")
    work.projects = str(tmp_path / "file" / "work")
    made = desk()
    made.open(tmp_path / "case.png", sparse.rgb)
    made.run()
    assert any("cannot be kept on disk" in text for text in made.said)
    assert made.labels.max() > 0


def test_the_cores_chosen_count_in_threads_that_begin_later():
    before, seen = torch.get_num_threads(), []
    other = before + 1
    try:
        use_threads(other)
        thread = threading.Thread(target=lambda: seen.append(torch.get_num_threads()))
        thread.start()
        thread.join()
        assert seen == [other]
        use_threads(0)
        assert torch.get_num_threads() == other
    finally:
        torch.set_num_threads(before)

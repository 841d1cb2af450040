from __future__ import annotations

import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import tifffile
from qtpy.QtCore import Qt
from qtpy.QtWidgets import QFileDialog, QMessageBox

from napari_sprout.core.edits import RemoveNuclei
from napari_sprout.core.synthetic import SyntheticImage
from napari_sprout.io.export import FORMATS, export, result_path, results_of
from napari_sprout.io.labels import read_labels
from napari_sprout.io.project import Project
from napari_sprout.qt.export_tab import ExportTab

YES, NO = QMessageBox.StandardButton.Yes, QMessageBox.StandardButton.No


@pytest.fixture
def tab(working: Any) -> ExportTab:
    made: ExportTab = working.dock.export
    working.look_at(made)
    return made


@pytest.fixture
def asked(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """What was asked; the answer is no unless "yes" is put first into the list."""
    texts: list[str] = []

    def question(parent: Any, title: str, text: str) -> QMessageBox.StandardButton:
        answer = YES if "yes" in texts else NO
        texts.append(text)
        return answer

    monkeypatch.setattr(QMessageBox, "question", question)
    return texts


def type_folder(desk: Any, tab: ExportTab, folder: Path) -> None:
    """Type the name of a folder, as a person does."""
    tab.folder.selectAll()
    desk.qtbot.keyClick(tab.folder, Qt.Key.Key_Delete)
    desk.qtbot.keyClicks(tab.folder, str(folder))


def press(desk: Any, tab: ExportTab) -> None:
    tab.export_button.click()
    desk.until(tab.export_button.isEnabled)


def expected(desk: Any, folder: Path) -> dict[str, bytes]:
    """What the library itself writes of the same work."""
    folder.mkdir()
    control = desk.control
    results = results_of(control.correction, control.project.origin)
    return {path.name: path.read_bytes() for path in export(folder, "case", results, FORMATS)}


def test_every_format_is_written_where_it_was_asked_for(
    working: Any, tab: ExportTab, tmp_path: Path
) -> None:
    ident = working.lonely()
    working.control.apply(RemoveNuclei((ident,)))
    working.wait_until_done()
    folder = tmp_path / "results" / "of today"
    type_folder(working, tab, folder)
    press(working, tab)
    assert working.failures == []
    assert {path.name: path.read_bytes() for path in folder.iterdir()} == expected(
        working, tmp_path / "expected"
    )
    labels = tifffile.imread(result_path(folder, "case", "labels"))
    assert np.array_equal(labels, working.labels)
    assert ident not in labels
    assert str(folder) in tab.written.text()
    assert working.dock.status.message.text() == f"4 files were written to {folder}."


@pytest.mark.parametrize("name", FORMATS)
def test_only_the_chosen_kinds_of_file_are_written(
    working: Any, tab: ExportTab, tmp_path: Path, name: str
) -> None:
    type_folder(working, tab, tmp_path / "out")
    assert set(tab.formats) == set(FORMATS)
    for box in tab.formats.values():
        box.click()
    assert not tab.export_button.isEnabled()
    assert tab.export_button.toolTip().endswith("Choose at least one kind of file.")
    tab.formats[name].click()
    press(working, tab)
    path = result_path(tmp_path / "out", "case", name)
    assert list((tmp_path / "out").iterdir()) == [path]
    assert path.read_bytes() == expected(working, tmp_path / "expected")[path.name]


def test_it_asks_before_it_replaces_what_others_put_there(
    working: Any, tab: ExportTab, tmp_path: Path, asked: list[str]
) -> None:
    path = result_path(tmp_path, "case", "csv")
    path.write_text("mine")
    type_folder(working, tab, tmp_path)
    before = sorted(tmp_path.iterdir())
    press(working, tab)
    assert len(asked) == 1
    assert path.name in asked[0]
    assert "overlay" not in asked[0]
    assert path.read_text() == "mine"
    assert sorted(tmp_path.iterdir()) == before
    asked.append("yes")
    press(working, tab)
    desk_wrote = path.read_bytes()
    assert desk_wrote == expected(working, tmp_path / "expected")[path.name]
    many = len(asked)
    # What the same export wrote a moment ago is nobody else's.
    working.control.apply(RemoveNuclei((working.lonely(),)))
    working.wait_until_done()
    press(working, tab)
    assert len(asked) == many
    assert path.read_bytes() != desk_wrote


def test_the_export_of_another_image_is_not_replaced_without_asking(
    working: Any, tab: ExportTab, tmp_path: Path, sparse: SyntheticImage, asked: list[str]
) -> None:
    press(working, tab)
    assert asked == []
    path = result_path(tmp_path, "case", "csv")
    first = path.read_bytes()
    rgb = np.ascontiguousarray(sparse.rgb[::-1])
    # The name of its file begins like the first's, and so do those of its results.
    tifffile.imwrite(tmp_path / "case.tif", rgb, photometric="rgb")
    working.open(tmp_path / "case.tif", rgb)
    working.run()
    press(working, tab)
    assert len(asked) == 1
    assert path.name in asked[0]
    assert path.read_bytes() == first
    asked.append("yes")
    press(working, tab)
    assert path.read_bytes() != first
    many = len(asked)
    # Now it is the second's, which the first has to ask about in its turn.
    press(working, tab)
    assert len(asked) == many
    working.dock.sessions.choose(working.dock.sessions.images[0])
    press(working, tab)
    assert len(asked) == many + 1


def test_the_origin_counts_the_edits_that_were_waiting(
    working: Any, tab: ExportTab, tmp_path: Path
) -> None:
    go_on = threading.Event()
    working.dock.sessions.work(lambda: go_on.wait(20))
    ident = working.lonely()
    working.control.apply(RemoveNuclei((ident,)))
    type_folder(working, tab, tmp_path / "out")
    tab.export_button.click()
    go_on.set()
    working.until(lambda: str(tmp_path / "out") in tab.written.text())
    path = result_path(tmp_path / "out", "case", "labels")
    assert ident not in tifffile.imread(path)
    assert working.failures == []
    assert read_labels(path).metadata["entries"] == len(working.control.project.entries) == 2


def test_the_folder_is_the_images_until_another_is_chosen(
    working: Any, tab: ExportTab, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert tab.folder.text() == str(tmp_path)
    chosen = iter([str(tmp_path / "chosen"), ""])
    monkeypatch.setattr(QFileDialog, "getExistingDirectory", lambda *_: next(chosen))
    tab.choose.click()
    tab.choose.click()
    assert tab.folder.text() == str(tmp_path / "chosen")
    tab.folder.clear()
    assert tab.export_button.toolTip().endswith("Choose a folder to write to.")
    assert not tab.export_button.isEnabled()


def test_nothing_can_be_exported_before_there_are_nuclei(
    desk: Callable[[], Any], tmp_path: Path, sparse: SyntheticImage
) -> None:
    made = desk()
    made.open(tmp_path / "case.png", sparse.rgb)
    tab = made.dock.export
    for button in (tab.export_button, tab.copy, tab.show_kept, tab.show_written):
        assert not button.isEnabled()
    assert "There are no nuclei yet: press Run" in tab.export_button.toolTip()
    assert "press Run" in tab.copy.toolTip()
    assert "begins with the first run" in tab.kept.text()


def test_nothing_can_be_exported_during_a_run(working: Any, tab: ExportTab) -> None:
    fake = working.fakes[0]
    seen: list[tuple[bool, str]] = []

    def look(*_: Any) -> None:
        if working.control.is_running:
            seen.append((tab.export_button.isEnabled(), tab.export_button.toolTip()))

    working.dock.sessions.progress.connect(look)
    form = working.dock.segment.form
    form.groups["decoding"].widgets["min_area"].value = 21.0
    before = fake.decoded
    working.run()
    assert fake.decoded > before
    assert {enabled for enabled, _ in seen} == {False}
    assert all("Wait until the run is over." in tooltip for _, tooltip in seen)
    assert tab.export_button.isEnabled()


def test_a_folder_that_cannot_be_made_is_named_in_a_sentence(
    working: Any, tab: ExportTab, tmp_path: Path
) -> None:
    (tmp_path / "notes.txt").write_text("a file, no folder")
    folder = tmp_path / "notes.txt" / "results"
    type_folder(working, tab, folder)
    with working.qtbot.captureExceptions() as caught:
        press(working, tab)
    assert caught == []
    assert len(working.failures) == 1
    assert str(folder) in working.failures[0]
    assert working.failures[0].endswith(".")
    assert "Errno" not in working.failures[0]
    assert working.dock.status.message.text() == working.failures[0]
    assert tab.written.text() == "Nothing has been exported yet."
    assert (tmp_path / "notes.txt").read_text() == "a file, no folder"


def test_a_copy_of_the_project_opens_with_the_same_work(
    working: Any, tab: ExportTab, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    kept = working.control.project
    assert tab.kept.text() == str(kept.folder)
    working.control.apply(RemoveNuclei((working.lonely(),)))
    working.wait_until_done()
    monkeypatch.setattr(QFileDialog, "getSaveFileName", lambda *_: (str(tmp_path / "handed"), ""))
    tab.copy.click()
    folder = tmp_path / "handed.sprout"
    working.until(lambda: working.said[-1:] == [f"The project was copied to {folder}."])
    with Project.open(folder) as copy:
        assert list(copy.entries) == list(kept.entries)
    tab.copy.click()
    working.until(lambda: bool(working.failures))
    assert "exists already" in working.failures[0]


def test_a_project_is_opened_with_its_image_and_its_work(
    working: Any,
    tab: ExportTab,
    desk: Callable[[], Any],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    working.control.apply(RemoveNuclei((working.lonely(),)))
    working.wait_until_done()
    before, folder = working.labels, working.control.project.folder
    working.close()
    again = desk()
    monkeypatch.setattr(QFileDialog, "getExistingDirectory", lambda *_: str(folder))
    again.dock.export.open.click()
    again.wait_until_done()
    assert again.failures == []
    assert np.array_equal(again.labels, before)
    assert again.dock.images.currentText() == "case"
    assert again.dock.undo.isEnabled()


def test_what_is_no_project_is_refused_in_a_sentence(
    desk: Callable[[], Any], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    made = desk()
    monkeypatch.setattr(QFileDialog, "getExistingDirectory", lambda *_: str(tmp_path))
    made.dock.export.open.click()
    made.until(lambda: bool(made.failures))
    assert str(tmp_path) in made.failures[0]
    assert made.dock.sessions.current is None
    assert made.dock.export.open.isEnabled()
    assert list(tmp_path.iterdir()) == []

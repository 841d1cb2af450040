from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from pytestqt.qtbot import QtBot
from qtpy.QtCore import Qt, QUrl
from qtpy.QtGui import QDesktopServices
from qtpy.QtWidgets import QMessageBox, QWidget

from hub import Hub, serving, use_hub
from napari_sprout.errors import StoppedError, WeightsError
from napari_sprout.models import store
from napari_sprout.models.registry import Model, model, models
from napari_sprout.qt.models_dialog import COLUMNS, ModelsDialog
from napari_sprout.qt.workers import NAME

LONG = 30_000
YES, NO = QMessageBox.StandardButton.Yes, QMessageBox.StandardButton.No


class FakeStore:
    """A download that goes on when told to, and leaves a file where the real one would."""

    def __init__(self) -> None:
        self.fetched: list[str] = []
        self.threads: list[threading.Thread] = []
        self.go_on = threading.Event()
        self.stopped = threading.Event()
        self.error: Exception | None = None

    def download(
        self, one: Model, progress: Callable[[int, int], None], cancelled: Callable[[], bool]
    ) -> Path:
        self.fetched.append(one.name)
        self.threads.append(threading.current_thread())
        progress(one.size // 4, one.size)
        while not self.go_on.wait(0.01):
            if cancelled():
                self.stopped.set()
                raise StoppedError(f"Fetching '{one.name}' was stopped.")
        if self.error is not None:
            raise self.error
        path = store.own_path(one)
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(b"weights")
        return path


class Asked:
    """Answers every question, and remembers what was asked."""

    def __init__(self) -> None:
        self.answer = YES
        self.texts: list[str] = []

    def question(self, parent: Any, title: str, text: str) -> Any:
        self.texts.append(text)
        return self.answer


@pytest.fixture
def fake(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Iterator[FakeStore]:
    made = FakeStore()
    monkeypatch.setenv("NAPARI_SPROUT_MODELS", str(tmp_path / "models"))
    monkeypatch.setattr(store, "download", made.download)
    # Nor what other programs may have left on this computer.
    monkeypatch.setattr(store, "_in_shared_cache", lambda one: None)
    yield made
    made.go_on.set()


@pytest.fixture
def asked(monkeypatch: pytest.MonkeyPatch) -> Asked:
    made = Asked()
    monkeypatch.setattr(QMessageBox, "question", made.question)
    return made


@pytest.fixture
def dialog(qtbot: QtBot, fake: FakeStore, asked: Asked) -> ModelsDialog:
    made = ModelsDialog()
    qtbot.addWidget(made)
    made.show()
    return made


def row_of(dialog: ModelsDialog, name: str) -> dict[str, str]:
    row = list(models()).index(name)
    texts = (dialog.table.item(row, column) for column in range(len(COLUMNS)))
    return dict(zip(COLUMNS, (item.text() for item in texts), strict=True))


def begin(dialog: ModelsDialog, qtbot: QtBot, name: str = "uni") -> None:
    """Press Download, and wait until something has come."""
    dialog.choose(name)
    dialog.download.click()
    qtbot.waitUntil(lambda: dialog.bar.value() == 250, timeout=LONG)


def until_over(dialog: ModelsDialog, qtbot: QtBot) -> None:
    qtbot.waitUntil(lambda: not dialog.is_fetching, timeout=LONG)


def test_every_model_has_a_row_that_says_what_it_is_and_whether_it_is_here(
    dialog: ModelsDialog,
) -> None:
    assert dialog.table.rowCount() == len(models())
    assert row_of(dialog, "mobile_sam") == {
        "Model": "MobileSAM",
        "Kind": "SAM",
        "Size": "20 MB",
        "Licence": "Apache-2.0",
        "Here": "built in",
        "Tried": "yes",
    }
    uni = row_of(dialog, "uni")
    assert (uni["Kind"], uni["Here"], uni["Tried"]) == ("encoder", "no", "no")
    assert uni["Licence"] == "CC-BY-NC-ND-4.0, gated"


def test_what_cannot_be_done_is_off_and_says_why(dialog: ModelsDialog) -> None:
    dialog.choose("mobile_sam")
    assert "on this computer already" in dialog.download.toolTip()
    assert "part of SPROUT" in dialog.remove.toolTip()
    dialog.choose("uni")
    assert dialog.download.isEnabled()
    for button in (dialog.cancel, dialog.remove, dialog.download):
        assert button.isEnabled() == (button is dialog.download)


def test_a_download_shows_the_licence_first_and_begins_only_on_yes(
    dialog: ModelsDialog, fake: FakeStore, asked: Asked
) -> None:
    asked.answer = NO
    dialog.choose("uni")
    dialog.download.click()
    (text,) = asked.texts
    assert "CC-BY-NC-ND-4.0" in text
    assert model("uni").page in text
    assert "must be accepted" in text
    assert fake.fetched == []
    assert not dialog.is_fetching


def test_a_download_runs_beside_the_window_and_shows_how_far_it_is(
    dialog: ModelsDialog, qtbot: QtBot, fake: FakeStore
) -> None:
    changes: list[None] = []
    dialog.changed.connect(lambda: changes.append(None))
    begin(dialog, qtbot)
    assert fake.threads[0] is not threading.current_thread()
    assert dialog.bar.isVisible()
    assert dialog.bar.format() == "UNI: 303 MB of 1.2 GB"
    for button in (dialog.download, dialog.remove):
        assert not button.isEnabled()
    assert dialog.cancel.isEnabled()
    fake.go_on.set()
    until_over(dialog, qtbot)
    assert fake.fetched == ["uni"]
    assert row_of(dialog, "uni")["Here"] == "yes"
    assert not dialog.bar.isVisible()
    assert str(store.own_path(model("uni"))) in dialog.message.text()
    assert len(changes) == 1
    qtbot.waitUntil(lambda: not fake.threads[0].is_alive(), timeout=LONG)


def test_a_download_can_be_cancelled_and_begun_again(
    dialog: ModelsDialog, qtbot: QtBot, fake: FakeStore
) -> None:
    begin(dialog, qtbot)
    dialog.cancel.click()
    until_over(dialog, qtbot)
    assert "was stopped" in dialog.message.text()
    assert row_of(dialog, "uni")["Here"] == "no"
    assert not dialog.cancel.isEnabled()
    fake.go_on.set()
    dialog.download.click()
    until_over(dialog, qtbot)
    assert row_of(dialog, "uni")["Here"] == "yes"


def test_what_goes_wrong_is_shown_in_the_sentence_that_tells_it(
    dialog: ModelsDialog, qtbot: QtBot, fake: FakeStore
) -> None:
    fake.error = WeightsError("'uni' is given only to <those> who accepted its licence.")
    fake.go_on.set()
    dialog.choose("uni")
    dialog.download.click()
    until_over(dialog, qtbot)
    assert dialog.message.isVisible()
    assert dialog.message.text() == str(fake.error)
    assert dialog.download.isEnabled()


def test_closing_during_a_download_asks_and_stops_it_or_stays(
    dialog: ModelsDialog, qtbot: QtBot, fake: FakeStore, asked: Asked
) -> None:
    begin(dialog, qtbot)
    asked.answer = NO
    dialog.close()
    assert dialog.isVisible()
    assert dialog.is_fetching
    qtbot.keyClick(dialog, Qt.Key.Key_Escape)
    assert dialog.isVisible()
    asked.answer = YES
    dialog.leave.click()
    assert not dialog.isVisible()
    until_over(dialog, qtbot)
    assert fake.stopped.is_set()
    assert sum("Stop it?" in text for text in asked.texts) == 3


def test_a_window_that_goes_away_takes_its_download_along(
    qtbot: QtBot, fake: FakeStore, asked: Asked
) -> None:
    parent = QWidget()
    qtbot.addWidget(parent)
    dialog = ModelsDialog(parent)
    dialog.show()
    begin(dialog, qtbot)
    with qtbot.waitSignal(dialog.destroyed, timeout=LONG):
        dialog.deleteLater()
    assert fake.stopped.wait(LONG / 1000)
    qtbot.waitUntil(
        lambda: not any(one.name.startswith(NAME) for one in threading.enumerate()), timeout=LONG
    )


def test_weights_are_removed_once_it_is_confirmed(
    dialog: ModelsDialog, qtbot: QtBot, fake: FakeStore, asked: Asked
) -> None:
    fake.go_on.set()
    dialog.choose("uni")
    dialog.download.click()
    until_over(dialog, qtbot)
    path = store.own_path(model("uni"))
    asked.answer = NO
    dialog.remove.click()
    assert path.exists()
    asked.answer = YES
    dialog.remove.click()
    assert not path.exists()
    assert row_of(dialog, "uni")["Here"] == "no"
    assert "was deleted" in dialog.message.text()


def test_what_was_begun_is_shown_and_can_be_removed(dialog: ModelsDialog) -> None:
    part = store.own_path(model("uni")).with_name("pytorch_model.bin.part")
    part.parent.mkdir(parents=True)
    part.write_bytes(b"some")
    dialog.show_models()
    assert row_of(dialog, "uni")["Here"] == "in part"
    dialog.choose("uni")
    assert dialog.download.isEnabled()
    dialog.remove.click()
    assert not part.exists()


def test_the_licence_page_of_the_chosen_model_is_opened(
    dialog: ModelsDialog, monkeypatch: pytest.MonkeyPatch
) -> None:
    opened: list[QUrl] = []
    monkeypatch.setattr(QDesktopServices, "openUrl", opened.append)
    dialog.choose("virchow2")
    dialog.licence.click()
    assert [url.toString() for url in opened] == [model("virchow2").page]


def test_a_damaged_note_on_a_model_does_not_keep_the_window_from_opening(
    dialog: ModelsDialog, monkeypatch: pytest.MonkeyPatch
) -> None:
    def damaged(one: Model) -> Path | None:
        raise WeightsError("The note cannot be read: delete it.")

    monkeypatch.setattr(store, "downloaded", damaged)
    dialog.show_models()
    dialog.choose("uni")
    assert row_of(dialog, "uni")["Here"] == "?"
    assert "delete it" in dialog.about.text()


def test_a_real_download_is_cancelled_and_goes_on_from_there(
    qtbot: QtBot, asked: Asked, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with serving(Hub(content=bytes(range(256)) * 4000, pause=0.005)) as hub:
        use_hub(hub.address, tmp_path, monkeypatch)
        dialog = ModelsDialog()
        qtbot.addWidget(dialog)
        dialog.show()
        assert hub.requests == []
        dialog.choose("uni")
        dialog.download.click()
        part = store.own_path(model("uni")).with_name("pytorch_model.bin.part")
        qtbot.waitUntil(lambda: part.exists() and part.stat().st_size > 0, timeout=LONG)
        dialog.cancel.click()
        until_over(dialog, qtbot)
        assert row_of(dialog, "uni")["Here"] == "in part"
        hub.pause = 0.0
        dialog.download.click()
        until_over(dialog, qtbot)
        assert store.own_path(model("uni")).read_bytes() == hub.content
        assert row_of(dialog, "uni")["Here"] == "yes"
        assert hub.asked_ranges[-1].startswith("bytes=")


def test_closing_the_viewer_ends_a_download(
    desk: Callable[[], Any], fake: FakeStore, asked: Asked
) -> None:
    made = desk()
    form = made.dock.segment.form
    form.open_models("uni")
    (dialog,) = form.findChildren(ModelsDialog)
    begin(dialog, made.qtbot)
    made.close()
    assert fake.stopped.is_set()

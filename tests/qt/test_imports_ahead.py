from __future__ import annotations

import gc
import threading

import pytest
from napari.components import LayerList
from pytestqt.qtbot import QtBot

from napari_sprout.qt import pauses
from napari_sprout.qt.pauses import CollectorRest, ImportsAhead


@pytest.mark.parametrize("error", [None, ImportError("damaged")])
def test_what_runs_need_is_imported_in_a_thread_of_its_own(
    error: Exception | None, qtbot: QtBot, monkeypatch: pytest.MonkeyPatch
) -> None:
    imported: list[str] = []

    def load() -> None:
        imported.append(threading.current_thread().name)
        if error is not None:
            raise error

    monkeypatch.setattr(pauses, "import_ahead", load)
    told: list[str] = []
    ahead = ImportsAhead(lambda: told.append("there"))
    qtbot.waitUntil(lambda: told == ["there"], timeout=10_000)
    (name,) = imported
    assert name.startswith("napari-sprout")
    qtbot.waitUntil(lambda: name not in [one.name for one in threading.enumerate()])
    ahead.close()
    ahead.close()


def test_a_dock_that_is_closed_at_once_imports_nothing(
    qtbot: QtBot, monkeypatch: pytest.MonkeyPatch
) -> None:
    imported: list[str] = []
    monkeypatch.setattr(pauses, "import_ahead", lambda: imported.append("all"))
    ImportsAhead(lambda: imported.append("told")).close()
    qtbot.wait(2 * pauses._SETTLED)
    assert imported == []


def test_what_was_imported_later_is_set_aside_too() -> None:
    rest = CollectorRest(LayerList())
    before = gc.get_freeze_count()
    kept = [[] for _ in range(5000)]
    rest.set_aside_more()
    assert gc.get_freeze_count() >= before + len(kept)
    rest.close()
    rest.set_aside_more()
    assert gc.get_freeze_count() == 0

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from pytestqt.qtbot import QtBot
from qtpy.QtCore import Qt
from qtpy.QtWidgets import QMessageBox

from napari_sprout.core.presets import PRESETS
from napari_sprout.core.settings import Settings
from napari_sprout.qt.method_box import own_settings
from napari_sprout.qt.settings_form import SettingsForm

YES, NO = QMessageBox.StandardButton.Yes, QMessageBox.StandardButton.No
PAPER = Settings.preset("paper")

Asked = list[str]


@pytest.fixture
def form(qtbot: QtBot) -> SettingsForm:
    made = SettingsForm()
    qtbot.addWidget(made)
    return made


@pytest.fixture
def answer(monkeypatch: pytest.MonkeyPatch) -> Callable[[Any], Asked]:
    """Answer every question so, and tell what was asked."""

    def answering(button: Any) -> Asked:
        asked: Asked = []

        def question(parent: Any, title: str, text: str) -> Any:
            asked.append(text)
            return button

        monkeypatch.setattr(QMessageBox, "question", question)
        return asked

    return answering


def choose(form: SettingsForm, name: str) -> None:
    """Pick a method from the list, as with the keyboard."""
    box = form.method.presets
    index = box.findData(name)
    box.setCurrentIndex(index)
    box.activated.emit(index)


def shown(form: SettingsForm) -> Any:
    return form.method.presets.currentData()


def test_every_preset_can_be_chosen_and_is_explained(form: SettingsForm) -> None:
    box = form.method.presets
    assert [box.itemText(i) for i in range(box.count())] == [p.title for p in PRESETS.values()]
    assert all(preset.sentence in box.toolTip() for preset in PRESETS.values())


def test_a_preset_is_taken_at_once_where_nothing_of_ones_own_is_lost(
    form: SettingsForm, answer: Callable[[Any], Asked]
) -> None:
    asked, changes = answer(NO), []
    form.changed.connect(changes.append)
    assert shown(form) == "default"
    choose(form, "paper")
    assert changes == [form.value] == [PAPER]
    assert form.groups["decoding"].widgets["window"].value == 64
    choose(form, "paper")
    assert len(changes) == 1
    choose(form, "default")
    assert changes == [PAPER, Settings()]
    assert asked == []


def test_settings_of_ones_own_are_named_and_replaced_only_on_a_yes(
    form: SettingsForm, answer: Callable[[Any], Asked]
) -> None:
    changes: list[Settings] = []
    form.changed.connect(changes.append)
    form.groups["decoding"].widgets["max_area"].value = 250.0
    own = form.value
    assert form.method.presets.currentIndex() == -1
    assert form.method.presets.placeholderText() == "Your own settings"
    asked = answer(NO)
    choose(form, "paper")
    assert asked == [
        "Take the method 'As in the paper'? It replaces what you chose for: Masks, Largest area."
    ]
    assert form.value == own
    assert changes == [own]
    assert form.method.presets.currentIndex() == -1
    answer(YES)
    choose(form, "paper")
    assert form.value == PAPER
    assert changes == [own, PAPER]
    assert shown(form) == "paper"


def test_settings_put_back_by_hand_are_the_preset_again(form: SettingsForm) -> None:
    field = form.groups["decoding"].widgets["max_area"]
    former = field.value
    field.value = 250.0
    field.value = former
    assert shown(form) == "default"
    form.value = PAPER
    assert shown(form) == "paper"


def test_ones_own_settings_are_told_from_the_preset_they_came_from() -> None:
    assert own_settings(Settings()) == own_settings(PAPER) == []
    assert own_settings(PAPER.with_changes(prompts={"negatives": 5})) == ["Prompts, Negatives each"]
    assert own_settings(Settings(seed=4)) == ["Random numbers"]


def test_many_settings_of_ones_own_are_counted(
    form: SettingsForm, answer: Callable[[Any], Asked]
) -> None:
    asked = answer(NO)
    form.value = PAPER.with_changes(
        transport={"epsilon": 1.0, "kl_weight": 2.0, "rho_step": 0.1},
        activation={"crf_weight": 1.0, "crf_radius": 2},
        prompts={"negatives": 5, "min_area": 1.0, "negative_spacing": 3.0},
    )
    choose(form, "default")
    assert asked[0].endswith("; and 2 more.")
    assert asked[0].count(";") == 6


def test_a_preset_counts_from_the_next_run_and_is_undone_with_it(
    working: Any, answer: Callable[[Any], Asked]
) -> None:
    answer(YES)
    form, before, former = working.dock.segment.form, working.labels, working.control.settings
    assert form.method.presets.currentIndex() == -1
    choose(form, "default")
    assert working.dock.sessions.draft.settings == Settings()
    assert working.control.settings == former
    assert np.array_equal(working.labels, before)
    working.run()
    assert working.control.settings == Settings()
    working.key(Qt.Key.Key_Z, Qt.KeyboardModifier.ControlModifier)
    working.until(lambda: working.control.settings == former)
    working.wait_until_done()
    assert np.array_equal(working.labels, before)
    assert form.value == former
    assert form.method.presets.currentIndex() == -1

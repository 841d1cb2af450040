from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import Any

import pytest
from pytestqt.qtbot import QtBot
from qtpy.QtCore import QPoint, QPointF, Qt
from qtpy.QtGui import QWheelEvent
from qtpy.QtWidgets import QApplication, QFileDialog, QPushButton, QScrollArea

from napari_sprout.core.session import Session
from napari_sprout.core.settings import GROUPS, Settings
from napari_sprout.core.stages import Stage
from napari_sprout.core.synthetic import SyntheticImage
from napari_sprout.models import store
from napari_sprout.models.registry import Model, model, models
from napari_sprout.qt.fold import Fold
from napari_sprout.qt.models_dialog import ModelsDialog
from napari_sprout.qt.settings_form import SettingsForm
from napari_sprout.qt.wording import GROUP_TITLES, setting_label


@pytest.fixture
def form(qtbot: QtBot) -> SettingsForm:
    made = SettingsForm()
    qtbot.addWidget(made)
    return made


def heard(form: SettingsForm) -> list[Settings]:
    changes: list[Settings] = []
    form.changed.connect(changes.append)
    return changes


def test_every_setting_has_a_field_with_its_tooltip_range_and_choices(form: SettingsForm) -> None:
    for name, group in GROUPS.items():
        for field in dataclasses.fields(group):
            widget: Any = form.groups[name].widgets[field.name]
            meta = field.metadata
            assert widget.value == field.default, (name, field.name)
            assert widget.tooltip == meta["description"]
            if meta["choices"]:
                assert widget.choices == meta["choices"]
            elif isinstance(field.default, int | float) and not isinstance(field.default, bool):
                assert (widget.min, widget.max) == (meta["low"], meta["high"]), field.name
    assert form.groups["seed"].widgets["seed"].value == 0
    assert set(form.folds) == set(Stage)


def test_editing_makes_new_settings_and_leaves_the_old_ones(form: SettingsForm) -> None:
    before, changes = form.value, heard(form)
    form.groups["prompts"].widgets["negatives"].value = 3
    form.groups["seed"].widgets["seed"].value = 5
    assert before == Settings()
    assert changes[0] == Settings().with_changes(prompts={"negatives": 3})
    assert form.value == changes[1] == changes[0].with_changes(seed=5)


def test_a_typed_number_counts_once_it_is_whole(form: SettingsForm, qtbot: QtBot) -> None:
    changes = heard(form)
    native = form.groups["decoding"].widgets["max_area"].native
    native.selectAll()
    qtbot.keyClicks(native, "250")
    assert changes == []
    qtbot.keyClick(native, Qt.Key.Key_Return)
    assert [settings.decoding.max_area for settings in changes] == [250.0]


def test_each_colour_of_a_stain_can_be_edited(form: SettingsForm) -> None:
    changes = heard(form)
    parts: Any = form.groups["stain"].widgets["haematoxylin"]
    parts[1].value = 0.5
    assert changes[-1].stain.haematoxylin == (0.65, 0.5, 0.29)


def test_settings_finer_than_a_field_can_show_are_kept(form: SettingsForm) -> None:
    fine = Settings().with_changes(transport={"tolerance": 1.23456789e-8, "epsilon": 0.0123456789})
    changes = heard(form)
    form.value = fine
    assert changes == []
    form.groups["transport"].widgets["rho_start"].value = 0.7
    assert form.value == fine.with_changes(transport={"rho_start": 0.7})


def test_a_group_goes_back_to_its_defaults_alone(form: SettingsForm) -> None:
    form.value = Settings().with_changes(
        decoding={"min_area": 500.0, "max_area": 600.0}, suppression={"sigma": 0.2}
    )
    changes = heard(form)
    reset = form.groups["decoding"].reset
    assert reset.isEnabled()
    reset.click()
    assert changes == [Settings().with_changes(suppression={"sigma": 0.2})]
    assert form.groups["decoding"].widgets["max_area"].value == 400.0
    assert not reset.isEnabled()
    assert "defaults already" in reset.toolTip()
    assert form.groups["suppression"].reset.isEnabled()


def test_advanced_settings_and_stages_start_folded(form: SettingsForm, qtbot: QtBot) -> None:
    form.show()
    plain = form.groups["transport"].widgets["rho_start"].native
    advanced = form.groups["transport"].widgets["epsilon"].native
    assert not plain.isVisible()
    form.folds[Stage.ACTIVATION].heading.click()
    assert plain.isVisible()
    assert not advanced.isVisible()


def test_scrolling_past_a_field_does_not_change_it(qtbot: QtBot) -> None:
    area = QScrollArea()
    qtbot.addWidget(area)
    form = SettingsForm()
    area.setWidget(form)
    area.show()
    form.folds[Stage.PROMPTS].heading.click()
    changes = heard(form)
    for field in ("source", "min_area", "negatives"):
        native = form.groups["prompts"].widgets[field].native
        native.clearFocus()
        event = QWheelEvent(
            QPointF(5, 5),
            QPointF(native.mapToGlobal(QPoint(5, 5))),
            QPoint(0, -120),
            QPoint(0, -120),
            Qt.MouseButton.NoButton,
            Qt.KeyboardModifier.NoModifier,
            Qt.ScrollPhase.NoScrollPhase,
            False,
        )
        QApplication.sendEvent(native, event)
    assert changes == []
    assert form.value == Settings()


def test_the_warning_of_a_matching_cut_short_names_the_fields_as_the_form_does(
    sparse: SyntheticImage, scanning: Settings, fake_type: Any
) -> None:
    settings = scanning.with_changes(transport={"max_iterations": 1})
    session = Session(sparse.rgb, settings, segmenter=fake_type())
    session.finish()
    (text,) = [one for one in session.warnings if "iterations" in one]
    named = {
        GROUP_TITLES["transport"],
        *(setting_label(n, "") for n in ("max_iterations", "epsilon")),
    }
    assert all(f"'{name}'" in text for name in named)


def test_encoders_are_offered_and_one_of_timms_from_a_file_is_shown(form: SettingsForm) -> None:
    widget: Any = form.groups["features"].widgets["encoder"]
    assert {"sam", "virchow2", "dinov3_vit_l"} <= set(widget.choices)
    changes = heard(form)
    form.value = Settings().with_changes(features={"encoder": "timm:vit_tiny_patch16_224"})
    assert widget.value == "timm:vit_tiny_patch16_224"
    assert changes == []
    widget.value = "uni"
    assert changes[-1].features.encoder == "uni"


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Where downloaded weights are; empty, and nothing is elsewhere."""
    monkeypatch.setenv("NAPARI_SPROUT_MODELS", str(tmp_path / "models"))
    monkeypatch.setattr(store, "_in_shared_cache", lambda one: None)
    return tmp_path / "models"


def menu(form: SettingsForm, name: str) -> dict[str, str]:
    """What a menu offers: texts by value."""
    native = form.groups["features"].widgets[name].native
    return {native.itemData(i): native.itemText(i) for i in range(native.count())}


def put(one: Model) -> None:
    """Leave a file where a model's weights are kept."""
    path = store.own_path(one)
    path.parent.mkdir(parents=True)
    path.write_bytes(b"weights")


def test_the_menus_offer_every_model_by_its_title_and_say_what_is_not_here(
    folder: Path, qtbot: QtBot
) -> None:
    put(model("uni"))
    form = SettingsForm()
    qtbot.addWidget(form)
    encoders, segmenters = menu(form, "encoder"), menu(form, "segmenter")
    kinds = {name: one.kind for name, one in models().items()}
    assert list(encoders) == ["sam", *(name for name in kinds if kinds[name] == "encoder")]
    assert list(segmenters) == [name for name in kinds if kinds[name] == "segmenter"]
    assert encoders["sam"] == "The SAM model itself"
    assert encoders["uni"] == "UNI"
    assert encoders["virchow2"] == "Virchow2 (not on this computer)"
    assert segmenters["mobile_sam"] == "MobileSAM"
    assert segmenters["sam_vit_b"] == "SAM ViT-B (not on this computer)"


def test_a_model_that_has_come_is_no_longer_marked_and_nothing_else_changes(
    folder: Path, qtbot: QtBot
) -> None:
    form = SettingsForm(Settings().with_changes(features={"encoder": "uni"}))
    qtbot.addWidget(form)
    before, changes = menu(form, "encoder"), heard(form)
    put(model("uni"))
    form.show_models()
    assert menu(form, "encoder") == {**before, "uni": "UNI"}
    assert list(menu(form, "encoder")) == list(before)
    assert form.groups["features"].widgets["encoder"].value == "uni"
    assert changes == []


def test_the_models_button_opens_their_window_at_the_chosen_one(
    folder: Path, form: SettingsForm
) -> None:
    form.value = Settings().with_changes(features={"encoder": "virchow2"})
    form.groups["features"].models.click()
    (dialog,) = form.findChildren(ModelsDialog)
    assert dialog.isVisible()
    assert dialog.chosen.name == "virchow2"
    put(model("virchow2"))
    dialog.changed.emit()
    assert menu(form, "encoder")["virchow2"] == "Virchow2"
    dialog.close()
    form.value = Settings().with_changes(features={"segmenter": "sam_vit_h"})
    form.groups["features"].models.click()
    assert form.findChildren(ModelsDialog) == [dialog]
    assert dialog.chosen.name == "sam_vit_h"


def test_a_weights_file_is_typed_or_chosen(
    form: SettingsForm, monkeypatch: pytest.MonkeyPatch
) -> None:
    changes = heard(form)
    answers = iter([("/data/uni.bin", ""), ("", "")])
    monkeypatch.setattr(QFileDialog, "getOpenFileName", lambda *_: next(answers))
    native = form.groups["features"].widgets["encoder_weights"].native
    (chooser,) = native.parentWidget().findChildren(QPushButton)
    chooser.click()
    chooser.click()
    assert [settings.features.encoder_weights for settings in changes] == ["/data/uni.bin"]
    native.setText("/data/other.bin")
    assert form.value.features.encoder_weights == "/data/other.bin"


def test_the_form_fits_into_a_narrow_dock(folder: Path, form: SettingsForm) -> None:
    form.folds[Stage.ENCODING].heading.click()
    for fold in form.groups["features"].findChildren(Fold):
        fold.heading.click()
    assert form.minimumSizeHint().width() < 360

"""Forms made from the settings' own metadata: ranges, choices, units, tooltips."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Callable, Iterable
from typing import Any, cast

from magicgui.widgets import ComboBox, FloatSpinBox, create_widget
from magicgui.widgets.bases import ValueWidget
from psygnal import Signal
from qtpy.QtCore import QEvent, QObject, Qt
from qtpy.QtWidgets import (
    QAbstractSpinBox,
    QComboBox,
    QFormLayout,
    QHBoxLayout,
    QLabel,
    QPushButton,
    QVBoxLayout,
    QWidget,
)

from ..core.settings import GROUPS, SAM, Settings
from ..core.stages import STAGES, Stage
from .file_field import with_chooser
from .fold import Fold
from .method_box import MethodBox
from .model_choice import FILES, GROUP, MENUS, model_choices
from .models_dialog import ModelsDialog
from .parts import button
from .wording import GROUP_TITLES, STAGE_TITLES, setting_label

_MOST_DECIMALS = 9
_LEAST_LETTERS = 16
"""Of a menu's choice that are seen in a narrow dock."""


class WheelGuard(QObject):
    """Keeps the mouse wheel from changing a field that the pointer merely passes.

    Without it, scrolling through the form would change settings unseen.
    """

    def eventFilter(self, watched: QObject | None, event: QEvent | None) -> bool:  # noqa: N802
        """Hand wheel events over fields without focus on to the scrolled page."""
        if event is not None and event.type() == QEvent.Type.Wheel:
            if cast(QWidget, watched).hasFocus():
                return False
            event.ignore()
            return True
        return False

    def guard(self, field: QWidget) -> None:
        """Guard a field, and make it report a typed number only once it is whole."""
        if isinstance(field, QAbstractSpinBox):
            field.setKeyboardTracking(False)
        if isinstance(field, QAbstractSpinBox | QComboBox):
            field.setFocusPolicy(Qt.FocusPolicy.StrongFocus)
            field.installEventFilter(self)


def _decimals(*values: Any) -> int:
    """Return how many decimals show every one of `values` and a step below it."""
    shown = [abs(v) for v in values if v]
    if not shown:
        return 2
    return min(_MOST_DECIMALS, max(2, 1 - math.floor(math.log10(min(shown)))))


def field_widget(group: str, field: dataclasses.Field[Any], value: Any) -> ValueWidget[Any]:
    """Return the magicgui widget for one setting, holding `value`.

    Parameters
    ----------
    group
        The group's name in :class:`Settings`, or "seed".
    field
        The dataclass field made by :func:`~napari_sprout.core.settings_fields.setting`.
    value
        What it shows.
    """
    meta = field.metadata
    options: dict[str, Any] = {}
    kind: dict[str, Any] = {"annotation": type(field.default)}
    names_model = group == GROUP and field.name in MENUS
    if isinstance(field.default, tuple):
        kind = {"value": value}
        options["options"] = {"min": meta["low"], "max": meta["high"], "step": 0.01}
    elif names_model:
        options["choices"] = model_choices(field.name, value)
    elif meta["choices"]:
        options["choices"] = _offered(meta["choices"])
    elif not isinstance(field.default, bool | str):
        options |= {"min": meta["low"], "max": meta["high"]}
        if meta["multiple"]:
            options["step"] = meta["multiple"]
    label = setting_label(field.name, meta["unit"])
    made = create_widget(**kind, name=field.name, label=label, options=options)
    widget = cast("ValueWidget[Any]", made)
    if isinstance(widget, FloatSpinBox):
        native = widget.native
        native.setDecimals(_decimals(field.default, meta["low"]))
        native.setStepType(native.StepType.AdaptiveDecimalStepType)
        # Qt rounded the limits to the decimals it had when they were set.
        widget.min, widget.max = meta["low"], meta["high"]
    if names_model:
        _let_shrink(widget.native)
    widget.value = value
    widget.tooltip = meta["description"]
    return widget


def _offered(choices: Iterable[str]) -> list[tuple[str, str]]:
    """Return what a field offers, in words."""
    return [(choice.replace("_", " "), choice) for choice in choices]


def _let_shrink(menu: QComboBox) -> None:
    """Let a menu be narrower than what it offers, which is seen whole when it is opened."""
    menu.setSizeAdjustPolicy(QComboBox.SizeAdjustPolicy.AdjustToMinimumContentsLengthWithIcon)
    menu.setMinimumContentsLength(_LEAST_LETTERS)
    if (shown := menu.view()) is not None:
        shown.setMinimumWidth(shown.sizeHintForColumn(0) + 2 * shown.frameWidth())


class GroupForm(QWidget):
    """The fields of one settings group, with the advanced ones folded.

    Parameters
    ----------
    name
        The group's name in :class:`Settings`, or "seed".
    settings
        What the fields show at first.
    guard
        Keeps the mouse wheel off fields that have no focus.
    """

    changed = Signal(str, dict)
    models_asked = Signal()
    """A person wants to see all models."""

    def __init__(self, name: str, settings: Settings, guard: WheelGuard) -> None:
        super().__init__()
        self.name = name
        self._fields = _fields(name)
        self.widgets: dict[str, ValueWidget[Any]] = {}
        for field in self._fields:
            widget = field_widget(name, field, _value(settings, name, field.name))
            for part in cast("Any", widget) if isinstance(widget.value, tuple) else (widget,):
                guard.guard(part.native)
            widget.changed.connect(self._emitter(field.name))
            self.widgets[field.name] = widget
        self.reset = QPushButton("Defaults")
        self.reset.clicked.connect(self._reset)
        line = QHBoxLayout()
        line.addWidget(QLabel(f"<b>{GROUP_TITLES[name]}</b>"))
        line.addStretch()
        if name == GROUP:
            tooltip = "See all models, fetch and remove them."
            self.models = button("Models…", tooltip, self.models_asked.emit)
            line.addWidget(self.models)
        line.addWidget(self.reset)
        layout = QVBoxLayout(self)
        layout.setContentsMargins(8, 0, 0, 4)
        layout.setSpacing(2)
        layout.addLayout(line)
        if plain := [f for f in self._fields if not f.metadata["advanced"]]:
            layout.addWidget(self._page(plain))
        if advanced := [f for f in self._fields if f.metadata["advanced"]]:
            tooltip = "Seldom needed: the defaults fit most images."
            layout.addWidget(Fold("Advanced", self._page(advanced), tooltip=tooltip))
        self.show_settings(settings)

    def _page(self, fields: list[dataclasses.Field[Any]]) -> QWidget:
        page = QWidget()
        lines = QFormLayout(page)
        lines.setContentsMargins(0, 0, 0, 0)
        lines.setSpacing(4)
        lines.setFieldGrowthPolicy(QFormLayout.FieldGrowthPolicy.AllNonFixedFieldsGrow)
        for name, widget in ((field.name, self.widgets[field.name]) for field in fields):
            if isinstance(widget.value, bool):
                lines.addRow(widget.native)
                continue
            label = QLabel(widget.label)
            label.setToolTip(widget.tooltip or "")
            is_file = self.name == GROUP and name in FILES
            lines.addRow(label, with_chooser(widget) if is_file else widget.native)
        return page

    def _emitter(self, field: str) -> Callable[[Any], None]:
        return lambda value: self.changed.emit(self.name, {field: value})

    def _reset(self) -> None:
        self.changed.emit(self.name, {field.name: field.default for field in self._fields})

    def show_settings(self, settings: Settings) -> None:
        """Show other settings, without reporting them as changes."""
        default = True
        for field in self._fields:
            value = _value(settings, self.name, field.name)
            default = default and value == field.default
            widget = self.widgets[field.name]
            if widget.value != value:
                if isinstance(widget, ComboBox) and value not in widget.choices:
                    self._offer(field.name, value)
                with widget.changed.blocked():
                    widget.value = value
        self.reset.setEnabled(not default)
        self.reset.setToolTip(
            "These settings are at their defaults already."
            if default
            else "Put these settings back to their defaults."
        )

    def show_models(self) -> None:
        """Look again which models are on this computer."""
        for name in MENUS:
            self._offer(name, self.widgets[name].value)

    def _offer(self, name: str, value: str) -> None:
        """Offer the models anew, with `value` chosen, without reporting a change."""
        widget = cast(ComboBox, self.widgets[name])
        with widget.changed.blocked():
            # magicgui would put texts that are new behind all others.
            widget.choices = ()
            widget.choices = model_choices(name, value)
            widget.value = value
        _let_shrink(widget.native)


class SettingsForm(QWidget):
    """All settings: the choice of a preset, and one fold a stage.

    Editing never changes a :class:`Settings`: it makes a new one and emits it.

    Parameters
    ----------
    settings
        What the form shows at first.
    """

    changed = Signal(Settings)
    models_changed = Signal()
    """A model's weights have come or gone."""

    def __init__(self, settings: Settings | None = None, parent: QWidget | None = None) -> None:
        super().__init__(parent)
        self._settings = settings or Settings()
        self._guard = WheelGuard(self)
        self._dialog: ModelsDialog | None = None
        self.groups: dict[str, GroupForm] = {}
        self.folds: dict[Stage, Fold] = {}
        layout = QVBoxLayout(self)
        layout.setContentsMargins(0, 0, 0, 0)
        layout.setSpacing(2)
        self.method = MethodBox(self._settings)
        self.method.chosen.connect(self._take)
        self._guard.guard(self.method.presets)
        layout.addWidget(self.method)
        for stage in Stage:
            names = [name for name in STAGES[stage].groups if name != "seed"]
            self.folds[stage] = self._stage(stage, names + ["seed"] * (stage is Stage.IMAGE))
            layout.addWidget(self.folds[stage])
        self.groups[GROUP].models_asked.connect(self.open_models)

    def _stage(self, stage: Stage, names: list[str]) -> Fold:
        page = QWidget()
        layout = QVBoxLayout(page)
        layout.setContentsMargins(8, 0, 0, 6)
        for name in names:
            form = GroupForm(name, self._settings, self._guard)
            form.changed.connect(self._edit)
            self.groups[name] = form
            layout.addWidget(form)
        return Fold(STAGE_TITLES[stage], page)

    @property
    def value(self) -> Settings:
        """The settings as edited; assigning shows others without a signal."""
        return self._settings

    @value.setter
    def value(self, settings: Settings) -> None:
        self._settings = settings
        self.method.show_settings(settings)
        for form in self.groups.values():
            form.show_settings(settings)

    def open_models(self, name: str = "") -> None:
        """Open the window with all models, at the one of a name."""
        if self._dialog is None:
            self._dialog = ModelsDialog(self)
            self._dialog.changed.connect(self.show_models)
        self._dialog.show_models()
        chosen = self._settings.features
        self._dialog.choose(name or (chosen.segmenter if chosen.encoder == SAM else chosen.encoder))
        self._dialog.show()
        self._dialog.raise_()

    def show_models(self) -> None:
        """Look again which models are on this computer."""
        self.groups[GROUP].show_models()
        self.models_changed.emit()

    def _take(self, settings: Settings) -> None:
        self.value = settings
        self.changed.emit(settings)

    def _edit(self, group: str, changes: dict[str, Any]) -> None:
        # Only edited fields are taken from their widgets, whose decimals are limited.
        edited: Any = changes["seed"] if group == "seed" else changes
        before, self._settings = self._settings, self._settings.with_changes(**{group: edited})
        self.groups[group].show_settings(self._settings)
        self.method.show_settings(self._settings)
        if self._settings != before:
            self.changed.emit(self._settings)


def _fields(group: str) -> list[dataclasses.Field[Any]]:
    if group == "seed":
        return [field for field in dataclasses.fields(Settings) if field.name == "seed"]
    return list(dataclasses.fields(cast(Any, GROUPS[group])))


def _value(settings: Settings, group: str, field: str) -> Any:
    return settings.seed if group == "seed" else getattr(getattr(settings, group), field)

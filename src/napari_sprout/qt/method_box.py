"""The choice between named settings: the defaults, or the paper's own method."""

from __future__ import annotations

from typing import Final

from psygnal import Signal
from qtpy.QtWidgets import QComboBox, QFormLayout, QMessageBox, QWidget

from ..core.presets import PRESETS
from ..core.settings import GROUPS, Settings
from .wording import GROUP_TITLES, setting_label

_OWN: Final = "Your own settings"
_MOST_NAMED: Final = 6


class MethodBox(QWidget):
    """Shows which preset the settings are, and takes another after asking.

    Parameters
    ----------
    settings
        What it shows at first.
    """

    chosen = Signal(Settings)
    """The settings of the preset that a person chose."""

    def __init__(self, settings: Settings) -> None:
        super().__init__()
        self._settings = settings
        self.presets = QComboBox()
        # Shown while no preset is.
        self.presets.setPlaceholderText(_OWN)
        for name, preset in PRESETS.items():
            self.presets.addItem(preset.title, name)
        self.presets.setToolTip("\n".join(f"{p.title}: {p.sentence}" for p in PRESETS.values()))
        self.presets.activated.connect(self._choose)
        lines = QFormLayout(self)
        lines.setContentsMargins(0, 0, 0, 0)
        lines.setFieldGrowthPolicy(QFormLayout.FieldGrowthPolicy.AllNonFixedFieldsGrow)
        lines.addRow("Method", self.presets)
        self.show_settings(settings)

    def show_settings(self, settings: Settings) -> None:
        """Show the preset that these settings are, without reporting it as chosen."""
        self._settings = settings
        names = [name for name in PRESETS if Settings.preset(name) == settings]
        self.presets.setCurrentIndex(self.presets.findData(names[0]) if names else -1)

    def _choose(self) -> None:
        asked = Settings.preset(self.presets.currentData())
        if asked != self._settings and self._may_replace(self.presets.currentText()):
            self.chosen.emit(asked)
        self.show_settings(self._settings)

    def _may_replace(self, title: str) -> bool:
        """Ask before settings that a person made are replaced."""
        own = own_settings(self._settings)
        if not own:
            return True
        more = len(own) - _MOST_NAMED
        named = own[:_MOST_NAMED] + [f"and {more} more"] * (more > 0)
        text = f"Take the method '{title}'? It replaces what you chose for: {'; '.join(named)}."
        answer = QMessageBox.question(self, "Method", text)
        return answer == QMessageBox.StandardButton.Yes


def own_settings(settings: Settings) -> list[str]:
    """Return the labels of the settings in which these differ from the preset closest to them."""
    return min((_differences(settings, Settings.preset(name)) for name in PRESETS), key=len)


def _differences(settings: Settings, other: Settings) -> list[str]:
    mine, theirs = settings.to_dict(), other.to_dict()
    return [
        f"{GROUP_TITLES[group]}, {setting_label(name, '')}"
        for group in GROUPS
        for name in mine[group]
        if mine[group][name] != theirs[group][name]
    ] + [GROUP_TITLES["seed"]] * (settings.seed != other.seed)

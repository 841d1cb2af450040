"""A field for the path of a file, with a button that lets it be chosen."""

from __future__ import annotations

from typing import Any, Final

from magicgui.widgets.bases import ValueWidget
from qtpy.QtWidgets import QFileDialog, QHBoxLayout, QWidget

from .parts import button

_KINDS: Final = "Weights (*.safetensors *.pt *.pth *.bin);;All files (*)"


def with_chooser(field: ValueWidget[Any]) -> QWidget:
    """Return a text field with a button beside it that asks for the file of a model's weights."""
    whole = QWidget()

    def choose() -> None:
        name, _ = QFileDialog.getOpenFileName(whole, "Weights of a model", field.value, _KINDS)
        if name:
            field.value = name

    chooser = button("…", "Choose the file.", choose)
    chooser.setMaximumWidth(chooser.fontMetrics().horizontalAdvance("…") + 24)
    line = QHBoxLayout(whole)
    line.setContentsMargins(0, 0, 0, 0)
    line.addWidget(field.native, 1)
    line.addWidget(chooser)
    return whole

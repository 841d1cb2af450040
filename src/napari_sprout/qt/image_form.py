"""What a person says about the image before it is segmented: pixel size, stains, device."""

from __future__ import annotations

from typing import Final

import torch
from psygnal import Signal
from qtpy.QtWidgets import QComboBox, QDoubleSpinBox, QFormLayout, QHBoxLayout, QWidget

from ..core.settings import Settings
from ..core.stain import StainVectors
from ..napari_.image_layer import is_slide
from .parts import allow, button
from .sessions import Sessions
from .settings_form import WheelGuard
from .stain_picker import StainPicker

_STAINS: Final = {
    "vahadane": "From this image (Vahadane)",
    "macenko": "From this image (Macenko)",
    "fixed": "Standard H&E colours",
    "given": "Picked by hand",
}
_ASSUMED: Final = "unknown (0.25 µm assumed)"
_UNKNOWN: Final = "unknown: give it first"
"""Of a slide nothing is assumed."""
_BEGUN: Final = "It is fixed while this image is worked on: 'Start over' to choose another."
NO_IMAGE: Final = "Open an H&E image first (File > Open, or drop it on the window)."


class ImageForm(QWidget):
    """Fields over the chosen image's draft.

    Parameters
    ----------
    sessions
        The viewer's sessions.
    """

    changed = Signal(Settings)
    """The settings with another way to find the stains' colours."""
    sized = Signal()
    """Another pixel size."""

    def __init__(self, sessions: Sessions) -> None:
        super().__init__()
        self._sessions = sessions
        self._picker: StainPicker | None = None
        self.pixel_size = QDoubleSpinBox()
        self.pixel_size.setRange(0.0, 20.0)
        self.pixel_size.setDecimals(4)
        self.pixel_size.setSingleStep(0.05)
        self.pixel_size.setSuffix(" µm")
        self.pixel_size.setSpecialValueText(_ASSUMED)
        self.pixel_size.setProperty(
            "does", "The side of one pixel: 0.25 µm for a 40x scan, 0.5 µm for 20x."
        )
        self.stain = QComboBox()
        for value, text in _STAINS.items():
            self.stain.addItem(text, value)
        self.stain.setProperty("does", "Where the colours of haematoxylin and eosin come from.")
        self.pick = button(
            "Pick…", "Show the two colours by clicking on a nucleus and on eosin.", self._pick
        )
        self.device = QComboBox()
        for value, text in _devices():
            self.device.addItem(text, value)
        self.device.setProperty("does", "What computes. Automatic takes a graphics card if any.")
        self._guard = WheelGuard(self)
        for field in (self.pixel_size, self.stain, self.device):
            self._guard.guard(field)
        self.pixel_size.valueChanged.connect(self._size_edited)
        self.stain.activated.connect(self._stain_edited)
        self.device.activated.connect(self._device_edited)
        stains = QHBoxLayout()
        stains.addWidget(self.stain, 1)
        stains.addWidget(self.pick)
        lines = QFormLayout(self)
        lines.setContentsMargins(0, 0, 0, 0)
        lines.setFieldGrowthPolicy(QFormLayout.FieldGrowthPolicy.AllNonFixedFieldsGrow)
        lines.addRow("Pixel size", self.pixel_size)
        lines.addRow("Stain colours", stains)
        lines.addRow("Device", self.device)

    def show_draft(self) -> None:
        """Show what is chosen for the chosen image."""
        draft = self._sessions.draft
        begun = self._sessions.current is not None or self._sessions.is_opening
        why_not = NO_IMAGE if draft is None else _BEGUN if begun else ""
        allow(self.device, why_not)
        allow(self.pixel_size, why_not or ("" if draft is None else draft.fixed))
        slide = is_slide(self._sessions.layer)
        self.pixel_size.setSpecialValueText(_UNKNOWN if slide else _ASSUMED)
        why_not = NO_IMAGE if draft is None else ""
        allow(self.stain, why_not)
        allow(self.pick, why_not)
        picking = self._picker is not None and self._picker.active
        self.pick.setText("Cancel" if picking else "Pick…")
        if draft is None:
            return
        self.pixel_size.blockSignals(True)
        self.pixel_size.setValue(draft.mpp or 0.0)
        self.pixel_size.blockSignals(False)
        self.stain.setCurrentIndex(self.stain.findData(draft.settings.stain.method))
        self.device.setCurrentIndex(max(0, self.device.findData(draft.device)))

    def _size_edited(self, size: float) -> None:
        if (draft := self._sessions.draft) is not None:
            draft.mpp = size if size > 0 else None
            self.sized.emit()

    def _device_edited(self) -> None:
        if (draft := self._sessions.draft) is not None:
            draft.device = self.device.currentData()

    def _stain_edited(self) -> None:
        if (draft := self._sessions.draft) is not None:
            method = {"method": self.stain.currentData()}
            self.changed.emit(draft.settings.with_changes(stain=method))

    def _pick(self) -> None:
        layer = self._sessions.layer
        if self._picker is not None and self._picker.active:
            self._picker.cancel()
        elif layer is not None:
            self._picker = StainPicker(self._sessions.viewer, layer)
            self._picker.asked.connect(self._sessions.say)
            self._picker.picked.connect(self._picked)
            self._picker.ended.connect(self._not_picked)
            self._picker.start()
            self.show_draft()

    def _picked(self, vectors: StainVectors) -> None:
        draft = self._sessions.draft
        if draft is None:
            return
        stain = {
            "method": "given",
            "haematoxylin": [min(max(value, 0.0), 1.0) for value in vectors.haematoxylin],
            "eosin": [min(max(value, 0.0), 1.0) for value in vectors.eosin],
        }
        self.changed.emit(draft.settings.with_changes(stain=stain))
        self._sessions.say(vectors.note or "The two colours are picked: press Run.")

    def _not_picked(self, why: str) -> None:
        self.show_draft()
        self._sessions.say(why or "The colours stay as they were.")


def _devices() -> list[tuple[str, str]]:
    """Return what can compute here: (name, text)."""
    found = [("auto", "Automatic"), ("cpu", "Processor")]
    found += [
        (f"cuda:{index}", torch.cuda.get_device_name(index))
        for index in range(torch.cuda.device_count())
    ]
    if torch.backends.mps.is_available():
        found.append(("mps", "Apple graphics"))
    return found

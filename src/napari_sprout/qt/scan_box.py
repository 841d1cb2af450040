"""A slider over the scan: how much of the image is matched to the prototypes."""

from __future__ import annotations

from typing import Final

from qtpy.QtCore import Qt
from qtpy.QtWidgets import QHBoxLayout, QLabel, QSlider, QVBoxLayout, QWidget

from ..napari_.roles import LayerRole
from .parts import allow, button, heading
from .sessions import Sessions

_NOT_YET: Final = "There is no activation scan yet: press Run."
_ELSEWHERE: Final = "The points do not come from the scan (All settings, Prompts, Points from)."
_RUNNING: Final = "Wait until the run is over."


class ScanBox(QWidget):
    """Scrubs through the steps of the scan, and can take another one.

    Parameters
    ----------
    sessions
        The viewer's sessions.
    """

    def __init__(self, sessions: Sessions) -> None:
        super().__init__()
        self._sessions = sessions
        self.slider = QSlider(Qt.Orientation.Horizontal)
        self.slider.setPageStep(1)
        self.slider.setTickPosition(QSlider.TickPosition.TicksBelow)
        self.slider.setProperty(
            "does",
            "More to the right, more of the image counts as nuclei. Moving it shows the activation "
            "map of that step; nothing is computed.",
        )
        self.slider.valueChanged.connect(self._moved)
        self.label = QLabel("–")
        self.use = button(
            "Use this step", "Place the prompts from this step, and run what follows.", self._use
        )
        self.automatic = button(
            "Automatic", "Let the scan find by itself where to stop.", self._automatic
        )
        line = QHBoxLayout()
        line.addWidget(self.label, 1)
        line.addWidget(self.use)
        line.addWidget(self.automatic)
        layout = QVBoxLayout(self)
        layout.setContentsMargins(0, 0, 0, 0)
        layout.addWidget(heading("Activation scan"))
        layout.addWidget(self.slider)
        layout.addLayout(line)

    def show_scan(self) -> None:
        """Show the scan of the chosen image, at the step that was taken."""
        controller = self._sessions.current
        rhos = () if controller is None or self._sessions.is_running else controller.rhos
        why_not = "" if rhos else _RUNNING if self._sessions.is_running else _NOT_YET
        if rhos and controller is not None and controller.settings.prompts.source != "activation":
            rhos, why_not = (), _ELSEWHERE
            self.label.setText("not used")
        allow(self.slider, why_not)
        if not rhos or controller is None:
            allow(self.use, why_not)
            allow(self.automatic, why_not)
            return
        taken = controller.chosen_step or 0
        self.slider.blockSignals(True)
        self.slider.setRange(0, len(rhos) - 1)
        self.slider.setValue(taken)
        self.slider.blockSignals(False)
        by_hand = controller.settings.scan.rho > 0
        allow(self.automatic, "" if by_hand else "The scan has found it by itself.")
        self._show_step()

    def _show_step(self) -> None:
        controller = self._sessions.current
        if controller is None or not (rhos := controller.rhos):
            return
        step = self.slider.value()
        taken = step == controller.chosen_step
        self.label.setText(f"share {rhos[step]:.2f}" + (", used" if taken else ""))
        allow(self.use, "The prompts come from this step already." if taken else "")

    def _moved(self, step: int) -> None:
        controller = self._sessions.current
        if controller is None or step >= len(controller.rhos):
            return
        controller.show_step(step)
        if (layer := controller.layer(LayerRole.ACTIVATION)) is not None:
            layer.visible = True
        self._show_step()

    def _use(self) -> None:
        controller = self._sessions.current
        if controller is not None:
            self._override(controller.rhos[self.slider.value()])

    def _automatic(self) -> None:
        self._override(0.0)

    def _override(self, rho: float) -> None:
        draft = self._sessions.draft
        if draft is not None:
            draft.settings = draft.settings.with_changes(scan={"rho": rho})
            self._sessions.run()

"""Says that a chosen model is not on this computer, and opens the list of models."""

from __future__ import annotations

from collections.abc import Callable

from qtpy.QtCore import Qt
from qtpy.QtWidgets import QFrame, QHBoxLayout

from .model_choice import lacking
from .parts import button, note
from .sessions import Sessions


class MissingBox(QFrame):
    """To be seen only while the chosen image cannot be run for want of a model's weights.

    Parameters
    ----------
    sessions
        The viewer's sessions.
    open_models
        Opens the list of models at the one of a name.
    """

    def __init__(self, sessions: Sessions, open_models: Callable[[str], None]) -> None:
        super().__init__()
        self._sessions = sessions
        self._name = ""
        self.setFrameShape(QFrame.Shape.StyledPanel)
        self.note = note()
        self.note.setTextFormat(Qt.TextFormat.PlainText)
        self.models = button(
            "Models…", "See all models, and fetch this one.", lambda: open_models(self._name)
        )
        line = QHBoxLayout(self)
        line.addWidget(self.note, 1)
        line.addWidget(self.models, 0, Qt.AlignmentFlag.AlignTop)
        self.show_draft()

    def show_draft(self) -> None:
        """Show what is missing for the chosen image."""
        draft = self._sessions.draft
        missing = None if draft is None else lacking(draft.settings.features)
        if missing is not None:
            self._name = missing.name
            self.note.setText(missing.sentence)
        self.setVisible(missing is not None)

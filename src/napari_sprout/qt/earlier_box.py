"""Asks whether to go on with the work of an earlier day."""

from __future__ import annotations

from datetime import datetime

from psygnal import Signal
from qtpy.QtWidgets import QFrame, QHBoxLayout, QVBoxLayout

from ..io.project import JOURNAL_NAME
from .parts import button, note
from .sessions import Sessions


class EarlierBox(QFrame):
    """To be seen only while there is something to decide.

    Parameters
    ----------
    sessions
        The viewer's sessions.
    """

    decided = Signal()

    def __init__(self, sessions: Sessions) -> None:
        super().__init__()
        self._sessions = sessions
        self.setFrameShape(QFrame.Shape.StyledPanel)
        self.note = note()
        self.go_on = button("Go on with it", "Open it, with all your corrections.", self._go_on)
        self.anew = button("Start anew", "Leave it where it is, and begin again.", self._anew)
        line = QHBoxLayout()
        line.addWidget(self.go_on)
        line.addWidget(self.anew)
        layout = QVBoxLayout(self)
        layout.addWidget(self.note)
        layout.addLayout(line)

    @property
    def asks(self) -> bool:
        """Whether there is something to decide."""
        draft = self._sessions.draft
        open_already = self._sessions.current is not None or self._sessions.is_opening
        return draft is not None and draft.earlier is not None and not open_already

    def show_draft(self) -> None:
        """Show what there is of the chosen image."""
        self.setVisible(self.asks)
        draft = self._sessions.draft
        if not self.asks or draft is None or draft.earlier is None:
            return
        try:
            changed = datetime.fromtimestamp((draft.earlier / JOURNAL_NAME).stat().st_mtime)
            when = f"{changed:%d %B %Y, %H:%M}"
        except OSError:
            when = "some time ago"
        self.note.setText(f"You worked on this image before: <b>{draft.earlier.name}</b>, {when}.")

    def _go_on(self) -> None:
        draft = self._sessions.draft
        if draft is not None and draft.earlier is not None:
            self._sessions.resume(draft.earlier)

    def _anew(self) -> None:
        if (draft := self._sessions.draft) is not None:
            draft.earlier = None
            self.decided.emit()

"""What a person must know, to be seen until it has been read."""

from __future__ import annotations

import re
from typing import Final

from qtpy.QtCore import Qt
from qtpy.QtWidgets import QFrame, QHBoxLayout, QLabel, QVBoxLayout

from ..io.project import Project
from .parts import button, note
from .sessions import Sessions

NOT_KEPT: Final = (
    "What you do on this image is not kept on disk: it is lost when you close it. Export it first."
)
NOT_YET: Final = (
    "The last run is not on disk yet. Make room there, or connect the disk again: your next "
    "correction writes it down."
)
_AT_ONCE: Final = 3


class Notices(QFrame):
    """Takes up no room while there is nothing to be known.

    Parameters
    ----------
    sessions
        The viewer's sessions.

    Attributes
    ----------
    lasting
        That nothing of the chosen image, or not all, is kept, for as long as it is so.
    unread
        The warnings that have not been read yet, the oldest first.
    read
        Takes away those that are to be seen.
    """

    def __init__(self, sessions: Sessions) -> None:
        super().__init__()
        self._sessions = sessions
        self._texts: list[str] = []
        self.setFrameShape(QFrame.Shape.StyledPanel)
        self.lasting = _plain(note())
        font = self.lasting.font()
        font.setBold(True)
        self.lasting.setFont(font)
        self.unread = _plain(note())
        self.read = button("Got it", "Take these lines away: you have read them.", self._read)
        line = QHBoxLayout()
        line.addWidget(self.unread, 1)
        line.addWidget(self.read, 0, Qt.AlignmentFlag.AlignTop)
        layout = QVBoxLayout(self)
        layout.setContentsMargins(6, 4, 6, 4)
        layout.setSpacing(4)
        layout.addWidget(self.lasting)
        layout.addLayout(line)
        sessions.warned.connect(self._add)
        sessions.current_changed.connect(self._show)
        sessions.history_changed.connect(self._show)
        self._show()

    def _add(self, text: str) -> None:
        if text not in self._texts:
            self._texts.append(text)
            self._show()

    def _read(self) -> None:
        del self._texts[:_AT_ONCE]
        self._show()

    def _show(self) -> None:
        controller = self._sessions.current
        lasting = "" if controller is None else _not_kept(controller.project)
        more = len(self._texts) - _AT_ONCE
        lines = self._texts[:_AT_ONCE] + ([f"({more} more)"] if more > 0 else [])
        _say(self.lasting, lasting)
        _say(self.unread, "\n".join(lines))
        self.read.setVisible(bool(lines))
        self.setVisible(bool(lasting or lines))


def _not_kept(project: Project | None) -> str:
    if project is None:
        return NOT_KEPT
    return NOT_YET if project.owes else ""


def _plain(label: QLabel) -> QLabel:
    # Names of files are no markup.
    label.setTextFormat(Qt.TextFormat.PlainText)
    return label


def _say(label: QLabel, text: str) -> None:
    """Show a text, or take the label away; a long path may be broken after any part of it."""
    label.setText(re.sub(r"([/\\])", "\\1\u200b", text))
    label.setVisible(bool(text))

"""The dock's last lines: how far the work is, and what was last said."""

from __future__ import annotations

from typing import Final

from qtpy.QtWidgets import QProgressBar, QVBoxLayout, QWidget

from ..core.session import Progress
from ..core.stages import Stage
from .notices import Notices
from .parts import OneLine
from .sessions import Sessions
from .time_left import TimeLeft
from .wording import STAGE_TITLES, duration

_RUNNING: Final = "Running: you can look around meanwhile."


class StatusBar(QWidget):
    """Always there and always as high, but for what a person must know and has not read.

    Parameters
    ----------
    sessions
        The viewer's sessions.
    """

    def __init__(self, sessions: Sessions) -> None:
        super().__init__()
        self._sessions = sessions
        self._left = TimeLeft()
        self._running = False
        self._failed = False
        self.notices = Notices(sessions)
        self.bar = QProgressBar()
        self.bar.setRange(0, 1000)
        self.message = OneLine("Ready.")
        layout = QVBoxLayout(self)
        layout.setContentsMargins(8, 2, 8, 4)
        layout.setSpacing(2)
        layout.addWidget(self.notices)
        layout.addWidget(self.bar)
        layout.addWidget(self.message)
        sessions.progress.connect(self._advance)
        sessions.busy.connect(lambda _: self._show_state())
        sessions.current_changed.connect(self._show_state)
        sessions.said.connect(self.message.setText)
        sessions.failed.connect(self._fail)
        self._show_state()

    def _fail(self, text: str) -> None:
        self._failed = True
        self.message.setText(text)

    def _advance(self, progress: Progress) -> None:
        if not self._running:
            # A run that an edit went before: that there is work was told with the edit.
            self._show_state()
        self.bar.setRange(0, 1000)
        self.bar.setValue(round(1000 * progress.fraction))
        left = self._left.text(progress.fraction)
        self.bar.setFormat(STAGE_TITLES[progress.stage] + (f" · {left}" if left else ""))

    def _show_state(self) -> None:
        controller = self._sessions.current
        running = self._sessions.is_running
        if running and not self._running:
            self._left.begin()
            self.bar.setRange(0, 1000)
            self.bar.setValue(0)
            self.bar.setFormat("Preparing…")
            self._failed = False
            self.message.setText(_RUNNING)
        elif not running and controller is not None and controller.is_busy:
            # An edit: too short to measure.
            self.bar.setRange(0, 0)
        elif not running:
            self.bar.setRange(0, 1000)
            self.bar.setValue(0)
            self.bar.setFormat("")
        if self._running and not running:
            self._say_how_it_ended()
        self._running = running

    def _say_how_it_ended(self) -> None:
        controller = self._sessions.current
        if self._failed:
            # What failed meanwhile is to be read; that the rest went well can be seen.
            return
        if controller is not None and controller.session.is_current(Stage.NUCLEI):
            took = duration(self._left.elapsed)
            self.message.setText(f"Done: {len(controller.correction.areas)} nuclei, {took}.")
        elif self.message.text() == _RUNNING:
            self.message.setText("Stopped early: the finished stages are kept. Run goes on.")

"""Asks whether to go on with the work of an earlier day."""

from __future__ import annotations

import weakref
from datetime import datetime
from functools import partial
from pathlib import Path

from napari.layers import Image
from psygnal import Signal
from qtpy.QtWidgets import QFrame, QHBoxLayout, QVBoxLayout

from ..io.project import JOURNAL_NAME
from .draft import Draft
from .earlier import PixelSearch
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
    """There is something to decide, or not any more."""

    def __init__(self, sessions: Sessions) -> None:
        super().__init__()
        self._sessions = sessions
        self._looked_up: weakref.WeakSet[Image] = weakref.WeakSet()
        self._search = PixelSearch()
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
        sessions.current_changed.connect(self._look_up)
        self.destroyed.connect(self._search.close)
        self._look_up()

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

    def _look_up(self) -> None:
        """Compare a large image with earlier work when it is chosen for the first time."""
        layer, draft = self._sessions.layer, self._sessions.draft
        if layer is not None and draft is not None and layer not in self._looked_up:
            self._looked_up.add(layer)
            if self._sessions.current is None:
                self._search.begin(layer, partial(self._found, layer, draft))

    def _found(self, layer: Image, draft: Draft, folder: Path) -> None:
        opening = layer is self._sessions.layer and self._sessions.is_opening
        if opening or self._sessions.registry.get(layer) is not None:
            self._sessions.warn(
                f"You worked on the image '{layer.name}' before: to go on with that, press Open "
                f"project in the Export tab and choose {folder}."
            )
        else:
            draft.earlier = folder
            self.decided.emit()

    def _go_on(self) -> None:
        draft = self._sessions.draft
        if draft is not None and draft.earlier is not None:
            self._sessions.resume(draft.earlier)

    def _anew(self) -> None:
        if (draft := self._sessions.draft) is not None:
            draft.earlier = None
            self.decided.emit()

"""What the Review tab shows, fetched from the session's thread no more often than needed."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Final

from psygnal import Signal
from qtpy.QtCore import QTimer

from ..core.correction import Change
from ..core.review import Finding, ReviewRow, lint, review_rows
from ..core.stages import Stage
from .sessions import Sessions

_PAUSE_MS: Final = 200
"""How long after the last change: a person who drags points must not wait for a table."""


class ReviewData:
    """Keeps rows and findings of the chosen image up to date while they are looked at.

    Parameters
    ----------
    sessions
        The viewer's sessions.
    """

    changed = Signal()

    def __init__(self, sessions: Sessions) -> None:
        self._sessions = sessions
        self.rows: dict[int, ReviewRow] = {}
        self.findings: tuple[Finding, ...] = ()
        self._touched: set[int] = set()
        self._all = True
        self._watched = False
        self._timer = QTimer()
        self._timer.setSingleShot(True)
        self._timer.setInterval(_PAUSE_MS)
        self._timer.timeout.connect(lambda: self.fetch())
        sessions.current_changed.connect(self._forget)
        sessions.changed.connect(self._touch)
        sessions.stage_finished.connect(self._stage_finished)
        sessions.busy.connect(self._busy)

    def watch(self, watched: bool) -> None:
        """Say whether anybody looks; while nobody does, nothing is fetched."""
        self._watched = watched
        if watched and (self._all or self._touched):
            self.fetch()

    @property
    def is_fresh(self) -> bool:
        """Whether rows and findings are known, or will be in a moment without being asked for."""
        return self._watched or not (self._all or self._touched)

    def fetch(self, then: Callable[[], None] | None = None) -> None:
        """Ask the session for what has changed.

        Parameters
        ----------
        then
            Done with the answer; without it nothing is asked for that nobody looks at.
        """
        controller = self._sessions.current
        if controller is None or controller.view is None or not (self._watched or then):
            return
        if controller.is_running:
            # When it is over, everything is new.
            return
        whole, ids = self._all, frozenset(self._touched)
        self._all = False
        self._touched.clear()
        correction = controller.correction

        def work() -> tuple[list[ReviewRow], list[Finding]]:
            rows = review_rows(correction, ids=None if whole else ids)
            return rows, lint(correction)

        def done(found: tuple[list[ReviewRow], list[Finding]]) -> None:
            if controller is self._sessions.current:
                self._take(*found, None if whole else ids)
                if then is not None:
                    then()

        self._sessions.work(work, done)

    def _take(
        self, rows: list[ReviewRow], findings: list[Finding], ids: frozenset[int] | None
    ) -> None:
        new = {row.id: row for row in rows}
        if ids is None:
            self.rows = new
        else:
            kept = {ident: row for ident, row in self.rows.items() if ident not in ids}
            self.rows = kept | new
        self.findings = tuple(findings)
        self.changed.emit()

    def _forget(self) -> None:
        self.rows, self.findings = {}, ()
        self._touched.clear()
        self._all = True
        self.changed.emit()
        self._timer.start()

    def _touch(self, change: Change) -> None:
        self._touched |= change.ids | _named(change)
        self._timer.start()

    def _stage_finished(self, stage: Stage) -> None:
        if stage is Stage.NUCLEI:
            self._all = True
            self._timer.start()

    def _busy(self, busy: bool) -> None:
        if not busy and (self._all or self._touched):
            self._timer.start()


def _named(change: Change) -> frozenset[int]:
    """Return the nuclei that an edit names: locking changes no pixel."""
    ids: Iterable[int] = getattr(change.edit, "ids", ())
    ident = getattr(change.edit, "id", None)
    return frozenset(ids) | (frozenset() if ident is None else {ident})

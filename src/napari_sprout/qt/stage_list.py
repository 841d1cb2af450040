"""The stages of a run: what each is doing, how long it took, and where to begin again."""

from __future__ import annotations

import time
from collections.abc import Callable, Collection
from enum import StrEnum

from psygnal import Signal
from qtpy.QtCore import Qt
from qtpy.QtGui import QFontMetrics
from qtpy.QtWidgets import (
    QAbstractItemView,
    QHeaderView,
    QTableWidget,
    QTableWidgetItem,
    QWidget,
)

from ..core.session import Progress
from ..core.stages import Stage
from .wording import STAGE_HELP, STAGE_TITLES, duration

_MANY = 1000
"""From so many units on, counting them tells a person nothing."""


class State(StrEnum):
    """What a stage is doing, as it is written in the list."""

    WAITING = "waiting"
    RUNNING = "running"
    DONE = "done"
    STALE = "out of date"
    STOPPED = "stopped"
    UNUSED = "not needed"


class StageList(QTableWidget):
    """One row a stage, in order: name, state, time.

    Parameters
    ----------
    clock
        Returns seconds; only differences count.
    """

    chosen = Signal(object)
    """The stage of the row that was clicked; None when none is selected."""

    def __init__(
        self, parent: QWidget | None = None, clock: Callable[[], float] = time.perf_counter
    ) -> None:
        super().__init__(len(Stage), 3, parent)
        self._clock = clock
        self._stages = list(Stage)
        self._begun: dict[Stage, float] = {}
        self._running: Stage | None = None
        self._fill()
        self.itemSelectionChanged.connect(lambda: self.chosen.emit(self.stage))

    def _fill(self) -> None:
        self.setHorizontalHeaderLabels(["Stage", "State", "Time"])
        self.setEditTriggers(QAbstractItemView.EditTrigger.NoEditTriggers)
        self.setSelectionBehavior(QAbstractItemView.SelectionBehavior.SelectRows)
        self.setSelectionMode(QAbstractItemView.SelectionMode.SingleSelection)
        self.setShowGrid(False)
        self.setTabKeyNavigation(False)
        self.setVerticalScrollBarPolicy(Qt.ScrollBarPolicy.ScrollBarAlwaysOff)
        for row, stage in enumerate(self._stages):
            for column, text in enumerate((STAGE_TITLES[stage], str(State.WAITING), "")):
                item = QTableWidgetItem(text)
                item.setToolTip(STAGE_HELP[stage])
                if column == 2:
                    item.setTextAlignment(
                        Qt.AlignmentFlag.AlignRight | Qt.AlignmentFlag.AlignVCenter
                    )
                self.setItem(row, column, item)
        rows, columns = self.verticalHeader(), self.horizontalHeader()
        if rows is None or columns is None:
            return
        height = QFontMetrics(self.font()).height() + 6
        rows.hide()
        rows.setSectionResizeMode(QHeaderView.ResizeMode.Fixed)
        rows.setDefaultSectionSize(height)
        columns.setSectionResizeMode(QHeaderView.ResizeMode.Stretch)
        columns.setSectionsClickable(False)
        columns.setHighlightSections(False)
        self.setFixedHeight(height * (len(self._stages) + 1) + 12)

    @property
    def stage(self) -> Stage | None:
        """The selected stage."""
        rows = {index.row() for index in self.selectedIndexes()}
        return self._stages[rows.pop()] if len(rows) == 1 else None

    def state_of(self, stage: Stage) -> State:
        """Return the state that is written beside a stage."""
        return State(self._text(stage, 1).partition(" (")[0])

    def is_done(self, stage: Stage) -> bool:
        """Whether a stage is up to date."""
        return self.state_of(stage) is State.DONE

    @property
    def all_done(self) -> bool:
        """Whether every stage that is needed is up to date."""
        return {*map(self.state_of, self._stages)} <= {State.DONE, State.UNUSED}

    def begin(self) -> None:
        """Show that a run has begun."""
        self._running = None
        self._begun.clear()

    def advance(self, progress: Progress) -> None:
        """Show where a run is."""
        stage, now = progress.stage, self._clock()
        if self._running is not stage:
            self._running = stage
            self._begun.setdefault(stage, now)
        share = f" ({progress.done} of {progress.total})" if 1 < progress.total < _MANY else ""
        self._write(stage, 1, f"{State.RUNNING}{share}")
        self._write(stage, 2, duration(now - self._begun[stage]))

    def finish(self, stage: Stage) -> None:
        """Show that a stage is done."""
        if stage in self._begun:
            self._write(stage, 2, duration(self._clock() - self._begun[stage]))
        self._write(stage, 1, str(State.DONE))

    def forget(self) -> None:
        """Show nothing of an earlier run: another image was chosen."""
        self._running = None
        for stage in self._stages:
            self._write(stage, 1, str(State.WAITING))
            self._write(stage, 2, "")

    def show_state(
        self,
        current: Callable[[Stage], bool],
        made: Callable[[Stage], bool],
        used: Collection[Stage],
    ) -> None:
        """Show what is there while nothing runs.

        Parameters
        ----------
        current
            Whether a stage's output is there and fits the settings.
        made
            Whether a stage has any output.
        used
            The stages that the settings ask for.
        """
        for stage in self._stages:
            if stage not in used:
                state = State.UNUSED
            elif current(stage):
                state = State.DONE
            elif made(stage):
                state = State.STALE
            elif stage is self._running:
                state = State.STOPPED
            else:
                state = State.WAITING
            self._write(stage, 1, str(state))
            if state in (State.WAITING, State.UNUSED):
                self._write(stage, 2, "")

    def _text(self, stage: Stage, column: int) -> str:
        item = self.item(self._stages.index(stage), column)
        return "" if item is None else item.text()

    def _write(self, stage: Stage, column: int, text: str) -> None:
        item = self.item(self._stages.index(stage), column)
        if item is not None and item.text() != text:
            item.setText(text)

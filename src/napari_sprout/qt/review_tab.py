"""The Review tab: a table of nuclei, a queue of those in doubt, a list of oddities."""

from __future__ import annotations

from functools import partial
from typing import Any, Final

from qtpy.QtCore import Qt
from qtpy.QtGui import QHideEvent, QShowEvent
from qtpy.QtWidgets import (
    QHBoxLayout,
    QListWidget,
    QListWidgetItem,
    QProgressBar,
    QPushButton,
    QSplitter,
    QVBoxLayout,
    QWidget,
)

from ..core.edits import Edit, LockNuclei, RemoveNuclei
from ..core.review import Finding, ReviewRow
from ..napari_.actions import NucleusActions
from ..napari_.keys import KeyAction, bind_keys, unbind_keys
from ..napari_.roles import LayerRole
from .nucleus_table import Column, RowTable
from .parts import SPACING, allow, button, heading
from .review_data import ReviewData
from .sessions import Sessions

REVIEW_KEYS: Final = (
    KeyAction("Y", "accept the selected nucleus and go to the next in doubt", "accept"),
    KeyAction("N", "reject the selected nucleus and go to the next in doubt", "reject"),
    KeyAction(".", "go to the next nucleus in doubt", "go_next"),
    KeyAction(",", "go back to the nucleus before", "go_back"),
)
_KEYED: Final = (LayerRole.NUCLEI, LayerRole.PROMPTS)
_NOT_YET: Final = "There are no nuclei yet: press Run in the Segment tab."


class ReviewTab(QWidget):
    """Reviews the chosen image.

    Parameters
    ----------
    sessions
        The viewer's sessions.
    """

    def __init__(self, sessions: Sessions) -> None:
        super().__init__()
        self._sessions = sessions
        self._actions: NucleusActions | None = None
        self._passed: set[int] = set()
        self._visited: list[int] = []
        self.data = ReviewData(sessions)
        self.progress = QProgressBar()
        self.progress.setFormat("%v of %m nuclei reviewed")
        self.table: RowTable[ReviewRow] = RowTable(_columns(None))
        self.table.sortByColumn(1, Qt.SortOrder.DescendingOrder)
        self.lint = QListWidget()
        self.lint.setToolTip("Click on a line to see the place.")
        self._lint_title = heading("Worth a look")
        layout = QVBoxLayout(self)
        layout.setContentsMargins(8, 8, 8, 8)
        layout.setSpacing(SPACING)
        layout.addWidget(self.progress)
        layout.addLayout(self._queue())
        layout.addWidget(self._lists(), 1)
        self.table.picked.connect(self.go_to)
        self.lint.itemClicked.connect(self._look)
        self.data.changed.connect(self._show_data)
        sessions.current_changed.connect(self._attach)
        sessions.history_changed.connect(self._bind_keys)
        sessions.busy.connect(lambda _: self._show_buttons())
        self._attach()

    def _queue(self) -> QHBoxLayout:
        self.queue: dict[str, QPushButton] = {
            "go_back": button("Back (,)", "Go back to the nucleus before.", self.go_back),
            "accept": button(
                "Accept (Y)", "It is right: lock it, and go to the next in doubt.", self.accept
            ),
            "reject": button("Reject (N)", "It is no nucleus: remove it, and go on.", self.reject),
            "go_next": button("Next (.)", "Go to the next nucleus in doubt.", self.go_next),
        }
        line = QHBoxLayout()
        line.setSpacing(4)
        for made in self.queue.values():
            line.addWidget(made)
        return line

    def _lists(self) -> QSplitter:
        below = QWidget()
        layout = QVBoxLayout(below)
        layout.setContentsMargins(0, 0, 0, 0)
        layout.addWidget(self._lint_title)
        layout.addWidget(self.lint)
        split = QSplitter(Qt.Orientation.Vertical)
        split.addWidget(self.table)
        split.addWidget(below)
        split.setStretchFactor(0, 3)
        split.setStretchFactor(1, 1)
        split.setChildrenCollapsible(False)
        return split

    def showEvent(self, event: QShowEvent | None) -> None:  # noqa: N802
        """Begin to keep the table up to date."""
        self.data.watch(True)

    def hideEvent(self, event: QHideEvent | None) -> None:  # noqa: N802
        """Stop keeping it up to date."""
        self.data.watch(False)

    # The queue

    @property
    def waiting(self) -> list[int]:
        """The nuclei still to be reviewed, those most in doubt first."""
        rows = [row for row in self.data.rows.values() if not row.reviewed]
        return [row.id for row in sorted(rows, key=lambda row: (-row.doubt, row.id))]

    def go_to(self, ident: int) -> None:
        """Show a nucleus, and select it."""
        if self._actions is not None:
            self._actions.select(frozenset({ident}))
            self._actions.go_to(ident)

    def go_next(self) -> None:
        """Go to the nucleus most in doubt that has not been passed over."""
        present = self._selected()
        if present is not None:
            self._visited.append(present)
            self._passed.add(present)
        if self.data.is_fresh:
            self._go_on(present)
        else:
            self.data.fetch(partial(self._go_on, present))

    def _go_on(self, present: int | None) -> None:
        """Leave a nucleus for the one most in doubt, unless the person has gone elsewhere."""
        if self._selected() not in (present, None):
            return
        waiting = self.waiting
        ahead = [ident for ident in waiting if ident not in self._passed]
        if not ahead:
            # Once round: those passed over come again.
            self._passed.clear()
            ahead = [ident for ident in waiting if ident != present]
        if ahead:
            self.go_to(ahead[0])
        elif self._sessions.current is not None:
            self._sessions.say("Every nucleus is reviewed.")

    def go_back(self) -> None:
        """Go to the nucleus that was looked at before."""
        while self._visited:
            ident = self._visited.pop()
            if self._is_nucleus(ident) and ident != self._selected():
                self._passed.discard(ident)
                self.go_to(ident)
                return

    def accept(self) -> None:
        """Lock the selected nucleus and go to the next in doubt."""
        self._judge(lambda ident: LockNuclei((ident,), True))

    def reject(self) -> None:
        """Remove the selected nucleus and go to the next in doubt."""
        self._judge(lambda ident: RemoveNuclei((ident,)))

    def _judge(self, edit: Any) -> None:
        controller, ident = self._sessions.current, self._selected()
        if controller is None:
            return
        if ident is None or not self._is_nucleus(ident):
            controller.refuse("Select the nucleus first: press Next, or click on one.")
            return
        made: Edit = edit(ident)
        controller.apply(made)
        self.go_next()

    def _selected(self) -> int | None:
        ids = frozenset() if self._actions is None else self._actions.selected
        return next(iter(ids)) if len(ids) == 1 else None

    def _is_nucleus(self, ident: int) -> bool:
        controller = self._sessions.current
        return (
            controller is not None
            and controller.view is not None
            and ident in controller.correction.areas
        )

    # What is shown

    def _attach(self) -> None:
        """Follow the selection of the chosen image."""
        if self._actions is not None:
            self._actions.selection_changed.disconnect(self._follow)
        controller = self._sessions.current
        self._actions = None if controller is None else controller.actions
        self._passed.clear()
        self._visited.clear()
        if controller is not None:
            controller.actions.selection_changed.connect(self._follow)
            self.table.set_columns(_columns(controller.session.mpp))
        self._bind_keys()
        self._show_buttons()

    def _follow(self, ids: frozenset[int]) -> None:
        self.table.select(self._selected())
        self._show_buttons()

    def _show_data(self) -> None:
        rows = self.data.rows
        self.table.show_rows(rows)
        self.table.select(self._selected())
        self.progress.setMaximum(max(len(rows), 1))
        self.progress.setValue(sum(row.reviewed for row in rows.values()))
        self.lint.clear()
        for finding in self.data.findings:
            item = QListWidgetItem(_finding_text(finding))
            item.setData(Qt.ItemDataRole.UserRole, finding.ids[0])
            self.lint.addItem(item)
        self._lint_title.setText(f"<b>Worth a look ({len(self.data.findings)})</b>")
        self._show_buttons()

    def _show_buttons(self) -> None:
        why_not = "" if self.data.rows else _NOT_YET
        chosen = self._selected() in self.data.rows
        unchosen = why_not or ("" if chosen else "Press Next, or click on a nucleus.")
        allow(self.queue["go_next"], why_not)
        allow(self.queue["go_back"], why_not or ("" if self._visited else "This is the first."))
        allow(self.queue["accept"], unchosen)
        allow(self.queue["reject"], unchosen)

    def _look(self, item: QListWidgetItem) -> None:
        self.go_to(item.data(Qt.ItemDataRole.UserRole))

    # Keys

    def _bind_keys(self) -> None:
        """Bind the keys on layers that may have been made anew."""
        controller = self._sessions.current
        for role in _KEYED:
            layer = None if controller is None else controller.layer(role)
            if layer is not None:
                bind_keys(layer, role, self, REVIEW_KEYS)

    def close_watch(self) -> None:
        """Take the keys off the layers again."""
        for controller in self._sessions.registry:
            for role in _KEYED:
                layer = controller.layer(role)
                if layer is not None:
                    unbind_keys(layer, role, REVIEW_KEYS)


def _columns(mpp: float | None) -> tuple[Column[ReviewRow], ...]:
    """Return the table's columns; areas in µm² where the pixel size is known."""
    unit, factor = ("px", 1.0) if mpp is None else ("µm²", mpp**2)
    return (
        Column("No.", "The nucleus's number.", lambda row: row.id),
        Column("Doubt", "How much it deserves a look, 0 to 1.", lambda row: row.doubt, _share),
        Column(unit, "Area.", lambda row: row.area * factor, lambda area: f"{area:.0f}"),
        Column(
            "IoU",
            "The model's own estimate of its outline, 0 to 1.",
            lambda row: row.predicted_iou,
            _share,
        ),
        Column(
            "Stable",
            "How little the model's outline changes when it is asked to be more or less strict, "
            "0 to 1.",
            lambda row: row.stability,
            _share,
        ),
        Column(
            "Agree",
            "How well the outline fits the region that proposed the point, 0 to 1.",
            lambda row: row.agreement,
            _share,
        ),
        Column(
            "Haem.",
            "Mean haematoxylin inside, in optical density.",
            lambda row: row.haematoxylin,
            _share,
        ),
        Column("", "✓ accepted, ✎ drawn by hand", _state),
    )


def _share(value: float) -> str:
    return "–" if value != value else f"{value:.2f}"


def _state(row: ReviewRow) -> str:
    return ("✓" if row.reviewed else "") + ("✎" if row.pinned else "")


def _finding_text(finding: Finding) -> str:
    first, *others = finding.ids
    met = f" (with {', '.join(map(str, others))})" if others else ""
    return f"{first}: {finding.kind}{met}"

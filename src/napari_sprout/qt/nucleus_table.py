"""A table of nuclei that can be sorted, and that stays still while nuclei change."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any, Final, Generic, TypeVar

from psygnal import Signal
from qtpy.QtCore import (
    QAbstractTableModel,
    QItemSelectionModel,
    QModelIndex,
    QPersistentModelIndex,
    QSortFilterProxyModel,
    Qt,
)
from qtpy.QtGui import QFontMetrics
from qtpy.QtWidgets import QAbstractItemView, QHeaderView, QTableView, QWidget

Index = QModelIndex | QPersistentModelIndex
Row = TypeVar("Row")
_MARKS_PX: Final = 34
"""Width of a column without a title."""


@dataclass(frozen=True)
class Column(Generic[Row]):
    """One column.

    Attributes
    ----------
    title
        Its heading.
    tooltip
        What the number means, in a pathologist's words.
    value
        Returns what is sorted by.
    text
        Returns what is shown for that value.
    """

    title: str
    tooltip: str
    value: Callable[[Row], Any]
    text: Callable[[Any], str] = str


class RowModel(QAbstractTableModel, Generic[Row]):
    """Rows with identifiers; only what differs is reported when new ones are shown.

    Parameters
    ----------
    columns
        The columns, from the left.
    """

    def __init__(self, columns: Sequence[Column[Row]]) -> None:
        super().__init__()
        self._columns = tuple(columns)
        self._ids: list[int] = []
        self._cells: dict[int, tuple[Any, ...]] = {}

    def set_columns(self, columns: Sequence[Column[Row]]) -> None:
        """Take on other columns, as many as before; there must be no rows."""
        self._columns = tuple(columns)
        self.headerDataChanged.emit(Qt.Orientation.Horizontal, 0, len(self._columns) - 1)

    @property
    def ids(self) -> tuple[int, ...]:
        """The identifiers, by row of this model."""
        return tuple(self._ids)

    def show(self, rows: Mapping[int, Row]) -> None:
        """Show other rows, by identifier."""
        cells = {
            ident: tuple(column.value(row) for column in self._columns)
            for ident, row in rows.items()
        }
        for at in reversed([i for i, ident in enumerate(self._ids) if ident not in cells]):
            self.beginRemoveRows(QModelIndex(), at, at)
            del self._cells[self._ids.pop(at)]
            self.endRemoveRows()
        changed = [at for at, ident in enumerate(self._ids) if cells[ident] != self._cells[ident]]
        self._cells.update((self._ids[at], cells[self._ids[at]]) for at in changed)
        if changed:
            last = self.index(max(changed), len(self._columns) - 1)
            self.dataChanged.emit(self.index(min(changed), 0), last)
        if new := [ident for ident in cells if ident not in self._cells]:
            begin = len(self._ids)
            self.beginInsertRows(QModelIndex(), begin, begin + len(new) - 1)
            self._ids += new
            self._cells.update((ident, cells[ident]) for ident in new)
            self.endInsertRows()

    def rowCount(self, parent: Index = QModelIndex()) -> int:  # noqa: B008, N802
        """Return the number of rows."""
        return 0 if parent.isValid() else len(self._ids)

    def columnCount(self, parent: Index = QModelIndex()) -> int:  # noqa: B008, N802
        """Return the number of columns."""
        return 0 if parent.isValid() else len(self._columns)

    def data(self, index: Index, role: int = Qt.ItemDataRole.DisplayRole) -> Any:
        """Return a cell's text, or for sorting its value."""
        column = self._columns[index.column()]
        if role == Qt.ItemDataRole.DisplayRole:
            return column.text(self._cell(index))
        if role == Qt.ItemDataRole.UserRole:
            # An unknown number has no place among the others: it comes before them all.
            value = self._cell(index)
            return -math.inf if value != value else value
        if role == Qt.ItemDataRole.ToolTipRole:
            return column.tooltip
        if role == Qt.ItemDataRole.TextAlignmentRole and not isinstance(self._cell(index), str):
            return Qt.AlignmentFlag.AlignRight | Qt.AlignmentFlag.AlignVCenter
        return None

    def headerData(  # noqa: N802
        self, section: int, orientation: Qt.Orientation, role: int = Qt.ItemDataRole.DisplayRole
    ) -> Any:
        """Return a column's title or tooltip."""
        if orientation == Qt.Orientation.Horizontal:
            if role == Qt.ItemDataRole.DisplayRole:
                return self._columns[section].title
            if role == Qt.ItemDataRole.ToolTipRole:
                return self._columns[section].tooltip
        return None

    def _cell(self, index: Index) -> Any:
        return self._cells[self._ids[index.row()]][index.column()]


class RowTable(QTableView, Generic[Row]):
    """The table over a :class:`RowModel`.

    New values do not move rows: the order is that of the last click on a heading.

    Parameters
    ----------
    columns
        The columns, from the left.
    """

    picked = Signal(int)
    """The identifier of the row that a person went to."""

    def __init__(self, columns: Sequence[Column[Row]], parent: QWidget | None = None) -> None:
        super().__init__(parent)
        self.rows: RowModel[Row] = RowModel(columns)
        self._sorted = QSortFilterProxyModel(self)
        self._sorted.setSourceModel(self.rows)
        self._sorted.setSortRole(Qt.ItemDataRole.UserRole)
        self._sorted.setDynamicSortFilter(False)
        self._selecting = False
        self.setModel(self._sorted)
        self.sortByColumn(0, Qt.SortOrder.AscendingOrder)
        self.setSortingEnabled(True)
        self.setSelectionBehavior(QAbstractItemView.SelectionBehavior.SelectRows)
        self.setSelectionMode(QAbstractItemView.SelectionMode.SingleSelection)
        self.setShowGrid(False)
        self.setTabKeyNavigation(False)
        if (header := self.verticalHeader()) is not None:
            header.hide()
            header.setDefaultSectionSize(QFontMetrics(self.font()).height() + 6)
            header.setSectionResizeMode(QHeaderView.ResizeMode.Fixed)
        if (header := self.horizontalHeader()) is not None:
            header.setMinimumSectionSize(24)
            header.setSectionResizeMode(QHeaderView.ResizeMode.Stretch)
            for at, column in enumerate(columns):
                if not column.title:
                    # It holds marks alone: the numbers need the room.
                    header.setSectionResizeMode(at, QHeaderView.ResizeMode.Fixed)
                    header.resizeSection(at, _MARKS_PX)
        if (selection := self.selectionModel()) is not None:
            selection.currentRowChanged.connect(self._went_to)

    @property
    def order(self) -> tuple[int, ...]:
        """The identifiers from top to bottom, as shown."""
        count = self._sorted.rowCount()
        ids = self.rows.ids
        shown = (self._sorted.mapToSource(self._sorted.index(row, 0)) for row in range(count))
        return tuple(ids[index.row()] for index in shown)

    @property
    def current(self) -> int | None:
        """The identifier of the selected row."""
        index = self._sorted.mapToSource(self.currentIndex())
        return self.rows.ids[index.row()] if index.isValid() else None

    def select(self, ident: int | None) -> None:
        """Select a row and scroll to it, without reporting it; None selects nothing."""
        selection = self.selectionModel()
        if ident == self.current or selection is None:
            return
        with self._silent():
            if ident is None or ident not in self.rows.ids:
                selection.clear()
                return
            source = self.rows.index(self.rows.ids.index(ident), 0)
            index = self._sorted.mapFromSource(source)
            flag = QItemSelectionModel.SelectionFlag
            selection.setCurrentIndex(index, flag.ClearAndSelect | flag.Rows)
            self.scrollTo(index)

    def set_columns(self, columns: Sequence[Column[Row]]) -> None:
        """Take on other columns, as many as before; the rows go."""
        self.show_rows({})
        self.rows.set_columns(columns)

    def show_rows(self, rows: Mapping[int, Row]) -> None:
        """Show other rows, by identifier; a selected row that stays stays selected."""
        before = self.current
        with self._silent():
            self.rows.show(rows)
            # Qt selects a neighbour of a row that goes: nobody has asked for it.
            if (selection := self.selectionModel()) is not None and before not in rows:
                selection.clear()

    @contextmanager
    def _silent(self) -> Iterator[None]:
        self._selecting, before = True, self._selecting
        try:
            yield
        finally:
            self._selecting = before

    def _went_to(self, index: QModelIndex, _before: QModelIndex) -> None:
        source = self._sorted.mapToSource(index)
        if source.isValid() and not self._selecting:
            self.picked.emit(self.rows.ids[source.row()])

from __future__ import annotations

import math

import pytest
from pytestqt.qtbot import QtBot
from qtpy.QtCore import Qt
from qtpy.QtTest import QAbstractItemModelTester

from napari_sprout.qt.nucleus_table import Column, RowTable

COLUMNS: tuple[Column[tuple[str, float]], ...] = (
    Column("Name", "What it is called.", lambda row: row[0]),
    Column("Area", "In square micrometres.", lambda row: row[1], lambda area: f"{area:.1f}"),
)
ROWS = {7: ("c", 10.0), 3: ("a", 9.0), 5: ("b", 30.0)}


@pytest.fixture
def table(qtbot: QtBot) -> RowTable[tuple[str, float]]:
    made = RowTable(COLUMNS)
    qtbot.addWidget(made)
    made.tester = QAbstractItemModelTester(made.rows)
    made.show_rows(ROWS)
    return made


def texts(table: RowTable[tuple[str, float]], column: int) -> list[str]:
    model = table.model()
    return [model.index(row, column).data() for row in range(model.rowCount())]


def test_numbers_are_shown_as_text_and_sorted_as_numbers(
    table: RowTable[tuple[str, float]],
) -> None:
    assert texts(table, 0) == ["a", "b", "c"]
    table.sortByColumn(1, Qt.SortOrder.AscendingOrder)
    assert texts(table, 1) == ["9.0", "10.0", "30.0"]
    assert table.order == (3, 7, 5)
    table.sortByColumn(0, Qt.SortOrder.DescendingOrder)
    assert table.order == (7, 5, 3)


def test_changed_values_do_not_move_rows(table: RowTable[tuple[str, float]]) -> None:
    table.sortByColumn(1, Qt.SortOrder.AscendingOrder)
    table.show_rows({7: ("c", 10.0), 3: ("a", 99.0), 5: ("b", 30.0)})
    assert table.order == (3, 7, 5)
    assert texts(table, 1) == ["99.0", "10.0", "30.0"]


def test_rows_come_and_go_around_the_selected_one(table: RowTable[tuple[str, float]]) -> None:
    picked: list[int] = []
    table.picked.connect(picked.append)
    table.select(5)
    table.show_rows({5: ("b", 31.0), 11: ("d", 1.0), 7: ("c", 10.0)})
    assert set(table.order) == {5, 7, 11}
    assert table.current == 5
    table.show_rows({11: ("d", 1.0)})
    assert table.order == (11,)
    assert table.current is None
    assert picked == []


def test_going_to_a_row_reports_its_nucleus_and_selecting_one_does_not(
    table: RowTable[tuple[str, float]], qtbot: QtBot
) -> None:
    picked: list[int] = []
    table.picked.connect(picked.append)
    table.sortByColumn(1, Qt.SortOrder.AscendingOrder)
    table.select(3)
    assert table.current == 3
    table.show()
    place = table.visualRect(table.model().index(2, 0)).center()
    qtbot.mouseClick(table.viewport(), Qt.MouseButton.LeftButton, pos=place)
    assert picked == [5]
    assert table.current == 5
    qtbot.keyClick(table, Qt.Key.Key_Up)
    assert picked == [5, 7]
    table.select(None)
    assert table.current is None
    table.select(12345)
    assert picked == [5, 7]


def test_unknown_values_and_headings_can_be_shown(qtbot: QtBot) -> None:
    table = RowTable(COLUMNS)
    qtbot.addWidget(table)
    table.show_rows({1: ("x", math.nan), 2: ("y", 1.0)})
    table.show_rows({1: ("x", math.nan), 2: ("y", 2.0), 3: ("z", -5.0)})
    table.sortByColumn(1, Qt.SortOrder.AscendingOrder)
    assert texts(table, 1) == ["nan", "-5.0", "2.0"]
    model = table.model()
    heading = Qt.Orientation.Horizontal
    assert model.headerData(1, heading) == "Area"
    assert model.headerData(1, heading, Qt.ItemDataRole.ToolTipRole) == "In square micrometres."

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from qtpy.QtCore import Qt

from napari_sprout.core.edits import AddPrompt
from napari_sprout.core.instances import Prompt
from napari_sprout.core.review import ReviewRow
from napari_sprout.core.synthetic import SyntheticImage
from napari_sprout.napari_.roles import LayerRole

CTRL = Qt.KeyboardModifier.ControlModifier
VALUES: tuple[Callable[[ReviewRow], float], ...] = (
    lambda row: row.id,
    lambda row: row.doubt,
    lambda row: row.area,
    lambda row: row.predicted_iou,
    lambda row: row.stability,
    lambda row: row.agreement,
    lambda row: row.haematoxylin,
)
"""What each column is sorted by."""
KEYS = {
    "accept": Qt.Key.Key_Y,
    "reject": Qt.Key.Key_N,
    "go_next": Qt.Key.Key_Period,
    "go_back": Qt.Key.Key_Comma,
}


class Reviewing:
    """A desk with the Review tab in front, and what a person does there."""

    def __init__(self, desk: Any) -> None:
        self.desk, self.tab = desk, desk.dock.review
        self.up_to_date()

    def up_to_date(self) -> None:
        """Wait until the table tells of every nucleus that there is, and nothing else."""
        self.desk.look_at(self.tab)
        areas = self.desk.control.correction.areas
        self.desk.until(
            lambda: (
                not self.desk.control.is_busy
                and {row.id: row.area for row in self.tab.data.rows.values()} == areas
            )
        )

    def do(self, what: str, by: str) -> None:
        """Press a button of the queue, or its key over the canvas."""
        if by == "button":
            assert self.tab.queue[what].isEnabled(), self.tab.queue[what].toolTip()
            self.tab.queue[what].click()
        else:
            self.desk.key(KEYS[what])
        self.desk.until(lambda: not self.desk.control.is_busy)

    @property
    def at(self) -> int:
        """The nucleus that is selected."""
        (ident,) = self.desk.control.actions.selected
        return int(ident)

    @property
    def in_doubt(self) -> list[int]:
        """The nuclei not yet reviewed, the most doubtful first."""
        rows = [row for row in self.tab.data.rows.values() if not row.reviewed]
        return [row.id for row in sorted(rows, key=lambda row: (-row.doubt, row.id))]

    @property
    def count(self) -> str:
        return str(self.tab.progress.text())

    def seen(self, ident: int) -> bool:
        """Whether the camera looks at the middle of a nucleus."""
        box = np.argwhere(self.desk.labels == ident)
        middle = (box.min(axis=0) + box.max(axis=0)) / 2
        return bool(np.allclose(self.camera.center[-2:], middle, atol=0.01))

    @property
    def camera(self) -> Any:
        viewer = self.desk.viewer
        # Since napari 0.9 a viewer has its camera in a scene.
        return getattr(viewer, "scene", viewer).camera


@pytest.fixture
def reviewing(working: Any) -> Reviewing:
    return Reviewing(working)


def test_a_click_on_a_row_selects_its_nucleus_and_shows_it(reviewing: Reviewing) -> None:
    desk, table = reviewing.desk, reviewing.tab.table
    reviewing.camera.zoom = 0.5
    for row in (3, 1):
        place = table.visualRect(table.model().index(row, 2)).center()
        desk.qtbot.mouseClick(table.viewport(), Qt.MouseButton.LeftButton, pos=place)
        ident = table.order[row]
        assert reviewing.at == ident
        assert reviewing.seen(ident)
        points = desk.layer(LayerRole.PROMPTS)
        chosen = [points.features["id"].to_numpy()[at] for at in points.selected_data]
        assert chosen == [ident]
        assert desk.layer(LayerRole.NUCLEI).selected_label == ident
    assert reviewing.camera.zoom > 1


def test_a_nucleus_clicked_in_the_image_is_selected_in_the_table(reviewing: Reviewing) -> None:
    desk, table = reviewing.desk, reviewing.tab.table
    desk.dock.prompts.tools.buttons["Select nuclei"].click()
    nuclei = desk.layer(LayerRole.NUCLEI)
    for ident in (table.order[-1], table.order[0]):
        desk.click(nuclei, *desk.prompt(ident))
        assert table.current == ident
        row = table.order.index(ident)
        assert table.viewport().rect().contains(table.visualRect(table.model().index(row, 0)))
        assert table.selectionModel().isRowSelected(row)
    glass = np.argwhere(desk.labels == 0)[0]
    desk.click(nuclei, *glass)
    assert table.current is None


@pytest.mark.parametrize("column", range(len(VALUES)))
def test_a_click_on_a_heading_sorts_by_it_and_a_second_one_the_other_way(
    reviewing: Reviewing, column: int
) -> None:
    desk, table, rows = reviewing.desk, reviewing.tab.table, reviewing.tab.data.rows
    header = table.horizontalHeader()
    place = header.viewport().rect().center()
    place.setX(header.sectionViewportPosition(column) + header.sectionSize(column) // 2)
    found = []
    for _ in range(2):
        desk.qtbot.mouseClick(header.viewport(), Qt.MouseButton.LeftButton, pos=place)
        found.append([VALUES[column](rows[ident]) for ident in table.order])
    assert sorted(found, key=lambda values: values[0]) == [
        sorted(found[0]),
        sorted(found[0], reverse=True),
    ]
    assert len(set(found[0])) > 1
    assert set(table.order) == set(rows)


@pytest.mark.parametrize("by", ["button", "key"])
def test_next_goes_from_the_most_doubtful_nucleus_to_the_least_and_back(
    reviewing: Reviewing, by: str
) -> None:
    expected = reviewing.in_doubt
    assert expected == list(reviewing.tab.table.order)
    visited = []
    for _ in expected:
        reviewing.do("go_next", by)
        visited.append(reviewing.at)
        assert reviewing.seen(reviewing.at)
        assert reviewing.tab.table.current == reviewing.at
    assert visited == expected
    for ident in reversed(expected[:-1]):
        reviewing.do("go_back", by)
        assert reviewing.at == ident
    assert not reviewing.tab.queue["go_back"].isEnabled()
    reviewing.do("go_next", by)
    assert reviewing.at == expected[1]


@pytest.mark.parametrize("by", ["button", "key"])
def test_accepting_and_rejecting_work_off_the_queue_and_are_counted(
    reviewing: Reviewing, by: str
) -> None:
    desk, queue = reviewing.desk, reviewing.in_doubt
    before, many = desk.labels, len(queue)
    assert reviewing.count == f"0 of {many} nuclei reviewed"
    for name in ("accept", "reject"):
        assert not reviewing.tab.queue[name].isEnabled()
        assert "Press Next" in reviewing.tab.queue[name].toolTip()
    reviewing.do("go_next", by)
    reviewing.do("accept", by)
    assert reviewing.at == queue[1]
    desk.until(lambda: reviewing.count == f"1 of {many} nuclei reviewed")
    assert desk.control.correction.locked == {queue[0]}
    assert np.array_equal(desk.labels, before)
    row = reviewing.tab.table.order.index(queue[0])
    assert reviewing.tab.table.model().index(row, len(VALUES)).data() == "✓"
    reviewing.do("reject", by)
    assert reviewing.at == queue[2]
    desk.until(lambda: reviewing.count == f"1 of {many - 1} nuclei reviewed")
    assert queue[1] not in reviewing.tab.table.order
    assert np.array_equal(desk.labels == queue[1], np.zeros_like(before, dtype=bool))
    kept = before != queue[1]
    assert np.array_equal(desk.labels[kept], before[kept])
    desk.key(Qt.Key.Key_Z, CTRL)
    desk.until(lambda: reviewing.count == f"1 of {many} nuclei reviewed")
    assert np.array_equal(desk.labels, before)
    assert queue[1] in reviewing.tab.table.order
    desk.dock.undo.click()
    desk.until(lambda: reviewing.count == f"0 of {many} nuclei reviewed")
    assert desk.failures == []


def test_when_all_is_reviewed_it_says_so(reviewing: Reviewing) -> None:
    many = len(reviewing.in_doubt)
    reviewing.do("go_next", "key")
    for _ in range(many):
        reviewing.do("accept", "key")
        reviewing.up_to_date()
    reviewing.desk.until(lambda: reviewing.count == f"{many} of {many} nuclei reviewed")
    reviewing.do("go_next", "button")
    assert reviewing.desk.said[-1] == "Every nucleus is reviewed."


def test_what_was_reviewed_is_still_so_when_the_image_is_opened_again(
    reviewing: Reviewing, desk: Callable[[], Any], tmp_path: Path, sparse: SyntheticImage
) -> None:
    queue = reviewing.in_doubt
    reviewing.do("go_next", "button")
    for what in ("accept", "accept", "reject"):
        reviewing.do(what, "button")
    reviewing.up_to_date()
    before, count, waiting = reviewing.desk.labels, reviewing.count, reviewing.in_doubt
    assert count.startswith("2 of ")
    assert not set(queue[:3]).intersection(waiting)
    reviewing.desk.close()
    again = desk()
    again.open(tmp_path / "case.png", sparse.rgb)
    again.dock.segment.earlier.go_on.click()
    again.wait_until_done()
    later = Reviewing(again)
    assert np.array_equal(again.labels, before)
    assert later.count == count
    assert later.in_doubt == waiting
    later.do("go_next", "button")
    assert later.at == waiting[0]


def test_oddities_are_listed_and_a_click_on_one_goes_there(reviewing: Reviewing) -> None:
    desk, lint = reviewing.desk, reviewing.tab.lint
    ident = desk.lonely()
    y, x = desk.prompt(ident)
    ids = [desk.control.new_id() for _ in range(2)]
    desk.control.apply(AddPrompt(Prompt(ids[0], "positive", y + 2, x + 1, "hand")))
    desk.control.apply(AddPrompt(Prompt(ids[1], "negative", y - 4, x - 4, "hand")))

    def lines() -> list[str]:
        return [lint.item(row).text() for row in range(lint.count())]

    desk.until(lambda: any("two prompts" in line for line in lines()))
    (owner,) = {ident, ids[0]}.intersection(np.unique(desk.labels).tolist())
    (other,) = {ident, ids[0]} - {owner}
    expected = {
        f"{owner}: two prompts in one nucleus (with {other})",
        f"{owner}: negative prompt in a nucleus (with {ids[1]})",
    }
    assert expected <= set(lines())
    assert reviewing.tab._lint_title.text() == f"<b>Worth a look ({lint.count()})</b>"
    reviewing.do("go_next", "button")
    row = next(row for row, line in enumerate(lines()) if line in expected)
    place = lint.visualItemRect(lint.item(row)).center()
    desk.qtbot.mouseClick(lint.viewport(), Qt.MouseButton.LeftButton, pos=place)
    assert reviewing.at == owner
    assert reviewing.seen(owner)
    desk.control.undo()
    desk.control.undo()
    desk.until(lambda: not expected.intersection(lines()))


def test_before_a_run_the_queue_says_what_to_do_first(desk: Callable[[], Any]) -> None:
    made = desk()
    made.look_at(made.dock.review)
    for button in made.dock.review.queue.values():
        assert not button.isEnabled()
        assert "press Run" in button.toolTip()


@pytest.mark.parametrize("what", ["accept", "reject"])
def test_the_keys_judge_a_nucleus_before_the_table_was_ever_seen(working: Any, what: str) -> None:
    working.dock.prompts.tools.buttons["Select nuclei"].click()
    ident = working.lonely()
    working.click(working.layer(LayerRole.NUCLEI), *working.prompt(ident))
    assert working.control.actions.selected == {ident}
    working.key(KEYS[what])
    working.wait_until_done()
    correction = working.control.correction
    assert working.failures == []
    assert (ident in correction.locked) == (what == "accept")
    assert (ident in correction.areas) == (what == "accept")
    # The next one in doubt is gone to as soon as it is known which that is.
    working.until(lambda: working.control.actions.selected not in ({ident}, set()))
    (following,) = working.control.actions.selected
    assert following in correction.areas
    assert working.dock.review.waiting[0] == following


def test_a_key_to_judge_with_a_point_selected_that_has_no_nucleus_says_what_to_do(
    working: Any,
) -> None:
    working.control.actions.select(frozenset())
    working.key(KEYS["accept"])
    working.until(lambda: bool(working.failures))
    assert "Select the nucleus first" in working.failures[0]
    assert not working.control.can_undo

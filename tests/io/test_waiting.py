from __future__ import annotations

import errno
import os
import threading
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from napari_sprout.errors import OutputError, ProjectError
from napari_sprout.io.acts import count_acts
from napari_sprout.io.waiting import DAMAGED_NAME, WAITING_NAME, Waiting

NAME = "a project"


def numbers(waiting: Waiting) -> list[Any]:
    return [entry["number"] for entry in waiting.earlier]


@pytest.fixture
def waiting(tmp_path: Path) -> Any:
    made = Waiting(tmp_path, NAME)
    yield made
    made.close()


def test_what_waits_is_there_after_a_crash_until_it_is_settled(
    waiting: Waiting, tmp_path: Path
) -> None:
    acts = [waiting.add({"number": number}) for number in range(3)]
    assert len(set(acts)) == 3
    assert waiting.earlier == ()
    after = Waiting(tmp_path, NAME)
    assert [(entry["act"], entry["number"]) for entry in after.earlier] == list(
        zip(acts, range(3), strict=True)
    )
    after.settle(*acts[:2])
    assert numbers(after) == [2]
    # A second crash may bring back what was done, but never loses what was not.
    assert 2 in numbers(Waiting(tmp_path, NAME, read_only=True))
    after.settle(acts[2])
    assert Waiting(tmp_path, NAME).earlier == ()


def test_a_project_closed_with_nothing_waiting_has_no_such_file(tmp_path: Path) -> None:
    waiting = Waiting(tmp_path, NAME)
    waiting.close()
    assert list(tmp_path.iterdir()) == []
    waiting = Waiting(tmp_path, NAME)
    first, second = waiting.add({"number": 1}), waiting.add({"number": 2})
    waiting.settle(first)
    waiting.settle(second)
    waiting.close()
    assert list(tmp_path.iterdir()) == []
    with pytest.raises(ProjectError, match="not open"):
        waiting.add({"number": 3})
    assert list(tmp_path.iterdir()) == []


def test_what_was_not_settled_stays_when_the_project_is_closed(
    waiting: Waiting, tmp_path: Path
) -> None:
    waiting.settle(waiting.add({"number": 1}))
    waiting.add({"number": 2})
    waiting.close()
    waiting.settle("nothing of ours")
    assert numbers(Waiting(tmp_path, NAME)) == [2]


@settings(deadline=None, max_examples=40)
@given(steps=st.lists(st.integers(-1, 8), max_size=25))
def test_nothing_that_waits_is_ever_lost_nor_told_twice(
    steps: list[int], tmp_path_factory: Any
) -> None:
    folder = tmp_path_factory.mktemp("project")
    waiting, open_acts, added = Waiting(folder, NAME), dict[str, int](), 0
    told = set[int]()
    for step in steps:
        if step < 0:
            open_acts[waiting.add({"number": added})] = added
            added += 1
        elif step < len(open_acts):
            act = list(open_acts)[step]
            number = open_acts.pop(act)
            waiting.settle(act, told=step % 2 == 0)
            told |= {number} if step % 2 == 0 else set()
        left = numbers(Waiting(folder, NAME, read_only=True))
        assert [number for number in left if number in open_acts.values()] == list(
            open_acts.values()
        )
        assert told.isdisjoint(left)
        assert open_acts or not left
    waiting.close()


def test_adding_and_settling_in_two_threads_loses_nothing(waiting: Waiting, tmp_path: Path) -> None:
    handed: list[str] = []
    ready = threading.Semaphore(0)

    def settle() -> None:
        for index in range(60):
            ready.acquire()
            waiting.settle(handed[index])

    worker = threading.Thread(target=settle)
    worker.start()
    for number in range(61):
        handed.append(waiting.add({"number": number}))
        ready.release()
    worker.join(20)
    left = numbers(Waiting(tmp_path, NAME, read_only=True))
    assert left[-1] == 60
    waiting.settle(handed[-1])
    assert Waiting(tmp_path, NAME, read_only=True).earlier == ()


def test_a_torn_last_line_alone_is_dropped(waiting: Waiting, tmp_path: Path) -> None:
    waiting.add({"number": 1})
    waiting.add({"number": 2})
    waiting.close()
    path = tmp_path / WAITING_NAME
    path.write_bytes(path.read_bytes()[:-9])
    told: list[str] = []
    again = Waiting(tmp_path, NAME, tell=told.append)
    assert numbers(again) == [1]
    assert len(told) == 1
    assert "cut off" in told[0]
    again.add({"number": 3})
    assert numbers(Waiting(tmp_path, NAME)) == [1, 3]


@pytest.mark.parametrize("read_only", [True, False])
def test_a_damaged_file_is_told_and_put_aside(
    waiting: Waiting, tmp_path: Path, read_only: bool
) -> None:
    waiting.add({"number": 1})
    waiting.add({"number": 2})
    waiting.close()
    path = tmp_path / WAITING_NAME
    damaged = path.read_bytes().replace(b'"number":1', b'"number":7')
    path.write_bytes(damaged)
    told: list[str] = []
    again = Waiting(tmp_path, NAME, read_only=read_only, tell=told.append)
    assert again.earlier == ()
    assert len(told) == 1
    assert str(path) in told[0]
    assert "damaged" in told[0]
    assert (path if read_only else tmp_path / DAMAGED_NAME).read_bytes() == damaged
    assert path.exists() == read_only
    again.close()


def test_a_full_disk_is_told_and_leaves_the_rest_as_it_was(
    waiting: Waiting, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(*_: object) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    waiting.add({"number": 1})
    with monkeypatch.context() as patch:
        patch.setattr(os, "write", full)
        with pytest.raises(OutputError, match="disk is full"):
            waiting.add({"number": 2})
    waiting.add({"number": 3})
    assert numbers(Waiting(tmp_path, NAME)) == [1, 3]


def test_on_a_full_disk_what_was_told_may_come_back_but_nothing_is_lost(
    waiting: Waiting, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(*_: object) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    first, second = waiting.add({"number": 1}), waiting.add({"number": 2})
    with monkeypatch.context() as patch:
        patch.setattr(os, "write", full)
        waiting.settle(first, told=True)
        assert numbers(Waiting(tmp_path, NAME, read_only=True)) == [1, 2]
        waiting.settle(second, told=True)
    assert numbers(Waiting(tmp_path, NAME, read_only=True)) == []


def edits(count: int, act: str | None = None) -> list[dict[str, Any]]:
    return steps("edit", count, act)


def steps(kind: str, count: int, act: str | None = None) -> list[dict[str, Any]]:
    if act is None:
        return [{"kind": kind}] * count
    return [{"kind": kind, "act": act, "left": left} for left in reversed(range(count))]


RUN = {"kind": "run"}
ACTS: dict[str, tuple[list[dict[str, Any]], tuple[list[int], list[int]]]] = {
    "single edits": (edits(3), ([1, 1, 1], [])),
    "an act of three": ([RUN, *edits(1), *edits(3, "a"), *edits(2, "b")], ([1, 3, 2], [])),
    "undone": ([*edits(3, "a"), *edits(1), *steps("undo", 1), RUN], ([3], [1])),
    "undone at once": ([*edits(1), *edits(3, "a"), *steps("undo", 3, "b")], ([1], [3])),
    "undone in two parts": (
        [*edits(3, "a"), *steps("undo", 3, "b")[:1], *steps("undo", 2, "c")],
        ([], [1, 2]),
    ),
    "undone in part": ([*edits(3, "a"), *steps("undo", 3, "b")[:1]], ([2], [1])),
    "redone": (
        [
            *(*edits(2, "a"), *edits(1)),
            *(*steps("undo", 1), *steps("undo", 2, "b"), *steps("redo", 2, "c")),
        ],
        ([2], [1]),
    ),
    "something else after an undo": (
        [*edits(2, "a"), *steps("undo", 2, "b"), *edits(1)],
        ([1], []),
    ),
    "one of them failed": (
        [*edits(3, "a")[:2], {"kind": "failed", "entry": 2}, edits(3, "a")[2]],
        ([2], []),
    ),
}


@pytest.mark.parametrize("case", ACTS)
def test_the_journal_says_which_edits_are_one_act(case: str) -> None:
    entries, expected = ACTS[case]
    assert count_acts(entries) == expected

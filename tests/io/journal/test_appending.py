from __future__ import annotations

import json
import statistics
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from napari_sprout.errors import ProjectError
from napari_sprout.io.journal import Journal


def test_entries_come_back_exactly_and_in_order(
    written: Path, entries: Callable[[Path], list[Any]], all_entries: list[dict[str, Any]]
) -> None:
    assert entries(written) == all_entries


def test_every_line_is_json_and_counted(written: Path) -> None:
    lines = [json.loads(line) for line in written.read_text().splitlines()]
    assert [line["n"] for line in lines] == [1, 2, 3, 4]
    assert [line["kind"] for line in lines] == ["run", "edit", "undo", "edit"]
    assert len({line["check"] for line in lines}) == 4


def test_appending_goes_on_after_opening_again(
    written: Path, entries: Callable[[Path], list[Any]], all_entries: list[dict[str, Any]]
) -> None:
    journal = Journal(written, "id")
    assert journal.append({"kind": "redo"}) == 5
    assert len(journal) == 5
    assert list(journal.entries) == [*all_entries, {"kind": "redo"}]
    assert entries(written) == [*all_entries, {"kind": "redo"}]


json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False)
    | st.text(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(), inner, max_size=3),
    max_leaves=8,
)  # fmt: skip


@settings(max_examples=60, deadline=None)
@given(
    given_entries=st.lists(
        st.dictionaries(
            st.text().filter(lambda name: name not in ("n", "check")), json_values, max_size=3
        ),
        max_size=4,
    )
)
def test_whatever_json_holds_is_kept(
    tmp_path_factory: pytest.TempPathFactory,
    given_entries: list[dict[str, Any]],
    entries: Callable[[Path], list[Any]],
    append_all: Callable[..., None],
) -> None:
    path = tmp_path_factory.mktemp("journal") / "journal.jsonl"
    Journal.create(path)
    append_all(path, given_entries)
    assert entries(path) == given_entries


def test_threads_may_append_at_once(path: Path, entries: Callable[[Path], list[Any]]) -> None:
    journal = Journal(path, "id")
    numbers: list[int] = []

    def work(worker: int) -> None:
        numbers.extend(journal.append({"worker": worker, "i": i}) for i in range(20))

    threads = [threading.Thread(target=work, args=(worker,)) for worker in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sorted(numbers) == list(range(1, 81))
    assert len(entries(path)) == 80


def test_an_entry_changed_after_appending_does_not_change_the_journal(path: Path) -> None:
    journal = Journal(path, "id")
    entry = {"ids": [1]}
    journal.append(entry)
    entry["ids"].append(2)
    assert list(journal.entries) == [{"ids": [1]}]


def test_appending_takes_less_than_five_milliseconds(path: Path) -> None:
    journal = Journal(path, "id")
    stroke = {"kind": "edit", "edit": {"kind": "paint", "runs": list(range(300))}}
    took = []
    for _ in range(100):
        started = time.perf_counter()
        journal.append(stroke)
        took.append(time.perf_counter() - started)
    assert statistics.median(took) < 0.005


def test_a_cleared_journal_is_empty_and_goes_on(
    written: Path, entries: Callable[[Path], list[Any]]
) -> None:
    journal = Journal(written, "id")
    journal.clear()
    assert len(journal) == 0
    assert entries(written) == []
    assert journal.append({"kind": "redo"}) == 1
    assert entries(written) == [{"kind": "redo"}]
    journal.close()
    with pytest.raises(ProjectError, match="not open"):
        journal.clear()
    assert entries(written) == [{"kind": "redo"}]

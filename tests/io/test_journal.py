from __future__ import annotations

import errno
import json
import os
import random
import signal
import statistics
import subprocess
import sys
import threading
import time
import warnings
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from napari_sprout.errors import OutputError, ProjectError, SproutWarning
from napari_sprout.io.journal import Journal

ENTRIES: list[dict[str, Any]] = [
    {"kind": "run", "settings": {"seed": 3, "share": 0.1}},
    {"kind": "edit", "edit": {"id": 7, "runs": [1, 2, 3], "text": 'a "quoted"\nline é\u2028'}},
    {"kind": "undo"},
    {"kind": "edit", "edit": {"y": 1e-300, "x": 1 / 3, "none": None, "yes": True}},
]


@pytest.fixture
def path(tmp_path: Path) -> Path:
    found = tmp_path / "journal.jsonl"
    Journal.create(found)
    return found


@pytest.fixture
def written(path: Path) -> Path:
    append_all(path)
    return path


def append_all(path: Path, entries: list[dict[str, Any]] = ENTRIES) -> None:
    journal = Journal(path, "id")
    for entry in entries:
        journal.append(entry)
    journal.close()


def entries(path: Path, identity: str = "id") -> list[Any]:
    """Read a journal that must be in order."""
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        return list(Journal(path, identity, read_only=True).entries)


# Keeping


def test_entries_come_back_exactly_and_in_order(written: Path) -> None:
    assert entries(written) == ENTRIES


def test_every_line_is_json_and_counted(written: Path) -> None:
    lines = [json.loads(line) for line in written.read_text().splitlines()]
    assert [line["n"] for line in lines] == [1, 2, 3, 4]
    assert [line["kind"] for line in lines] == ["run", "edit", "undo", "edit"]
    assert len({line["check"] for line in lines}) == 4


def test_appending_goes_on_after_opening_again(written: Path) -> None:
    journal = Journal(written, "id")
    assert journal.append({"kind": "redo"}) == 5
    assert len(journal) == 5
    assert list(journal.entries) == [*ENTRIES, {"kind": "redo"}]
    assert entries(written) == [*ENTRIES, {"kind": "redo"}]


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
    tmp_path_factory: pytest.TempPathFactory, given_entries: list[dict[str, Any]]
) -> None:
    path = tmp_path_factory.mktemp("journal") / "journal.jsonl"
    Journal.create(path)
    append_all(path, given_entries)
    assert entries(path) == given_entries


def test_threads_may_append_at_once(path: Path) -> None:
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


# Crashes

CHILD = """
import os, sys
from napari_sprout.io.journal import Journal
journal = Journal(sys.argv[1], "id")
while True:
    number = journal.append({"kind": "edit", "mask": "x" * (len(journal) % 7 * 3000)})
    os.write(1, b"%d\\n" % number)
"""


@pytest.mark.skipif(os.name == "nt", reason="no SIGKILL")
def test_no_acknowledged_entry_is_lost_when_the_process_is_killed(path: Path) -> None:
    random.seed(11)
    acknowledged = 0
    for _ in range(6):
        with subprocess.Popen(
            [sys.executable, "-c", CHILD, str(path)], stdout=subprocess.PIPE, bufsize=0
        ) as child:
            assert child.stdout is not None
            said = child.stdout.read(1)  # it has begun
            time.sleep(random.uniform(0, 0.15))
            child.send_signal(signal.SIGKILL)
            said += child.stdout.read()
        acknowledged = int(said.split(b"\n")[:-1][-1])
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", SproutWarning)
            journal = Journal(path, "id")
        # At most the one that was being written when the process died comes on top.
        assert acknowledged <= len(journal) <= acknowledged + 1
        assert all(
            len(entry["mask"]) == number % 7 * 3000 for number, entry in enumerate(journal.entries)
        )
        journal.close()
    assert acknowledged > 20


def test_a_line_torn_at_any_byte_is_dropped_alone(written: Path) -> None:
    data = written.read_bytes()
    start = data.rindex(b"\n", 0, -1) + 1
    for end in range(start + 1, len(data) - 1):
        written.write_bytes(data[:end])
        with pytest.warns(SproutWarning, match="all 3 entries before it are kept") as caught:
            journal = Journal(written, "id")
        assert str(written) in str(caught[0].message)
        assert list(journal.entries) == ENTRIES[:3]
        journal.close()
        assert written.read_bytes() == data[:start]
    assert [found.name for found in written.parent.iterdir()] == [written.name]


def test_a_last_line_without_its_line_break_is_whole(written: Path) -> None:
    data = written.read_bytes()
    written.write_bytes(data[:-1])
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        journal = Journal(written, "id")
    assert list(journal.entries) == ENTRIES
    assert written.read_bytes() == data
    journal.append({"kind": "redo"})
    assert entries(written) == [*ENTRIES, {"kind": "redo"}]


@pytest.mark.parametrize("ending", [b"\0" * 40, b"\0" * 40 + b"\n", b'{"n":5,"k\0\0\0\0"}\n'])
def test_what_a_power_cut_leaves_of_the_last_line_is_dropped(written: Path, ending: bytes) -> None:
    data = written.read_bytes()
    written.write_bytes(data + ending)
    with pytest.warns(SproutWarning, match="all 4 entries"):
        Journal(written, "id")
    assert written.read_bytes() == data


def test_entries_follow_a_repaired_line(written: Path) -> None:
    written.write_bytes(written.read_bytes()[:-9])
    with pytest.warns(SproutWarning):
        journal = Journal(written, "id")
    assert journal.append({"kind": "redo"}) == 4
    assert entries(written) == [*ENTRIES[:3], {"kind": "redo"}]


def test_reading_alone_repairs_nothing(written: Path) -> None:
    torn = written.read_bytes()[:-9]
    written.write_bytes(torn)
    with pytest.warns(SproutWarning):
        journal = Journal(written, "id", read_only=True)
    assert list(journal.entries) == ENTRIES[:3]
    assert written.read_bytes() == torn
    with pytest.raises(ProjectError, match="open"):
        journal.append({"kind": "redo"})


# Damage


@pytest.fixture
def lines(written: Path) -> Iterator[list[bytes]]:
    """The journal's lines, to be changed by the test; writing them back must not go unnoticed."""
    found = written.read_bytes().splitlines(keepends=True)
    yield found
    data = b"".join(found)
    written.write_bytes(data)
    with pytest.raises(ProjectError, match=r"Line [1-4] of") as caught:
        Journal(written, "id")
    assert str(written) in str(caught.value)
    assert "backup" in str(caught.value)
    assert written.read_bytes() == data


def test_swapped_lines_are_noticed(lines: list[bytes]) -> None:
    lines[1], lines[2] = lines[2], lines[1]


def test_a_lost_line_is_noticed(lines: list[bytes]) -> None:
    del lines[2]


def test_a_lost_first_line_is_noticed(lines: list[bytes]) -> None:
    del lines[0]


def test_a_doubled_line_is_noticed(lines: list[bytes]) -> None:
    lines.insert(2, lines[2])


def test_a_changed_value_is_noticed(lines: list[bytes]) -> None:
    lines[1] = lines[1].replace(b'"id":7', b'"id":8')


def test_a_changed_last_line_is_noticed_not_dropped(lines: list[bytes]) -> None:
    lines[3] = lines[3].replace(b"true", b"null")


def test_an_empty_line_is_noticed(lines: list[bytes]) -> None:
    lines.insert(1, b"\n")


def test_damage_before_a_torn_line_is_noticed(lines: list[bytes]) -> None:
    lines[0] = b"garbage\n"
    lines[3] = lines[3][:10]


def test_any_flipped_byte_is_noticed_and_its_line_named(written: Path) -> None:
    data = written.read_bytes()
    rng = random.Random(5)
    for place in rng.sample(range(len(data) - 1), 60):
        changed = bytearray(data)
        changed[place] ^= 1 << rng.randrange(7)
        if b"\0" in changed or changed.count(b"\n") != data.count(b"\n"):
            continue  # these look like a power cut, and move the line numbers
        written.write_bytes(changed)
        with pytest.raises(ProjectError, match=rf"Line {data.count(10, 0, place) + 1} of 4 of"):
            Journal(written, "id")


def test_deleting_from_the_named_line_on_goes_on_from_there(written: Path) -> None:
    kept = b"".join(written.read_bytes().splitlines(keepends=True)[:2])
    written.write_bytes(kept)
    assert entries(written) == ENTRIES[:2]


def test_the_journal_of_another_project_is_refused(written: Path) -> None:
    with pytest.raises(ProjectError, match="Line 1 of 4"):
        Journal(written, "another")


def test_a_missing_journal_is_not_taken_for_an_empty_one(tmp_path: Path) -> None:
    with pytest.raises(ProjectError, match="is missing"):
        Journal(tmp_path / "journal.jsonl", "id")
    assert list(tmp_path.iterdir()) == []


def test_an_existing_journal_is_never_made_anew(written: Path) -> None:
    data = written.read_bytes()
    with pytest.raises(OutputError):
        Journal.create(written)
    assert written.read_bytes() == data


# Failures while writing


def test_a_full_disk_leaves_the_journal_as_it_was(
    written: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    data, write = written.read_bytes(), os.write
    journal = Journal(written, "id")

    def full(descriptor: int, text: bytes) -> int:
        if os.fstat(descriptor).st_size > len(data):
            raise OSError(errno.ENOSPC, "No space left on device")
        return write(descriptor, bytes(text)[:11])

    with monkeypatch.context() as patch:
        patch.setattr(os, "write", full)
        with pytest.raises(OutputError, match="disk is full") as caught:
            journal.append({"kind": "redo"})
    assert str(written) in str(caught.value)
    assert written.read_bytes() == data
    assert list(journal.entries) == ENTRIES
    assert journal.append({"kind": "undo"}) == 5
    assert entries(written) == [*ENTRIES, {"kind": "undo"}]


def test_a_file_that_may_not_grow_is_left_as_it_was(written: Path) -> None:
    resource = pytest.importorskip("resource")
    data = written.read_bytes()
    journal = Journal(written, "id")
    limits = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (len(data) + 100, limits[1]))
    try:
        with pytest.raises(OutputError, match="could not be written"):
            journal.append({"mask": "x" * 500})
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)
    assert written.read_bytes() == data
    journal.append({"mask": "x" * 500})
    assert len(entries(written)) == 5


@pytest.mark.parametrize("failure", [OSError(errno.EIO, "Input/output error"), KeyboardInterrupt()])
def test_an_entry_that_did_not_reach_the_disk_is_taken_back(
    written: Path, monkeypatch: pytest.MonkeyPatch, failure: BaseException
) -> None:
    data, fsync, calls = written.read_bytes(), os.fsync, []
    journal = Journal(written, "id")

    def failing(descriptor: int) -> None:
        calls.append(descriptor)
        if len(calls) == 1:
            raise failure
        fsync(descriptor)

    monkeypatch.setattr(os, "fsync", failing)
    with pytest.raises((OutputError, KeyboardInterrupt)):
        journal.append({"kind": "redo"})
    assert written.read_bytes() == data
    assert journal.append({"kind": "redo"}) == 5


def test_nothing_follows_a_line_that_could_not_be_taken_back(
    written: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    journal, write = Journal(written, "id"), os.write

    def failing(*_: object) -> None:
        raise OSError(errno.EIO, "Input/output error")

    with monkeypatch.context() as patch:
        patch.setattr(os, "write", lambda descriptor, text: write(descriptor, bytes(text)[:11]))
        patch.setattr(os, "fsync", failing)
        patch.setattr(os, "ftruncate", failing)
        with pytest.raises(OutputError, match="open the project again"):
            journal.append({"kind": "redo"})
    with pytest.raises(ProjectError, match="open the project again"):
        journal.append({"kind": "redo"})
    # The line had been written whole, though not acknowledged: nothing speaks against it.
    assert entries(written) == [*ENTRIES, {"kind": "redo"}]


@pytest.mark.parametrize(
    "entry", [{"x": float("nan")}, {"x": float("inf")}, {"x": {1, 2}}, {"n": 3}, {"check": "a"}]
)
def test_what_cannot_be_kept_is_refused_before_anything_is_written(
    written: Path, entry: dict[str, Any]
) -> None:
    data = written.read_bytes()
    journal = Journal(written, "id")
    with pytest.raises(ProjectError):
        journal.append(entry)
    assert written.read_bytes() == data


def test_a_change_by_another_program_is_noticed(written: Path) -> None:
    journal = Journal(written, "id")
    written.write_bytes(written.read_bytes()[:-9])
    with pytest.raises(ProjectError, match="changed by another program"):
        journal.append({"kind": "redo"})


@pytest.mark.skipif(os.name == "nt", reason="open files cannot be deleted")
def test_a_journal_deleted_or_replaced_while_open_is_noticed(written: Path) -> None:
    journal = Journal(written, "id")
    data = written.read_bytes()
    written.unlink()
    with pytest.raises(ProjectError, match="moved or deleted"):
        journal.append({"kind": "redo"})
    written.write_bytes(data)
    with pytest.raises(ProjectError, match="moved or deleted"):
        journal.append({"kind": "redo"})


def test_a_closed_journal_takes_nothing(written: Path) -> None:
    journal = Journal(written, "id")
    journal.close()
    journal.close()
    with pytest.raises(ProjectError, match="not open"):
        journal.append({"kind": "redo"})

from __future__ import annotations

import errno
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from napari_sprout.errors import OutputError, ProjectError
from napari_sprout.io.journal import Journal


def test_a_full_disk_leaves_the_journal_as_it_was(
    written: Path,
    monkeypatch: pytest.MonkeyPatch,
    entries: Callable[[Path], list[Any]],
    all_entries: list[dict[str, Any]],
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
    assert list(journal.entries) == all_entries
    assert journal.append({"kind": "undo"}) == 5
    assert entries(written) == [*all_entries, {"kind": "undo"}]


def test_a_file_that_may_not_grow_is_left_as_it_was(
    written: Path, entries: Callable[[Path], list[Any]]
) -> None:
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
    written: Path,
    monkeypatch: pytest.MonkeyPatch,
    entries: Callable[[Path], list[Any]],
    all_entries: list[dict[str, Any]],
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
    assert entries(written) == [*all_entries, {"kind": "redo"}]


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

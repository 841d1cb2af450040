from __future__ import annotations

import os
import random
import signal
import subprocess
import sys
import time
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from napari_sprout.errors import ProjectError, SproutWarning
from napari_sprout.io.journal import Journal

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


def test_a_line_torn_at_any_byte_is_dropped_alone(
    written: Path, all_entries: list[dict[str, Any]]
) -> None:
    data = written.read_bytes()
    start = data.rindex(b"\n", 0, -1) + 1
    for end in range(start + 1, len(data) - 1):
        written.write_bytes(data[:end])
        with pytest.warns(SproutWarning, match="all 3 entries before it are kept") as caught:
            journal = Journal(written, "id")
        assert str(written) in str(caught[0].message)
        assert list(journal.entries) == all_entries[:3]
        journal.close()
        assert written.read_bytes() == data[:start]
    assert [found.name for found in written.parent.iterdir()] == [written.name]


def test_a_last_line_without_its_line_break_is_whole(
    written: Path, entries: Callable[[Path], list[Any]], all_entries: list[dict[str, Any]]
) -> None:
    data = written.read_bytes()
    written.write_bytes(data[:-1])
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        journal = Journal(written, "id")
    assert list(journal.entries) == all_entries
    assert written.read_bytes() == data
    journal.append({"kind": "redo"})
    assert entries(written) == [*all_entries, {"kind": "redo"}]


@pytest.mark.parametrize("ending", [b"\0" * 40, b"\0" * 40 + b"\n", b'{"n":5,"k\0\0\0\0"}\n'])
def test_what_a_power_cut_leaves_of_the_last_line_is_dropped(written: Path, ending: bytes) -> None:
    data = written.read_bytes()
    written.write_bytes(data + ending)
    with pytest.warns(SproutWarning, match="all 4 entries"):
        Journal(written, "id")
    assert written.read_bytes() == data


def test_entries_follow_a_repaired_line(
    written: Path, entries: Callable[[Path], list[Any]], all_entries: list[dict[str, Any]]
) -> None:
    written.write_bytes(written.read_bytes()[:-9])
    with pytest.warns(SproutWarning):
        journal = Journal(written, "id")
    assert journal.append({"kind": "redo"}) == 4
    assert entries(written) == [*all_entries[:3], {"kind": "redo"}]


def test_reading_alone_repairs_nothing(written: Path, all_entries: list[dict[str, Any]]) -> None:
    torn = written.read_bytes()[:-9]
    written.write_bytes(torn)
    with pytest.warns(SproutWarning):
        journal = Journal(written, "id", read_only=True)
    assert list(journal.entries) == all_entries[:3]
    assert written.read_bytes() == torn
    with pytest.raises(ProjectError, match="open"):
        journal.append({"kind": "redo"})

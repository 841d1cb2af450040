from __future__ import annotations

import random
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from napari_sprout.errors import OutputError, ProjectError
from napari_sprout.io.journal import Journal


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


def test_deleting_from_the_named_line_on_goes_on_from_there(
    written: Path, entries: Callable[[Path], list[Any]], all_entries: list[dict[str, Any]]
) -> None:
    kept = b"".join(written.read_bytes().splitlines(keepends=True)[:2])
    written.write_bytes(kept)
    assert entries(written) == all_entries[:2]


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

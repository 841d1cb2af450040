from __future__ import annotations

import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from napari_sprout.io.journal import Journal

Entries = list[dict[str, Any]]


@pytest.fixture(scope="session")
def all_entries() -> Entries:
    """What is in the journal of :func:`written`."""
    return [
        {"kind": "run", "settings": {"seed": 3, "share": 0.1}},
        {"kind": "edit", "edit": {"id": 7, "runs": [1, 2, 3], "text": 'a "quoted"\nline é\u2028'}},
        {"kind": "undo"},
        {"kind": "edit", "edit": {"y": 1e-300, "x": 1 / 3, "none": None, "yes": True}},
    ]


@pytest.fixture
def path(tmp_path: Path) -> Path:
    """An empty journal."""
    found = tmp_path / "journal.jsonl"
    Journal.create(found)
    return found


@pytest.fixture
def written(path: Path, append_all: Callable[[Path, Entries], None], all_entries: Entries) -> Path:
    """A journal of four lines, closed."""
    append_all(path, all_entries)
    return path


@pytest.fixture(scope="session")
def append_all() -> Callable[[Path, Entries], None]:
    def append(path: Path, entries: Entries) -> None:
        journal = Journal(path, "id")
        for entry in entries:
            journal.append(entry)
        journal.close()

    return append


@pytest.fixture(scope="session")
def entries() -> Callable[[Path], list[Any]]:
    """Read a journal that must be in order."""

    def read(path: Path) -> list[Any]:
        with warnings.catch_warnings():
            warnings.simplefilter("error")
            return list(Journal(path, "id", read_only=True).entries)

    return read

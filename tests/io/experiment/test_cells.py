from __future__ import annotations

import errno
import math
import os

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from napari_sprout.core.metrics import Scores
from napari_sprout.core.prompt_quality import PromptQuality
from napari_sprout.errors import OutputError
from napari_sprout.io.experiment.cells import Cell, CellFile


def cell(key: str, aji: float = 0.5, quality: PromptQuality | None = None) -> Cell:
    return Cell(key, Scores(aji, 0.4, 0.6, 0.7, 0.8, 10, 11, 9), quality, 1.5, None)


@pytest.fixture
def path(tmp_path):
    return tmp_path / "cells.jsonl"


def filled(path, *cells):
    file = CellFile(path)
    for one in cells:
        file.append(one, {"image": "a"})
    file.close()


def reread(path):
    file = CellFile(path)
    file.close()
    return file.cells


@given(aji=st.floats(0, 1), seconds=st.floats(0, 1e6), encoding=st.none() | st.floats(0, 1e6))
@settings(deadline=None, max_examples=20)
def test_cells_come_back_exactly(tmp_path_factory, aji, seconds, encoding):
    path = tmp_path_factory.mktemp("cells") / "cells.jsonl"
    scores = Scores(aji, 0.1, 0.2, 0.3, 0.4, 5, 6, 4)
    one = Cell("k", scores, PromptQuality(aji, 1.0, 0.5, 1.25), seconds, encoding)
    filled(path, one)
    assert reread(path) == {"k": one}


def test_what_is_undefined_comes_back_undefined(path):
    filled(path, cell("k", quality=PromptQuality(0.5, math.nan, 0.25, math.nan)))
    found = reread(path)["k"].quality
    assert (found.positive_precision, found.nuclei_hit) == (0.5, 0.25)
    assert math.isnan(found.negative_precision)
    assert math.isnan(found.positives_per_nucleus)


def test_a_file_cut_anywhere_keeps_every_whole_line_and_can_be_added_to(path, tmp_path):
    cells = [cell("a", 0.1), cell("b", 0.2), cell("c", 0.3)]
    filled(path, *cells)
    whole = path.read_bytes()
    ends = [i + 1 for i, byte in enumerate(whole) if byte == ord("\n")]
    for length in range(0, len(whole) + 1, 13):
        cut = tmp_path / "cut.jsonl"
        cut.write_bytes(whole[:length])
        kept = sum(end <= length for end in ends)
        assert list(reread(cut).values()) == cells[:kept]
        filled(cut, cell("d", 0.9))
        assert list(reread(cut).values()) == [*cells[:kept], cell("d", 0.9)]


@pytest.mark.parametrize("line", [b"nonsense", b"[]", b'{"format": 99, "key": "z"}', b"\xff\xfe"])
def test_a_line_that_cannot_be_read_costs_its_own_cell_alone(path, line):
    filled(path, cell("a"))
    with path.open("ab") as file:
        file.write(line + b"\n")
    filled(path, cell("b"))
    assert set(reread(path)) == {"a", "b"}


def test_what_was_appended_is_on_the_disk_at_once(path):
    file = CellFile(path)
    file.append(cell("a"), {"image": "x", "row": "y"})
    assert set(reread(path)) == {"a"}
    file.close()


def test_a_full_disk_leaves_the_file_as_it_was(path, monkeypatch):
    file = CellFile(path)
    file.append(cell("a"), {})
    before = path.read_bytes()

    def full(_):
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(OutputError, match="disk is full"):
        file.append(cell("b"), {})
    file.close()
    monkeypatch.undo()
    assert "b" not in file.cells
    assert path.read_bytes() == before

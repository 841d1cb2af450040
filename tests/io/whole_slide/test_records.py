from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from napari_sprout.core.instances import Nucleus
from napari_sprout.core.seams import TileNuclei
from napari_sprout.errors import OutputError
from napari_sprout.io.whole_slide.records import (
    read_fit,
    read_record,
    record_count,
    record_path,
    write_record,
)


@st.composite
def tiles(draw: st.DrawFn) -> TileNuclei:
    rows = []
    for ident in range(draw(st.integers(0, 5))):
        height, width = draw(st.integers(1, 9)), draw(st.integers(1, 9))
        y, x = draw(st.integers(0, 10**6)), draw(st.integers(0, 10**6))
        bits = draw(st.lists(st.booleans(), min_size=height * width, max_size=height * width))
        mask = np.array(bits).reshape(height, width)
        score = draw(st.floats(0, 2))
        nucleus = Nucleus(
            ident + 1, y + 0.25, float(x), int(mask.sum()), 3.5, 0.1, 0.2, 0.3, 0.9, score
        )
        rows.append((nucleus, (y, x, y + height, x + width), mask, draw(st.booleans())))
    return TileNuclei.of((draw(st.integers(0, 99)), draw(st.integers(0, 99))), rows)


@given(tiles())
def test_a_record_is_read_as_it_was_written(
    tmp_path_factory: pytest.TempPathFactory, tile: TileNuclei
) -> None:
    folder = tmp_path_factory.mktemp("records")
    write_record(folder, tile)
    again = read_record(folder, tile.cell)
    assert record_count(folder, tile.cell) == len(tile)
    assert repr(again.nuclei) == repr(tile.nuclei)
    assert np.array_equal(again.boxes, tile.boxes)
    assert np.array_equal(again.owned, tile.owned)
    assert all(map(np.array_equal, again.masks, tile.masks))
    assert [path.name for path in folder.iterdir()] == [record_path(folder, tile.cell).name]


def test_a_tile_that_nobody_looked_at_is_empty(tmp_path: Path) -> None:
    assert len(read_record(tmp_path, (3, 4))) == 0


def test_a_damaged_record_is_named(tmp_path: Path) -> None:
    write_record(tmp_path, TileNuclei((1, 2)))
    path = record_path(tmp_path, (1, 2))
    path.write_bytes(path.read_bytes()[:50])
    with pytest.raises(OutputError, match=r"00001_00002\.npz' is damaged .* this tile alone"):
        read_record(tmp_path, (1, 2))


def test_a_missing_fit_is_named(tmp_path: Path) -> None:
    with pytest.raises(OutputError, match=r"fit\.npz' is missing or damaged"):
        read_fit(tmp_path / "fit.npz")

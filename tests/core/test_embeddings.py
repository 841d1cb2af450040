from __future__ import annotations

from collections.abc import Mapping

import numpy as np
import pytest
import torch
from torch import Tensor

from fakes import FakeSegmenter
from napari_sprout.core.embeddings import embedding_key
from napari_sprout.core.session import Session
from napari_sprout.core.stages import Stage
from napari_sprout.core.tiles import TileGrid

CPU = torch.device("cpu")


class Kept:
    """A store in memory that remembers what it was asked."""

    def __init__(self) -> None:
        self.files: dict[str, dict[int, Tensor]] = {}
        self.loads: list[str] = []
        self.saves: list[str] = []

    def load(self, key: str) -> dict[int, Tensor] | None:
        self.loads.append(key)
        found = self.files.get(key)
        return None if found is None else {i: tile.clone() for i, tile in found.items()}

    def save(self, key: str, tiles: Mapping[int, Tensor]) -> None:
        self.saves.append(key)
        self.files[key] = dict(tiles)


@pytest.fixture
def kept():
    return Kept()


@pytest.fixture
def opened(synthetic, small_tiles, kept):
    """Open the same image again, each time with a segmenter that has encoded nothing."""

    def make(**changes):
        fake = FakeSegmenter()
        settings = small_tiles.with_changes(**changes)
        return Session(synthetic.rgb, settings, segmenter=fake, embeddings=kept), fake

    return make


def test_an_image_seen_before_is_not_encoded_again_and_gets_the_same_nuclei(opened, expected):
    first, fake = opened()
    first.finish()
    assert fake.encoded == 6
    again, other = opened()
    again.finish()
    assert other.encoded == 0
    np.testing.assert_array_equal(first.labels, expected)
    np.testing.assert_array_equal(again.labels, expected)
    assert again.nuclei == first.nuclei
    assert again.metadata() == first.metadata()
    features = [session.output(Stage.ENCODING).features for session in (first, again)]
    assert torch.equal(*features)


def test_a_store_is_asked_once_and_given_only_what_is_new(opened, kept):
    session, _ = opened()
    session.finish()
    session.settings = session.settings.with_changes(tissue={"min_od": 0.1})
    session.finish()
    assert (len(kept.loads), len(kept.saves)) == (1, 1)
    again, _ = opened()
    again.finish()
    assert (len(kept.loads), len(kept.saves)) == (2, 1)


def test_tiles_that_the_store_lacks_are_encoded_and_added(opened, kept, expected):
    session, _ = opened()
    session.finish()
    (key,) = kept.files
    whole = kept.files[key]
    kept.files[key] = {index: whole[index] for index in (0, 4)}
    again, fake = opened()
    again.finish()
    assert fake.encoded == 4
    assert kept.files[key].keys() == whole.keys()
    np.testing.assert_array_equal(again.labels, expected)


def test_tiles_cut_in_another_way_are_kept_apart(opened, kept):
    session, fake = opened()
    session.finish()
    session.settings = session.settings.with_changes(features={"tile": 192})
    session.finish()
    assert len(kept.files) == 2
    assert fake.encoded > 6
    # Back again: the store is asked anew, since the session itself has forgotten.
    asked = fake.encoded
    session.settings = session.settings.with_changes(features={"tile": 128})
    session.finish()
    assert fake.encoded == asked


def test_a_run_that_is_stopped_before_its_tiles_are_encoded_keeps_none(opened, kept):
    session, _ = opened()
    for progress in session.run():
        if progress.stage is Stage.ENCODING and progress.done == 2:
            break
    assert kept.saves == []


def test_a_session_without_tissue_has_nothing_to_keep(kept, small_tiles):
    glass = np.full((64, 64, 3), 255, np.uint8)
    session = Session(glass, small_tiles, segmenter=FakeSegmenter(), embeddings=kept)
    session.finish()
    assert kept.files == {}


IMAGE = np.arange(400 * 500 * 3, dtype=np.uint32).reshape(400, 500, 3).astype(np.uint8)
GRID = TileGrid.over((400, 500), 192, 0.5)


def test_the_key_is_the_same_for_equal_input():
    again = TileGrid.over((400, 500), 192, 0.5)
    assert embedding_key(IMAGE, GRID, "f" * 64, CPU) == embedding_key(
        IMAGE.copy(), again, "f" * 64, torch.device("cpu")
    )


def changed_pixel():
    other = IMAGE.copy()
    other[3, 4, 1] ^= 1
    return other


def grid(*changes):
    return TileGrid.over((400, 500), *changes)


@pytest.mark.parametrize(
    "other",
    [
        (changed_pixel(), GRID, "f" * 64, CPU),
        (IMAGE.reshape(500, 400, 3), GRID, "f" * 64, CPU),
        (IMAGE, grid(256, 0.5), "f" * 64, CPU),
        (IMAGE, grid(192, 0.25), "f" * 64, CPU),
        (IMAGE, TileGrid.about((400, 500), 192, 0.5), "f" * 64, CPU),
        (IMAGE, GRID, "e" * 64, CPU),
        (IMAGE, GRID, "f" * 64, torch.device("cuda")),
    ],
    ids=["pixel", "shape", "tile", "overlap", "layout", "weights", "device"],
)
def test_the_key_tells_apart_all_that_changes_an_embedding(other):
    assert embedding_key(*other) != embedding_key(IMAGE, GRID, "f" * 64, CPU)


def test_the_key_tells_numbers_of_threads_apart_since_they_round_differently(monkeypatch):
    before = embedding_key(IMAGE, GRID, "f" * 64, CPU)
    monkeypatch.setattr(torch, "get_num_threads", lambda: 77)
    assert embedding_key(IMAGE, GRID, "f" * 64, CPU) != before

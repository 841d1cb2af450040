"""Encoded tiles outlive a session, so that the same image is soon open again."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from napari_sprout.io.embeddings import EmbeddingCache
from napari_sprout.qt import keeping
from napari_sprout.qt.keeping import tile_cache
from napari_sprout.qt.preferences import Preferences


def test_an_image_seen_before_is_not_encoded_again(working: Any) -> None:
    before, count = working.labels, working.fakes[0].encoded
    assert count > 0
    working.dock.sessions.restart()
    working.run()
    assert sum(fake.encoded for fake in working.fakes) == count
    assert np.array_equal(working.labels, before)


def test_a_damaged_cache_changes_nothing(working: Any, home: Path) -> None:
    before, count = working.labels, working.fakes[0].encoded
    cache = tile_cache()
    assert cache is not None
    assert cache.folder.is_relative_to(home)
    files = list(cache.folder.glob("*"))
    assert files
    for file in files:
        file.write_bytes(b"not what it was")
    working.dock.sessions.restart()
    working.run()
    assert np.array_equal(working.labels, before)
    assert sum(fake.encoded for fake in working.fakes) == 2 * count
    assert working.failures == []


def test_a_person_can_do_without_it(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(keeping, "preferences", lambda: Preferences(tiles=False))
    assert tile_cache() is None


def test_an_image_too_large_for_it_pushes_nothing_out(home: Path) -> None:
    cache = EmbeddingCache(home / "tiles", 4000, 900)
    cache.save("a" * 64, {0: torch.zeros(200)})
    cache.save("b" * 64, {0: torch.zeros(300)})
    assert cache.load("a" * 64) is not None
    assert cache.load("b" * 64) is None

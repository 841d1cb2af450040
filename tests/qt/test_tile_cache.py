"""Encoded tiles outlive a session, so that the same image is soon open again."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np

from napari_sprout.qt.keeping import tile_cache


def test_an_image_seen_before_is_not_encoded_again(working: Any) -> None:
    before, count = working.labels, working.fakes[0].encoded
    assert count > 0
    working.dock.sessions.restart()
    working.run()
    assert sum(fake.encoded for fake in working.fakes) == count
    assert np.array_equal(working.labels, before)


def test_a_damaged_or_forbidden_cache_changes_nothing(working: Any, home: Path) -> None:
    before = working.labels
    files = list(tile_cache().folder.glob("*"))
    assert files
    assert tile_cache().folder.is_relative_to(home)
    for file in files:
        file.write_bytes(b"not what it was")
    working.dock.sessions.restart()
    working.run()
    assert np.array_equal(working.labels, before)
    assert working.failures == []

"""How many maps of one image are worked on at the same time."""

from __future__ import annotations

from typing import Final

import torch

MOST_PIXELS: Final = 20_000_000
"""Of all maps that are worked on at once; each takes some 40 bytes a pixel."""


def threads_for(shape: tuple[int, int]) -> int:
    """Return how many threads to give to maps of `shape`: as torch has, fewer for large maps.

    What they run must let go of Python's lock and give the same whatever their number.
    """
    height, width = shape
    return max(1, min(torch.get_num_threads(), MOST_PIXELS // (height * width)))

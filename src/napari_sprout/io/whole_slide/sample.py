"""A sample of a slide's tissue: pieces from all over it, laid side by side as one image."""

from __future__ import annotations

from typing import Final

import numpy as np
from numpy.typing import NDArray

from ...core.instances import Box
from ..slides.protocol import Slide

PIECE_UM: Final = 128.0
"""um; side of a piece: as much as a tile of SAM sees."""

LAYOUTS: Final = ((3, 3), (2, 3), (2, 2), (1, 2), (1, 1))
"""Rows and columns of pieces, the largest first."""

FULL: Final = 0.5
"""Share of tissue from which on a piece is as good as any other."""


def sample_boxes(
    tissue: NDArray[np.bool_], downsample: float, shape: tuple[int, int], mpp: float, seed: int
) -> list[Box]:
    """Choose where the pieces of a sample lie.

    A slide no larger than the largest sample is its own.

    Parameters
    ----------
    tissue
        (h, w) bool overview.
    downsample
        Full-resolution pixels a pixel of it.
    shape
        (H, W) of the slide.
    mpp
        Its pixel size in um.
    seed
        Of the choice among places with enough tissue.

    Returns
    -------
    list of Box
        In full-resolution pixels and reading order, all of one size; as many as one of
        :data:`LAYOUTS` has places. Empty where there is no tissue.
    """
    side = max(32, round(PIECE_UM / mpp))
    most_rows, most_columns = LAYOUTS[0]
    if not tissue.any():
        return []
    if shape[0] <= most_rows * side and shape[1] <= most_columns * side:
        return [(0, 0, *shape)]
    height, width = min(side, shape[0]), min(side, shape[1])
    places = _places(tissue, downsample, shape, (height, width))
    chance = np.random.default_rng(seed)
    chance.shuffle(places)
    # Stable: the order by chance stays among those with enough of it.
    places.sort(key=lambda place: -min(place[0], FULL))
    count = next(r * c for r, c in LAYOUTS if r * c <= len(places))
    return sorted(box for _, box in places[:count])


def _places(
    tissue: NDArray[np.bool_], downsample: float, shape: tuple[int, int], piece: tuple[int, int]
) -> list[tuple[float, Box]]:
    """Return the boxes of a plain grid that hold tissue, with their share of it."""
    found = []
    for y in range(0, shape[0] - piece[0] + 1, piece[0]):
        for x in range(0, shape[1] - piece[1] + 1, piece[1]):
            y0, x0 = int(y / downsample), int(x / downsample)
            y1, x1 = (int(-(-(v + s) // downsample)) for v, s in zip((y, x), piece, strict=True))
            share = float(tissue[y0 : max(y1, y0 + 1), x0 : max(x1, x0 + 1)].mean())
            if share > 0:
                found.append((share, (y, x, y + piece[0], x + piece[1])))
    if not found:
        # What tissue there is lies beyond the last whole piece: at the far edges.
        y, x = (int(v * downsample) for v in np.argwhere(tissue)[0])
        y, x = min(y, shape[0] - piece[0]), min(x, shape[1] - piece[1])
        found.append((0.0, (y, x, y + piece[0], x + piece[1])))
    return found


def read_sample(slide: Slide, boxes: list[Box]) -> NDArray[np.uint8]:
    """Read pieces of a slide as one (H, W, 3) image.

    Parameters
    ----------
    slide
        The slide.
    boxes
        From :func:`sample_boxes`.

    Raises
    ------
    ImageError
        If the slide cannot be read there.
    """
    rows, columns = next(layout for layout in LAYOUTS if layout[0] * layout[1] == len(boxes))
    pieces = [slide.read(0, y0, x0, y1 - y0, x1 - x0) for y0, x0, y1, x1 in boxes]
    lines = [pieces[row * columns : (row + 1) * columns] for row in range(rows)]
    return np.concatenate([np.concatenate(line, axis=1) for line in lines], axis=0)

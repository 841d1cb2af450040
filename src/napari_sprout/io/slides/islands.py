"""Synthetic tissue on glass of any size, of which any region is made when it is asked for."""

from __future__ import annotations

import math
from functools import lru_cache
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from ...core.synthetic import synthetic_he

GLASS: Final = (244, 243, 245)

_CELLS: Final = 512
_FAR: Final = 20.0
_EDGE_PX: Final = 6.0
_BLOCK: Final = 32
_TEXTURE_UM: Final = 360.0
_LARGEST_TEXTURE: Final = 1440
_PER_UM2: Final = 0.0046


class Islands:
    """Islands of tissue, their outlines held coarsely whatever the size of the slide.

    Parameters
    ----------
    shape
        (H, W) of the slide in full-resolution pixels.
    fraction
        Share of the slide that is tissue, 0 to 1.
    texture
        (h, w, 3) uint8, at least 32 px a side: what tissue looks like. It is
        mirrored over and over, so that it has no seams.
    seed
        Seed of where the islands lie.
    """

    def __init__(
        self, shape: tuple[int, int], fraction: float, texture: NDArray[np.uint8], seed: int
    ) -> None:
        self._cell = max(max(shape) / _CELLS, 1.0)
        self._distance = _outlines(shape, self._cell, fraction, seed)
        height, width = (_usable(side) for side in texture.shape[:2])
        piece = texture[:height, :width]
        self._period = np.pad(piece, ((0, height), (0, width), (0, 0)), mode="symmetric")
        self._reduced: dict[int, NDArray[np.uint8]] = {1: self._period}

    def region(
        self, factor: int, y: int, x: int, height: int, width: int
    ) -> NDArray[np.uint8] | None:
        """Return (height, width, 3) RGB at a resolution `factor` coarser, None if all glass.

        (y, x) is the first pixel at that resolution.
        """
        rows = (np.arange(y, y + height) + 0.5) * factor / self._cell
        columns = (np.arange(x, x + width) + 0.5) * factor / self._cell
        distance = _interpolated(self._distance, rows, columns, self._cell)
        edge = max(_EDGE_PX, factor)
        if float(distance.max()) <= -edge / 2:
            return None
        tissue = self._texture(factor)
        tissue = tissue[np.arange(y, y + height) % tissue.shape[0]]
        tissue = tissue[:, np.arange(x, x + width) % tissue.shape[1]]
        if float(distance.min()) >= edge / 2:
            return np.asarray(tissue)
        share = np.clip(distance / edge + 0.5, 0, 1)[..., None].astype(np.float32)
        glass = np.array(GLASS, dtype=np.float32)
        return np.asarray(np.rint(glass + share * (tissue - glass)), dtype=np.uint8)

    def _texture(self, factor: int) -> NDArray[np.uint8]:
        """Return one period of tissue at a resolution `factor` coarser."""
        if factor not in self._reduced:
            height, width = self._period.shape[:2]
            # Coarser than a whole period all tissue looks the same.
            down, across = (factor if side % factor == 0 else side for side in (height, width))
            blocks = self._period.reshape(height // down, down, width // across, across, 3)
            self._reduced[factor] = np.rint(blocks.mean(axis=(1, 3))).astype(np.uint8)
        return self._reduced[factor]


@lru_cache(maxsize=2)
def synthetic_texture(longest: int, mpp: float, seed: int) -> NDArray[np.uint8]:
    """Return (h, h, 3) uint8 of synthetic H&E for a slide whose longest side is `longest` px."""
    wanted = min(_TEXTURE_UM / mpp, _LARGEST_TEXTURE, longest / 2)
    side = _usable(max(math.ceil(wanted / _BLOCK), 3) * _BLOCK)
    nuclei = round((side * mpp) ** 2 * _PER_UM2)
    rgb = synthetic_he((side, side), nuclei, seed, mpp).rgb
    rgb.flags.writeable = False
    return rgb


def _usable(side: int) -> int:
    """Return how much of a texture's side is used: blocks of 32 px, of which halves are exact.

    Nuclei are whole in a synthetic texture. Were its borders those of tiles, none
    would lie across these.
    """
    blocks = side // _BLOCK
    return (blocks - (blocks > 4 and blocks % 4 == 0)) * _BLOCK


def _outlines(
    shape: tuple[int, int], cell: float, fraction: float, seed: int
) -> NDArray[np.float64]:
    """Return each cell's distance from the outline in full-resolution px, inside positive."""
    grid = tuple(math.ceil(side / cell) + 1 for side in shape)
    if fraction <= 0 or fraction >= 1:
        return np.full(grid, math.copysign(_FAR * cell * _CELLS, fraction - 0.5))
    rng = np.random.default_rng(seed)
    field = ndimage.gaussian_filter(rng.standard_normal(grid), max(grid) / 20)
    field /= field.std()
    # Tissue keeps away from the border while there is room.
    y, x = np.ogrid[: grid[0], : grid[1]]
    border = np.minimum(np.minimum(y, grid[0] - 1 - y), np.minimum(x, grid[1] - 1 - x))
    field -= 4 * np.exp(-border / (0.03 * max(grid)))
    above = field - np.quantile(field, 1 - fraction)
    # To first order, as far as the outline is where the slope would end.
    steep = np.maximum(np.hypot(*np.gradient(field)), 1e-6)
    return np.asarray(np.clip(above / steep, -_FAR, _FAR) * cell, dtype=np.float64)


def _interpolated(
    grid: NDArray[np.float64], rows: NDArray[Any], columns: NDArray[Any], cell: float
) -> NDArray[np.float64]:
    """Return the distances at cell coordinates, one value where all are far from outlines."""
    tops, down = _cells(rows, grid.shape[0])
    lefts, across = _cells(columns, grid.shape[1])
    near = grid[tops[0] : tops[-1] + 2, lefts[0] : lefts[-1] + 2]
    # Most of a slide is bare glass, far from any tissue, and need not be worked out.
    if near.max() < -_FAR / 2 * cell or near.min() > _FAR / 2 * cell:
        return near[:1, :1]
    across_rows = grid[tops] * (1 - down) + grid[tops + 1] * down
    left, right = across_rows[:, lefts], across_rows[:, lefts + 1]
    return np.asarray(left + (right - left) * across.T)


def _cells(places: NDArray[np.float64], count: int) -> tuple[NDArray[np.intp], NDArray[np.float64]]:
    first = np.clip(np.floor(places).astype(np.intp), 0, count - 2)
    return first, np.clip(places - first, 0, 1)[:, None]

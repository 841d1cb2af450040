"""Where the tiles of a slide lie."""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from typing import Final

import cv2
import numpy as np
from numpy.typing import NDArray

from ...core.crops import tight
from ...core.instances import Box
from ...core.seams import Cell
from ...core.settings import Settings

TILE_UM: Final = 512.0
"""um; side of a tile: as much as a worker holds in some 2 GB."""

LEAST_HALO_UM: Final = 16.0
MOST_HALO_UM: Final = 64.0
"""um; the halo holds at least one large nucleus, of the largest area that the settings allow."""

MARGIN: Final = 0.25
"""Share of the halo in which nuclei of a neighbour are handed on in the second rank."""

LEAST_SIDE: Final = 64
"""px; of what is segmented by itself, where the slide is no smaller."""

CHUNK: Final = 256
"""Tiles are whole numbers of this many pixels, so that each owns its chunks of the label image."""


@dataclass(frozen=True)
class SlideGrid:
    """The tiles of a slide, in full-resolution pixels.

    Attributes
    ----------
    shape
        (H, W) of the slide.
    side
        Side of a tile without its halo, a multiple of :data:`CHUNK`.
    halo
        How far a tile is read beyond its border.
    cells
        (row, column) of the tiles that hold tissue, row by row.
    extents
        What of each tile and its halo holds tissue, (y0, x0, y1, x1), half open.
    """

    shape: tuple[int, int]
    side: int
    halo: int
    cells: tuple[Cell, ...]
    extents: tuple[Box, ...]

    @classmethod
    def over(
        cls, shape: tuple[int, int], mpp: float, settings: Settings, tile_um: float = TILE_UM
    ) -> SlideGrid:
        """Lay tiles over a slide, as yet without knowing where its tissue is.

        Parameters
        ----------
        shape
            (H, W) of the slide.
        mpp
            Its pixel size in um.
        settings
            The largest nucleus that they allow decides the halo.
        tile_um
            About the side of a tile, um.
        """
        widest = 2 * math.sqrt(settings.decoding.max_area / math.pi)
        halo = math.ceil(min(max(widest, LEAST_HALO_UM), MOST_HALO_UM) / mpp)
        # Only tiles side by side may see the same pixels.
        side = max(round(tile_um / mpp / CHUNK), -(-2 * halo // CHUNK), 1) * CHUNK
        rows, columns = (-(-length // side) for length in shape)
        cells = tuple((row, column) for row in range(rows) for column in range(columns))
        return cls(shape, side, halo, cells, ((0, 0, *shape),) * len(cells))

    def over_tissue(self, tissue: NDArray[np.bool_]) -> SlideGrid:
        """Return the grid without the tiles, and the parts of tiles, without tissue.

        Parameters
        ----------
        tissue
            (h, w) bool, an overview of the whole slide. A pixel more all around counts as
            tissue, lest any is overlooked.
        """
        near = np.asarray(cv2.dilate(tissue.astype(np.uint8), np.ones((3, 3), np.uint8)) > 0)
        found = {
            cell: self._extent(near, self.widened(self.core(cell)))
            for cell in self.cells
            if self._extent(near, self.core(cell)) is not None
        }
        extents = tuple(extent for extent in found.values() if extent is not None)
        return replace(self, cells=tuple(found), extents=extents)

    def _extent(self, near: NDArray[np.bool_], box: Box) -> Box | None:
        """Return the part of a box around all of its tissue; None if it has none."""
        # By axis: an overview has whole pixels, so its two axes differ a little in scale.
        down = np.array(self.shape) / near.shape
        y0, x0 = np.floor(np.array(box[:2]) / down).astype(int).tolist()
        y1, x1 = np.ceil(np.array(box[2:]) / down).astype(int).tolist()
        inside = tight((y0, x0, y1, x1), near[y0:y1, x0:x1])
        if inside is None:
            return None
        low, high = (np.array(inside[0][i : i + 2]) * down for i in (0, 2))
        # Nothing smaller than what a session takes.
        low = np.minimum(np.floor(low).astype(int), np.array(box[2:]) - LEAST_SIDE)
        high = np.maximum(np.ceil(high).astype(int), low + LEAST_SIDE)
        low, high = np.maximum(low, box[:2]), np.minimum(high, box[2:])
        return int(low[0]), int(low[1]), int(high[0]), int(high[1])

    @property
    def total(self) -> int:
        """How many tiles the slide has, those without tissue included."""
        rows, columns = (-(-length // self.side) for length in self.shape)
        return rows * columns

    @property
    def chunk(self) -> int:
        """Side of the label image's chunks: none has parts of two tiles."""
        return next(c for c in (1024, 512, CHUNK) if self.side % c == 0)

    @property
    def margin(self) -> float:
        """How far outside a tile centroids of the second rank may lie, in pixels."""
        return MARGIN * self.halo

    def core(self, cell: Cell) -> Box:
        """Return a tile without its halo: (y0, x0, y1, x1), half open."""
        y, x = cell[0] * self.side, cell[1] * self.side
        return self._clipped((y, x, y + self.side, x + self.side))

    def region(self, cell: Cell, core: Box) -> Box:
        """Return what is to be segmented for a tile, or for a part of it."""
        outer, extent = self.widened(core), self.extents[self.cells.index(cell)]
        y0, x0 = (max(pair) for pair in zip(outer[:2], extent[:2], strict=True))
        y1, x1 = (min(pair) for pair in zip(outer[2:], extent[2:], strict=True))
        return y0, x0, y1, x1

    def widened(self, core: Box) -> Box:
        """Return a tile, or a part of one, with its halo; never less than a session takes."""
        h = max(self.halo, -(-(LEAST_SIDE - min(core[2] - core[0], core[3] - core[1])) // 2))
        return self._clipped((core[0] - h, core[1] - h, core[2] + h, core[3] + h))

    def _clipped(self, box: Box) -> Box:
        height, width = self.shape
        return max(box[0], 0), max(box[1], 0), min(box[2], height), min(box[3], width)


def parts(core: Box) -> list[tuple[Cell, Box]]:
    """Cut a tile into quarters, by (row, column) among them; empty ones are left out."""
    y0, x0, y1, x1 = core
    ys, xs = (y0, (y0 + y1) // 2, y1), (x0, (x0 + x1) // 2, x1)
    quarters = [
        ((row, column), (ys[row], xs[column], ys[row + 1], xs[column + 1]))
        for row in (0, 1)
        for column in (0, 1)
    ]
    return [(cell, box) for cell, box in quarters if box[0] < box[2] and box[1] < box[3]]

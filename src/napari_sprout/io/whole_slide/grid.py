"""Where the tiles of a slide lie."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

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
    """

    shape: tuple[int, int]
    side: int
    halo: int
    cells: tuple[Cell, ...]

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
        side = max(1, round(tile_um / mpp / CHUNK)) * CHUNK
        widest = 2 * math.sqrt(settings.decoding.max_area / math.pi)
        halo = math.ceil(min(max(widest, LEAST_HALO_UM), MOST_HALO_UM) / mpp)
        rows, columns = (-(-length // side) for length in shape)
        cells = tuple((row, column) for row in range(rows) for column in range(columns))
        return cls(shape, side, min(halo, side), cells)

    def over_tissue(self, tissue: NDArray[np.bool_], downsample: float) -> SlideGrid:
        """Return the grid without the tiles that hold none of the tissue of an overview.

        Parameters
        ----------
        tissue
            (h, w) bool. A pixel more all around counts as tissue, lest any is overlooked.
        downsample
            Full-resolution pixels a pixel of `tissue`.
        """
        height, width = tissue.shape

        def near(box: Box) -> bool:
            y0, x0 = (max(0, math.floor(v / downsample) - 1) for v in box[:2])
            y1, x1 = (math.ceil(v / downsample) + 1 for v in box[2:])
            return bool(tissue[y0 : min(y1, height), x0 : min(x1, width)].any())

        kept = tuple(cell for cell in self.cells if near(self.core(cell)))
        return SlideGrid(self.shape, self.side, self.halo, kept)

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

    def widened(self, core: Box) -> Box:
        """Return a tile, or a part of one, with its halo."""
        h = self.halo
        return self._clipped((core[0] - h, core[1] - h, core[2] + h, core[3] + h))

    def _clipped(self, box: Box) -> Box:
        height, width = self.shape
        return max(box[0], 0), max(box[1], 0), min(box[2], height), min(box[3], width)

    def to_dict(self) -> dict[str, Any]:
        """Return plain values; see :meth:`from_dict`."""
        cells = [list(cell) for cell in self.cells]
        return {"shape": list(self.shape), "side": self.side, "halo": self.halo, "cells": cells}

    @classmethod
    def from_dict(cls, values: dict[str, Any]) -> SlideGrid:
        """Return what :meth:`to_dict` took apart."""
        height, width = values["shape"]
        cells = tuple((int(row), int(column)) for row, column in values["cells"])
        return cls((height, width), values["side"], values["halo"], cells)


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

"""Square overlapping tiles over the working image (paper 3.1 and 3.3).

The working image is padded by reflection at its bottom and right edge to whole
tokens and at least one tile, so tile origins always fall on the token grid and
a token of the stitched map means the same pixels in every tile that covers it.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Final

import numpy as np
from numpy.typing import NDArray

from ..errors import SettingsError
from ..models.frame import EMBEDDING, FRAME

LEAST_TOKEN: Final = 7
"""Smaller tokens, in pixels, are not made a pixel larger: nuclei would look too small."""


def _origins(last: int, stride: int) -> list[int]:
    """Return tile starts along one axis, in tokens; the last tile ends at the edge."""
    return [*range(0, last, stride), last]


def _even_origins(last: int, stride: int) -> list[int]:
    """Return tile starts along one axis, in tokens: the fewest, evenly spread."""
    gaps = math.ceil(last / stride)
    return [round(i * last / max(gaps, 1)) for i in range(gaps + 1)]


def _stride(overlap: float) -> int:
    """Return how many tokens SAM's tiles lie apart."""
    return max(1, round(EMBEDDING * (1 - overlap)))


@dataclass(frozen=True)
class TileGrid:
    """Where the tiles of one working image lie.

    Attributes
    ----------
    shape
        (H, W) of the working image, without padding.
    padded
        (H', W') with padding: multiples of `token`, at least `side`.
    side
        Side of a tile in working pixels, a whole number of tokens.
    token
        Working pixels per token: of SAM's tiles a 64th of the side.
    origins
        (y, x) of every tile, row by row.
    """

    shape: tuple[int, int]
    padded: tuple[int, int]
    side: int
    token: int
    origins: tuple[tuple[int, int], ...]

    @classmethod
    def over(cls, shape: tuple[int, int], side: int, overlap: float) -> TileGrid:
        """Lay tiles of `side` px over an image of `shape`, overlapping by the fraction `overlap`.

        Parameters
        ----------
        shape
            (H, W) of the working image.
        side
            Working pixels.
        overlap
            Share of a tile, 0 to 1. Only the last of a row or column overlaps more.

        Raises
        ------
        SettingsError
            If `side` is not a multiple of 64, SAM's tokens a side.
        """
        return cls._laid(shape, side, _stride(overlap), _origins)

    @classmethod
    def patches(cls, shape: tuple[int, int], side: int, stride: int, tokens: int) -> TileGrid:
        """Lay an encoder's patches of `side` px over an image of `shape`, `stride` px apart.

        Parameters
        ----------
        shape
            (H, W) of the working image.
        side
            Working pixels.
        stride
            Working pixels, rounded to whole tokens. Only the last patch of a row or column
            is nearer to the one before.
        tokens
            Tokens a side of a patch.

        Raises
        ------
        SettingsError
            If `side` is not a multiple of `tokens`.
        """
        if side % tokens:
            raise SettingsError(
                f"Setting 'features.patch' must be a multiple of 'features.tokens' ({tokens}), "
                f"not {side}."
            )
        step = max(1, round(stride * tokens / side))
        return cls._laid(shape, side, step, _origins, tokens)

    @classmethod
    def about(cls, shape: tuple[int, int], side: int, overlap: float) -> TileGrid:
        """Lay as few tiles of about `side` px as overlap at least by `overlap`, evenly spread.

        They are a pixel a token larger where that needs half as many: by a seventh at most.

        Parameters
        ----------
        shape, side, overlap
            As of :meth:`over`.
        """
        stride = _stride(overlap)
        grid = cls._laid(shape, side, stride, _even_origins)
        if side < LEAST_TOKEN * EMBEDDING or side + EMBEDDING > FRAME:
            return grid
        larger = cls._laid(shape, side + EMBEDDING, stride, _even_origins)
        return larger if 2 * len(larger.origins) <= len(grid.origins) else grid

    @classmethod
    def _laid(
        cls,
        shape: tuple[int, int],
        side: int,
        stride: int,
        starts: Callable[[int, int], list[int]],
        across: int = EMBEDDING,
    ) -> TileGrid:
        if side % across:
            raise SettingsError(
                f"Setting 'features.tile' must be a multiple of {across}, not {side}."
            )
        token = side // across
        height, width = (max(across, -(-length // token)) for length in shape)
        origins = tuple(
            (y * token, x * token)
            for y in starts(height - across, stride)
            for x in starts(width - across, stride)
        )
        return cls(shape, (height * token, width * token), side, token, origins)

    @property
    def across(self) -> int:
        """Tokens a side of a tile."""
        return self.side // self.token

    @property
    def tokens(self) -> tuple[int, int]:
        """(h, w) of the stitched feature map, padding included."""
        return self.padded[0] // self.token, self.padded[1] // self.token

    def cut(self, image: NDArray[np.uint8], index: int) -> NDArray[np.uint8]:
        """Return tile `index` of an (H, W, 3) image, which is reflected into the padding."""
        y, x = self.origins[index]
        part = image[y : y + self.side, x : x + self.side]
        extra = [(0, self.side - length) for length in part.shape[:2]]
        return np.pad(part, [*extra, (0, 0)], mode="symmetric")

    def over_tissue(self, tissue: NDArray[np.bool_]) -> tuple[int, ...]:
        """Return the tiles that hold a pixel of an (H, W) mask, in order."""
        return tuple(
            i
            for i, (y, x) in enumerate(self.origins)
            if tissue[y : y + self.side, x : x + self.side].any()
        )

    def most_central(self, points: NDArray[np.float64]) -> NDArray[np.intp]:
        """Return for each (y, x) working point the tile in which it lies most centrally.

        Parameters
        ----------
        points
            (n, 2) working pixel centres.

        Returns
        -------
        ndarray
            (n,) tile indices; ties go to the first tile.
        """
        centres = np.asarray(self.origins, dtype=float) + (self.side - 1) / 2
        best = np.empty(len(points), dtype=np.intp)
        rows = max(1, 1_000_000 // len(centres))
        for begin in range(0, len(points), rows):
            part = points[begin : begin + rows]
            distance = np.abs(part[:, None, :] - centres[None]).max(axis=2)
            best[begin : begin + rows] = distance.argmin(axis=1)
        return best

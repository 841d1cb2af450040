"""Tile embeddings stitched into one feature map (paper 3.1).

By default the tiles are encoded once by SAM's own encoder: the same embeddings
serve here as features and later as what the prompts are decoded on.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from ..models.protocols import FeatureEncoder
from .tiles import TileGrid


def blending_weights(tokens: int) -> Tensor:
    """Return (tokens, tokens) weights that fall from a tile's middle towards its edges.

    Tokens at the edge saw less of their surroundings, so the more central tile
    speaks. Never zero: the outer border of the image, which one tile alone covers,
    keeps its features.
    """
    line = torch.minimum(torch.arange(tokens), torch.arange(tokens).flip(0)) + 1.0
    return line[:, None] * line[None, :]


class TileEmbeddings:
    """Embeddings of an image's tiles, each made at most once, when first asked for.

    Parameters
    ----------
    grid
        Where the tiles lie.
    image
        (H, W, 3) uint8 working image.
    encoder
        Called to get the encoder, only when a tile must be encoded.
    known
        Embeddings already made, by tile index; new ones are added to it.
    """

    def __init__(
        self,
        grid: TileGrid,
        image: NDArray[np.uint8],
        encoder: Callable[[], FeatureEncoder],
        known: dict[int, Tensor],
    ) -> None:
        self.grid = grid
        self._image = image
        self._encoder = encoder
        self._known = known

    def __getitem__(self, index: int) -> Tensor:
        """Return tile `index`'s (d, 64, 64) embedding."""
        if index not in self._known:
            self._known[index] = self._encoder().encode(self.grid.cut(self._image, index))
        return self._known[index]


def stitch(tiles: TileEmbeddings, indices: Iterable[int]) -> Tensor:
    """Blend tile embeddings into the global feature map F.

    Parameters
    ----------
    tiles
        The embeddings.
    indices
        The tiles to blend; tokens that none of them covers are 0.

    Returns
    -------
    Tensor
        (d, h, w) float32, h x w being ``grid.tokens``; (0, h, w) without tiles.
    """
    grid = tiles.grid
    total = torch.zeros((0, *grid.tokens))
    weight_sum = torch.zeros(grid.tokens)
    for index in indices:
        embedding = tiles[index]
        if total.shape[0] == 0:
            total = embedding.new_zeros((embedding.shape[0], *grid.tokens))
            weight_sum = weight_sum.to(embedding.device)
            weights = blending_weights(embedding.shape[-1]).to(embedding.device)
        y, x = (origin // grid.token for origin in grid.origins[index])
        rows, columns = slice(y, y + weights.shape[0]), slice(x, x + weights.shape[1])
        total[:, rows, columns] += embedding * weights
        weight_sum[rows, columns] += weights
    return total / weight_sum.clamp(min=1e-6)

"""Features of tiles or patches stitched into one map (paper 3.1).

By default the tiles are encoded once by SAM's own encoder: the same embeddings
serve here as features and later as what the prompts are decoded on. A separate
encoder sees smaller patches, of which only the stitched map is kept.
"""

from __future__ import annotations

from collections.abc import Callable, Generator, Iterable, Sequence

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from ..models.frame import FEATURES
from ..models.protocols import FeatureEncoder, TileEncoder
from .tiles import TileGrid


def blending_weights(tokens: int) -> Tensor:
    """Return (tokens, tokens) weights that fall from a tile's middle towards its edges.

    Tokens at the edge saw less of their surroundings, so the more central tile
    speaks. Never zero: the outer border of the image, which one tile alone covers,
    keeps its features.
    """
    line = torch.minimum(torch.arange(tokens), torch.arange(tokens).flip(0)) + 1.0
    return line[:, None] * line[None, :]


class Blend:
    """A feature map on its way: embeddings are added with their weights, in any order.

    Parameters
    ----------
    grid
        Where the tiles lie.
    """

    def __init__(self, grid: TileGrid) -> None:
        self._grid = grid
        self._total = torch.zeros((0, *grid.tokens))
        self._weight_sum = torch.zeros(grid.tokens)
        self._weights = blending_weights(grid.across)

    def add(self, index: int, embedding: Tensor) -> None:
        """Add tile `index`'s (d, t, t) embedding, t being ``grid.across``."""
        grid, weights = self._grid, self._weights
        if self._total.shape[0] == 0:
            self._total = embedding.new_zeros((embedding.shape[0], *grid.tokens))
            self._weight_sum = self._weight_sum.to(embedding.device)
            self._weights = weights = weights.to(embedding.device)
        y, x = (origin // grid.token for origin in grid.origins[index])
        rows, columns = slice(y, y + grid.across), slice(x, x + grid.across)
        self._total[:, rows, columns] += embedding * weights
        self._weight_sum[rows, columns] += weights

    def finish(self) -> Tensor:
        """Return the (d, h, w) map; nothing can be added afterwards.

        Tokens that no tile covers are 0; the map is (0, h, w) without tiles.
        """
        # In place: at full size the map of a large encoder takes gigabytes.
        return self._total.div_(self._weight_sum.clamp(min=1e-6))


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
        encoder: Callable[[], TileEncoder],
        known: dict[int, Tensor],
    ) -> None:
        self.grid = grid
        self._image = image
        self._encoder = encoder
        self._known = known

    def __getitem__(self, index: int) -> Tensor:
        """Return tile `index`'s (d, 64, 64) embedding."""
        if index not in self._known:
            self._encode(self._encoder(), (index,))
        return self._known[index]

    def fill(self, wanted: Sequence[int]) -> Generator[int, None, None]:
        """Make the embeddings that are missing, and yield before every batch how many are there.

        Parameters
        ----------
        wanted
            The tiles to encode.
        """
        encoder: TileEncoder | None = None
        missing = [index for index in wanted if index not in self._known]
        while missing:
            yield len(wanted) - len(missing)
            encoder = encoder or self._encoder()
            part = missing[: encoder.batch]
            self._encode(encoder, part)
            missing = missing[len(part) :]

    def _encode(self, encoder: TileEncoder, indices: Sequence[int]) -> None:
        tiles = np.stack([self.grid.cut(self._image, index) for index in indices])
        self._known.update(zip(indices, encoder.encode_batch(tiles), strict=True))


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
    blend = Blend(tiles.grid)
    for index in indices:
        # What a segmenter packs behind its features is for its mask decoder alone.
        blend.add(index, tiles[index][:FEATURES])
    return blend.finish()


class PatchFeatures:
    """An encoder's features of an image, made batch by batch; what is made stays made.

    Parameters
    ----------
    grid
        Where the patches lie.
    wanted
        Those to encode.

    Attributes
    ----------
    done
        How many of them are encoded.
    encoder, weights_sha256
        The name and the weights of what encoded them; empty as long as nothing has.
    """

    def __init__(self, grid: TileGrid, wanted: tuple[int, ...]) -> None:
        self.grid = grid
        self.wanted = wanted
        self.done = 0
        self.encoder = ""
        self.weights_sha256 = ""
        self._blend = Blend(grid)
        self._features: Tensor | None = None

    def fill(
        self, image: NDArray[np.uint8], encoder: Callable[[], FeatureEncoder]
    ) -> Generator[int, None, None]:
        """Encode what is still wanted, and yield before every batch how many are done.

        Parameters
        ----------
        image
            (H, W, 3) uint8 working image.
        encoder
            Called to get the encoder, only when a patch must be encoded.
        """
        model: FeatureEncoder | None = None
        while self.done < len(self.wanted):
            yield self.done
            model = model or encoder()
            part = self.wanted[self.done : self.done + model.batch]
            found = model.encode_batch(np.stack([self.grid.cut(image, i) for i in part]))
            self.encoder, self.weights_sha256 = model.name, model.weights_sha256
            for index, embedding in zip(part, found, strict=True):
                self._blend.add(index, embedding)
            self.done += len(part)

    @property
    def features(self) -> Tensor:
        """(d, h, w) float32 features stitched from all that is wanted, as of :func:`stitch`."""
        if self._features is None:
            self._features = self._blend.finish()
        return self._features


class PatchMemory:
    """The patch features of a session: those of the last image and way of cutting it."""

    def __init__(self) -> None:
        self._owner = ""
        self._kept: PatchFeatures | None = None

    def belong_to(self, owner: str) -> None:
        """Forget the features if they are of other pixels, or of another encoder, than `owner`."""
        if self._owner != owner:
            self._owner, self._kept = owner, None

    def of(self, grid: TileGrid, wanted: tuple[int, ...]) -> PatchFeatures:
        """Return the features of the wanted patches, as far as they are made."""
        kept = self._kept
        if kept is None or (kept.grid, kept.wanted) != (grid, wanted):
            kept = self._kept = PatchFeatures(grid, wanted)
        return kept

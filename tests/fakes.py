"""What stands in for a model in tests of everything but the models."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from napari_sprout.models.protocols import MaskBatch, PromptBatch

TOKENS = 64
VALUES_PER_TOKEN = 4


class FakeSegmenter:
    """A segmenter with known answers: tokens are mean colours, masks are disks.

    It counts what is asked of it, and calls `on_encode` and `on_decode` (if set)
    before it answers.
    """

    name = "fake"
    weights_sha256 = "f" * 64
    device = torch.device("cpu")

    def __init__(self, radius: float = 13.0, batch: int = 1) -> None:
        self.radius = radius
        self.batch = batch
        self.batches: list[int] = []
        self.encoded = 0
        self.decoded = 0
        self.on_encode: Callable[[], None] | None = None
        self.on_decode: Callable[[], None] | None = None

    def encode_batch(self, tiles: NDArray[np.uint8]) -> Tensor:
        """Return (n, 3, 64, 64): each tile's :meth:`encode`."""
        self.batches.append(len(tiles))
        return torch.stack([self.encode(tile) for tile in tiles])

    def encode(self, tile: NDArray[np.uint8]) -> Tensor:
        """Return (3, 64, 64): the optical density of each token's mean colour."""
        if self.on_encode is not None:
            self.on_encode()
        self.encoded += 1
        size = tile.shape[0] // TOKENS
        blocks = tile.reshape(TOKENS, size, TOKENS, size, 3).astype(np.float64)
        density = -np.log((blocks.mean(axis=(1, 3)) + 1) / 256)
        return torch.from_numpy(np.moveaxis(density, 2, 0).astype(np.float32))

    def decode(self, embedding: Tensor, prompts: PromptBatch, side: int) -> MaskBatch:
        """Answer every prompt with a disk around its positive point, cut by its window."""
        if self.on_decode is not None:
            self.on_decode()
        self.decoded += len(prompts)
        assert bool((prompts.labels[:, 0] == 1).all())
        assert bool(((prompts.points[:, 0] > -1) & (prompts.points[:, 0] < side)).all())
        values = torch.arange(prompts.window * VALUES_PER_TOKEN)
        # (n, 2, values): the tile pixel, along either axis, of each value of each window.
        places = prompts.origins[:, :, None] * VALUES_PER_TOKEN + values
        pixels = (places + 0.5) * side / (TOKENS * VALUES_PER_TOKEN) - 0.5
        apart = pixels - prompts.points[:, 0, :, None]
        distance = torch.hypot(apart[:, 0, :, None], apart[:, 1, None, :])
        radii = self.radius * torch.tensor([1.0, 0.7, 0.9, 1.4])
        # Answers differ in quality by where they are, so that overlapping ones compete.
        place = (0.37 * prompts.points[:, 0, 0] + 0.11 * prompts.points[:, 0, 1]) % 1
        iou = 0.7 + 0.1 * place[:, None] + torch.tensor([0.0, 0.05, 0.1, -0.15])
        return MaskBatch(radii[None, :, None, None] - distance[:, None], iou.float())

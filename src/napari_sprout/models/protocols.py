"""The protocols behind which every model stands, and what crosses them."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol, runtime_checkable

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from .frame import EMBEDDING
from .transfer import moved


@dataclass(frozen=True, eq=False)
class PromptBatch:
    """Prompts of `n` nuclei in one tile, ready to decode together.

    Attributes
    ----------
    points
        (n, k, 2) float32, (y, x) pixel centres in the tile; the first of each
        row is the positive point. A box can do without any: k = 0.
    labels
        (n, k) int64: 1 positive, 0 negative, -1 padding.
    origins
        (n, 2) int64, first token (row, column) of each prompt's window.
    window
        Tokens a side of the windows; 64 is the whole tile.
    masks
        (n, 4 * window, 4 * window) float32 logits over the same windows, or None.
    boxes
        (n, 4) float32, the centres of the first and the last pixel of a box around each
        nucleus, (y0, x0, y1, x1) in the tile, or None.
    """

    points: Tensor
    labels: Tensor
    origins: Tensor
    window: int = EMBEDDING
    masks: Tensor | None = None
    boxes: Tensor | None = None

    def __len__(self) -> int:
        return int(self.points.shape[0])

    def part(self, begin: int, end: int) -> PromptBatch:
        """Return the prompts from `begin` up to `end`."""
        rows = slice(begin, end)
        return PromptBatch(
            self.points[rows],
            self.labels[rows],
            self.origins[rows],
            self.window,
            None if self.masks is None else self.masks[rows],
            None if self.boxes is None else self.boxes[rows],
        )

    def to(self, device: torch.device) -> PromptBatch:
        """Return the prompts on another device."""
        further = [part for part in (self.masks, self.boxes) if part is not None]
        points, labels, origins, *rest = moved(
            [self.points, self.labels, self.origins, *further], device
        )
        there = iter(rest)
        masks = None if self.masks is None else next(there)
        boxes = None if self.boxes is None else next(there)
        return PromptBatch(points, labels, origins, self.window, masks, boxes)


@dataclass(frozen=True, eq=False)
class MaskBatch:
    """SAM's answers over the prompts' windows.

    Attributes
    ----------
    logits
        (n, 4, 4 * window, 4 * window); above 0 is inside. The first of the four
        is the single-mask answer, the others the three of multimask output.
    iou
        (n, 4) predicted IoU.
    """

    logits: Tensor
    iou: Tensor


class TileEncoder(Protocol):
    """Turns square images into grids of features."""

    @property
    def name(self) -> str:
        """Short name, as in the settings."""
        ...

    @property
    def batch(self) -> int:
        """How many images may be encoded at once."""
        ...

    def encode_batch(self, tiles: NDArray[np.uint8]) -> Tensor:
        """Encode n square RGB images (n, side, side, 3) to (n, d, t, t) float32 features."""
        ...


@runtime_checkable
class FeatureEncoder(TileEncoder, Protocol):
    """Turns patches into grids of features."""

    @property
    def weights_sha256(self) -> str:
        """SHA-256 of the weights file, in hexadecimal."""
        ...

    @property
    def device(self) -> torch.device:
        """Where it computes."""
        ...

    @property
    def tokens(self) -> int:
        """Features a side of a patch."""
        ...


@runtime_checkable
class PromptableSegmenter(TileEncoder, Protocol):
    """Encodes a tile once, then answers any number of prompts on it.

    The first 256 channels of an encoded tile are its features; what a segmenter keeps for
    its own decoding (SAM 2: details of the image) comes behind them.
    """

    @property
    def weights_sha256(self) -> str:
        """SHA-256 of the weights file, in hexadecimal."""
        ...

    @property
    def device(self) -> torch.device:
        """Where it computes."""
        ...

    def decode(self, embedding: Tensor, prompts: PromptBatch, side: int) -> MaskBatch:
        """Answer prompts on an encoded tile of `side` working pixels."""
        ...

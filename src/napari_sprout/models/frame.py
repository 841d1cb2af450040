"""Every conversion between tile pixels, SAM's frame and its tokens, in one place.

A tile of `side` working pixels is enlarged to SAM's square frame of 1024 pixels.
The embedding has one token per 16 frame pixels (64 a side) and the decoder's
logits one value per 4 frame pixels (256 a side). The rest of the package speaks
(y, x) in pixel centres; SAM speaks (x, y) with the same half-pixel convention
inside its positional encoding.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

FRAME = 1024
TOKEN = 16
EMBEDDING = FRAME // TOKEN
LOGITS_PER_TOKEN = 4
FEATURES = 256
"""Channels of an embedding that are features; further ones are for the mask decoder alone."""

PIXEL_MEAN = (123.675, 116.28, 103.53)
PIXEL_STD = (58.395, 57.12, 57.375)
"""What all SAMs normalise pixels of 0 to 255 with, R, G, B."""


class FromFrame(nn.Module):
    """An image encoder that is given frames as they are.

    Parameters
    ----------
    encoder
        (n, 3, 1024, 1024) normalised pixels -> (n, c, 64, 64).
    """

    mean: Tensor
    std: Tensor

    def __init__(self, encoder: nn.Module) -> None:
        super().__init__()
        self.encoder = encoder
        self.register_buffer("mean", torch.tensor(PIXEL_MEAN), persistent=False)
        self.register_buffer("std", torch.tensor(PIXEL_STD), persistent=False)

    def forward(self, frames: Tensor) -> Tensor:
        """Encode (n, 1024, 1024, 3) uint8 RGB to (n, c, 64, 64)."""
        # Channels last in memory, as the images' are.
        pixels = frames.float().sub_(self.mean).div_(self.std).permute(0, 3, 1, 2)
        embeddings: Tensor = self.encoder(pixels)
        return embeddings.contiguous()


def to_frame_xy(points_yx: Tensor, side: int) -> Tensor:
    """Convert tile (y, x) pixel centres to SAM's (x, y) frame coordinates.

    Parameters
    ----------
    points_yx
        (..., 2) float tensor of pixel centres in a tile.
    side
        The tile's side in working pixels.

    Returns
    -------
    Tensor
        (..., 2) in frame pixel centres, so that SAM's own + 0.5 lands on the
        same place in the enlarged tile.
    """
    return (points_yx.flip(-1) + 0.5) * (FRAME / side) - 0.5


def pixels_per_token(side: int) -> float:
    """Return how many working pixels one token spans in a tile of `side` pixels."""
    return side * TOKEN / FRAME


def window_origins(points_yx: Tensor, side: int, window: int) -> Tensor:
    """Return the first token (row, column) of a window centred on each point.

    Parameters
    ----------
    points_yx
        (n, 2) tile pixel centres.
    side
        The tile's side in working pixels.
    window
        Tokens a side, 1 to 64.

    Returns
    -------
    Tensor
        (n, 2) int64, clipped so that the window lies in the embedding.
    """
    tokens = (points_yx + 0.5) / pixels_per_token(side)
    origins = torch.round(tokens - window / 2).to(torch.int64)
    return origins.clamp(0, EMBEDDING - window)

"""Every conversion between tile pixels, SAM's frame and its tokens, in one place.

A tile of `side` working pixels is enlarged to SAM's square frame of 1024 pixels.
The embedding has one token per 16 frame pixels (64 a side) and the decoder's
logits one value per 4 frame pixels (256 a side). The rest of the package speaks
(y, x) in pixel centres; SAM speaks (x, y) with the same half-pixel convention
inside its positional encoding.
"""

from __future__ import annotations

import torch
from torch import Tensor

FRAME = 1024
TOKEN = 16
EMBEDDING = FRAME // TOKEN
LOGITS_PER_TOKEN = 4
FEATURES = 256
"""Channels of an embedding that are features; further ones are for the mask decoder alone."""


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

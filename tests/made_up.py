"""Weights and pixels that anybody can make again: networks to compare, none to use."""

from __future__ import annotations

import zlib
from collections.abc import Iterable, Mapping

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor


def made_up_weights(shapes: Mapping[str, Iterable[int]]) -> dict[str, Tensor]:
    """Return a tensor for each name, drawn from a generator that the name alone seeds."""
    return {name: _drawn(name, tuple(shape)) for name, shape in shapes.items()}


def _drawn(name: str, shape: tuple[int, ...]) -> Tensor:
    drawn = np.random.default_rng(zlib.crc32(name.encode())).normal(size=shape)
    if name.endswith(".bias"):
        drawn *= 0.1
    elif len(shape) == 1:
        drawn = 1 + 0.1 * drawn
    elif name.endswith(".weight") and not name.split(".")[-2].endswith(("token", "tokens")):
        drawn /= np.sqrt(np.prod(shape[1:]))
    return torch.from_numpy(drawn.astype(np.float32))


def made_up_image(side: int) -> NDArray[np.uint8]:
    """Return (side, side, 3) blocks of random colours, 16 px wide, under a little noise."""
    rng = np.random.default_rng(side)
    blocks = rng.integers(40, 216, (side // 16, side // 16, 3)).repeat(16, 0).repeat(16, 1)
    return (blocks + rng.integers(-20, 21, blocks.shape)).astype(np.uint8)

"""What goes to a graphics card and back, in as few and as quick transfers as may be.

Each transfer costs some ten microseconds, however little it carries, and memory that is
not pinned is copied once more on its way. Without a card nothing is copied at all.
"""

from __future__ import annotations

from collections.abc import Sequence

import cv2
import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from ..errors import ImageError


def frames(
    tiles: NDArray[np.uint8],
    side: int,
    device: torch.device,
    enlarging: int = cv2.INTER_LINEAR,
    shrinking: int = cv2.INTER_LINEAR,
) -> Tensor:
    """Bring square RGB images to another size, and to a device.

    On a card they may still be under way when this returns, but are there for all work
    that it is given afterwards.

    Parameters
    ----------
    tiles
        (n, s, s, 3) uint8.
    side
        Pixels a side that they are to have.
    device
        Where they are to be.
    enlarging, shrinking
        OpenCV's interpolation of images that are too small or too large; those of the right
        size stay as they are.

    Returns
    -------
    Tensor
        (n, side, side, 3) uint8.

    Raises
    ------
    ImageError
        If they are no square RGB images.
    """
    if tiles.ndim != 4 or tiles.shape[3] != 3 or tiles.shape[1] != tiles.shape[2]:
        raise ImageError(f"Tiles must be square RGB images, not of shape {tiles.shape}.")
    how = shrinking if side < tiles.shape[1] else enlarging
    made = _on_the_way((len(tiles), side, side, 3), device)
    for tile, frame in zip(tiles, made.numpy(), strict=True):
        # OpenCV writes into an array of the right size.
        cv2.resize(tile, (side, side), dst=frame, interpolation=how)
    return made.to(device, non_blocking=True)


def moved(tensors: Sequence[Tensor], device: torch.device) -> list[Tensor]:
    """Bring tensors from one device to another, to or from a CUDA card in one transfer.

    Parameters
    ----------
    tensors
        All on one device.
    device
        Where they are to be. On a card they may still be under way, as of :func:`frames`.

    Returns
    -------
    list of Tensor
        The same, in their order; those that are there already are not copied.
    """
    here = {tensor.device.type for tensor in tensors}
    if here == {device.type} or "cuda" not in here | {device.type}:
        return [tensor.to(device) for tensor in tensors]
    # The widest first, so that each begins where its type may.
    order = sorted(range(len(tensors)), key=lambda i: -tensors[i].element_size())
    wide = [tensors[i] for i in order]
    found = unpacked(packed(wide, device).to(device, non_blocking=device.type == "cuda"), wide)
    return [one for _, one in sorted(zip(order, found, strict=True), key=lambda pair: pair[0])]


def packed(tensors: Sequence[Tensor], device: torch.device) -> Tensor:
    """Return the bytes of tensors, one after another, ready for their way to a device."""
    parts = [tensor.reshape(-1).view(torch.uint8) for tensor in tensors]
    if parts[0].device.type != "cpu":
        return torch.cat(parts)
    return torch.cat(parts, out=_on_the_way((sum(map(len, parts)),), device))


def unpacked(carried: Tensor, like: Sequence[Tensor]) -> list[Tensor]:
    """Return what :func:`packed` packed, without a copy.

    Parameters
    ----------
    carried
        The bytes.
    like
        What was packed, the widest type first.
    """
    parts = torch.split(carried, [tensor.nbytes for tensor in like])
    return [p.view(t.dtype).view(t.shape) for p, t in zip(parts, like, strict=True)]


def _on_the_way(shape: tuple[int, ...], device: torch.device) -> Tensor:
    """Return memory of the computer from which a device can fetch at once."""
    return torch.empty(shape, dtype=torch.uint8, pin_memory=device.type == "cuda")

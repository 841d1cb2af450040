"""What SAM is asked: points, and the region that proposed each as a mask (paper 3.3)."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace

import cv2
import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from ..models.frame import LOGITS_PER_TOKEN, window_origins
from ..models.protocols import PromptBatch
from .crops import Mask
from .instances import Box
from .settings import DecodingSettings
from .tiles import TileGrid


@dataclass(frozen=True, eq=False)
class PointPrompts:
    """Positive points with their negatives and proposing regions, in working pixels.

    Attributes
    ----------
    ids
        (n,) ids of the positive prompts.
    points
        (n, 2) positive points.
    negatives
        (n, y, 2) negative points of each; NaN where there are fewer.
    regions
        (H, W) int32; region `region_ids[i]` proposed point i.
    region_ids
        (n,) labels in `regions`, 0 for a point without a region.
    shapes
        By id: a (box, mask) crop that takes the place of a region in `regions`.
    answers
        By id: which of SAM's answers to take, see :data:`~.masks.ANSWERS`; for the other ids
        the settings say.
    """

    ids: NDArray[np.int64]
    points: NDArray[np.float64]
    negatives: NDArray[np.float64]
    regions: NDArray[np.int32]
    region_ids: NDArray[np.int64]
    shapes: Mapping[int, tuple[Box, Mask]] = field(default_factory=dict)
    answers: Mapping[int, int] = field(default_factory=dict)

    def __len__(self) -> int:
        return len(self.ids)

    def take(self, rows: NDArray[np.intp]) -> PointPrompts:
        """Return some of the prompts."""
        return replace(
            self,
            ids=self.ids[rows],
            points=self.points[rows],
            negatives=self.negatives[rows],
            region_ids=self.region_ids[rows],
        )

    @property
    def suggested(self) -> NDArray[np.bool_]:
        """(n,) whether a region or a shape says where each nucleus might end."""
        shaped = np.array([ident in self.shapes for ident in self.ids.tolist()], dtype=bool)
        suggested: NDArray[np.bool_] = (self.region_ids > 0) | shaped
        return suggested


def _region_window(prompts: PointPrompts, row: int, y: int, x: int, size: int) -> Mask:
    """Cut one prompt's region from a `size` px window at (y, x); outside the image is False."""
    window = np.zeros((size, size), dtype=bool)
    shape = prompts.shapes.get(int(prompts.ids[row]))
    y0, x0, y1, x1 = (0, 0, *prompts.regions.shape) if shape is None else shape[0]
    top, left, bottom, right = max(y0, y), max(x0, x), min(y1, y + size), min(x1, x + size)
    if top < bottom and left < right:
        part = np.s_[top - y0 : bottom - y0, left - x0 : right - x0]
        inside = (
            prompts.regions[part] == prompts.region_ids[row] if shape is None else shape[1][part]
        )
        window[top - y : bottom - y, left - x : right - x] = inside
    return window


def disk(radius: int) -> NDArray[np.uint8]:
    """Return a disk of `radius` pixels around its middle one."""
    side = 2 * radius + 1
    return np.asarray(cv2.getStructuringElement(cv2.MORPH_ELLIPSE, (side, side)), dtype=np.uint8)


def _eroded(mask: Mask, radius: int) -> Mask:
    """Make a mask smaller all around; one that would vanish stays as it is."""
    if radius < 1:
        return mask
    smaller: Mask = cv2.erode(mask.astype(np.uint8), disk(radius)) > 0
    return smaller if smaller.any() else mask


def mask_prompts(
    prompts: PointPrompts,
    corners: NDArray[np.int64],
    size: int,
    out: int,
    strength: float,
    shrink: int = 0,
) -> Tensor:
    """Turn each prompt's region into low-resolution logits for SAM's mask prompt.

    Parameters
    ----------
    prompts
        The prompts of one batch.
    corners
        (n, 2) top left working pixel of each window.
    size
        Window side in working pixels.
    out
        Window side in logits.
    strength
        Logit deep inside the region; its negative outside.
    shrink
        Working pixels by which regions, but not shapes, are made smaller all around; one
        that would vanish is not.

    Returns
    -------
    Tensor
        (n, out, out) float32; 0 everywhere for a prompt without a region.
    """
    logits = np.zeros((len(prompts), out, out), dtype=np.float32)
    for i, (suggested, (y, x)) in enumerate(zip(prompts.suggested, corners, strict=True)):
        if suggested:
            window = _region_window(prompts, i, int(y), int(x), size)
            if int(prompts.ids[i]) not in prompts.shapes:
                window = _eroded(window, shrink)
            share = cv2.resize(window.astype(np.float32), (out, out), interpolation=cv2.INTER_AREA)
            logits[i] = strength * (2 * share - 1)
    return torch.from_numpy(logits)


def prompt_batch(
    prompts: PointPrompts,
    origin: tuple[int, int],
    grid: TileGrid,
    window: int,
    settings: DecodingSettings,
    mpp: float,
) -> PromptBatch:
    """Express prompts in one tile's own pixels, with their windows.

    Parameters
    ----------
    prompts
        The prompts of one batch: with a region or a shape all of them, or none.
    origin
        (y, x) of the tile.
    grid
        How the tiles lie.
    window
        Tokens a side.
    settings
        Whether and how regions become mask prompts.
    mpp
        Working pixel size in um.
    """
    points = torch.from_numpy(
        np.concatenate([prompts.points[:, None], prompts.negatives], axis=1)
        - np.asarray(origin, dtype=float)
    ).float()
    labels = torch.ones(points.shape[:2], dtype=torch.int64)
    labels[:, 1:] = 0
    missing = torch.isnan(points).any(-1)
    labels[missing] = -1
    points[missing] = 0.0
    origins = window_origins(points[:, 0], grid.side, window)
    masks = None
    if settings.mask_prompt == "region" and prompts.suggested.all():
        corners = origins.numpy() * grid.token + np.asarray(origin)
        size, out = window * grid.token, window * LOGITS_PER_TOKEN
        shrink = round(settings.mask_shrink / mpp)
        masks = mask_prompts(prompts, corners, size, out, settings.mask_strength, shrink)
    return PromptBatch(points, labels, origins, window, masks)

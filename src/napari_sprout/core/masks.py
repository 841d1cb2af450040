"""SAM's masks for point prompts, decoded tile by tile in batches (paper 3.3).

A prompt is decoded in the tile in which it lies most centrally, over a window of
tokens around it. A mask that reaches its window's edge is decoded again over the
whole tile. No array of the image's size is made for any prompt.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from typing import Final

import cv2
import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.nn import functional

from ..models.frame import EMBEDDING
from ..models.protocols import MaskBatch, PromptableSegmenter
from ..models.transfer import moved
from ..models.windowed import BATCH
from .crops import tight
from .features import TileEmbeddings
from .instances import Candidate
from .mask_prompts import PointPrompts, disk, prompt_batch
from .settings import DecodingSettings
from .threads import in_threads

BATCHES: Final = {"cpu": BATCH}
"""Prompts decoded at once by kind of device."""

LARGE_BATCH: Final = 256
"""The same where the device has memory of its own."""

MEAN_ANSWER: Final = 4
"""The number of the mean of SAM's four answers; 0 is the single one, 1 to 3 are the three."""

ANSWERS: Final = 5
"""How many answers there are to choose from."""

USUAL_ANSWER: Final = {"single": 0, "mean": MEAN_ANSWER}
"""By the setting ``multimask``, where it does not depend on the prompt."""

_CPU: Final = torch.device("cpu")

STABILITY_OFFSET: Final = 1.0
"""Logits by which the threshold is moved up and down, as in segment-anything."""


def _answers(answer: MaskBatch, multimask: str, prompts: PointPrompts) -> tuple[Tensor, Tensor]:
    """Choose one of SAM's answers a prompt: (n, s, s) logits and (n,) predicted IoU."""
    chosen = [prompts.answers.get(ident, -1) for ident in prompts.ids.tolist()]
    usual = USUAL_ANSWER.get(multimask)
    if usual is not None and max(chosen) < 0:
        return _one_answer(answer.logits, usual), _one_answer(answer.iou, usual)
    device = answer.iou.device
    taken = torch.tensor(chosen, device=device)
    other = answer.iou[:, 1:].argmax(1) + 1 if usual is None else torch.full_like(taken, usual)
    taken = torch.where(taken < 0, other, taken)
    logits = torch.cat([answer.logits, answer.logits.mean(1, keepdim=True)], dim=1)
    iou = torch.cat([answer.iou, answer.iou.mean(1, keepdim=True)], dim=1)
    rows = torch.arange(len(prompts), device=device)
    return logits[rows, taken], iou[rows, taken]


def _one_answer(answers: Tensor, number: int) -> Tensor:
    return answers.mean(1) if number == MEAN_ANSWER else answers[:, number]


def stability(logits: Tensor) -> Tensor:
    """Return how little answers change with the threshold between inside and outside.

    Source: Kirillov et al. 2023, Segment Anything, appendix B: the IoU of an answer
    cut at the logits +1 and -1.

    Parameters
    ----------
    logits
        (n, s, s); above 0 is inside.

    Returns
    -------
    Tensor
        (n,) 0 to 1; NaN for an answer of no pixel even at -1.
    """
    inner, outer = ((logits > edge).sum((1, 2)) for edge in (STABILITY_OFFSET, -STABILITY_OFFSET))
    return inner / outer


def _component(mask: NDArray[np.bool_], y: int, x: int) -> NDArray[np.bool_]:
    """Keep the piece of a mask under its point, or the largest piece if it is beside it."""
    # A nucleus fills a small part of its window.
    left, top, width, height = cv2.boundingRect(mask.view(np.uint8))
    if height == 0:
        return mask
    box = np.s_[top : top + height, left : left + width]
    count, labels, stats, _ = cv2.connectedComponentsWithStats(mask[box].astype(np.uint8))
    if count <= 2:
        return mask
    y, x = y - top, x - left
    under = labels[y, x] if 0 <= y < height and 0 <= x < width else 0
    piece = np.zeros_like(mask)
    piece[box] = labels == (under or 1 + int(stats[1:, cv2.CC_STAT_AREA].argmax()))
    return piece


def _without_spikes(mask: NDArray[np.bool_], radius: int) -> NDArray[np.bool_]:
    """Open a mask by a disk: SAM's masks have teeth along edges that nuclei have not.

    A mask too small to hold the disk stays as it is.
    """
    if radius < 1:
        return mask
    opened: NDArray[np.bool_] = (
        cv2.morphologyEx(mask.astype(np.uint8), cv2.MORPH_OPEN, disk(radius)) > 0
    )
    return opened if opened.any() else mask


def _open_sides(mask: NDArray[np.bool_], origin: NDArray[np.int64], window: int) -> bool:
    """Whether a mask reaches an edge of its window that is not also the tile's edge."""
    row, column = (int(v) for v in origin)
    last = EMBEDDING - window
    return bool(
        (row > 0 and mask[0].any())
        or (row < last and mask[-1].any())
        or (column > 0 and mask[:, 0].any())
        or (column < last and mask[:, -1].any())
    )


def _candidate(
    id_: int,
    mask: NDArray[np.bool_],
    corner: NDArray[np.int64],
    iou: float,
    stable: float,
    haematoxylin: NDArray[np.float32],
) -> Candidate | None:
    """Crop a window mask to its extent inside the image; None if nothing is left."""
    y, x = (int(v) for v in corner)
    height, width = haematoxylin.shape
    inside = mask[: max(height - y, 0), : max(width - x, 0)]
    shrunk = tight((y, x, y + inside.shape[0], x + inside.shape[1]), inside)
    if shrunk is None:
        return None
    box, crop = shrunk
    stain = haematoxylin[box[0] : box[2], box[1] : box[3]][crop]
    return Candidate(id_, box, crop, iou, float(stain.mean(dtype=np.float64)), stable)


class TileDecoder:
    """Decodes prompts on encoded tiles into candidates.

    Parameters
    ----------
    segmenter
        Called to get the SAM variant, only when there is something to decode.
    tiles
        The tile embeddings.
    haematoxylin
        (H, W) float32 haematoxylin concentration, normalised to 0..1.
    settings
        Window, mask prompt, multimask, smoothing and batch.
    mpp
        Working pixel size in um.
    """

    def __init__(
        self,
        segmenter: Callable[[], PromptableSegmenter],
        tiles: TileEmbeddings,
        haematoxylin: NDArray[np.float32],
        settings: DecodingSettings,
        mpp: float,
    ) -> None:
        self._segmenter = segmenter
        self._tiles = tiles
        self._grid = tiles.grid
        self._haematoxylin = haematoxylin
        self._settings = settings
        self._mpp = mpp
        self._radius = round(settings.smoothing / mpp)

    def decode(self, prompts: PointPrompts) -> Iterator[tuple[int, list[Candidate]]]:
        """Decode prompts, grouped by the tile in which each lies most centrally.

        Parameters
        ----------
        prompts
            Positive points with negatives, regions and chosen answers.

        Yields
        ------
        asked
            Number of prompts in this batch.
        candidates
            Its masks: at most one a prompt, none for an empty answer. A mask
            depends on its own prompt; its batch changes it by no more than
            floating-point rounding.
        """
        if len(prompts) == 0:
            return
        # Once: a piece that is still under way when the run was stopped must not load it again.
        segmenter = self._segmenter()
        kind = segmenter.device.type
        batch = self._settings.batch or BATCHES.get(kind, LARGE_BATCH)

        def decode(part: tuple[PointPrompts, int]) -> tuple[int, list[Candidate]]:
            asked, tile = part
            window = self._settings.window
            return len(asked), self._decode_batch(segmenter, batch, asked, tile, window)

        # A graphics card is one worker, however many ask.
        yield from in_threads(decode, self._parts(prompts, batch), None if kind == "cpu" else 1)

    def _parts(self, prompts: PointPrompts, batch: int) -> Iterator[tuple[PointPrompts, int]]:
        """Part prompts into batches on one tile, which is encoded if it was not yet."""
        tiles = self._grid.most_central(prompts.points)
        # SAM takes a mask prompt for every prompt of a batch or for none.
        groups = 2 * tiles + prompts.suggested
        for group in np.unique(groups):
            tile = int(group) // 2
            _ = self._tiles[tile]
            rows = np.flatnonzero(groups == group)
            for begin in range(0, len(rows), batch):
                yield prompts.take(rows[begin : begin + batch]), tile

    def _decode_batch(
        self,
        segmenter: PromptableSegmenter,
        most: int,
        prompts: PointPrompts,
        tile: int,
        window: int,
    ) -> list[Candidate]:
        """Decode one batch on one tile; masks too large for the window go to the whole tile."""
        grid, settings = self._grid, self._settings
        origin = grid.origins[tile]
        batch = prompt_batch(prompts, origin, grid, window, settings, self._mpp)
        answer = segmenter.decode(self._tiles[tile], batch, grid.side)
        logits, iou = _answers(answer, settings.multimask, prompts)
        size = window * grid.token
        resized = functional.interpolate(
            logits[:, None], (size, size), mode="bilinear", align_corners=False
        )
        found_there = resized[:, 0] > 0, stability(resized[:, 0]), iou
        masks, stable, scores = (part.numpy() for part in moved(found_there, _CPU))
        origins = batch.origins.numpy()
        corners = origins * grid.token + np.asarray(origin)
        local = np.clip(np.rint(prompts.points - corners).astype(int), 0, size - 1)
        found, open_rows = [], []
        for i, mask in enumerate(masks):
            piece = _component(mask, *local[i])
            if window < EMBEDDING and _open_sides(piece, origins[i], window):
                open_rows.append(i)
                continue
            piece = _component(_without_spikes(piece, self._radius), *local[i])
            candidate = _candidate(
                int(prompts.ids[i]),
                piece,
                corners[i],
                float(scores[i]),
                float(stable[i]),
                self._haematoxylin,
            )
            if candidate is not None:
                found.append(candidate)
        # A larger window takes more memory a prompt: fewer prompts at once.
        few = max(1, most * window**2 // EMBEDDING**2)
        for begin in range(0, len(open_rows), few):
            rows = np.asarray(open_rows[begin : begin + few])
            found += self._decode_batch(segmenter, most, prompts.take(rows), tile, EMBEDDING)
        return found


def plausible(
    candidates: Sequence[Candidate], settings: DecodingSettings, mpp: float, stained: float
) -> list[Candidate]:
    """Drop masks that cannot be nuclei: too small, too large, or without haematoxylin.

    Parameters
    ----------
    candidates
        Masks as decoded.
    settings
        ``min_area`` and ``max_area`` in um^2; ``min_haematoxylin`` as a share of `stained`.
    mpp
        Working pixel size in um.
    stained
        Otsu's threshold between unstained and stained pixels, on the scale of
        :attr:`Candidate.haematoxylin`.
    """
    low, high = settings.min_area / mpp**2, settings.max_area / mpp**2
    least = settings.min_haematoxylin * stained
    return [c for c in candidates if low <= c.area <= high and c.haematoxylin >= least]

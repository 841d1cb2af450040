"""Nuclei made elsewhere: by another program, or by this one on another day."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property

import cv2
import numpy as np
from numpy.typing import NDArray

from ..errors import SettingsError, SproutError
from .coordinates import Scale
from .crops import Mask, check_drawn, slices, subtract, tight
from .edits import Piece
from .instances import Prompt
from .labels import on_working_grid
from .outputs import PromptSet
from .prompts import inner_points, negative_points
from .settings import PromptSettings

LARGEST_LABEL = 2**31 - 1
MOST = 1_000_000
"""Up to here the numbers that nuclei had elsewhere are kept: tables are sized by the largest."""


@dataclass(frozen=True, eq=False)
class GivenNuclei:
    """Nuclei made elsewhere, as they go into a run.

    Attributes
    ----------
    pieces
        (id, box, mask) of each, by id, on the full-resolution grid. No two share a
        pixel and none is empty.
    """

    pieces: tuple[Piece, ...]

    @classmethod
    def of(cls, pieces: Sequence[Piece], shape: tuple[int, ...]) -> GivenNuclei:
        """Check nuclei made elsewhere, and settle where they overlap.

        Parameters
        ----------
        pieces
            (id, box, mask) of each. A pixel that is in several belongs to the first.
        shape
            Height and width of the image, full resolution.

        Returns
        -------
        GivenNuclei
            Without those that have no pixel. They keep their ids, unless one is
            larger than :data:`MOST`: then all are numbered anew from 1, in order.

        Raises
        ------
        SproutError
            If an id is no label or used twice, a mask does not fit, or none has a pixel.
        """
        found: list[Piece] = []
        taken = np.zeros(shape[:2], dtype=bool)
        seen: set[int] = set()
        for ident, box, mask in pieces:
            if not 0 < ident <= LARGEST_LABEL or ident in seen:
                raise SproutError(
                    f"The nuclei cannot be opened: the number {ident} is used twice, or is none "
                    f"from 1 to {LARGEST_LABEL}."
                )
            seen.add(ident)
            drawn = check_drawn(box, mask, shape)
            free = tight(box, subtract(box, drawn, [(box, taken[slices(box)])]))
            if free is not None:
                taken[slices(free[0])] |= free[1]
                found.append((ident, *free))
        if not found:
            raise SproutError("There are no nuclei to open: not one has a pixel.")
        found.sort(key=lambda piece: piece[0])
        if found[-1][0] > MOST:
            found = [(i, box, mask) for i, (_, box, mask) in enumerate(found, 1)]
        return cls(tuple(found))

    def __len__(self) -> int:
        return len(self.pieces)

    @cached_property
    def ids(self) -> frozenset[int]:
        """All ids."""
        return frozenset(ident for ident, _, _ in self.pieces)

    @cached_property
    def key(self) -> str:
        """Hash of all ids and masks."""
        digest = hashlib.sha256()
        for ident, box, mask in self.pieces:
            digest.update(json.dumps([ident, box]).encode() + np.packbits(mask).tobytes())
        return digest.hexdigest()


def required(given: GivenNuclei | None) -> GivenNuclei:
    """Return the nuclei made elsewhere that the settings ask for.

    Raises
    ------
    SettingsError
        If there are none.
    """
    if given is None:
        raise SettingsError(
            "The setting prompts.source is 'given', but no nuclei were opened: open some in "
            "napari, or set it to 'activation', 'stain' or 'grid'."
        )
    return given


def given_prompts(
    given: GivenNuclei, background: NDArray[np.bool_], settings: PromptSettings, scale: Scale
) -> PromptSet:
    """Place a point in every nucleus made elsewhere, and negative points around them.

    Parameters
    ----------
    given
        The nuclei.
    background
        (H, W) bool at working resolution: tissue that the stain says is no nucleus.
    settings
        Where negative points may be.
    scale
        The image's grids.

    Returns
    -------
    PromptSet
        Points under the nuclei's own numbers, then negative ones. Each nucleus is
        the region that proposes its point; one that holds no working pixel's centre
        has the pixel in which it lies, if that is free.
    """
    regions = np.zeros(scale.working, dtype=np.int32)
    made = []
    for ident, box, mask in given.pieces:
        y, x = _inner_point(mask)
        made.append(Prompt(ident, "positive", box[0] + y, box[1] + x, "given"))
        place, shape = on_working_grid(box, mask, scale)
        crop = regions[slices(place)]
        crop[shape & (crop == 0)] = ident
    # Without them SAM's masks of many nuclei are far too large.
    negatives = scale.to_full(negative_points(background & (regions == 0), settings, scale.mpp))
    made += [
        Prompt(ident, "negative", y, x, "given")
        for ident, (y, x) in enumerate(negatives.tolist(), 1 + made[-1].id)
    ]
    return PromptSet(tuple(made), regions, regions > 0, None)


def _inner_point(mask: Mask) -> tuple[float, float]:
    """Return the pixel nearest to a mask's centroid, or its deepest if that lies outside."""
    padded = np.pad(mask, 1).astype(np.uint8)
    distance = np.asarray(
        cv2.distanceTransform(padded, cv2.DIST_L2, cv2.DIST_MASK_PRECISE), np.float32
    )
    y, x = inner_points(padded.astype(np.int32), np.array([1]), distance)[0].tolist()
    return y - 1, x - 1

"""Prompt, Candidate, Nucleus: one id from the click to the exported label.

Coordinates are (y, x) floats in full-resolution pixel centres: the centre of
the top left pixel is (0.0, 0.0).
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Literal

import numpy as np
from numpy.typing import NDArray

PromptKind = Literal["positive", "negative"]
Box = tuple[int, int, int, int]


@dataclass(frozen=True)
class Prompt:
    """A point given to SAM.

    Attributes
    ----------
    id
        Positive whole number, for life; the nucleus it grows has the same label.
    kind
        "positive" (this is a nucleus) or "negative" (this is not).
    y, x
        Position in full-resolution pixels.
    source
        What made it: "activation", "stain", "grid", "given" (a nucleus made elsewhere) or "hand".
    """

    id: int
    kind: PromptKind
    y: float
    x: float
    source: str


@dataclass(frozen=True, eq=False)
class Candidate:
    """A mask before suppression.

    Attributes
    ----------
    id
        The positive prompt's id.
    box
        (y0, x0, y1, x1), half open, in working pixels; the extent of `mask`.
    mask
        Boolean array of shape (y1 - y0, x1 - x0): never the whole image. Its
        first and last rows and columns each hold at least one True.
    predicted_iou
        SAM's own estimate of the mask's quality, about 0 to 1.
    haematoxylin
        Mean haematoxylin concentration under the mask, divided by the image's
        99th percentile over tissue and clipped to 0..1: it depends on the
        image and this mask alone, never on the other candidates.
    stability
        How little SAM's answer changes with its threshold, 0 to 1
        (:func:`.masks.stability`); NaN for a mask that is not SAM's.
    """

    id: int
    box: Box
    mask: NDArray[np.bool_]
    predicted_iou: float
    haematoxylin: float
    stability: float = math.nan

    @property
    def area(self) -> int:
        """Number of pixels in the mask."""
        return int(np.count_nonzero(self.mask))


@dataclass(frozen=True)
class Nucleus:
    """An accepted instance, measured on the full-resolution label image.

    Attributes
    ----------
    id
        Its label, and the id of the prompt it grew from.
    y, x
        Centroid, in full-resolution pixels.
    area
        Pixels.
    perimeter
        Pixels: length of the line through the centres of the border pixels
        (skimage's ``perimeter``, 4-connected).
    eccentricity
        Of the ellipse with the same second moments, 0 (circle) to 1 (line).
    haematoxylin, eosin
        Mean stain concentrations under the nucleus, in optical density.
    predicted_iou
        SAM's own estimate of the mask's quality; NaN for a label drawn by hand.
    score
        What ranked it in suppression, 0 to 2; NaN for a label drawn by hand.
    stability
        As of :class:`Candidate`; NaN for a label drawn by hand.
    """

    id: int
    y: float
    x: float
    area: int
    perimeter: float
    eccentricity: float
    haematoxylin: float
    eosin: float
    predicted_iou: float
    score: float
    stability: float = math.nan

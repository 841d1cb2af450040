"""How many point prompts lie where they should (paper Table 12)."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ..errors import ImageError
from .instances import Prompt


@dataclass(frozen=True)
class PromptQuality:
    """Agreement of points with annotated nuclei.

    The headings of the paper's Table 12 (TP, TN, FP, FN) seem permuted: its
    first two columns add up to 1, and so do the last two, hence .849 and .943 on
    MoNuSeg can only be the precision of the positive and of the negative points.

    Attributes
    ----------
    positive_precision
        Share of the positive points inside an annotated nucleus, 0 to 1; NaN
        without positive points.
    negative_precision
        Share of the negative points outside all nuclei, 0 to 1; NaN without
        negative points.
    nuclei_hit
        Share of the nuclei that hold at least one positive point, 0 to 1; NaN
        without nuclei.
    positives_per_nucleus
        Mean number of positive points in the nuclei that hold any, 1 or more;
        NaN where none does.
    """

    positive_precision: float
    negative_precision: float
    nuclei_hit: float
    positives_per_nucleus: float


def prompt_quality(prompts: Sequence[Prompt], truth: NDArray[np.integer[Any]]) -> PromptQuality:
    """Judge points by the annotated nuclei (paper Table 12).

    Parameters
    ----------
    prompts
        Points in full-resolution pixels, pixel centres at whole numbers. A point
        beside the image lies outside all nuclei.
    truth
        (H, W) labels of the annotated nuclei; 0 is background.

    Returns
    -------
    PromptQuality
        A share of nothing is NaN.

    Raises
    ------
    ImageError
        If `truth` is not a plane of whole numbers.
    """
    if truth.ndim != 2 or not np.issubdtype(truth.dtype, np.integer):
        raise ImageError(
            f"The annotated nuclei have shape {truth.shape} and type {truth.dtype}; "
            "give one whole number a pixel, 0 where there is no nucleus."
        )
    positives = _labels_under([p for p in prompts if p.kind == "positive"], truth)
    negatives = _labels_under([p for p in prompts if p.kind == "negative"], truth)
    nuclei = np.unique(truth)
    nuclei = nuclei[nuclei != 0]
    inside = positives[positives != 0]
    hit = len(np.unique(inside))
    return PromptQuality(
        positive_precision=_share(len(inside), len(positives)),
        negative_precision=_share(int(np.count_nonzero(negatives == 0)), len(negatives)),
        nuclei_hit=_share(hit, len(nuclei)),
        positives_per_nucleus=_share(len(inside), hit),
    )


def _labels_under(
    prompts: Sequence[Prompt], truth: NDArray[np.integer[Any]]
) -> NDArray[np.integer[Any]]:
    """Return the label of the pixel that holds each point; 0 beside the image."""
    points = np.array([(p.y, p.x) for p in prompts], dtype=float).reshape(-1, 2)
    # Pixel i reaches from i - 0.5 to i + 0.5.
    pixels = np.floor(points + 0.5)
    within = ((pixels >= 0) & (pixels < truth.shape)).all(axis=1)
    labels = np.zeros(len(points), dtype=truth.dtype)
    rows, columns = pixels[within].astype(np.intp).T
    labels[within] = truth[rows, columns]
    return labels


def _share(part: int, whole: int) -> float:
    return part / whole if whole else math.nan

"""What a person should look at: a row for each nucleus, its doubt, and a list of oddities."""

from __future__ import annotations

import math
from collections.abc import Iterable
from collections.abc import Set as AbstractSet
from dataclasses import dataclass
from typing import Literal, get_args

import numpy as np

from .correction import Correction
from .crops import slices
from .instances import Candidate, Prompt
from .state import State

FindingKind = Literal[
    "two prompts in one nucleus",
    "negative prompt in a nucleus",
    "prompt outside its nucleus",
    "prompt without a nucleus",
    "nucleus without haematoxylin",
    "implausible size",
]

SAM_WEIGHT = 0.75
"""Weight of SAM's own estimate in a nucleus's doubt."""

UNUSUAL = 5.0
"""How many times larger or smaller than the median a nucleus must be to be implausible."""


@dataclass(frozen=True)
class ReviewRow:
    """One nucleus in the table of nuclei.

    Attributes
    ----------
    id
        Its id.
    y, x
        Centroid, full-resolution pixels.
    area
        Visible pixels.
    predicted_iou
        SAM's own estimate of its mask; NaN for a mask drawn by hand.
    stability
        How little SAM's answer changes with its threshold, 0 to 1; NaN for a mask
        drawn by hand.
    haematoxylin
        Mean under the nucleus, in optical density.
    agreement
        IoU of the region that proposed the point and SAM's mask, 0 to 1: COIN's
        confidence. NaN without a region or for a mask drawn by hand; for a nucleus
        made elsewhere, as it was opened, the IoU of its mask and SAM's.
    doubt
        0 (sure) to 1, see :func:`doubt`.
    locked, pinned
        Whether a person has locked or drawn it.
    reviewed
        Whether a person has accepted it; what is locked, is.
    """

    id: int
    y: float
    x: float
    area: int
    predicted_iou: float
    stability: float
    haematoxylin: float
    agreement: float
    doubt: float
    locked: bool
    pinned: bool
    reviewed: bool


@dataclass(frozen=True)
class Finding:
    """Something odd.

    Attributes
    ----------
    kind
        What is odd.
    ids
        The nucleus or prompt concerned first, then what it meets.
    y, x
        Where to look, full-resolution pixels.
    """

    kind: FindingKind
    ids: tuple[int, ...]
    y: float
    x: float


def review_rows(
    correction: Correction,
    reviewed: AbstractSet[int] = frozenset(),
    ids: Iterable[int] | None = None,
) -> list[ReviewRow]:
    """Return a row for every nucleus, by id.

    Parameters
    ----------
    correction
        With a result.
    reviewed
        Nuclei that a person has accepted without locking them.
    ids
        Nuclei to return rows of, such as those that an edit has changed; all by default.
    """
    state = correction.state
    rows = []
    for nucleus in correction.measure(ids):
        ident = nucleus.id
        alike = agreement(state, ident)
        rows.append(
            ReviewRow(
                id=ident,
                y=nucleus.y,
                x=nucleus.x,
                area=nucleus.area,
                predicted_iou=nucleus.predicted_iou,
                stability=nucleus.stability,
                haematoxylin=nucleus.haematoxylin,
                agreement=alike,
                doubt=doubt(nucleus.predicted_iou, alike, ident in state.locks),
                locked=ident in state.locks,
                pinned=ident in state.pins and not state.as_given(ident),
                reviewed=ident in reviewed or ident in state.locks,
            )
        )
    return rows


def doubt(predicted_iou: float, agreement: float, locked: bool = False) -> float:
    """Return how much a nucleus deserves a look, 0 to 1.

    1 less the weighted mean of SAM's own estimate and COIN's confidence, or of the
    one that is known. SAM's weighs more: on annotated tissue it tells masks below
    an IoU of 0.5 from the others better. A mask that a person drew or locked is in
    no doubt.
    """
    opinions = ((predicted_iou, SAM_WEIGHT), (agreement, 1 - SAM_WEIGHT))
    known = [(value, weight) for value, weight in opinions if not math.isnan(value)]
    if locked or not known:
        return 0.0
    sure = sum(value * weight for value, weight in known) / sum(weight for _, weight in known)
    return 1.0 - min(max(sure, 0.0), 1.0)


def agreement(state: State, ident: int) -> float:
    """Return the IoU of the region that proposed a point and SAM's mask; NaN without either.

    Of a nucleus made elsewhere it is that of its own mask and SAM's; 0 if SAM has none.

    Source: COIN (Jo et al. 2025), instance-level confidence score.
    """
    prompt, mask = state.prompts.get(ident), state.decoded.get(ident)
    region = state.regions.get(ident, 0)
    if prompt is None or not region or prompt.source == "hand":
        return math.nan
    if ident in state.pins and not state.as_given(ident):
        return math.nan
    if mask is None:
        # A nucleus made elsewhere, where SAM sees none.
        return 0.0 if state.as_given(ident) else math.nan
    regions = state.ground.prompts.regions
    inside = regions[slices(mask.box)] == region
    shared = int(np.count_nonzero(inside & mask.mask))
    return shared / (mask.area + _region_area(state, region, mask) - shared)


def _region_area(state: State, region: int, mask: Candidate) -> int:
    """Count a region's pixels, which may reach beyond the mask, without scanning the image."""
    regions = state.ground.prompts.regions
    margin = max(mask.mask.shape)
    y0, x0, y1, x1 = mask.box
    while True:
        top, left = max(0, y0 - margin), max(0, x0 - margin)
        part = regions[top : y1 + margin, left : x1 + margin] == region
        edges = (part[0], part[-1], part[:, 0], part[:, -1])
        if part.shape == regions.shape or not any(edge.any() for edge in edges):
            return int(np.count_nonzero(part))
        margin *= 2


def lint(correction: Correction) -> list[Finding]:
    """Return what is odd about the prompts and nuclei, kind by kind, by id."""
    state = correction.state
    found = [*_prompt_findings(state), *_nucleus_findings(correction)]
    kinds = get_args(FindingKind)
    return sorted(found, key=lambda finding: (kinds.index(finding.kind), finding.ids))


def _prompt_findings(state: State) -> list[Finding]:
    found = []
    inside: dict[int, list[Prompt]] = {}
    for ident, prompt in state.prompts.items():
        here = int(state.labels[_pixel(state, prompt)])
        if prompt.kind == "negative":
            if here:
                found.append(_finding("negative prompt in a nucleus", (here, ident), prompt))
            continue
        if here:
            inside.setdefault(here, []).append(prompt)
        if ident in state.areas:
            if here != ident:
                found.append(_finding("prompt outside its nucleus", (ident,), prompt))
        elif state.chosen(ident):
            found.append(_finding("prompt without a nucleus", (ident,), prompt))
    for here, prompts in inside.items():
        others = sorted(prompt.id for prompt in prompts if prompt.id != here)
        if len(prompts) > 1:
            ids = (here, *others)
            found.append(_finding("two prompts in one nucleus", ids, prompts[0]))
    return found


def _nucleus_findings(correction: Correction) -> list[Finding]:
    """Find nuclei of odd size or stain; what a person has locked is none of these."""
    state = correction.state
    median = float(np.median(list(state.areas.values()))) if state.areas else 0.0
    decoding = state.ground.settings.decoding
    low = max(median / UNUSUAL, state.ground.min_area)
    high = min(median * UNUSUAL, state.ground.scale.full_pixels(decoding.max_area))
    odd: list[tuple[FindingKind, int]] = []
    for ident, area in state.areas.items():
        if ident in state.locks:
            continue
        if state.masks[ident].haematoxylin < state.ground.stained:
            odd.append(("nucleus without haematoxylin", ident))
        if not low <= area <= high:
            odd.append(("implausible size", ident))
    places = {row.id: row for row in correction.measure({ident for _, ident in odd})}
    return [Finding(kind, (i,), places[i].y, places[i].x) for kind, i in odd]


def _finding(kind: FindingKind, ids: tuple[int, ...], prompt: Prompt) -> Finding:
    return Finding(kind, ids, prompt.y, prompt.x)


def _pixel(state: State, prompt: Prompt) -> tuple[int, int]:
    """Return the pixel that a prompt lies in."""
    height, width = state.labels.shape
    return min(max(round(prompt.y), 0), height - 1), min(max(round(prompt.x), 0), width - 1)

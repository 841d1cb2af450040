"""Points on their way out of the prompts stage, and into SAM."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from . import prompts
from .activation import Scan
from .coordinates import Scale
from .instances import Prompt
from .mask_prompts import PointPrompts
from .outputs import PromptSet
from .proposals import stable_regions
from .reference import ReferenceMasks
from .settings import PromptSettings


def prompt_set(
    regions: prompts.Regions,
    negatives: NDArray[np.float64],
    foreground: NDArray[np.bool_],
    scale: Scale,
    source: str,
    step: int | None,
) -> PromptSet:
    """Return the points numbered and expressed in full-resolution pixels.

    Parameters
    ----------
    regions
        The regions with their positive points, in working pixels.
    negatives
        (m, 2) negative points, in working pixels.
    foreground
        (H, W) bool, what was split into regions.
    scale
        The image's grids.
    source
        What placed the points, as in the settings.
    step
        The scan's step taken, if any.
    """
    positives = scale.to_full(regions.points)
    made = [
        Prompt(i + 1, "positive", float(y), float(x), source) for i, (y, x) in enumerate(positives)
    ]
    first = len(made) + 1
    made += [
        Prompt(first + i, "negative", float(y), float(x), source)
        for i, (y, x) in enumerate(scale.to_full(negatives))
    ]
    return PromptSet(tuple(made), regions.labels, foreground, step)


def stain_prompts(reference: ReferenceMasks, settings: PromptSettings, scale: Scale) -> PromptSet:
    """Place points by the stain alone (Table 11, "Otsu, no similarity")."""
    foreground = reference.sure_foreground
    regions = prompts.watershed_regions(foreground, settings, scale.mpp)
    negatives = prompts.negative_points(reference.background, settings, scale.mpp)
    return prompt_set(regions, negatives, foreground, scale, "stain", None)


def activation_prompts(
    scan: Scan,
    step: int | None,
    reference: ReferenceMasks,
    tissue: NDArray[np.bool_],
    settings: PromptSettings,
    scale: Scale,
) -> PromptSet:
    """Place points where activation and stain agree (paper 3.2 and B.6).

    Parameters
    ----------
    scan, step
        The scan and the step taken; None where there is none, nothing being stained.
    reference
        Coarse and sure masks at working resolution.
    tissue
        (H, W) bool.
    settings
        How regions are found and split.
    scale
        The image's grids.
    """
    made = None if step is None else scan.steps[step]
    foreground, background = prompts.combine(made, reference, tissue, scale)
    if made is not None and settings.regions == "stable":
        regions = stable_regions(made, reference, tissue, settings, scale)
        foreground, background = regions.labels > 0, background & (regions.labels == 0)
    else:
        regions = prompts.watershed_regions(foreground, settings, scale.mpp)
    negatives = prompts.negative_points(background, settings, scale.mpp)
    return prompt_set(regions, negatives, foreground, scale, "activation", step)


def point_prompts(made: PromptSet, scale: Scale, negatives_each: int) -> PointPrompts:
    """Give each positive prompt its nearest negatives, in working pixels.

    Parameters
    ----------
    made
        The prompts, perhaps edited by hand.
    scale
        The image's grids.
    negatives_each
        The paper's y.
    """
    positive = [p for p in made.prompts if p.kind == "positive"]
    negative = [p for p in made.prompts if p.kind == "negative"]
    points = scale.to_working(np.array([(p.y, p.x) for p in positive]).reshape(-1, 2))
    others = scale.to_working(np.array([(p.y, p.x) for p in negative]).reshape(-1, 2))
    served = prompts.nearest_negatives(points, others, negatives_each)
    ids = np.array([p.id for p in positive], dtype=np.int64)
    present = np.isin(ids, made.regions)
    return PointPrompts(ids, points, others[served], made.regions, np.where(present, ids, 0))

"""POT-Scan: activation maps at every transported mass rho (paper 3.2).

The scan transports more and more of the image to the prototypes, from the
easiest matches on, and stops before compact regions flow together. Every step's
map is kept, so a person can scrub through the scan and override the stop.
"""

from __future__ import annotations

import math
from collections.abc import Generator, Iterable, Iterator
from contextlib import closing
from dataclasses import dataclass
from typing import Final

import cv2
import numpy as np
import torch
from numpy.typing import NDArray
from scipy import ndimage
from torch import Tensor
from torch.nn import functional

from .crf import affinity, mean_field
from .prototypes import Prototypes
from .reference import otsu_threshold
from .settings import ActivationSettings, ScanSettings, TransportSettings
from .threads import in_threads, threads_for
from .tiles import TileGrid
from .transport import cosine_cost, shares, solve

# Of which copies are made to compare them: 64 MB each.
_NUMBERS_AT_ONCE: Final = 65536 * 256


@dataclass(frozen=True, eq=False)
class ActivationMap:
    """The refined map of one step of the scan.

    Attributes
    ----------
    rho
        Transported mass of this step.
    foreground
        (H/s, W/s) float32 in 0..1, s being ``activation.downsample``: refined,
        summed over the prototypes of nuclei.
    threshold
        Otsu's threshold of `foreground` over tissue.
    merged
        Share of the first step's regions that lie in one region of this step.
    """

    rho: float
    foreground: NDArray[np.float32]
    threshold: float
    merged: float


@dataclass(frozen=True, eq=False)
class Scan:
    """The whole scan; where to stop is :func:`choose_step`'s to say.

    Attributes
    ----------
    steps
        One map for each rho, in increasing order.
    assignments
        (R, h, w, M) float32: F* of every step at feature resolution,
        scaled so that a fully transported, perfectly similar feature has 1.
    n_foreground
        How many of the M prototypes, from the first, stand for nuclei.
    converged
        Whether the solver met its tolerance at every step.
    potentials
        (R, M + 1) float64 of the prototypes and the slack at every step, from which
        :func:`assigned` gives F* of other features.
    """

    steps: tuple[ActivationMap, ...]
    assignments: NDArray[np.float32]
    n_foreground: int
    converged: bool
    potentials: NDArray[np.float64]


def scan_masses(settings: TransportSettings) -> tuple[float, ...]:
    """Return the values of rho to visit: one alone for the ablations without a scan."""
    if settings.method != "partial":
        return (1.0,)
    count = int(np.floor((1.0 - settings.rho_start) / settings.rho_step + 1e-6)) + 1
    return tuple(round(settings.rho_start + i * settings.rho_step, 6) for i in range(count))


def assignments(
    features: Tensor, inside: Tensor, prototypes: Prototypes, settings: TransportSettings
) -> tuple[Tensor, Tensor, bool]:
    """Return F* = cos(F, P) * T for every rho of the scan (paper 3.2).

    Parameters
    ----------
    features
        (d, h, w) stitched features.
    inside
        (h, w) bool: the tokens that hold tissue. The others carry no mass.
    prototypes
        Prototypes of both classes.
    settings
        "partial" (POT-Scan), "balanced" (standard OT) or "cosine" (similarity
        alone: a softmax over the prototypes).

    Returns
    -------
    weights
        (R, h, w, M): the plan is multiplied by N, so 1 is a feature whose whole
        mass went to one prototype that it equals. 0 outside tissue.
    potentials
        (R, M + 1) float64 of the prototypes and the slack, on the CPU.
    converged
        Whether every step's constraints were met.
    """
    cost = _costs(features, inside, prototypes)
    n = cost.shape[0]
    converged = True
    if settings.method == "cosine":
        plan = torch.softmax(-cost / settings.epsilon, dim=1)[None] / n
        # Without a slack, and no prototype more in demand than another.
        potentials = torch.zeros((1, len(prototypes) + 1), dtype=torch.float64)
        potentials[:, -1] = -math.inf
    else:
        partial = settings.method == "partial"
        solved = solve(
            cost,
            scan_masses(settings),
            epsilon=settings.epsilon,
            kl_weight=settings.kl_weight if partial else math.inf,
            tolerance=settings.tolerance,
            max_iterations=settings.max_iterations,
        )
        plan, converged = solved.plan, bool(solved.converged.all())
        potentials = solved.potentials
    return _weights(cost, plan, n, inside), potentials, converged


def assigned(
    features: Tensor, inside: Tensor, prototypes: Prototypes, potentials: Tensor, epsilon: float
) -> Tensor:
    """Return F* of features by potentials that others were solved for, (R, h, w, M).

    Parameters
    ----------
    features, inside, prototypes
        As of :func:`assignments`; `potentials` and `epsilon` as of :func:`.transport.shares`.
    """
    cost = _costs(features, inside, prototypes)
    return _weights(cost, shares(cost, potentials, epsilon), 1, inside)


def _costs(features: Tensor, inside: Tensor, prototypes: Prototypes) -> Tensor:
    """Return the costs (N, M) of the tokens that hold tissue."""
    rows = features.flatten(1)
    at_once = max(1, _NUMBERS_AT_ONCE // max(1, rows.shape[0]))
    tokens = torch.split(inside.flatten().nonzero()[:, 0], at_once)
    return torch.cat([cosine_cost(rows[:, part].T, prototypes.vectors) for part in tokens])


def _weights(cost: Tensor, plan: Tensor, rows: int, inside: Tensor) -> Tensor:
    """Weigh a plan (R, N, M), whose rows sum to 1 / `rows`, and lay it on the grid of tokens."""
    weights = cost.new_zeros((plan.shape[0], *inside.shape, cost.shape[1]))
    weights[:, inside] = (1.0 - cost).clamp(min=0.0) * plan * rows
    return weights


def class_probabilities(weights: Tensor, n_foreground: int) -> Tensor:
    """Sum F* over each class and give the rest to "unmatched".

    Returns
    -------
    Tensor
        (R, 3, h, w): nucleus, background, unmatched; sums to 1 over axis 1.
    """
    classes = torch.stack(
        [weights[..., :n_foreground].sum(-1), weights[..., n_foreground:].sum(-1)], dim=1
    ).clamp(0.0, 1.0)
    unmatched = (1.0 - classes.sum(1, keepdim=True)).clamp(min=0.0)
    probabilities = torch.cat([classes, unmatched], dim=1)
    return probabilities / probabilities.sum(1, keepdim=True)


def merged_share(first: NDArray[np.integer], n_first: int, mask: NDArray[np.bool_]) -> float:
    """Return the largest share of the first step's regions that lie in one region of `mask`.

    This is the scan's stopping measure: 1/n while all n regions stay apart, 1 when
    all have flowed into one. It does not depend on the image's size or on how much
    of it is nuclei.
    """
    if n_first == 0:
        return 0.0
    now, count = ndimage.label(mask)
    if count == 0:
        return 0.0
    inside = first > 0
    codes = np.unique(now[inside].astype(np.int64) * (n_first + 1) + first[inside])
    holders = np.bincount(codes // (n_first + 1), minlength=count + 1)[1:]
    return float(holders.max() / n_first)


def _steps(
    maps: Iterable[tuple[float, NDArray[np.float32]]], tissue: NDArray[np.bool_]
) -> Iterator[ActivationMap]:
    """Threshold each step's map and compare its regions with the first step's."""
    first: NDArray[np.integer] | None = None
    n_first = 0
    for rho, refined in maps:
        foreground = np.where(tissue, refined, 0).astype(np.float32)
        threshold = otsu_threshold(foreground, tissue)
        mask = (foreground > threshold) & tissue
        if first is None:
            first, n_first = ndimage.label(mask)
            merged = 1 / n_first if n_first else 0.0
        else:
            merged = merged_share(first, n_first, mask)
        yield ActivationMap(rho, foreground, threshold, merged)


def choose_step(steps: tuple[ActivationMap, ...], settings: ScanSettings) -> int:
    """Return the index of the step to take.

    A person's own rho wins; else the last step before the merged share exceeds
    ``merge_limit``. The share starts at 1/n for n regions, which for a few regions
    is above any limit: only a share that has grown since the first step counts.
    """
    if settings.rho:
        return int(np.argmin([abs(step.rho - settings.rho) for step in steps]))
    for index, step in enumerate(steps):
        if step.merged > max(settings.merge_limit, steps[0].merged):
            return index - 1
    return len(steps) - 1


def _resized(values: Tensor, grid: TileGrid, shape: tuple[int, int]) -> Tensor:
    """Resize (C, h, w) token maps to the activation grid, padding cut off.

    By way of the working grid: the padding ends at whole tokens, the activation
    grid at the image's edge, so no single factor leads from the one to the other.
    """
    height, width = grid.shape

    def resized(one: Tensor) -> Tensor:
        working = functional.interpolate(
            one[None, None], size=grid.padded, mode="bilinear", align_corners=False
        )[:, :, :height, :width]
        return functional.interpolate(working, size=shape, mode="area")[0, 0]

    return torch.stack([resized(one) for one in values])


def activation_shape(shape: tuple[int, int], factor: int) -> tuple[int, int]:
    """Return the size of the activation grid over a working image of `shape`."""
    return -(-shape[0] // factor), -(-shape[1] // factor)


def run_scan(
    weights: Tensor,
    n_foreground: int,
    density: NDArray[np.float32],
    tissue: NDArray[np.bool_],
    grid: TileGrid,
    masses: tuple[float, ...],
    settings: ActivationSettings,
) -> Generator[ActivationMap, None, None]:
    """Refine the map of every rho, one at a time.

    Parameters
    ----------
    weights
        (R, h, w, M) from :func:`assignments`.
    n_foreground
        Number of nucleus prototypes.
    density
        (H, W, 3) float32 optical density at working resolution.
    tissue
        (H, W) bool.
    grid
        The tile grid.
    masses
        The R values of rho.
    settings
        The grid of the maps and their refinement.

    Yields
    ------
    ActivationMap
        One for each rho, in order.
    """
    factor = settings.downsample
    small = activation_shape(grid.shape, factor)
    reduced = cv2.resize(density, (small[1], small[0]), interpolation=cv2.INTER_AREA)
    image = torch.from_numpy(reduced).to(weights.device)
    # The caller may have kept none of it; it is the largest array of a run.
    del density
    inside = cv2.resize(tissue.astype(np.uint8), (small[1], small[0])) > 0
    probabilities = class_probabilities(weights, n_foreground)

    likeness = affinity(
        image,
        radius=settings.crf_radius,
        position_sigma=settings.crf_position_sigma,
        density_sigma=settings.crf_density_sigma,
    )

    def refined(probability: Tensor) -> NDArray[np.float32]:
        nucleus: NDArray[np.float32] = (
            mean_field(
                _resized(probability, grid, small),
                likeness,
                iterations=settings.crf_iterations,
                weight=settings.crf_weight,
            )[0]
            .cpu()
            .numpy()
        )
        return nucleus

    at_once = threads_for(grid.shape) if weights.device.type == "cpu" else 1
    with closing(in_threads(refined, probabilities, at_once)) as maps:
        yield from _steps(zip(masses, maps, strict=True), inside)


def prototype_maps(scan: Scan, step: int) -> NDArray[np.float32]:
    """Return one step's F* of every prototype at feature resolution, (M, h, w) in 0..1."""
    return np.moveaxis(scan.assignments[step], -1, 0)

"""Dense-CRF refinement of activation maps by windowed mean field (paper 3.2).

The model and its mean-field updates are Kraehenbuehl & Koltun's (2011), with one
Gaussian kernel over position and optical density and Potts compatibility. In
place of their lattice filter the messages are summed exactly over a window of
(2 r + 1)^2 pixels, which is all that a kernel a few pixels wide can reach.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
from torch import Tensor

from ..errors import ImageError, SettingsError

# Probabilities are kept above this, so that no class is ruled out for good.
_FLOOR = 1e-8
# Torch splits larger operations over threads. A message is too short for that to pay, and
# waiting for a busy core costs far more than the sum: on a CPU, rows are taken in such strips.
_STRIP = 32768

Shift = tuple[int, int]


@dataclass(frozen=True, eq=False)
class Affinity:
    """How strongly each pixel listens to those around it.

    Attributes
    ----------
    shape
        (h, w) of the image.
    kernels
        By offset (dy, dx), one of each opposite pair: the kernel between pixels
        (y, x) and (y + dy, x + dx) wherever both exist, (h - dy, w - |dx|).
    scale
        (h, w) float32: 1 / sum of a pixel's kernels, 0 where no pixel resembles it.
    """

    shape: tuple[int, int]
    kernels: dict[Shift, Tensor]
    scale: Tensor


def affinity(
    density: Tensor, *, radius: int, position_sigma: float, density_sigma: float
) -> Affinity:
    """Measure the likeness of neighbouring pixels; one affinity serves every map of an image.

    Parameters
    ----------
    density
        (h, w, channels) optical density, float.
    radius
        Half width of the window in pixels, at least 1.
    position_sigma
        Width of the kernel over distance, in pixels.
    density_sigma
        Width of the kernel over the distance between optical densities.

    Raises
    ------
    SettingsError
        If the radius or a width is out of range.
    ImageError
        If an optical density is not finite.
    ValueError
        If `density` has the wrong shape.
    """
    if density.ndim != 3 or 0 in density.shape:
        raise ValueError(f"density must have shape (h, w, channels), not {tuple(density.shape)}.")
    if radius < 1 or not (position_sigma > 0 and density_sigma > 0):
        raise SettingsError(
            "Settings 'activation.crf_radius', 'activation.crf_position_sigma' and "
            f"'activation.crf_density_sigma' must be above 0, not {radius!r}, "
            f"{position_sigma!r} and {density_sigma!r}."
        )
    image = density.detach().float().movedim(2, 0).contiguous() / (math.sqrt(2.0) * density_sigma)
    if not bool(image.isfinite().all()):
        raise ImageError("The image's optical density is not finite everywhere; is it damaged?")
    shape = (density.shape[0], density.shape[1])
    offsets = _offsets(radius, shape)
    # In one piece, so that what an image of many megapixels took is given back whole.
    held = image.new_empty((len(offsets), *shape))
    kernels: dict[Shift, Tensor] = {}
    total = image.new_zeros(shape)
    for (dy, dx), space in zip(offsets, held, strict=True):
        here, there = _pair((dy, dx), (0, shape[0]), shape)
        kernel = space[: shape[0] - dy, : shape[1] - abs(dx)]
        # Channel by channel: torch sums over so few of them slowly.
        kernel.zero_()
        for channel in image:
            kernel.add_((channel[here] - channel[there]).square_())
        kernel.add_((dy**2 + dx**2) / (2.0 * position_sigma**2)).neg_().exp_()
        total[here] += kernel
        total[there] += kernel
        kernels[dy, dx] = kernel
    scale = torch.where(total > torch.finfo(total.dtype).tiny, total.reciprocal(), 0.0)
    return Affinity(shape, kernels, scale)


def mean_field(
    probability: Tensor, affinity: Affinity, *, iterations: int, weight: float
) -> Tensor:
    """Refine class probabilities by mean field (Kraehenbuehl & Koltun 2011, Algorithm 1).

    A pixel's message for a class is `weight` times the mean of its neighbours'
    probabilities, weighted by their kernels: the same total at the border,
    where there are fewer of them, as inside.

    Parameters
    ----------
    probability
        (C, h, w) or (B, C, h, w) float, at least 0, summing to 1 over C. Maps
        of a batch do not influence each other.
    affinity
        The image's affinity, on the same device.
    iterations
        Mean-field updates; 0 returns a copy.
    weight
        How strongly neighbours pull; 0 returns a copy.

    Returns
    -------
    Tensor
        Same shape and type, summing to 1 over C.

    Raises
    ------
    SettingsError
        If `iterations` or `weight` is negative or not finite.
    ImageError
        If a probability is not finite.
    ValueError
        If `probability` does not fit the affinity.
    """
    if probability.ndim not in (3, 4) or tuple(probability.shape[-2:]) != affinity.shape:
        raise ValueError(
            f"probability must have shape (C, h, w) or (B, C, h, w) with (h, w) = "
            f"{affinity.shape}, not {tuple(probability.shape)}."
        )
    if iterations < 0 or not (weight >= 0 and math.isfinite(weight)):
        raise SettingsError(
            "Settings 'activation.crf_iterations' and 'activation.crf_weight' must be at least "
            f"0, not {iterations!r} and {weight!r}."
        )
    if not bool(probability.isfinite().all()):
        raise ImageError("The activation map is not finite everywhere, so it cannot be refined.")
    refined = probability.detach().clone()
    if iterations == 0 or weight == 0 or refined.shape[-3] == 1:
        return refined
    for one in refined if refined.ndim == 4 else [refined]:
        one.copy_(_mean_field_of_one(one.float(), affinity, iterations, weight))
    return refined


def _offsets(radius: int, shape: tuple[int, int]) -> list[Shift]:
    """Return one offset of each opposite pair in the window, centre left out, that fits `shape`."""
    return [
        (dy, dx)
        for dy in range(min(radius, shape[0] - 1) + 1)
        for dx in range(-min(radius, shape[1] - 1), min(radius, shape[1] - 1) + 1)
        if dy > 0 or dx > 0
    ]


def _pair(
    shift: Shift, rows: tuple[int, int], shape: tuple[int, int]
) -> tuple[tuple[slice, slice], tuple[slice, slice]]:
    """Return the places in `rows` that have a pixel at `shift`, and the places of those."""
    dy, dx = shift
    top, bottom = rows[0], max(rows[0], min(rows[1], shape[0] - dy))
    left, right = max(0, -dx), shape[1] - max(0, dx)
    here = (slice(top, bottom), slice(left, right))
    there = (slice(top + dy, bottom + dy), slice(left + dx, right + dx))
    return here, there


def _mean_field_of_one(
    probability: Tensor, affinity: Affinity, iterations: int, weight: float
) -> Tensor:
    unary = probability.clamp(min=_FLOOR).log_()
    # The last class's message is what the others leave, so it needs no sum of its own.
    current = torch.softmax(unary, dim=0)
    messages = torch.zeros_like(current[:-1])
    sums = _sums(affinity, current, messages)
    whole = (affinity.scale > 0).to(messages)
    for _ in range(iterations):
        messages.zero_()
        for into, kernel, source in sums:
            into.addcmul_(kernel, source)
        messages *= affinity.scale
        # Potts: being class c costs the messages of all others, up to what is common to all.
        logits = unary.clone()
        logits[:-1].add_(messages, alpha=weight)
        logits[-1].add_(whole - messages.sum(0), alpha=weight)
        torch.softmax(logits, dim=0, out=current)
    return current


def _sums(
    affinity: Affinity, current: Tensor, messages: Tensor
) -> list[tuple[Tensor, Tensor, Tensor]]:
    """Return every sum of one update as views: (add into, kernel, probabilities), both ways."""
    height, width = affinity.shape
    per_row = len(messages) * width
    strip = max(1, _STRIP // per_row) if current.device.type == "cpu" else height
    sums = []
    for top in range(0, height, strip):
        for shift, kernels in affinity.kernels.items():
            here, there = _pair(shift, (top, top + strip), affinity.shape)
            kernel = kernels[here[0]]
            sums.append((messages[:, *here], kernel, current[:-1, *there]))
            sums.append((messages[:, *there], kernel, current[:-1, *here]))
    return sums

"""Self-reference masks: pixels that are surely nucleus or surely not (paper 3.1)."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, replace

import cv2
import numpy as np
from numpy.typing import NDArray
from skimage.filters import threshold_otsu

from .coordinates import Scale
from .crops import Mask, resample, slices
from .edits import PaintReference
from .settings import ReferenceSettings

EVEN = 1e-3
"""Optical density; a quarter of one grey level, so a smaller range is rounding alone."""


@dataclass(frozen=True, eq=False)
class ReferenceMasks:
    """What teaches the method how nuclei look in this image.

    Attributes
    ----------
    threshold
        Otsu's threshold of the smoothed haematoxylin, in optical density; 0.0
        without tissue.
    smoothed
        H x W float32 smoothed haematoxylin; 0 outside the tissue.
    foreground, background
        H x W; tissue above the threshold, and the rest of the tissue.
    sure_foreground, sure_background
        H x W; the paper's M_fg and M_bg, parts of the two above.
    """

    threshold: float
    smoothed: NDArray[np.float32]
    foreground: Mask
    background: Mask
    sure_foreground: Mask
    sure_background: Mask

    @property
    def limits(self) -> tuple[float, float]:
        """Least haematoxylin of the sure foreground and most of the sure background.

        In optical density; the threshold where a mask is empty.
        """
        high, low = self.smoothed[self.sure_foreground], self.smoothed[self.sure_background]
        return (
            float(high.min()) if high.size else self.threshold,
            float(low.max()) if low.size else self.threshold,
        )


def otsu_threshold(values: NDArray[np.float32], mask: Mask) -> float:
    """Return Otsu's threshold of the values inside a mask (paper B.6).

    Foreground is what lies above it, ``values > threshold``. Values that are all
    the same (to 0.001) give their maximum, hence an empty foreground; an empty
    mask gives 0.0.

    Parameters
    ----------
    values
        Array of any shape.
    mask
        The same shape.
    """
    inside = values[mask]
    if inside.size == 0:
        return 0.0
    if np.ptp(inside) < EVEN:
        return float(inside.max())
    return float(threshold_otsu(inside))


def reference_masks(
    haematoxylin: NDArray[np.float32], tissue: Mask, settings: ReferenceSettings, mpp: float
) -> ReferenceMasks:
    """Split the tissue by its haematoxylin and keep the surest pixels of either side.

    With kind "high_confidence", the share `fraction` of the foreground with the
    most haematoxylin is surely nucleus, and the same share of the background
    with the least surely is not. Pixels that tie with the last one kept are kept
    as well. With kind "otsu" the sure masks are the whole sides.

    Parameters
    ----------
    haematoxylin
        H x W concentration.
    tissue
        H x W; nothing outside it is used.
    settings
        Kind, share and smoothing.
    mpp
        Pixel size in um.

    Returns
    -------
    ReferenceMasks; all masks are empty where there is no tissue.
    """
    smoothed = smooth_within(haematoxylin, tissue, settings.smoothing / mpp)
    threshold = otsu_threshold(smoothed, tissue)
    foreground = tissue & (smoothed > threshold)
    background = tissue & ~foreground
    if settings.kind == "otsu":
        sure_foreground, sure_background = foreground, background
    else:
        sure_foreground = _strongest(smoothed, foreground, settings.fraction)
        sure_background = _strongest(-smoothed, background, settings.fraction)
    return ReferenceMasks(
        threshold, smoothed, foreground, background, sure_foreground, sure_background
    )


def reference_masks_at(
    haematoxylin: NDArray[np.float32],
    tissue: Mask,
    settings: ReferenceSettings,
    mpp: float,
    threshold: float,
    limits: tuple[float, float],
) -> ReferenceMasks:
    """Split the tissue as :func:`reference_masks` does, at limits found on other tissue.

    Parameters
    ----------
    haematoxylin, tissue, settings, mpp
        As of :func:`reference_masks`; of the settings only the smoothing is used.
    threshold, limits
        Those of a :class:`ReferenceMasks`.
    """
    smoothed = smooth_within(haematoxylin, tissue, settings.smoothing / mpp)
    foreground = tissue & (smoothed > threshold)
    background = tissue & ~foreground
    sure_foreground = foreground & (smoothed >= np.float32(limits[0]))
    sure_background = background & (smoothed <= np.float32(limits[1]))
    return ReferenceMasks(
        threshold, smoothed, foreground, background, sure_foreground, sure_background
    )


def paint_reference(
    masks: ReferenceMasks, strokes: Iterable[PaintReference], tissue: Mask, scale: Scale
) -> ReferenceMasks:
    """Lay what a person has drawn over the sure masks.

    Inside its box a drawing takes the place of the sure mask it is of. What it
    adds is taken from the other side; what it erases is no longer sure, but stays
    on the side that the stain says.

    Parameters
    ----------
    masks
        As found by :func:`reference_masks`; not changed.
    strokes
        Full-resolution crops, the latest last.
    tissue
        H x W at working resolution; nothing outside it is used.
    scale
        The image's grids.
    """
    names = ("foreground", "background")
    sure = {name: getattr(masks, f"sure_{name}").copy() for name in names}
    coarse = {name: getattr(masks, name).copy() for name in names}
    for stroke in strokes:
        other = names[stroke.which == "foreground"]
        box, drawn = resample(stroke.box, stroke.mask, scale.full, scale.working)
        inside = slices(box)
        added = drawn & tissue[inside]
        sure[stroke.which][inside] = added
        coarse[stroke.which][inside] |= added
        for side in (sure, coarse):
            side[other][inside] &= ~added
    return replace(masks, **coarse, **{f"sure_{name}": sure[name] for name in names})


def smooth_within(values: NDArray[np.float32], mask: Mask, sigma: float) -> NDArray[np.float32]:
    """Return the Gaussian mean of the values inside a mask; 0 outside.

    Only pixels inside count, so that ink or a black border does not bleed into
    the tissue beside it.

    Parameters
    ----------
    values
        H x W.
    mask
        H x W.
    sigma
        Pixels; 0 leaves the values as they are.
    """
    inside = np.where(mask, values, np.float32(0)).astype(np.float32, copy=False)
    if sigma <= 0 or not mask.any():
        return inside
    total = cv2.GaussianBlur(inside, (0, 0), sigma, borderType=cv2.BORDER_REPLICATE)
    weight = mask.astype(np.float32)
    if not mask.all():
        weight = np.asarray(
            cv2.GaussianBlur(weight, (0, 0), sigma, borderType=cv2.BORDER_REPLICATE)
        )
    # Where the mask holds, the weight is at least the kernel's centre.
    return np.where(mask, total / np.maximum(weight, 1e-12), np.float32(0)).astype(np.float32)


def _strongest(evidence: NDArray[np.float32], mask: Mask, fraction: float) -> Mask:
    """Return the share of the mask with the highest evidence, ties with the last one included."""
    inside = evidence[mask]
    # The small term keeps 0.1 * 30 from being rounded up to 4.
    count = int(np.ceil(fraction * inside.size - 1e-6))
    if count < 1:
        return np.zeros_like(mask)
    position = inside.size - count
    cut = np.partition(inside, position)[position]
    return np.asarray(mask & (evidence >= cut))

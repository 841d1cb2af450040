"""Where the tissue is: glass, ink and black borders left out (ALGORITHM 1, last point).

Everything here is larger than a nucleus, so the work is done on a grid of about
1 um, whatever the size of the image. Regions too small to be glass, ink or a
border are left as tissue: losing a nucleus costs more than keeping a speck.
"""

from __future__ import annotations

import cv2
import numpy as np
from numpy.typing import NDArray

from .settings import TissueSettings
from .stain import check_rgb, optical_density

Mask = NDArray[np.bool_]

GRID = 1.0
"""um; side of the pixels in which tissue is sought."""

GLASS_SMOOTHING = 1.0
INK_SMOOTHING = 2.0
"""um; sigma of the Gaussian over optical density before glass and ink are sought."""

WHITE_PERCENTILE = 0.5
MAX_WHITE_OD = 0.1
"""Optical density of glass is the palest half per cent of the image, at most 0.1."""

MIN_GAP_WIDTH = 8.0
MIN_GAP_AREA = 200.0
"""um and um^2; pale places narrower or smaller (a 16 um disc) belong to the tissue."""

MIN_SPECK_AREA = 20.0
"""um^2; smaller specks of tissue on glass are dust."""

MIN_INK_AREA = 500.0
"""um^2; ink and black patches are larger than any nucleus."""

MIN_BORDER_AREA = 25.0
"""um^2; a black region at the edge of the image may be smaller."""

MAX_TISSUE_OD = 1.6
"""A region in which every channel is darker is ink, or a fold too dark to read."""

INK_MARGIN = 5.0
"""um; the faint fringe around ink that goes with it."""

BLACK_LEVEL = 25
"""Largest channel value of a black pixel; the darkest nuclei stay above 30."""


def tissue_mask(
    rgb: NDArray[np.uint8], settings: TissueSettings, mpp: float, white: float | None = None
) -> Mask:
    """Return where there is tissue.

    Left out are glass and wide empty lumina or fat, pen ink (blue, green, black
    and strong red), and black borders or patches. An image without any tissue
    gives a mask that is False everywhere.

    Parameters
    ----------
    rgb
        H x W x 3 uint8 image.
    settings
        `mask_non_tissue` False keeps everything; `min_od` is how much darker than
        the image's own glass, in mean optical density, tissue is.
    mpp
        Pixel size in um.
    white
        Mean optical density of the slide's glass, from :func:`white_level`; None to find the
        image's own, of which a part of a slide may have none.

    Returns
    -------
    H x W bool.

    Raises
    ------
    ImageError
        If the array is not an 8-bit RGB image.
    """
    check_rgb(rgb)
    height, width = rgb.shape[:2]
    if not settings.mask_non_tissue or rgb.size == 0:
        return np.ones((height, width), dtype=bool)
    step = max(GRID, mpp)
    small = _shrunk(rgb, mpp / step)
    black = _black(small, step)
    if black.all():
        return np.zeros((height, width), dtype=bool)
    od = optical_density(small)
    white = _white_level(od, ~black) if white is None else white
    fine = _smoothed(od, ~black, GLASS_SMOOTHING / step)
    glass = _glass(fine, white, settings.min_od, step)
    ink = _ink(_smoothed(od, ~black, INK_SMOOTHING / step), step)
    # A black edge is blurred over its neighbours by resampling and JPEG: one pixel of margin.
    excluded = _dilated(black, 1) | ink | glass
    speck = min(MIN_SPECK_AREA / step**2, excluded.size / 2)
    tissue = _without_small(~excluded, speck)
    return _resized(tissue, width, height)


def white_level(rgb: NDArray[np.uint8], mpp: float) -> float:
    """Return the mean optical density of an image's glass, 0 to 0.1.

    Parameters
    ----------
    rgb
        H x W x 3 uint8 image; of a slide, an overview of all of it.
    mpp
        Pixel size in um.
    """
    check_rgb(rgb)
    step = max(GRID, mpp)
    small = _shrunk(rgb, mpp / step)
    inside = ~_black(small, step)
    return _white_level(optical_density(small), inside) if inside.any() else 0.0


def _shrunk(rgb: NDArray[np.uint8], scale: float) -> NDArray[np.uint8]:
    if scale == 1:
        return rgb
    height, width = (max(1, round(side * scale)) for side in rgb.shape[:2])
    return cv2.resize(rgb, (width, height), interpolation=cv2.INTER_AREA).astype(
        np.uint8, copy=False
    )


def _resized(mask: Mask, width: int, height: int) -> Mask:
    grown = cv2.resize(mask.astype(np.float32), (width, height), interpolation=cv2.INTER_LINEAR)
    return np.asarray(grown >= 0.5)


def _white_level(od: NDArray[np.float32], inside: Mask) -> float:
    """Return the mean optical density of glass: no scanner shows it as pure white."""
    palest = float(np.percentile(od.mean(axis=2)[inside], WHITE_PERCENTILE))
    return min(palest, MAX_WHITE_OD)


def _glass(smooth: NDArray[np.float32], white: float, min_od: float, step: float) -> Mask:
    """Pale and colourless places wide enough to be glass, a lumen or fat."""
    chroma = smooth.max(axis=2) - smooth.min(axis=2)
    pale = (smooth.mean(axis=2) < white + min_od) & (chroma < min_od)
    core = _opened(pale, MIN_GAP_WIDTH / 2 / step)
    core = _without_small(core, MIN_GAP_AREA / step**2)
    # Opening rounds the corners off; give back what lies next to the core.
    return np.asarray(_dilated(core, MIN_GAP_WIDTH / 4 / step) & pale)


def _ink(smooth: NDArray[np.float32], step: float) -> Mask:
    """Hues that no mixture of haematoxylin and eosin has, over a large region.

    In H&E green is absorbed most: smoothed tissue stays below 0.9 in red to
    green, and below 0.85 in blue to green even where it is full of blood. Blue
    and green ink absorb more red than green; red ink absorbs blue as much as
    green; black ink absorbs all alike. Where ink lies over tissue the hues mix,
    so each region found is grown over milder hues that touch it.
    """
    red, green, blue = (smooth[..., channel] for channel in range(3))
    low, high, mean = smooth.min(axis=2), smooth.max(axis=2), smooth.mean(axis=2)
    reddish = red < 0.45 * green
    sure_and_likely = (
        (red > 1.15 * green + 0.05, red > green + 0.05),
        (reddish & (blue > 0.92 * green) & (green > 0.8), reddish & (blue > 0.8 * green)),
        ((mean > 0.9) & (low > 0.85 * high), (mean > 0.9) & (low > 0.75 * high)),
        (low > MAX_TISSUE_OD, low > MAX_TISSUE_OD),
    )
    ink = np.zeros(red.shape, dtype=bool)
    for sure, likely in sure_and_likely:
        ink |= _grown(_without_small(sure, MIN_INK_AREA / step**2), likely)
    return _dilated(ink, INK_MARGIN / step)


def _grown(core: Mask, around: Mask) -> Mask:
    """Return the core and all that touches it of the mask around it."""
    labels, areas = _components(core | around)
    reached = np.zeros(areas.shape, dtype=bool)
    reached[np.unique(labels[core])] = True
    return np.asarray(reached[labels])


def _black(small: NDArray[np.uint8], step: float) -> Mask:
    """Black padding at the edge of the image, and large places too dark to read."""
    black = small.max(axis=2) <= BLACK_LEVEL
    patches = _without_small(black, MIN_BORDER_AREA / step**2)
    labels, areas = _components(patches)
    edges = (labels[0], labels[-1], labels[:, 0], labels[:, -1])
    keep = areas >= MIN_INK_AREA / step**2
    keep[np.unique(np.concatenate(edges))] = True
    keep[0] = False
    return np.asarray(keep[labels])


def _smoothed(od: NDArray[np.float32], inside: Mask, sigma: float) -> NDArray[np.float32]:
    """Gaussian mean over the pixels inside only, so that a black border does not bleed."""
    weight = inside.astype(np.float32)
    total = _blurred(od * weight[..., None], sigma)
    return np.asarray(total / np.maximum(_blurred(weight, sigma), 1e-6)[..., None])


def _blurred(values: NDArray[np.float32], sigma: float) -> NDArray[np.float32]:
    blurred = cv2.GaussianBlur(values, (0, 0), sigma, borderType=cv2.BORDER_REPLICATE)
    return np.asarray(blurred, dtype=np.float32)


def _components(mask: Mask) -> tuple[NDArray[np.intp], NDArray[np.intp]]:
    """Return 8-connected labels (0 outside) and the area of each label."""
    _, labels, stats, _ = cv2.connectedComponentsWithStats(mask.astype(np.uint8), connectivity=8)
    return np.asarray(labels, dtype=np.intp), np.asarray(stats, dtype=np.intp)[:, cv2.CC_STAT_AREA]


def _without_small(mask: Mask, min_pixels: float) -> Mask:
    labels, areas = _components(mask)
    keep = areas >= min_pixels
    keep[0] = False
    return np.asarray(keep[labels])


def _disc(radius: float) -> NDArray[np.uint8]:
    reach = max(1, round(radius))
    y, x = np.ogrid[-reach : reach + 1, -reach : reach + 1]
    return np.asarray(y**2 + x**2 <= max(radius, 1.0) ** 2, dtype=np.uint8)


def _dilated(mask: Mask, radius: float) -> Mask:
    return np.asarray(cv2.dilate(mask.astype(np.uint8), _disc(radius)) > 0)


def _opened(mask: Mask, radius: float) -> Mask:
    opened = cv2.morphologyEx(mask.astype(np.uint8), cv2.MORPH_OPEN, _disc(radius))
    return np.asarray(opened > 0)

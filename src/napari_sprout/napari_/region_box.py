"""Which region a person means, and whether it can be segmented at once."""

from __future__ import annotations

import math
from typing import Final

from ..core.coordinates import MIN_SIDE, Scale
from ..core.instances import Box
from ..core.settings import Settings
from ..core.stages import MIN_WORKING_SIDE

Corners = tuple[float, float, float, float]

_MM: Final = 1000


def box_of(corners: Corners, shape: tuple[int, int]) -> Box | None:
    """Return the pixels of a slide inside a rectangle.

    Parameters
    ----------
    corners
        (y0, x0, y1, x1) in pixel centres; it may reach beyond the slide.
    shape
        (H, W) of the slide.

    Returns
    -------
    (y0, x0, y1, x1) or None
        Half open; None if it does not touch the slide.
    """
    # Pixel n reaches from n - 0.5 to n + 0.5.
    y0, x0 = (max(math.floor(edge + 0.5), 0) for edge in corners[:2])
    y1, x1 = (min(math.ceil(e + 0.5), s) for e, s in zip(corners[2:], shape, strict=True))
    return (y0, x0, y1, x1) if y0 < y1 and x0 < x1 else None


def refusal(box: Box, mpp: float, settings: Settings, most: int, why: str) -> str:
    """Return why a region cannot be segmented at once, and what can; "" if it can.

    Parameters
    ----------
    box
        The region, in pixels of the slide.
    mpp
        Pixel size of the slide in um.
    settings
        The method's, for the pixel size that it works at.
    most
        How many working pixels there may be.
    why
        What that comes from, for a sentence: "more does not fit in memory".
    """
    height, width = box[2] - box[0], box[3] - box[1]
    working = Scale.between((height, width), mpp, settings.image.mpp).working
    if min(height, width) < MIN_SIDE or min(working) < MIN_WORKING_SIDE:
        least = max(MIN_SIDE * mpp, MIN_WORKING_SIDE * settings.image.mpp)
        return (
            f"A region of {width} x {height} px is too small to hold a nucleus with its "
            f"surroundings: make it at least {math.ceil(least)} µm a side."
        )
    pixels = working[0] * working[1]
    if pixels <= most:
        return ""
    shrink = math.sqrt(most / pixels)
    return (
        f"A region of {extent(box, mpp)} is too large to be segmented at once ({why}): make it "
        f"{math.ceil(10 / shrink) / 10:g} times smaller each way, at most "
        f"{_down(width * mpp * shrink)} x {_down(height * mpp * shrink)} mm of this shape."
    )


def extent(box: Box, mpp: float) -> str:
    """Return width and height of a region as people say it: "1.25 x 0.80 mm"."""
    return f"{(box[3] - box[1]) * mpp / _MM:.2f} x {(box[2] - box[0]) * mpp / _MM:.2f} mm"


def place_in_words(box: Box, mpp: float) -> str:
    """Return where a region begins, from the slide's left and top edge."""
    return f"{box[1] * mpp / _MM:.2f}, {box[0] * mpp / _MM:.2f} mm"


def _down(micrometres: float) -> str:
    """Return millimetres, never rounded up: what is named must be accepted."""
    return f"{math.floor(micrometres / 10) / 100:.2f}"

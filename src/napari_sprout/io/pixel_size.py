"""Pixel sizes as files state them, in micrometres per pixel (mpp).

Scanners and editors write meaningless defaults (72, 96 or 300 dots per inch,
one pixel per centimetre). All of these lie far outside what any microscope
yields, so a size is believed only between `SMALLEST` and `LARGEST`.
"""

from __future__ import annotations

import math
import re
from typing import Final
from xml.etree import ElementTree

from ..core.coordinates import MPP_RANGE
from ..errors import SettingsError

SMALLEST, LARGEST = MPP_RANGE

_UM_PER_UNIT: Final = {
    "m": 1e6,
    "cm": 1e4,
    "mm": 1e3,
    "um": 1.0,
    "micron": 1.0,
    "microns": 1.0,
    "micrometer": 1.0,
    "micrometre": 1.0,
    "nm": 1e-3,
    "nanometer": 1e-3,
    "millimeter": 1e3,
    "centimeter": 1e4,
    "meter": 1e6,
    "angstrom": 1e-4,
    "pm": 1e-6,
    "å": 1e-4,
    "in": 25400.0,
    "inch": 25400.0,
}
_APERIO_MPP: Final = re.compile(r"\bMPP\s*=\s*([0-9.]+)")


def plausible(mpp: float | None) -> float | None:
    """Return `mpp` if a microscope could have made it, else None."""
    if mpp is None or not math.isfinite(mpp) or not SMALLEST <= mpp <= LARGEST:
        return None
    return float(mpp)


def checked_mpp(mpp: float) -> float:
    """Return a pixel size given by hand as a float.

    Raises
    ------
    SettingsError
        If it is not a number between `SMALLEST` and `LARGEST` um per px.
    """
    number = isinstance(mpp, int | float) and not isinstance(mpp, bool)
    if not number or plausible(mpp) is None:
        raise SettingsError(
            f"The pixel size must be a number from {SMALLEST:g} to {LARGEST:g} um per pixel, "
            f"not {mpp!r}; most slide scanners give about 0.25 (40x) or 0.5 (20x)."
        )
    return float(mpp)


def um_per_unit(unit: str) -> float | None:
    r"""Return the micrometres in one `unit`, or None for a unit that is no length.

    Both micro signs are known, and ImageJ's spelling ``\u00B5m`` of them.
    """
    name = unit.strip().lower().replace("\\u00b5", "u").replace("µ", "u").replace("μ", "u")
    return _UM_PER_UNIT.get(name)


def per_length(pixels: float, unit_um: float | None) -> float | None:
    """Return the size of a pixel when `pixels` of them fill a length of `unit_um`."""
    if unit_um is None or not math.isfinite(pixels) or pixels <= 0:
        return None
    return unit_um / pixels


def both_axes(x: float | None, y: float | None) -> float | None:
    """Return one plausible size for both axes; the geometric mean, so that areas hold."""
    sizes = [size for size in (plausible(x), plausible(y)) if size is not None]
    if not sizes:
        return None
    # The plain value where the axes agree: a root would cost its last digit.
    return sizes[0] if len(set(sizes)) == 1 else math.sqrt(sizes[0] * sizes[1])


def from_ome(xml: str, image: int) -> float | None:
    """Return the pixel size that OME-XML states for its image number `image`."""
    try:
        images = ElementTree.fromstring(xml).findall("{*}Image")
    except ElementTree.ParseError:
        return None
    pixels = images[image].find("{*}Pixels") if image < len(images) else None
    if pixels is None:
        return None
    return both_axes(*(_ome_length(pixels, f"PhysicalSize{axis}") for axis in "XY"))


def _ome_length(pixels: ElementTree.Element, name: str) -> float | None:
    unit = um_per_unit(pixels.get(f"{name}Unit", "um"))
    try:
        value = float(pixels.get(name, ""))
    except ValueError:
        return None
    return None if unit is None else value * unit


def from_aperio(description: str) -> float | None:
    """Return the pixel size in an Aperio ImageDescription such as ``|MPP = 0.2520|``."""
    found = _APERIO_MPP.search(description)
    try:
        return plausible(float(found.group(1))) if found else None
    except ValueError:
        return None

"""Images made worse on purpose, to measure how much of that the method bears.

Noise, blur, lost detail and the order of the channels are altered much as in
"Robustness to image degradation" of the Cellpose-SAM paper; its levels stand with
each kind. What differs: each alteration comes alone (theirs adds a little noise
to blurred images), and the image is not stretched between its 1st and 99th
percentile afterwards, which would move the white that stains are measured
against. Stain strength, JPEG and a lower magnification are what slides vary in.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from types import MappingProxyType
from typing import Final

import cv2
import numpy as np
from numpy.typing import NDArray

from ..errors import SettingsError, nearest
from .settings import StainSettings
from .stain import check_rgb, concentrations, optical_density, stain_vectors

Image = NDArray[np.uint8]

MOST_PHOTONS: Final = 1e12
"""Their noise is far below one grey level; more would overflow the random numbers."""


def alter(rgb: Image, kind: str, level: float, seed: int = 0) -> tuple[Image, float]:
    """Return an image made worse in one way.

    Parameters
    ----------
    rgb
        H x W x 3 uint8; not changed.
    kind
        One of :data:`KINDS`.
    level
        How much; what it means and where it is neutral stands in :data:`KINDS`.
    seed
        0 or more. The same image, kind, level and seed give the same result.

    Returns
    -------
    altered
        uint8, of the same shape but for "magnification".
    factor
        New side / old side: 1.0, or 1 / level for "magnification", whose sides are
        rounded to whole pixels. The pixel size of the altered image is the old one
        divided by it.

    Raises
    ------
    ImageError
        If the array is not an 8-bit RGB image.
    SettingsError
        For an unknown kind, or a level or seed out of range.
    """
    check_rgb(rgb)
    if kind not in _KINDS:
        raise SettingsError(f"Unknown alteration '{kind}'. {nearest(kind, list(_KINDS))}")
    if isinstance(seed, bool) or not isinstance(seed, int) or seed < 0:
        raise SettingsError(f"The seed must be a whole number of 0 or more, not {seed!r}.")
    made = _KINDS[kind]
    checked = made.checked(kind, level)
    factor = 1.0 / checked if kind == "magnification" else 1.0
    if checked == made.neutral or rgb.size == 0:
        return rgb.copy(), factor
    altered = made.apply(rgb, checked, seed)
    return np.ascontiguousarray(altered, dtype=np.uint8), factor


def _poisson(rgb: Image, level: float, seed: int) -> Image:
    photons = max(level, MOST_PHOTONS**-0.5) ** -2.0
    counted = np.random.default_rng(seed).poisson(rgb * (photons / 255))
    return _grey_levels(counted * (255 / photons))


def _blur(rgb: Image, level: float, _: int) -> Image:
    return _image(cv2.GaussianBlur(rgb, (0, 0), level))


def _anisotropic(rgb: Image, level: float, _: int) -> Image:
    # Three sigma on either side hold 99.7 % of a Gaussian.
    kernel = cv2.getGaussianKernel(2 * math.ceil(3 * level) + 1, level)
    return _image(cv2.sepFilter2D(rgb, -1, kernel, np.ones(1)))


def _downsample(rgb: Image, level: float, _: int) -> Image:
    height, width = rgb.shape[:2]
    blurred = cv2.GaussianBlur(rgb, (0, 0), level / 2)
    small = cv2.resize(blurred, _smaller(rgb, level), interpolation=cv2.INTER_LINEAR)
    return _image(cv2.resize(small, (width, height), interpolation=cv2.INTER_LINEAR))


def _magnification(rgb: Image, level: float, _: int) -> Image:
    return _image(cv2.resize(rgb, _smaller(rgb, level), interpolation=cv2.INTER_AREA))


def _haematoxylin(rgb: Image, level: float, seed: int) -> Image:
    return _restained(rgb, 0, level, seed)


def _eosin(rgb: Image, level: float, seed: int) -> Image:
    return _restained(rgb, 1, level, seed)


def _restained(rgb: Image, stain: int, level: float, seed: int) -> Image:
    """Scale the amount of one stain; what neither stain explains stays as it is."""
    density = optical_density(rgb)
    # The image's own colours: with others, part of one stain would be taken for the other.
    own = StainSettings(method="vahadane")
    everywhere = np.ones(rgb.shape[:2], dtype=bool)
    vectors = stain_vectors(density, everywhere, own, seed=seed)
    # A negative amount is no stain that could fade.
    amount = np.maximum(concentrations(density, vectors)[..., stain], 0)
    colour = vectors.matrix[:, stain].astype(np.float32)
    changed = density + (level - 1) * amount[..., None] * colour
    return _grey_levels(256 * np.exp(-changed) - 1)


def _jpeg(rgb: Image, level: float, _: int) -> Image:
    quality = [cv2.IMWRITE_JPEG_QUALITY, round(level)]
    # OpenCV's channels are blue, green, red; JPEG keeps less of the colours than of the light.
    _, data = cv2.imencode(".jpg", cv2.cvtColor(rgb, cv2.COLOR_RGB2BGR), quality)
    return _image(cv2.imdecode(data, cv2.IMREAD_COLOR))[..., ::-1]


def _channels(rgb: Image, level: float, _: int) -> Image:
    return rgb[..., CHANNEL_ORDERS[round(level)]]


CHANNEL_ORDERS: Final = tuple(itertools.permutations(range(3)))
"""By level: which old channel is the new red, green and blue."""


def _smaller(rgb: Image, level: float) -> tuple[int, int]:
    """Return (width, height) of an image whose pixels are `level` times as wide."""
    height, width = (max(1, round(side / level)) for side in rgb.shape[:2])
    return width, height


def _grey_levels(values: NDArray[np.floating]) -> Image:
    return _image(np.clip(np.rint(values), 0, 255))


def _image(values: object) -> Image:
    return np.asarray(values, dtype=np.uint8)


@dataclass(frozen=True)
class _Kind:
    """One way to alter an image, its range, and the level that changes nothing."""

    apply: Callable[[Image, float, int], Image]
    low: float
    high: float
    neutral: float | None
    whole: bool
    sentence: str

    def checked(self, kind: str, level: float) -> float:
        number = isinstance(level, int | float) and not isinstance(level, bool)
        if number and self.low <= level <= self.high and (not self.whole or level == int(level)):
            return float(level)
        what = "a whole number" if self.whole else "a number"
        raise SettingsError(
            f"The level of '{kind}' must be {what} from {self.low:g} to {self.high:g}, "
            f"not {level!r}."
        )


_KINDS: Final[Mapping[str, _Kind]] = MappingProxyType({
    "poisson": _Kind(
        _poisson, 0, 2, 0, False,
        "Photon (shot) noise: the level is the noise of white as a share of its brightness, that "
        "is 1 / sqrt(photons counted there in a channel); 0 is none (Cellpose-SAM: 5, 2.5 and 0.5 "
        "photons, levels 0.447, 0.632 and 1.414).",
    ),
    "blur": _Kind(
        _blur, 0, 50, 0, False,
        "Gaussian blur, alike in all directions: the level is sigma in pixels; 0 is none "
        "(Cellpose-SAM: 2, 4 and 8).",
    ),
    "anisotropic": _Kind(
        _anisotropic, 0, 50, 0, False,
        "Gaussian blur along x alone: the level is sigma in pixels; 0 is none (Cellpose-SAM: "
        "1, 3 and 6, followed by downsampling by twice as much).",
    ),
    "downsample": _Kind(
        _downsample, 1, 64, 1, False,
        "Lost detail at the same size, downsampled and interpolated back: the level is the factor "
        "between the pixel sizes; 1 is none (Cellpose-SAM: 2, 5 and 10).",
    ),
    "haematoxylin": _Kind(
        _haematoxylin, 0, 4, 1, False,
        "Weaker or stronger haematoxylin: the level is the factor of its concentration; "
        "1 is unchanged.",
    ),
    "eosin": _Kind(
        _eosin, 0, 4, 1, False,
        "Weaker or stronger eosin: the level is the factor of its concentration; 1 is unchanged.",
    ),
    "jpeg": _Kind(
        _jpeg, 1, 100, None, True,
        "JPEG compression: the level is the quality from 1 to 100; smaller is worse, and even 100 "
        "changes a little.",
    ),
    "magnification": _Kind(
        _magnification, 1, 16, 1, False,
        "A lower magnification with larger pixels (area averages): the level is the factor "
        "between the pixel sizes, 2 for 20x in place of 40x; 1 is unchanged.",
    ),
    "channels": _Kind(
        _channels, 0, 5, 0, True,
        "Another order of the colour channels: the level is 1 RBG, 2 GRB, 3 GBR, 4 BRG or 5 BGR; "
        "0 is unchanged (Cellpose-SAM: 3 and 4).",
    ),
})  # fmt: skip

KINDS: Final[Mapping[str, str]] = MappingProxyType(
    {kind: made.sentence for kind, made in _KINDS.items()}
)
"""What an image can be put through: kind to a sentence with its level's meaning and unit."""

"""Optical density, stain vectors and stain concentrations (paper 3.1).

Light that passes through stain falls off exponentially with the amount of stain
(Beer-Lambert), so in optical density the stains simply add up: ``OD = Q @ S``
with one column of Q for the colour of each stain and S how much there is of it.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from ..errors import ImageError, SettingsError, SproutError
from .settings import StainSettings
from .stain_estimation import Vector, macenko, vahadane

MIN_ANGLE = 5.0
"""Degrees; stain vectors closer than this cannot be told apart."""

NEGATIVE_TOLERANCE = 0.05
"""How far below zero a component of a unit vector may lie (rounding of an estimate)."""

MIN_PICKED_OD = 0.1
"""Length of the optical density below which a picked pixel is glass, not stain."""


def check_rgb(rgb: NDArray[np.uint8]) -> None:
    """Raise an ImageError unless `rgb` is an H x W x 3 array of uint8."""
    if rgb.ndim != 3 or rgb.shape[2] != 3 or rgb.dtype != np.uint8:
        raise ImageError(
            f"The image has shape {rgb.shape} and type {rgb.dtype}; "
            "give a colour image of height x width x 3 with 8 bits a channel."
        )


def optical_density(rgb: NDArray[np.uint8]) -> NDArray[np.float32]:
    """Return ``-log((x + 1) / 256)`` of every channel (natural logarithm).

    The + 1 keeps black pixels finite: the range is 0 (white) to 5.545 (black).

    Parameters
    ----------
    rgb
        H x W x 3 uint8 image.

    Returns
    -------
    H x W x 3 float32.

    Raises
    ------
    ImageError
        If the array is not an 8-bit RGB image.
    """
    check_rgb(rgb)
    table = -np.log((np.arange(256) + 1) / 256)
    return table.astype(np.float32)[rgb]


def angle_between(first: Sequence[float], second: Sequence[float]) -> float:
    """Return the angle between two vectors in degrees, 0 to 180."""
    a, b = np.asarray(first, dtype=float), np.asarray(second, dtype=float)
    cosine = a @ b / (np.linalg.norm(a) * np.linalg.norm(b))
    return float(np.degrees(np.arccos(np.clip(cosine, -1.0, 1.0))))


def _unit(stain: str, vector: Sequence[float]) -> Vector:
    values = np.asarray(vector, dtype=float)
    if values.shape != (3,) or not np.all(np.isfinite(values)):
        raise SettingsError(
            f"The stain vector of {stain} must be three finite numbers "
            f"(optical density in red, green and blue), not {vector!r}."
        )
    length = float(np.linalg.norm(values))
    if length < 1e-6:
        raise SettingsError(
            f"The stain vector of {stain} is zero; give its optical density in red, green and blue."
        )
    values = values / length
    if values.min() < -NEGATIVE_TOLERANCE:
        raise SettingsError(
            f"The stain vector of {stain} has a negative part, and no stain emits light; "
            "give optical densities of zero or more."
        )
    red, green, blue = (float(v) for v in values)
    return red, green, blue


@dataclass(frozen=True)
class StainVectors:
    """Colours of the two stains as unit vectors of optical density (R, G, B).

    Vectors of any length are accepted and made unit vectors.

    Attributes
    ----------
    haematoxylin, eosin
        Unit-norm optical densities in red, green and blue.
    source
        What gave them: "fixed", "macenko", "vahadane", "given" or "picked".
    note
        A sentence for the user where something needs saying, else empty: an
        estimation that failed and was replaced, or vectors that look swapped.

    Raises
    ------
    SettingsError
        If a vector is zero, not finite, or has a negative part, or if the two
        lie within 5 degrees of each other.
    """

    haematoxylin: Vector
    eosin: Vector
    source: str
    note: str = field(default="", compare=False)

    def __post_init__(self) -> None:
        object.__setattr__(self, "haematoxylin", _unit("haematoxylin", self.haematoxylin))
        object.__setattr__(self, "eosin", _unit("eosin", self.eosin))
        angle = angle_between(self.haematoxylin, self.eosin)
        if angle < MIN_ANGLE:
            raise SettingsError(
                f"The stain vectors of haematoxylin and eosin differ by only {angle:.1f} degrees; "
                "choose two colours that can be told apart."
            )

    @property
    def matrix(self) -> NDArray[np.float64]:
        """The stain matrix Q, 3 x 2: haematoxylin in the first column, then eosin."""
        return np.array([self.haematoxylin, self.eosin]).T


def fixed_vectors(note: str = "") -> StainVectors:
    """Return Ruifrok & Johnston's vectors (Anal Quant Cytol Histol 23:291, 2001).

    Parameters
    ----------
    note
        Why they are used, if not by choice.
    """
    return StainVectors((0.65, 0.70, 0.29), (0.07, 0.99, 0.11), "fixed", note)


def concentrations(od: NDArray[np.float32], vectors: StainVectors) -> NDArray[np.float32]:
    """Return the amount of each stain, ``S = pinv(Q) @ OD`` (paper 3.1).

    Values are not clipped. A negative amount only says that the pixel's colour
    lies outside the angle between the two vectors; it still ranks that pixel,
    and clipping would pile such pixels up at zero, which shifts Otsu's
    threshold and ties the very pixels the background reference chooses between.

    Parameters
    ----------
    od
        H x W x 3 optical density.
    vectors
        The stain vectors.

    Returns
    -------
    H x W x 2 float32: haematoxylin, then eosin, in units of optical density.
    """
    inverse = np.linalg.pinv(vectors.matrix).astype(np.float32)
    return od @ inverse.T


def _red_share(vector: Sequence[float]) -> float:
    return float(vector[0] / max(sum(vector), 1e-6))


def _swap_note(vectors: StainVectors) -> str:
    # Haematoxylin is the stain that takes more of the red light.
    if _red_share(vectors.haematoxylin) >= _red_share(vectors.eosin):
        return ""
    return (
        "The colours of haematoxylin and eosin look swapped: haematoxylin is the bluer one. "
        "They are used as given."
    )


def _with_swap_note(vectors: StainVectors) -> StainVectors:
    return StainVectors(
        vectors.haematoxylin, vectors.eosin, vectors.source, note=_swap_note(vectors)
    )


def vectors_from_pixels(rgb_haematoxylin: Sequence[int], rgb_eosin: Sequence[int]) -> StainVectors:
    """Return the stain vectors of two pixels that a person picked.

    Parameters
    ----------
    rgb_haematoxylin, rgb_eosin
        Red, green and blue, 0 to 255, of a pixel with almost only that stain.

    Raises
    ------
    SettingsError
        If a pixel is as bright as glass, or both have nearly the same hue.
    """
    picked = []
    for stain, rgb in (("haematoxylin", rgb_haematoxylin), ("eosin", rgb_eosin)):
        values = np.asarray(rgb, dtype=float)
        if values.shape != (3,) or not np.all((values >= 0) & (values <= 255)):
            raise SettingsError(
                f"The pixel for {stain} must be red, green and blue from 0 to 255, not {rgb!r}."
            )
        od = -np.log((values + 1) / 256)
        if np.linalg.norm(od) < MIN_PICKED_OD:
            raise SettingsError(
                f"The pixel picked for {stain} is as bright as glass; pick a stained one."
            )
        picked.append((float(od[0]), float(od[1]), float(od[2])))
    return _with_swap_note(StainVectors(picked[0], picked[1], "picked"))


def stain_vectors(
    od: NDArray[np.float32],
    tissue: NDArray[np.bool_],
    settings: StainSettings,
    *,
    seed: int = 0,
) -> StainVectors:
    """Return the stain vectors of an image by the method the settings name.

    An estimate that fails or is implausible is replaced by the fixed vectors;
    `source` is then "fixed" and `note` says why.

    Parameters
    ----------
    od
        H x W x 3 optical density.
    tissue
        H x W; only these pixels are looked at.
    settings
        Method, and the vectors given by hand.
    seed
        Chooses the sample of pixels.

    Raises
    ------
    SettingsError
        If vectors given by hand cannot be used.
    """
    if settings.method == "given":
        return _with_swap_note(StainVectors(settings.haematoxylin, settings.eosin, "given"))
    if settings.method == "fixed":
        return fixed_vectors()
    estimate = {"macenko": macenko, "vahadane": vahadane}[settings.method]
    try:
        haematoxylin, eosin = estimate(od, tissue, seed=seed)
        return StainVectors(haematoxylin, eosin, settings.method)
    except SproutError as error:
        return fixed_vectors(f"{error} The fixed stain vectors are used instead.")

"""Synthetic H&E images whose nuclei are known exactly.

Made for tests, demonstrations and installation checks, where real annotated
tissue is not at hand. Concentration maps of haematoxylin and eosin are painted
first and turned into colour by Beer-Lambert's law with the stain vectors of
Ruifrok & Johnston (2001), so the colours obey the model that the stain stage
inverts (ALGORITHM 1: OD = -log((x + 1) / 256)).
"""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from typing import Final

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage
from scipy.spatial.transform import Rotation

from ..errors import SproutError

FloatArray = NDArray[np.float64]

HAEMATOXYLIN: Final = (0.65, 0.70, 0.29)
EOSIN: Final = (0.07, 0.99, 0.11)
DIAMETERS_UM: Final = (6.0, 10.0)
"""Smallest and largest mean diameter of a nucleus, in micrometres."""

_TRIES_PER_NUCLEUS: Final = 400


@dataclass(frozen=True, eq=False)
class SyntheticImage:
    """A synthetic H&E image and the truth about it.

    Attributes
    ----------
    rgb
        (H, W, 3) uint8.
    labels
        (H, W) int32: 0 is background, nucleus i of ``centres`` has label i + 1.
    centres
        (n, 2) float64 (y, x) in pixels; each lies inside its own label.
    stain_vectors
        (3, 2) float64: the unit optical-density colours of haematoxylin and
        eosin (columns) that the image was made with.
    glass
        (H, W) bool: True where there is bare glass.
    mpp
        Pixel size in micrometres.
    """

    rgb: NDArray[np.uint8]
    labels: NDArray[np.int32]
    centres: FloatArray
    stain_vectors: FloatArray
    glass: NDArray[np.bool_]
    mpp: float


@dataclass(frozen=True, eq=False)
class _Nucleus:
    """An ellipse with a slightly uneven outline; lengths in pixels."""

    y: float
    x: float
    major: float
    minor: float
    angle: float
    amplitudes: FloatArray
    phases: FloatArray

    @property
    def reach(self) -> float:
        """Distance from the centre that no part of the outline exceeds."""
        return self.major * (1 + float(self.amplitudes.sum()))

    def window(self, shape: tuple[int, int]) -> tuple[slice, slice]:
        """Return a window of the image that holds the nucleus and its surroundings."""
        reach = math.ceil(self.reach + 0.45 * self.major) + 2
        y, x = round(self.y), round(self.x)
        return (
            slice(max(y - reach, 0), min(y + reach + 1, shape[0])),
            slice(max(x - reach, 0), min(x + reach + 1, shape[1])),
        )

    def radius(self, window: tuple[slice, slice]) -> FloatArray:
        """Return each pixel's distance from the centre; the outline is at 1."""
        y, x = np.mgrid[window]
        dy, dx = y - self.y, x - self.x
        u = (dx * math.cos(self.angle) + dy * math.sin(self.angle)) / self.major
        v = (-dx * math.sin(self.angle) + dy * math.cos(self.angle)) / self.minor
        theta = np.arctan2(v, u)
        outline = np.ones_like(u)
        waves = zip((2, 3, 4), self.amplitudes, self.phases, strict=True)
        for order, amplitude, phase in waves:
            outline += amplitude * np.cos(order * theta + phase)
        result: FloatArray = np.hypot(u, v) / outline
        return result


def synthetic_he(
    shape: tuple[int, int] = (256, 256),
    n_nuclei: int = 30,
    seed: int = 0,
    mpp: float = 0.25,
    *,
    touching: float = 0.2,
    glass: float = 0.0,
    stain_rotation: float = 2.0,
    stain_intensity: float = 1.0,
    blur: float = 0.2,
    noise: float = 2.0,
) -> SyntheticImage:
    """Make an H&E image with known nuclei; the same arguments give the same image.

    Parameters
    ----------
    shape
        Height and width in pixels.
    n_nuclei
        How many nuclei to place, each 6 to 10 um wide and whole within the image.
    seed
        Seed of everything random.
    mpp
        Pixel size in micrometres.
    touching
        Share of the nuclei, 0 to 1, placed against an earlier one so that the
        two touch or overlap a little. With 0 no two nuclei touch.
    glass
        Share of the image, 0 to 0.9, left as bare glass; no nucleus lies there.
    stain_rotation
        Standard deviation, in degrees, of the random rotation of each stain vector.
    stain_intensity
        Factor on both stains' concentrations: below 1 is pale, above 1 is dark.
    blur
        Standard deviation of the optical blur, in micrometres.
    noise
        Standard deviation of the camera noise, in grey levels.

    Raises
    ------
    SproutError
        If a value is out of range, or there is no room for so many nuclei.
    """
    _check(
        shape,
        n_nuclei=(n_nuclei, 0, 1e6),
        mpp=(mpp, 0.01, 20),
        touching=(touching, 0, 1),
        glass=(glass, 0, 0.9),
        stain_rotation=(stain_rotation, 0, 45),
        stain_intensity=(stain_intensity, 0, 10),
        blur=(blur, 0, 10),
        noise=(noise, 0, 100),
    )
    rng = np.random.default_rng(seed)
    bare = _glass(rng, shape, glass, mpp)
    nuclei, labels = _place(rng, n_nuclei, touching, bare, mpp)
    eosin, haematoxylin = _stroma(rng, shape, mpp)
    _add_cytoplasm(rng, labels, eosin, haematoxylin, mpp)
    for label, nucleus in enumerate(nuclei, start=1):
        window = nucleus.window((labels.shape[0], labels.shape[1]))
        inside = labels[window] == label
        _paint(rng, nucleus, window, inside, haematoxylin[window], eosin[window], mpp)
    # A tissue edge is steep but not a step.
    tissue = ndimage.gaussian_filter((~bare).astype(float), 0.5 / mpp)
    stains = np.clip(np.stack([haematoxylin, eosin], axis=-1), 0.0, None)
    stains *= stain_intensity * tissue[..., None]
    stains = ndimage.gaussian_filter(stains, blur / mpp, axes=(0, 1))
    vectors = _stain_vectors(rng, stain_rotation)
    return SyntheticImage(
        rgb=_expose(rng, stains @ vectors.T, noise),
        labels=labels,
        centres=np.array([(n.y, n.x) for n in nuclei], dtype=np.float64).reshape(-1, 2),
        stain_vectors=vectors,
        glass=bare,
        mpp=mpp,
    )


def _check(shape: tuple[int, int], **ranges: tuple[float, float, float]) -> None:
    if min(shape) < 1:
        raise SproutError("A synthetic image needs a height and width of at least 1 pixel.")
    for name, (value, low, high) in ranges.items():
        if not low <= value <= high:
            raise SproutError(
                f"'{name}' of a synthetic image must lie between {low:g} and {high:g}, not {value}."
            )


def _texture(rng: np.random.Generator, shape: tuple[int, ...], sigma: float) -> FloatArray:
    """Return smooth random texture of mean 0 and standard deviation 1."""
    field = ndimage.gaussian_filter(rng.standard_normal(shape), sigma, mode="wrap")
    result: FloatArray = (field - field.mean()) / max(float(field.std()), 1e-9)
    return result


def _glass(
    rng: np.random.Generator, shape: tuple[int, int], share: float, mpp: float
) -> NDArray[np.bool_]:
    if share == 0:
        return np.zeros(shape, dtype=bool)
    y, x = np.mgrid[: shape[0], : shape[1]] / max(shape)
    angle = rng.uniform(0, 2 * math.pi)
    edge = math.cos(angle) * x + math.sin(angle) * y + 0.05 * _texture(rng, shape, 8.0 / mpp)
    result: NDArray[np.bool_] = edge < np.quantile(edge, share)
    return result


def _shape_of_nucleus(rng: np.random.Generator, y: float, x: float, mpp: float) -> _Nucleus:
    radius = rng.uniform(*DIAMETERS_UM) / 2 / mpp
    stretch = math.sqrt(rng.uniform(1.0, 1.6))
    return _Nucleus(
        y=y,
        x=x,
        major=radius * stretch,
        minor=radius / stretch,
        angle=rng.uniform(0, math.pi),
        amplitudes=rng.uniform(0, (0.05, 0.05, 0.03)),
        phases=rng.uniform(0, 2 * math.pi, 3),
    )


def _place(
    rng: np.random.Generator,
    n_nuclei: int,
    touching: float,
    bare: NDArray[np.bool_],
    mpp: float,
) -> tuple[list[_Nucleus], NDArray[np.int32]]:
    """Place nuclei one by one; a later one never covers an earlier one."""
    shape = (bare.shape[0], bare.shape[1])
    labels = np.zeros(shape, dtype=np.int32)
    nuclei: list[_Nucleus] = []
    n_touching = round(touching * n_nuclei)
    for _ in range(n_nuclei * _TRIES_PER_NUCLEUS):
        if len(nuclei) == n_nuclei:
            break
        # The lone ones come first: they need the most room.
        beside = nuclei and len(nuclei) >= n_nuclei - n_touching
        anchor = nuclei[rng.integers(len(nuclei))] if beside else None
        nucleus = _candidate(rng, shape, anchor, mpp)
        mask = _fits(nucleus, labels, bare, crowded=anchor is not None, gap=max(1.0 / mpp, 2.0))
        if mask is not None:
            nuclei.append(nucleus)
            labels[nucleus.window(shape)][mask] = len(nuclei)
    if len(nuclei) < n_nuclei:
        raise SproutError(
            f"Only {len(nuclei)} of {n_nuclei} nuclei fit into a synthetic image of "
            f"{shape[0]} x {shape[1]} pixels; ask for fewer nuclei or a larger image."
        )
    return nuclei, labels


def _candidate(
    rng: np.random.Generator, shape: tuple[int, int], anchor: _Nucleus | None, mpp: float
) -> _Nucleus:
    if anchor is None:
        y, x = rng.uniform(0, shape[0] - 1), rng.uniform(0, shape[1] - 1)
        return _shape_of_nucleus(rng, y, x, mpp)
    nucleus = _shape_of_nucleus(rng, 0.0, 0.0, mpp)
    distance = rng.uniform(0.75, 1.0) * (
        math.sqrt(anchor.major * anchor.minor) + math.sqrt(nucleus.major * nucleus.minor)
    )
    direction = rng.uniform(0, 2 * math.pi)
    return replace(
        nucleus,
        y=anchor.y + distance * math.sin(direction),
        x=anchor.x + distance * math.cos(direction),
    )


def _fits(
    nucleus: _Nucleus,
    labels: NDArray[np.int32],
    bare: NDArray[np.bool_],
    *,
    crowded: bool,
    gap: float,
) -> NDArray[np.bool_] | None:
    """Return the pixels the nucleus may take, in its window, or None if it does not fit."""
    height, width = labels.shape
    reach = nucleus.reach
    if not (reach < nucleus.y < height - 1 - reach and reach < nucleus.x < width - 1 - reach):
        return None
    if labels[round(nucleus.y), round(nucleus.x)] or bare[round(nucleus.y), round(nucleus.x)]:
        return None
    window = nucleus.window((height, width))
    radius = nucleus.radius(window)
    whole = radius <= 1
    # Every nucleus must cover the pixel that holds its centre, whatever its size.
    whole[round(nucleus.y) - window[0].start, round(nucleus.x) - window[1].start] = True
    taken = labels[window]
    if bare[window][whole].any():
        return None
    if not crowded:
        near = radius <= 1 + gap / nucleus.minor
        return None if taken[near].any() else whole
    mask = whole & (taken == 0)
    touches = ndimage.binary_dilation(whole)[taken > 0].any()
    whole_enough = mask.sum() > 0.8 * whole.sum() and ndimage.label(mask)[1] == 1
    return mask if touches and whole_enough else None


def _stroma(
    rng: np.random.Generator, shape: tuple[int, int], mpp: float
) -> tuple[FloatArray, FloatArray]:
    """Return the eosin and haematoxylin of tissue without nuclei: wavy fibres and mottling."""
    patches = _texture(rng, shape, 8.0 / mpp)
    grain = _texture(rng, shape, 0.6 / mpp)
    y, x = np.mgrid[: shape[0], : shape[1]] * mpp
    angle = rng.uniform(0, math.pi)
    across = x * math.cos(angle) + y * math.sin(angle)
    wave = 4.0 * _texture(rng, shape, 6.0 / mpp) + 0.5 * _texture(rng, shape, 1.5 / mpp)
    fibres = np.sin(2 * math.pi * (across + wave) / 5.0)
    fibrous = 1 / (1 + np.exp(-2 * _texture(rng, shape, 10.0 / mpp)))
    eosin = 0.38 + 0.07 * patches + 0.10 * fibrous * fibres + 0.06 * grain
    # Pale clefts open between fibres.
    clefts = np.clip(-fibres - 0.6, 0, None) * fibrous * np.clip(-patches, 0, 1.5)
    eosin -= 0.5 * clefts
    haematoxylin = 0.14 + 0.03 * patches + 0.03 * grain - 0.1 * clefts
    return np.clip(eosin, 0.02, None), np.clip(haematoxylin, 0.01, None)


def _add_cytoplasm(
    rng: np.random.Generator,
    labels: NDArray[np.int32],
    eosin: FloatArray,
    haematoxylin: FloatArray,
    mpp: float,
) -> None:
    """Give each nucleus a cell body of its own tint, with a pale seam between neighbours."""
    if not labels.any():
        return
    distance, nearest = ndimage.distance_transform_edt(labels == 0, return_indices=True)
    owner = labels[tuple(nearest)]
    body = np.exp(-((distance * mpp / 3.5) ** 2))
    tints = rng.normal(0.10, 0.07, size=int(labels.max()) + 1)
    basophilia = rng.uniform(0.02, 0.16, size=tints.size)
    eosin += body * (tints[owner] + 0.05 * _texture(rng, labels.shape, 0.9 / mpp))
    haematoxylin += body * basophilia[owner]
    border = (ndimage.maximum_filter(owner, 3) != ndimage.minimum_filter(owner, 3)).astype(float)
    seam = ndimage.gaussian_filter(border, 0.3 / mpp)
    seam *= body * np.clip(0.5 + 0.7 * _texture(rng, labels.shape, 4.0 / mpp), 0, 1)
    eosin -= 0.35 * seam
    haematoxylin -= 0.10 * seam
    np.clip(eosin, 0.02, None, out=eosin)
    np.clip(haematoxylin, 0.01, None, out=haematoxylin)


def _paint(
    rng: np.random.Generator,
    nucleus: _Nucleus,
    window: tuple[slice, slice],
    inside: NDArray[np.bool_],
    haematoxylin: FloatArray,
    eosin: FloatArray,
    mpp: float,
) -> None:
    """Paint one nucleus into windows of the two maps: chromatin, membrane, nucleoli."""
    radius = nucleus.radius(window)
    size = radius.shape
    level = rng.uniform(0.70, 1.35)
    # Vesicular nuclei have a pale centre, pyknotic ones are evenly dark.
    pallor = rng.uniform(0.1, 0.5) * (1.4 - level)
    chromatin = 0.22 * _texture(rng, size, 0.35 / mpp) + 0.13 * _texture(rng, size, 0.9 / mpp)
    membrane = np.exp(-(((radius - 0.93) / 0.10) ** 2))
    paint = level * (1 + chromatin + 0.30 * membrane) - pallor * np.exp(-((radius / 0.6) ** 2))
    y, x = np.mgrid[window]
    for _ in range(rng.integers(0, 3)):
        distance, direction = rng.uniform(0, 0.5) * nucleus.minor, rng.uniform(0, 2 * math.pi)
        dy = y - nucleus.y - distance * math.sin(direction)
        dx = x - nucleus.x - distance * math.cos(direction)
        paint += 0.45 * level * np.exp(-(dy**2 + dx**2) / (2 * (0.45 / mpp) ** 2))
    haematoxylin[inside] = np.clip(paint, 0.2, None)[inside]
    eosin[inside] = 0.45 * eosin[inside] + 0.05


def _stain_vectors(rng: np.random.Generator, degrees: float) -> FloatArray:
    columns = []
    for vector in (HAEMATOXYLIN, EOSIN):
        unit = np.array(vector) / np.linalg.norm(vector)
        axis = rng.standard_normal(3)
        turn = Rotation.from_rotvec(
            axis / np.linalg.norm(axis) * math.radians(degrees) * rng.standard_normal()
        )
        turned = np.clip(turn.apply(unit), 0.0, None)
        columns.append(turned / np.linalg.norm(turned))
    return np.stack(columns, axis=1)


def _expose(rng: np.random.Generator, density: FloatArray, noise: float) -> NDArray[np.uint8]:
    """Return the inverse of OD = -log((x + 1) / 256), with camera noise."""
    light = 256 * np.exp(-density) - 1 + noise * rng.standard_normal(density.shape)
    return np.clip(np.rint(light), 0, 255).astype(np.uint8)

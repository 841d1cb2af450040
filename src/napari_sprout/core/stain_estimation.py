"""Stain vectors estimated from the image itself.

Both methods look at a sample of tissue pixels, are deterministic for a seed, and
return haematoxylin first: of the two stains it is the one that absorbs more of
the red light.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray
from threadpoolctl import threadpool_limits

from ..errors import ImageError

Vector = tuple[float, float, float]

SAMPLE = 20_000
MIN_PIXELS = 1_000
MIN_OD = 0.15
"""Mean optical density below which a pixel is too pale to show its hue (Macenko's beta)."""

TAIL = 1.0
"""Percentile of the hue angle taken as the pure stain at either end (Macenko's alpha)."""

SPARSITY = 0.1
"""Weight of the l1 norm of the concentrations (Vahadane's lambda)."""

FIT_SAMPLE = 5_000
PASSES = 10
"""Pixels of the sample that the factorisation sees, and how often."""

MIN_ANGLE = 8.0
"""Degrees between the stains below which an estimate found one stain, not two."""

MAX_RED_TO_GREEN = 1.3
MIN_RED_SHARE = 0.25
"""Bounds of a plausible haematoxylin; in real slides 0.6 to 1.1, and 0.28 to 0.42."""

ONE_STAIN = "The two stains could not be told apart in this image."


def sample_pixels(
    od: NDArray[np.float32], tissue: NDArray[np.bool_], *, seed: int = 0
) -> NDArray[np.float64]:
    """Return at most 20 000 stained tissue pixels in random order, n x 3.

    Raises
    ------
    ImageError
        If fewer than 1000 tissue pixels are stained.
    """
    candidates = np.flatnonzero(tissue & (od.mean(axis=2) > MIN_OD))
    if candidates.size < MIN_PIXELS:
        raise ImageError(
            f"Only {candidates.size} stained tissue pixels were found, too few to "
            "estimate the stain vectors."
        )
    # In random order, so that any part of the sample stands for the whole image.
    count = min(SAMPLE, candidates.size)
    candidates = np.random.default_rng(seed).choice(candidates, count, replace=False)
    return od.reshape(-1, 3)[candidates].astype(np.float64)


def macenko(
    od: NDArray[np.float32], tissue: NDArray[np.bool_], *, seed: int = 0
) -> tuple[Vector, Vector]:
    """Estimate stain vectors by Macenko's method (ISBI 2009, p. 1107).

    Stained pixels lie in the plane of the two stain vectors; the plane is the
    one of their two leading principal directions, and the pure stains are the
    extreme angles within it (1st and 99th percentile, against outliers).

    Pale pixels are left out by their mean optical density. Leaving out a pixel
    for one pale channel, as is often done, would remove pure eosin, which
    hardly absorbs red.

    Parameters
    ----------
    od
        H x W x 3 optical density.
    tissue
        H x W; only these pixels are looked at.
    seed
        Chooses the sample of pixels.

    Returns
    -------
    Unit vectors (R, G, B) of haematoxylin and eosin.

    Raises
    ------
    ImageError
        If there is too little tissue or the result is implausible.
    """
    pixels = sample_pixels(od, tissue, seed=seed)
    _, directions = np.linalg.eigh(np.cov(pixels.T))
    plane = directions[:, :0:-1]
    # An eigenvector's sign is arbitrary; this one keeps the angles away from +-180 degrees.
    plane = np.where(pixels.mean(axis=0) @ plane < 0, -plane, plane)
    projected = pixels @ plane
    angles = np.arctan2(projected[:, 1], projected[:, 0])
    extremes = np.percentile(angles, [TAIL, 100 - TAIL])
    return _ordered(np.stack([np.cos(extremes), np.sin(extremes)], axis=1) @ plane.T)


def vahadane(
    od: NDArray[np.float32], tissue: NDArray[np.bool_], *, seed: int = 0
) -> tuple[Vector, Vector]:
    """Estimate stain vectors by Vahadane's method (IEEE TMI 35:1962, 2016).

    Sparse non-negative matrix factorisation: two non-negative unit vectors and
    non-negative concentrations with an l1 penalty that prefers each pixel to
    hold one stain.

    Parameters
    ----------
    od
        H x W x 3 optical density.
    tissue
        H x W; only these pixels are looked at.
    seed
        Chooses the sample of pixels and their order.

    Returns
    -------
    Unit vectors (R, G, B) of haematoxylin and eosin.

    Raises
    ------
    ImageError
        If there is too little tissue or the result is implausible.
    """
    # Here, not above: scikit-learn takes long to import.
    from sklearn.decomposition import MiniBatchDictionaryLearning

    pixels = sample_pixels(od, tissue, seed=seed)
    # Starting from the two extreme hues makes the result independent of the
    # sample's first pixels. One hue alone has no factorisation to converge to.
    red_share = pixels[:, 0] / pixels.sum(axis=1)
    low, high = np.percentile(red_share, [5, 95])
    start = _unit_rows(
        np.stack([pixels[red_share >= high].mean(axis=0), pixels[red_share <= low].mean(axis=0)])
    )
    if _angle(start) < MIN_ANGLE:
        raise ImageError(ONE_STAIN)
    model = MiniBatchDictionaryLearning(
        n_components=2,
        alpha=SPARSITY,
        max_iter=PASSES,
        batch_size=256,
        fit_algorithm="cd",
        positive_dict=True,
        positive_code=True,
        dict_init=start,
        random_state=seed,
    )
    # One thread, so that sums are taken in the same order on every machine.
    with threadpool_limits(limits=1):
        model.fit(pixels[:FIT_SAMPLE])
    return _ordered(model.components_)


def _unit_rows(vectors: NDArray[np.float64]) -> NDArray[np.float64]:
    lengths = np.linalg.norm(vectors, axis=1, keepdims=True)
    return np.asarray(vectors / np.maximum(lengths, 1e-12))


def _ordered(pair: NDArray[np.float64]) -> tuple[Vector, Vector]:
    """Return two row vectors as haematoxylin and eosin, non-negative and unit-norm."""
    pair = _unit_rows(np.maximum(pair, 0))
    red_share = pair[:, 0] / np.maximum(pair.sum(axis=1), 1e-12)
    haematoxylin, eosin = pair[np.argsort(-red_share, kind="stable")]
    _check_plausible(haematoxylin, eosin)
    return _as_vector(haematoxylin), _as_vector(eosin)


def _as_vector(values: NDArray[np.float64]) -> Vector:
    red, green, blue = (float(v) for v in values)
    return red, green, blue


def _check_plausible(haematoxylin: NDArray[np.float64], eosin: NDArray[np.float64]) -> None:
    # Both stains absorb green most; that is why H&E looks blue to pink. Ink,
    # pigment and other stains do not.
    for vector in (haematoxylin, eosin):
        red, green, blue = vector
        if blue > green or red > MAX_RED_TO_GREEN * green:
            raise ImageError("The colours found are not those of haematoxylin and eosin.")
    angle = _angle(np.stack([haematoxylin, eosin]))
    if angle < MIN_ANGLE or haematoxylin[0] < MIN_RED_SHARE * haematoxylin.sum():
        raise ImageError(ONE_STAIN)


def _angle(pair: NDArray[np.float64]) -> float:
    """Return the angle between two unit row vectors in degrees."""
    return float(np.degrees(np.arccos(np.clip(pair[0] @ pair[1], -1.0, 1.0))))

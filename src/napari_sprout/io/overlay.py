"""Pictures for people: outlines on the image, and any intermediate map made visible."""

from __future__ import annotations

from pathlib import Path
from typing import Any, Final

import imagecodecs
import numpy as np
from numpy.typing import NDArray
from scipy.ndimage import maximum_filter, minimum_filter
from skimage.color import hsv2rgb

from ..errors import ImageError, OutputError
from .atomic import replacing

# Orange through green to cyan: far from the pinks, purples and blues of H&E.
_FIRST_HUE: Final = 0.07
_LAST_HUE: Final = 0.52
# Multiplying by 2**32 over the golden ratio sets the hues of consecutive ids far apart.
_GOLDEN: Final = 2654435769


def label_colours(ids: NDArray[np.integer[Any]]) -> NDArray[np.uint8]:
    """Return a bright colour for each id, the same in every image and run.

    Parameters
    ----------
    ids
        Labels of any shape (N,).

    Returns
    -------
    ndarray
        uint8 RGB of shape (N, 3).
    """
    hashed = (ids.astype(np.uint64) * np.uint64(_GOLDEN)) & np.uint64(0xFFFFFFFF)
    hue = _FIRST_HUE + (_LAST_HUE - _FIRST_HUE) * hashed.astype(np.float64) / 2**32
    hsv = np.stack([hue, np.ones_like(hue), np.ones_like(hue)], axis=-1)
    return np.asarray(np.rint(hsv2rgb(hsv) * 255), dtype=np.uint8)


def overlay(
    rgb: NDArray[np.uint8], labels: NDArray[np.integer[Any]], thickness: int = 2
) -> NDArray[np.uint8]:
    """Draw each nucleus' outline on the image, in a colour that belongs to its id.

    Outlines lie inside their nuclei, so touching nuclei keep an outline each.

    Parameters
    ----------
    rgb
        uint8 image of shape (H, W, 3); left as it is.
    labels
        Whole numbers of shape (H, W); 0 is background.
    thickness
        Width of the outlines in px, at least 1.

    Returns
    -------
    ndarray
        A new uint8 image of shape (H, W, 3).

    Raises
    ------
    ImageError
        If image and labels differ in size.
    """
    if rgb.shape != (*labels.shape, 3):
        raise ImageError(
            f"The labels ({labels.shape}) do not fit the image ({rgb.shape}); "
            "give the labels of this image."
        )
    # A pixel lies on an outline if anything within reach has another label.
    reach = 2 * max(int(thickness), 1) + 1
    same = maximum_filter(labels, reach) == minimum_filter(labels, reach)
    edge = (labels > 0) & ~same
    drawn = rgb.copy()
    drawn[edge] = label_colours(labels[edge])
    return drawn


def to_picture(array: NDArray[Any]) -> NDArray[np.uint8]:
    """Turn any stage's map into something viewable.

    Parameters
    ----------
    array
        Of shape (H, W): truth values (drawn black and white), decimal numbers
        (stretched from their 1st to their 99th percentile; not-a-number is
        black), uint8 grey (kept), or other whole numbers (labels, in the
        colours of :func:`label_colours` on black). Of shape (H, W, 3): uint8
        RGB (kept) or decimal numbers (stretched over all channels together).

    Returns
    -------
    ndarray
        uint8, of shape (H, W) or (H, W, 3).

    Raises
    ------
    OutputError
        For any other shape or type of number.
    """
    kind = array.dtype.kind
    flat = array.ndim == 2
    if array.size == 0 or not (flat or (array.ndim == 3 and array.shape[2] == 3)):
        raise OutputError(f"An array of shape {array.shape} cannot be shown as a picture.")
    if kind == "f":
        return _stretched(array)
    if array.dtype == np.uint8:
        return array
    if flat and kind == "b":
        return array.astype(np.uint8) * np.uint8(255)
    if flat and kind in "iu":
        drawn = np.zeros((*array.shape, 3), np.uint8)
        drawn[array > 0] = label_colours(array[array > 0])
        return drawn
    raise OutputError(f"An array of {array.dtype.name} values cannot be shown as a picture.")


def _stretched(values: NDArray[Any]) -> NDArray[np.uint8]:
    finite = values[np.isfinite(values)]
    if finite.size == 0:
        return np.zeros(values.shape, np.uint8)
    low, high = (float(v) for v in np.percentile(finite, (1, 99)))
    if low == high:
        # Nearly all one value, such as a map of a few peaks: show its whole range.
        low, high = float(finite.min()), float(finite.max())
    span = high - low if high > low else 1.0
    unit = np.clip((np.nan_to_num(values.astype(np.float64), nan=low) - low) / span, 0, 1)
    return np.rint(unit * 255).astype(np.uint8)


def write_png(path: str | Path, picture: NDArray[np.uint8]) -> None:
    """Write a picture as a PNG file, whole or not at all.

    Parameters
    ----------
    path
        The file, ending in ``.png``.
    picture
        uint8 of shape (H, W) for grey or (H, W, 3) for RGB.

    Raises
    ------
    OutputError
        If the file cannot be written or `picture` is no such array.
    """
    if picture.dtype != np.uint8 or not (
        picture.ndim == 2 or (picture.ndim == 3 and picture.shape[2] == 3)
    ):
        raise OutputError(
            f"'{path}' was not written: a picture must be uint8 grey or RGB, not "
            f"{picture.dtype.name} of shape {picture.shape}."
        )
    data = imagecodecs.png_encode(np.ascontiguousarray(picture))
    with replacing(path) as temporary:
        temporary.write_bytes(data)

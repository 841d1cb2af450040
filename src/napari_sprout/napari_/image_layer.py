"""The person's image layer: its pixels, their size, and where other layers must lie."""

from __future__ import annotations

from typing import Any, Final

import numpy as np
from napari.layers import Image, Layer
from napari.utils.transforms import Affine
from numpy.typing import NDArray

from ..errors import ImageError
from .readers import SLIDE

PLACE: Final = ("scale", "translate", "rotate", "shear", "affine", "units")
"""The events of a layer that say that it lies elsewhere."""

_UNEVEN: Final = 0.01


def is_colour_image(layer: Layer) -> bool:
    """Whether a layer holds a flat colour image."""
    return isinstance(layer, Image) and layer.rgb and layer.ndim == 2


def is_slide(layer: Layer | None) -> bool:
    """Whether a layer shows a slide: a region of it can be worked on, never all of it at once."""
    return layer is not None and is_colour_image(layer) and SLIDE in layer.metadata


def finest(layer: Layer) -> Any:
    """Return what an image layer shows at full resolution; of a slide nothing is read yet."""
    return layer.data[0] if layer.multiscale else layer.data


def rgb_of(layer: Layer) -> NDArray[np.uint8]:
    """Return an image layer's pixels, (H, W, 3) uint8; of a pyramid, the finest level.

    Parameters
    ----------
    layer
        An RGB image layer, or one with transparency, which is dropped.

    Raises
    ------
    ImageError
        If the layer holds anything else, or a slide.
    """
    if not is_colour_image(layer):
        raise ImageError(
            f"The layer '{layer.name}' is not a colour image; choose a flat H&E image in RGB."
        )
    if is_slide(layer):
        raise ImageError(
            f"'{layer.name}' is a slide; choose a region of it (Segment, Region from view)."
        )
    data = np.asarray(finest(layer))
    if data.dtype != np.uint8:
        raise ImageError(
            f"The layer '{layer.name}' holds {data.dtype} values; convert it to 8-bit RGB and "
            "open it again."
        )
    return np.ascontiguousarray(data[..., :3])


def pixel_size_of(layer: Layer) -> float | None:
    """Return a layer's pixel size in um, from its metadata or its scale.

    A scale counts only with a unit of length and the same in both directions,
    to 1 %; None if nothing says how large a pixel is.
    """
    known = layer.metadata.get("mpp")
    if isinstance(known, int | float) and np.isfinite(known) and known > 0:
        return float(known)
    sizes = []
    for side, unit in zip(layer.scale, layer.units, strict=True):
        if dict(unit.dimensionality) != {"[length]": 1}:
            return None
        sizes.append(float((float(side) * unit).to("micrometer").magnitude))
    first, last = sizes[-2:]
    if not (np.isfinite(first) and first > 0) or abs(last / first - 1) > _UNEVEN:
        return None
    return (first + last) / 2


def place(
    layer: Layer,
    image: Layer,
    grid: tuple[float, float] = (1.0, 1.0),
    corner: tuple[int, int] = (0, 0),
) -> None:
    """Lay a layer over an image layer.

    Parameters
    ----------
    layer
        The layer to move.
    image
        The image layer.
    grid
        Height and width of the layer's pixels, in the image's pixels. The two
        grids share their top left corner (not the centre of their first pixels).
    corner
        (y, x) of the image's pixel whose top left corner that is, where it is not the first.
    """
    stretch = np.asarray(grid, dtype=float)
    scale = np.asarray(image.scale, dtype=float) * stretch
    # The centre of the first pixel lies half a layer pixel from the common corner.
    within = Affine(
        scale=image.scale, rotate=image.rotate, shear=image.shear, translate=image.translate
    )
    layer.units = image.units
    layer.scale = scale
    layer.rotate = image.rotate
    layer.shear = image.shear
    layer.translate = np.asarray(within((stretch - 1) / 2 + corner), dtype=float)
    layer.affine = image.affine

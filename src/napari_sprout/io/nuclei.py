"""Nuclei made elsewhere: a label image or QuPath's outlines, to be opened on an image."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from ..core.edits import Piece
from ..core.pieces import pieces_of
from ..errors import ImageError, warn
from .geojson_reader import read_geojson
from .labels import read_labels

_OUTLINES: Final = (".geojson", ".json")
_MANY: Final = 2
"""In more places than this, pixels of one single number are taken for many nuclei."""


def read_nuclei(
    path: str | Path, shape: tuple[int, int], tell: Callable[[str], None] = warn
) -> tuple[Piece, ...]:
    """Read nuclei that belong to an image.

    Parameters
    ----------
    path
        A label image (TIFF or PNG of whole numbers, 8, 16 or 32 bits), or outlines
        as of :func:`.read_geojson` if its name ends in ``.geojson`` or ``.json``.
    shape
        Height and width of the image, in px.
    tell
        Called with a sentence if some outlines cannot be used; by default that is a
        SproutWarning.

    Returns
    -------
    tuple
        (id, box, mask) of each, by id, under the numbers that the file gives them.

    Raises
    ------
    ImageError
        If the file cannot be read, is of another size than the image, in colour,
        a mask in which all nuclei have the same number, or empty.
    """
    path = Path(path)
    if path.suffix.lower() in _OUTLINES:
        labels = read_geojson(path, shape, tell)
    else:
        labels = read_labels(path).labels
        _check_size(path, labels.shape, shape)
        _check_numbered(path, labels)
    if not labels.any():
        raise ImageError(f"'{path}' holds no nuclei; give the file that has them.")
    return pieces_of(labels)


def _check_size(path: Path, found: tuple[int, ...], shape: tuple[int, int]) -> None:
    if found != tuple(shape):
        raise ImageError(
            f"'{path}' is {found[1]} x {found[0]} px, but the image is {shape[1]} x {shape[0]} px; "
            "give the nuclei of this image, at its full resolution."
        )


def _check_numbered(path: Path, labels: NDArray[np.integer[Any]]) -> None:
    """Refuse a mask: opened as it is, it would be one nucleus in many places."""
    top = labels.max()
    if top and np.isin(labels, (0, top)).all():
        _, places = ndimage.label(labels, structure=np.ones((3, 3)))
        if places > _MANY:
            raise ImageError(
                f"'{path}' gives all nuclei the same number, {top}: it is a mask, which does not "
                "say where one nucleus ends; save the label image, with a number for each."
            )

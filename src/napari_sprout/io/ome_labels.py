"""What OME-Zarr says of a label image, in versions 0.4 and 0.5."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from ..errors import ImageError
from .ome_metadata import Multiscale, attributes_of


def label_attributes(name: str, levels: list[str], mpp: float | None, version: str) -> Any:
    """Return what is stored with a label image.

    Parameters
    ----------
    name
        What it is called.
    levels
        Names of its levels, each half the size of the one before.
    mpp
        Pixel size of the first in um; None if unknown.
    version
        "0.4" or "0.5".
    """
    unit = {} if mpp is None else {"unit": "micrometer"}
    size = 1.0 if mpp is None else mpp
    image = {
        "name": name,
        "axes": [{"name": axis, "type": "space", **unit} for axis in "yx"],
        "datasets": [
            {
                "path": level,
                "coordinateTransformations": [{"type": "scale", "scale": [size * 2**number] * 2}],
            }
            for number, level in enumerate(levels)
        ],
    }
    if version == "0.4":
        return {
            "multiscales": [{"version": version, **image}],
            "image-label": {"version": version},
        }
    return {"ome": {"version": version, "multiscales": [image], "image-label": {}}}


def find_labels(path: Path) -> tuple[Path, Multiscale]:
    """Return the label image in a folder: the group that holds its levels, and its metadata.

    Parameters
    ----------
    path
        The folder of the labels; or of an image that holds one label image.

    Raises
    ------
    ImageError
        If it is missing or damaged, or holds no label image or several.
    """
    if not path.is_dir():
        raise ImageError(f"'{path}' does not exist or is no folder; check its name.")
    found = attributes_of(path)
    if "image-label" not in found:
        names, inner = found.get("labels"), path
        if not names:
            inner = path / "labels"
            names = attributes_of(inner).get("labels")
        if names and len(names) == 1:
            return find_labels(inner / str(names[0]))
        if names:
            raise ImageError(
                f"'{path}' holds several label images ({', '.join(map(str, names))}); give the "
                f"folder of one, '{inner / str(names[0])}' for example."
            )
    scales = Multiscale.of(path, found)
    if scales is None or not scales.levels:
        raise ImageError(f"'{path}' holds no OME-Zarr label image; give the folder of one.")
    return path, scales

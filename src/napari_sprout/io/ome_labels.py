"""What OME-Zarr says of a label image, in versions 0.4 and 0.5."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from ..errors import ImageError
from .pixel_size import both_axes, um_per_unit
from .raster import damaged

_METADATA: Final = ("zarr.json", ".zattrs")
_GROUPS: Final = ("zarr.json", ".zgroup", ".zattrs", ".zarray")


@dataclass(frozen=True)
class LabelsMetadata:
    """The metadata of a label image.

    Attributes
    ----------
    group
        The folder that holds its levels.
    levels
        Their names, the full resolution first.
    axes
        Of their arrays, in order, in lower case.
    mpp
        Pixel size in um; None if no unit is given.
    attributes
        As they are stored.
    zarr_format
        2 or 3.
    """

    group: Path
    levels: tuple[str, ...]
    axes: tuple[str, ...]
    mpp: float | None
    attributes: dict[str, Any]
    zarr_format: int

    @classmethod
    def new(cls, name: str, count: int, mpp: float | None, version: str) -> LabelsMetadata:
        """Return the metadata of `count` levels, each half the size of the one before."""
        unit = {} if mpp is None else {"unit": "micrometer"}
        axes = [{"name": axis, "type": "space", **unit} for axis in "yx"]
        levels = tuple(str(number) for number in range(count))
        size = 1.0 if mpp is None else mpp
        datasets = [
            {
                "path": level,
                "coordinateTransformations": [{"type": "scale", "scale": [size * 2**number] * 2}],
            }
            for number, level in enumerate(levels)
        ]
        image = {"name": name or "nuclei", "axes": axes, "datasets": datasets}
        if version == "0.4":
            attributes: dict[str, Any] = {
                "multiscales": [{"version": version, **image}],
                "image-label": {"version": version},
            }
            return cls(Path(), levels, ("y", "x"), mpp, attributes, 2)
        ome = {"version": version, "multiscales": [image], "image-label": {}}
        return cls(Path(), levels, ("y", "x"), mpp, {"ome": ome}, 3)


def is_zarr(path: Path) -> bool:
    """Whether a folder is a Zarr, of whatever content."""
    return any((path / name).is_file() for name in _GROUPS)


def find_labels(path: Path) -> LabelsMetadata:
    """Return the metadata of the label image in a folder.

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
    found = _attributes(path)
    names = _attributes(path / "labels").get("labels") or found.get("labels") or []
    if "image-label" not in found and names:
        if len(names) > 1:
            raise ImageError(
                f"'{path}' holds several label images ({', '.join(map(str, names))}); give the "
                f"folder of one, '{path / 'labels' / str(names[0])}' for example."
            )
        inner = path if "labels" in found else path / "labels"
        return find_labels(inner / str(names[0]))
    try:
        return _read(path, found)
    except (KeyError, TypeError, AttributeError, ValueError, IndexError) as exc:
        raise damaged(path, exc) from exc


def _read(path: Path, attributes: dict[str, Any]) -> LabelsMetadata:
    scales = attributes.get("multiscales")
    if not scales:
        raise ImageError(f"'{path}' holds no OME-Zarr label image; give the folder of one.")
    datasets = scales[0]["datasets"]
    listed = scales[0].get("axes") or tuple("tczyx")
    axes = [{"name": one} if isinstance(one, str) else one for one in listed]
    sizes = [1.0] * len(axes)
    for holder in (scales[0], datasets[0]):
        for change in holder.get("coordinateTransformations", ()):
            if change["type"] == "scale":
                sizes = [a * float(b) for a, b in zip(sizes, change["scale"], strict=True)]
    units = [um_per_unit(str(axis["unit"])) if axis.get("unit") else None for axis in axes]
    microns = [
        None if unit is None else size * unit for size, unit in zip(sizes, units, strict=True)
    ]
    return LabelsMetadata(
        path,
        tuple(str(one["path"]) for one in datasets),
        tuple(str(axis["name"]).lower() for axis in axes),
        both_axes(microns[-1], microns[-2]),
        attributes,
        3 if (path / "zarr.json").is_file() else 2,
    )


def _attributes(group: Path) -> dict[str, Any]:
    """Return a group's attributes, of version 0.5 those of OME; empty if it is no group."""
    for name in _METADATA:
        try:
            found = json.loads((group / name).read_bytes())
        except (FileNotFoundError, NotADirectoryError):
            continue
        except (OSError, ValueError) as exc:
            raise damaged(group, exc) from exc
        attributes = found.get("attributes", {}) if name == "zarr.json" else found
        ome = attributes.get("ome", {})
        return {**attributes, **ome} if isinstance(ome, dict) else dict(attributes)
    return {}

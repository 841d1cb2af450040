"""What OME-Zarr's metadata say of a multiscale image, versions 0.4 and 0.5."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final, Self

from .pixel_size import both_axes, um_per_unit
from .raster import damaged

METADATA_NAMES: Final = ("zarr.json", ".zattrs")

_OLD_AXES: Final = ("t", "c", "z", "y", "x")


@dataclass(frozen=True)
class Multiscale:
    """One image in several resolutions.

    Attributes
    ----------
    axes
        Names of the axes, in lower case.
    units
        Their units as given, empty where there is none.
    levels
        Paths of the resolutions within the group, the full one first.
    scale
        Size of a full-resolution pixel along each axis, in its unit.
    """

    axes: tuple[str, ...]
    units: tuple[str, ...]
    levels: tuple[str, ...]
    scale: tuple[float, ...]

    @classmethod
    def of(cls, group: Path, attributes: dict[str, Any]) -> Self | None:
        """Return the first image of a group, None if it holds none.

        Parameters
        ----------
        group
            The group's folder, for the message.
        attributes
            As :func:`attributes_of` returns them.

        Raises
        ------
        ImageError
            If the metadata are damaged.
        """
        scales = attributes.get("multiscales")
        if not scales:
            return None
        try:
            return cls._of(scales[0])
        except (KeyError, TypeError, AttributeError, ValueError, IndexError) as exc:
            raise damaged(group, exc) from exc

    @classmethod
    def _of(cls, image: dict[str, Any]) -> Self:
        listed = image.get("axes") or _OLD_AXES
        axes = [{"name": one} if isinstance(one, str) else one for one in listed]
        datasets = image["datasets"]
        scale = [1.0] * len(axes)
        for holder in (image, datasets[0]):
            for change in holder.get("coordinateTransformations", ()):
                if change["type"] == "scale":
                    scale = [a * float(b) for a, b in zip(scale, change["scale"], strict=True)]
        return cls(
            axes=tuple(str(axis["name"]).lower() for axis in axes),
            units=tuple(str(axis.get("unit") or "") for axis in axes),
            levels=tuple(str(one["path"]) for one in datasets),
            scale=tuple(scale),
        )

    @property
    def mpp(self) -> float | None:
        """Pixel size in um; None where no unit is given: one a pixel is no micrometre."""
        sizes: list[float | None] = []
        for axis in "xy":
            place = self.axes.index(axis) if axis in self.axes else None
            unit = um_per_unit(self.units[place]) if place is not None else None
            sizes.append(None if place is None or unit is None else self.scale[place] * unit)
        return both_axes(*sizes)


def attributes_of(group: Path) -> dict[str, Any]:
    """Return a group's attributes, of version 0.5 those of OME; empty if it is no group.

    Raises
    ------
    ImageError
        If they cannot be read.
    """
    for name in METADATA_NAMES:
        try:
            found = json.loads((group / name).read_bytes())
        except (FileNotFoundError, NotADirectoryError):
            continue
        except ValueError as exc:
            raise damaged(group, exc) from exc
        attributes = found.get("attributes", {}) if name == "zarr.json" else found
        ome = attributes.get("ome", {})
        return {**attributes, **ome} if isinstance(ome, dict) else dict(attributes)
    return {}

"""Nuclei from GeoJSON as QuPath and other programs write it, as labels.

Coordinates are QuPath's: (x, y) in full-resolution pixels, where the top left
pixel spans 0..1 on both axes.
"""

from __future__ import annotations

import itertools
import json
import math
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from ..errors import ImageError, warn
from .outlines import fill
from .raster import check_dimensions, file_errors_in_words

_Shape = tuple[int | None, list[list[NDArray[np.float64]]]]
"""The label, if its name is one, and the polygons of a shape: each its rings, (n, 2) corners."""

_LARGEST_LABEL: Final = 2**31 - 1
# In a file that holds such objects, other shapes (regions, tiles) enclose them.
_NUCLEI: Final = {"detection", "cell", "PathDetectionObject", "PathCellObject"}
_GEOMETRIES: Final = {
    "Point",
    "MultiPoint",
    "LineString",
    "MultiLineString",
    "Polygon",
    "MultiPolygon",
    "GeometryCollection",
}
_NEVER_NUCLEI: Final = {"tile", "tmaCore", "tma_core", "root", "PathTileObject", "TMACoreObject"}


def read_geojson(
    path: str | Path,
    shape: tuple[int, int] | None = None,
    tell: Callable[[str], None] = warn,
) -> NDArray[np.int32]:
    """Read the nuclei of a GeoJSON file as labels.

    Detections and the nuclei of cells count; in a file without either, every
    polygon does. A pixel belongs to the shape that holds its centre, and to the
    smaller where two overlap. A shape whose name is a whole number has it as
    its label, unless an earlier shape took it; others get the lowest free numbers.

    Parameters
    ----------
    path
        A file by :func:`.write_geojson`, QuPath or another program: features, a
        collection or a list of them, or bare geometries.
    shape
        Height and width of the image, in px; None for the smallest image, from the
        same corner, that holds all shapes.
    tell
        Called with a sentence if some shapes cover no pixel: outside the image, too
        small, or hidden; by default that is a SproutWarning.

    Returns
    -------
    ndarray
        int32, of shape `shape`; 0 is background.

    Raises
    ------
    ImageError
        If the file is missing, unreadable, not GeoJSON, or none of its shapes
        lies in the image; without `shape`, if there are none, or they lie too far
        from each other.
    """
    path = Path(path)
    found = list(_shapes(path))
    shape = _extent(path, found) if shape is None else shape
    numbers = _numbers([name for name, _ in found])
    # Largest first, so that smaller ones come to lie on top.
    drawn = [[fill(polygon, shape) for polygon in polygons] for _, polygons in found]
    areas = [sum(int(np.count_nonzero(mask)) for _, mask in parts) for parts in drawn]
    labels = np.zeros(shape, dtype=np.int32)
    for index in sorted(range(len(drawn)), key=lambda index: -areas[index]):
        for (y0, x0, y1, x1), mask in drawn[index]:
            labels[y0:y1, x0:x1][mask] = numbers[index]
    _check_covered(path, len(found), len(np.unique(labels[labels > 0])), shape, tell)
    return labels


def _extent(path: Path, found: Sequence[_Shape]) -> tuple[int, int]:
    """Return the height and width that hold all shapes."""
    corners = [ring.max(axis=0) for _, polygons in found for rings in polygons for ring in rings]
    if not corners:
        raise ImageError(f"'{path}' holds no outlines of nuclei; export the objects again.")
    height, width = (max(0, math.ceil(side)) for side in np.max(corners, axis=0))
    check_dimensions(path, height, width)
    return height, width


def _numbers(names: Sequence[int | None]) -> list[int]:
    """Return a label for each shape: its name where no earlier one has it, else a free one."""
    owners: dict[int, int] = {}
    for index, name in enumerate(names):
        if name is not None:
            owners.setdefault(name, index)
    free = (number for number in itertools.count(1) if number not in owners)
    return [
        name if name is not None and owners[name] == index else next(free)
        for index, name in enumerate(names)
    ]


def _check_covered(
    path: Path, total: int, visible: int, shape: tuple[int, int], tell: Callable[[str], None]
) -> None:
    size = f"{shape[1]} x {shape[0]} px"
    if total and not visible:
        raise ImageError(
            f"None of the {total} shapes in '{path}' lies in this image ({size}); give the file "
            "that was exported from it, at full resolution."
        )
    if visible < total:
        tell(
            f"{total - visible} of the {total} shapes in '{path}' were left out: they cover no "
            f"pixel of this image ({size}) or lie under others."
        )


def _shapes(path: Path) -> Iterator[_Shape]:
    """Yield the name, if it is a label, and the polygons of every nucleus in a file."""
    features = list(_features(path, _document(path)))
    kinds = [_kind(feature) for feature in features]
    chosen = _NUCLEI if _NUCLEI.intersection(kinds) else set(kinds) - _NEVER_NUCLEI
    for number, (feature, kind) in enumerate(zip(features, kinds, strict=True), 1):
        if kind not in chosen:
            continue
        geometry = feature.get("nucleusGeometry") or feature.get("geometry")
        try:
            polygons = [
                [_ring(ring) for ring in polygon]
                for polygon in _coordinates(geometry)
                if polygon != []
            ]
        except (TypeError, ValueError, KeyError, OverflowError) as exc:
            raise ImageError(
                f"Shape {number} in '{path}' is damaged: its outline is not a list of points; "
                "export the file again."
            ) from exc
        if polygons:
            yield _label_in(feature), polygons


def _document(path: Path) -> Any:
    try:
        with file_errors_in_words(path):
            return json.loads(path.read_bytes())
    except (ValueError, RecursionError) as exc:
        raise ImageError(
            f"'{path}' is damaged or not a GeoJSON file ({exc}); export it again."
        ) from exc


def _features(path: Path, document: Any) -> Iterator[dict[str, Any]]:
    """Yield every feature of a document, those inside others too."""
    waiting = [document]
    while waiting:
        item = waiting.pop()
        if isinstance(item, list):
            waiting += reversed(item)
            continue
        kind = item.get("type") if isinstance(item, dict) else None
        if kind == "FeatureCollection" and isinstance(item.get("features"), list):
            waiting += reversed(item["features"])
        elif kind == "Feature":
            yield item
            for name in ("childObjects", "children"):
                children = _properties(item).get(name)
                waiting += reversed(children) if isinstance(children, list) else []
        elif kind in _GEOMETRIES:
            yield {"type": "Feature", "geometry": item}
        else:
            raise ImageError(
                f"'{path}' is not a GeoJSON file of shapes; export the objects as GeoJSON again."
            )


def _properties(feature: dict[str, Any]) -> dict[str, Any]:
    properties = feature.get("properties")
    return properties if isinstance(properties, dict) else {}


def _kind(feature: dict[str, Any]) -> str:
    """Return QuPath's type of object, which version 0.2 wrote in the place of the identifier."""
    properties = _properties(feature)
    kind = properties.get("objectType") or properties.get("object_type") or feature.get("id")
    return kind if isinstance(kind, str) else ""


def _label_in(feature: dict[str, Any]) -> int | None:
    name = str(_properties(feature).get("name", ""))
    plain = name.isascii() and name.isdigit() and len(name) <= 10 and not name.startswith("0")
    return int(name) if plain and int(name) <= _LARGEST_LABEL else None


def _coordinates(geometry: Any) -> list[Any]:
    """Return the polygons' coordinates; points and lines have no area and count for nothing."""
    if geometry is None:
        return []
    kind = str(geometry["type"])
    if kind == "GeometryCollection":
        return [part for member in geometry["geometries"] for part in _coordinates(member)]
    if kind not in ("Polygon", "MultiPolygon"):
        return []
    coordinates: list[Any] = geometry["coordinates"]
    return [coordinates] if kind == "Polygon" else coordinates


def _ring(points: Any) -> NDArray[np.float64]:
    """Return (n, 2) corner coordinates (y, x) of a ring; heights, if any, are dropped."""
    ring = np.array([point[:2] for point in points], dtype=np.float64)
    if ring.ndim != 2 or ring.shape[0] < 3 or ring.shape[1] != 2 or not np.isfinite(ring).all():
        raise ValueError
    return ring[:, ::-1]

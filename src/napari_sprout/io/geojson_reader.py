"""Nuclei from GeoJSON as QuPath and other programs write it, as labels.

Coordinates are QuPath's: (x, y) in full-resolution pixels, where the top left
pixel spans 0..1 on both axes.
"""

from __future__ import annotations

import json
import math
from collections.abc import Callable, Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from ..core.crops import Mask
from ..core.instances import Box, Nucleus
from ..errors import ImageError, warn
from .crop_labels import LARGEST_LABEL, CropLabels
from .geojson import FOOT, HEAD, measured_as
from .json_file import read_json
from .outlines import fill
from .raster import check_dimensions, file_errors_in_words

_Outline = tuple[int | None, list[list[NDArray[np.float64]]]]
"""The label, if its name is one, and the polygons of a shape: each its rings, (n, 2) corners."""

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
_UNREAD: Final = object()
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
    labels = geojson_labels(path, shape)
    check_dimensions(path, *labels.shape)
    return labels.whole(path, tell)


def geojson_labels(
    path: Path, shape: tuple[int, int] | None = None, features: Features | None = None
) -> CropLabels:
    """Return the label image in a GeoJSON file, see :func:`read_geojson`.

    Parameters
    ----------
    path
        The file.
    shape
        (H, W) of the image, of any size; None for the smallest that holds all shapes.
    features
        Those of the file, if it has been opened already.

    Raises
    ------
    ImageError
        As of :func:`read_geojson`.
    """
    found: Iterable[_Outline] = _outlines(path, features or Features(path))
    if shape is None:
        found = list(found)
        shape = _extent(path, found)
    inside = shape
    return CropLabels(
        inside,
        ((name, [_drawn(path, one, inside) for one in polygons]) for name, polygons in found),
    )


def _drawn(
    path: Path, polygon: list[NDArray[np.float64]], shape: tuple[int, int]
) -> tuple[Box, Mask]:
    """Return the pixels of a polygon, which no damage may make larger than memory."""
    corners = np.clip(np.concatenate(polygon), 0, shape)
    height, width = (math.ceil(side) for side in np.ptp(corners, axis=0).tolist())
    if height and width:
        check_dimensions(path, height, width)
    return fill(polygon, shape)


def geojson_measurements(path: Path, features: Features | None = None) -> dict[int, Nucleus]:
    """Return what our own GeoJSON says of nuclei, by their labels, where their shape is known.

    Only stains and scores are meant to be used: centroid, area and form are NaN or 0.

    Raises
    ------
    ImageError
        If the file cannot be read.
    """
    found: dict[int, Nucleus] = {}
    for feature in features or Features(path):
        name = _label_in(feature)
        measured = _properties(feature).get("measurements")
        if name is not None and isinstance(measured, dict) and measured:
            found.setdefault(name, measured_as(name, measured))
    return found


def _extent(path: Path, found: Sequence[_Outline]) -> tuple[int, int]:
    """Return the height and width that hold all shapes."""
    corners = [ring.max(axis=0) for _, polygons in found for rings in polygons for ring in rings]
    if not corners:
        raise ImageError(f"'{path}' holds no outlines of nuclei; export the objects again.")
    height, width = (max(1, math.ceil(side)) for side in np.max(corners, axis=0))
    return height, width


class Features:
    """The features of a file, again and again.

    A file by :class:`.GeoJsonWriter`, a feature a line, is read line by line each time, so
    that memory does not grow with it; any other is kept as a whole.

    Parameters
    ----------
    path
        The file.
    document
        What it holds, if that is known.

    Raises
    ------
    ImageError
        If it is missing, unreadable or not GeoJSON.
    """

    def __init__(self, path: Path, document: Any = _UNREAD) -> None:
        self._path = path
        self._document = document
        if document is _UNREAD and not self._lines_are_features():
            self._document = read_json(path, "GeoJSON file")

    def __iter__(self) -> Iterator[dict[str, Any]]:
        if self._document is not _UNREAD:
            yield from _features(self._path, self._document)
            return
        with file_errors_in_words(self._path), self._path.open(encoding="utf-8") as file:
            file.readline()
            for line in file:
                if not line.startswith("{"):
                    break
                yield from _features(self._path, json.loads(line.rstrip().rstrip(",")))

    def _lines_are_features(self) -> bool:
        """Whether each line is a feature, and the last one is there."""
        try:
            with file_errors_in_words(self._path), self._path.open(encoding="utf-8") as file:
                if file.readline() != HEAD:
                    return False
                line, comma = "", True
                for line in file:
                    if not line.startswith("{"):
                        break
                    if not comma:
                        return False
                    json.loads(line.rstrip().rstrip(","))
                    comma = line.endswith(",\n")
                rest = line.lstrip("\n") + file.read(len(FOOT) + 1)
                return rest == FOOT.lstrip("\n")
        except (ValueError, RecursionError):
            return False


def _outlines(path: Path, features: Features) -> Iterator[_Outline]:
    """Yield the name, if it is a label, and the polygons of every nucleus in a file."""
    kinds = {_kind(feature) for feature in features}
    chosen = _NUCLEI if _NUCLEI.intersection(kinds) else kinds - _NEVER_NUCLEI
    for number, feature in enumerate(features, 1):
        if _kind(feature) not in chosen:
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
    return int(name) if plain and int(name) <= LARGEST_LABEL else None


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

"""Nuclei as QuPath's GeoJSON.

Coordinates are QuPath's: (x, y) in full-resolution pixels, where the top left
pixel spans 0..1 on both axes; napari's are the pixels' centres, half a pixel less.
"""

from __future__ import annotations

import itertools
import json
import math
import uuid
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final, Literal, TextIO

import numpy as np
from numpy.typing import NDArray

from ..core.crops import Mask
from ..core.instances import Box, Nucleus
from ..core.pieces import pieces_of
from ..errors import OutputError, SettingsError
from .atomic import replacing
from .extras import needed
from .outlines import Polygon, crop_outlines
from .pieces import NucleusPiece
from .pixel_size import checked_mpp
from .streamed import StreamedFile

ObjectType = Literal["detection", "cell"]

_NAMESPACE: Final = uuid.uuid5(uuid.NAMESPACE_URL, "https://napari-sprout/nucleus")
HEAD: Final = '{"type":"FeatureCollection","features":[\n'
FOOT: Final = "\n]}\n"
"""Around the features, which have a line each."""

_MEASUREMENTS: Final = {
    "Area px^2": "area",
    "Perimeter px": "perimeter",
    "Eccentricity": "eccentricity",
    "Haematoxylin OD mean": "haematoxylin",
    "Eosin OD mean": "eosin",
    "Predicted IoU": "predicted_iou",
    "Stability": "stability",
    "Score": "score",
}
"""Names in QuPath's style, and what of a nucleus they hold."""

_TOGETHER: Final = 512
"""Nuclei whose outlines are traced at once."""


@dataclass(frozen=True)
class Classification:
    """A class of QuPath's.

    Attributes
    ----------
    name
        What it is called; parts of a derived class are separated by ": ".
    color
        Red, green and blue, 0 to 255.
    """

    name: str = "Nucleus"
    color: tuple[int, int, int] = (0, 200, 160)


NUCLEUS: Final = Classification()

_Row = tuple[int, Box, Mask, Nucleus | None]


class GeoJsonWriter(StreamedFile[TextIO]):
    """Writes nuclei as QuPath's objects, batch by batch.

    The file appears whole when the ``with`` block ends, or not at all. Outlines follow
    pixel edges, holes and all, and are valid polygons, so :func:`.read_geojson` gives the
    same pixels again. An object's name is its label. The same nuclei give the same bytes,
    whatever the batches.

    Parameters
    ----------
    path
        The file, ending in ``.geojson``.
    mpp
        Pixel size in um per px, 0.01 to 20; None leaves out measurements in um.
    image
        What tells the image from others, its hash for one: the objects' identifiers derive
        from it, so that the same nucleus of the same image has the same in every export.
    classification
        The class of all objects.
    object_type
        "detection"; or "cell", whose nucleus is its outline too, for scripts that work on
        the nuclei of cells.
    simplify
        How far, in pixels, an outline may move to be drawn with fewer points; it stays a
        valid polygon, though neighbours may overlap then. None leaves it exact.

    Raises
    ------
    OutputError
        On entering and leaving, if the file cannot be written.
    SettingsError
        If `mpp` or `simplify` is out of range, or the colour is none.
    SproutError
        If outlines are to be simplified and shapely is not installed.
    """

    def __init__(
        self,
        path: str | Path,
        *,
        mpp: float | None = None,
        image: str = "",
        classification: Classification = NUCLEUS,
        object_type: ObjectType = "detection",
        simplify: float | None = None,
    ) -> None:
        self._mpp = None if mpp is None else checked_mpp(mpp)
        self._image = image
        self._object_type = object_type
        self._simplify = simplify
        _check(classification, simplify)
        self._class = {"name": classification.name, "color": list(classification.color)}
        self._separator = ""
        super().__init__(path, _collection(path))

    def add(self, pieces: Iterable[NucleusPiece]) -> None:
        """Write nuclei, in this order."""
        self.add_rows((one.nucleus.id, one.box, one.mask, one.nucleus) for one in pieces)

    def add_rows(self, rows: Iterable[_Row]) -> None:
        """Write (id, box, mask, nucleus) rows; a nucleus that is None has no measurements."""
        file, waiting = self._out, iter(rows)
        while batch := list(itertools.islice(waiting, _TOGETHER)):
            traced = crop_outlines([(box, mask) for _, box, mask, _ in batch])
            for (ident, _, _, nucleus), polygons in zip(batch, traced, strict=True):
                if polygons:
                    file.write(self._separator + self._feature(ident, polygons, nucleus))
                    self._separator = ",\n"

    def _feature(self, ident: int, polygons: list[Polygon], nucleus: Nucleus | None) -> str:
        geometry = _geometry(polygons)
        if self._simplify is not None:
            geometry = _simplified(geometry, self._simplify)
        feature: dict[str, Any] = {
            "type": "Feature",
            "id": str(uuid.uuid5(_NAMESPACE, f"{self._image}:{ident}")),
            "geometry": geometry,
        }
        if self._object_type == "cell":
            feature["nucleusGeometry"] = geometry
        feature["properties"] = {
            "objectType": self._object_type,
            "name": str(ident),
            "classification": self._class,
            "measurements": {} if nucleus is None else _measurements(nucleus, self._mpp),
        }
        return json.dumps(feature, ensure_ascii=False, allow_nan=False, separators=(",", ":"))


@contextmanager
def _collection(path: str | Path) -> Iterator[TextIO]:
    with replacing(path) as temporary, temporary.open("w", encoding="utf-8", newline="") as file:
        file.write(HEAD)
        yield file
        file.write(FOOT)


def write_geojson(
    path: str | Path,
    labels: NDArray[np.integer[Any]],
    nuclei: Iterable[Nucleus],
    mpp: float | None = None,
    image: str = "",
    classification: Classification = NUCLEUS,
    object_type: ObjectType = "detection",
    simplify: float | None = None,
) -> None:
    """Write every label as one of QuPath's objects, as :class:`GeoJsonWriter` does.

    Parameters
    ----------
    path
        The file, ending in ``.geojson``.
    labels
        Whole numbers of shape (H, W); 0 is background.
    nuclei
        Measurements by id; a label without any is written without, and a
        measurement that is not a finite number is left out.
    mpp, image, classification, object_type, simplify
        As of :class:`GeoJsonWriter`.

    Raises
    ------
    OutputError
        If the file cannot be written, or `labels` are not labels.
    SettingsError
        If `mpp` or `simplify` is out of range.
    """
    if labels.ndim != 2 or labels.dtype.kind not in "iu" or labels.min(initial=0) < 0:
        raise OutputError(
            f"'{path}' was not written: labels must be whole numbers from 0 of shape (H, W), not "
            f"{labels.dtype.name} of shape {labels.shape}."
        )
    rows = {nucleus.id: nucleus for nucleus in nuclei}
    with GeoJsonWriter(
        path,
        mpp=mpp,
        image=image,
        classification=classification,
        object_type=object_type,
        simplify=simplify,
    ) as writer:
        writer.add_rows(
            (ident, box, mask, rows.get(ident)) for ident, box, mask in pieces_of(labels)
        )


def _check(classification: Classification, simplify: float | None) -> None:
    if not all(0 <= value <= 255 for value in classification.color):
        raise SettingsError(
            "The colour of a class must be three numbers from 0 to 255, not "
            f"{classification.color}."
        )
    if simplify is not None and not (math.isfinite(simplify) and simplify >= 0):
        raise SettingsError(f"Outlines move by 0 or more pixels, not by {simplify}.")
    if simplify is not None:
        needed("shapely")


def _geometry(polygons: list[Polygon]) -> dict[str, Any]:
    coordinates = [[_closed(ring) for ring in polygon] for polygon in polygons]
    if len(coordinates) == 1:
        return {"type": "Polygon", "coordinates": coordinates[0]}
    return {"type": "MultiPolygon", "coordinates": coordinates}


def _simplified(geometry: dict[str, Any], tolerance: float) -> dict[str, Any]:
    """Leave out points, so that no part of the outline moves by more than `tolerance` px."""
    shapely = needed("shapely")
    shape = needed("shapely.geometry").shape(geometry)
    simpler: dict[str, Any] = json.loads(shapely.to_geojson(shape.simplify(tolerance)))
    return simpler


def _closed(ring: NDArray[np.int64]) -> list[list[int]]:
    points: list[list[int]] = ring[:, ::-1].tolist()
    return [*points, points[0]]


def _measurements(nucleus: Nucleus, mpp: float | None) -> dict[str, float]:
    """Return finite measurements by name, to six digits."""
    values = {name: getattr(nucleus, field) for name, field in _MEASUREMENTS.items()}
    if mpp is not None:
        values["Area µm^2"] = nucleus.area * mpp**2
        values["Perimeter µm"] = nucleus.perimeter * mpp
    return {
        name: value if isinstance(value, int) else float(f"{value:.6g}")
        for name, value in values.items()
        if math.isfinite(value)
    }


def measured_as(ident: int, measurements: Mapping[str, Any]) -> Nucleus:
    """Return what an object's measurements say of a nucleus; its place is unknown, so NaN."""
    values: dict[str, Any] = dict.fromkeys(_MEASUREMENTS.values(), math.nan)
    for name, field in _MEASUREMENTS.items():
        value = measurements.get(name)
        if isinstance(value, int | float):
            values[field] = float(value)
    area = values["area"]
    values["area"] = int(area) if math.isfinite(area) else 0
    return Nucleus(id=ident, y=math.nan, x=math.nan, **values)

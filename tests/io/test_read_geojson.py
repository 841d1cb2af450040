from __future__ import annotations

import json
import math
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from skimage.draw import polygon as draw_polygon

from napari_sprout.core.instances import Nucleus
from napari_sprout.errors import ImageError, SproutWarning
from napari_sprout.io.geojson import write_geojson
from napari_sprout.io.geojson_reader import geojson_measurements, read_geojson

NUCLEUS = Nucleus(3, 1.0, 2.0, 5, 71.98765432, 0.5, 0.8123456789, 0.1, math.nan, 1.25)


@pytest.fixture
def write(tmp_path: Path) -> Callable[[Any], Path]:
    def write_document(document: Any) -> Path:
        path = tmp_path / "other.geojson"
        path.write_text(document if isinstance(document, str) else json.dumps(document))
        return path

    return write_document


def square(x: float, y: float, side: float) -> list[list[list[float]]]:
    return [[[x, y], [x + side, y], [x + side, y + side], [x, y + side], [x, y]]]


def feature(coordinates: Any, kind: str = "Polygon", **properties: Any) -> dict[str, Any]:
    return {
        "type": "Feature",
        "geometry": {"type": kind, "coordinates": coordinates},
        "properties": properties,
    }


# Files of other programs


def test_a_pixel_belongs_to_the_shape_that_holds_its_centre(write) -> None:
    rng = np.random.default_rng(5)
    angles = np.sort(rng.uniform(0, 2 * np.pi, 30))
    x, y = 40 + rng.uniform(10, 30, 30) * np.array([np.cos(angles), np.sin(angles)])
    ring = [*map(list, zip(x.tolist(), y.tolist(), strict=True))]
    expected = np.zeros((80, 80), np.int32)
    expected[draw_polygon(y - 0.5, x - 0.5, expected.shape)] = 1
    found = read_geojson(write(feature([[*ring, ring[0]]])), (80, 80))
    assert found.any()
    assert np.array_equal(found, expected)


def test_shapes_that_share_an_edge_through_pixel_centres_share_no_pixel(write) -> None:
    # Four triangles that meet at (4.5, 4.5), their edges on centres of the diagonals.
    corners = [[0.5, 0.5], [8.5, 0.5], [8.5, 8.5], [0.5, 8.5]]
    triangles = [
        feature([[corners[i], corners[(i + 1) % 4], [4.5, 4.5], corners[i]]]) for i in range(4)
    ]
    alone = [read_geojson(write(triangle), (9, 9)) > 0 for triangle in triangles]
    assert np.array_equal(sum(map(np.asarray, alone), np.zeros((9, 9), int)) == 1, np.any(alone, 0))
    assert np.count_nonzero(alone) == 64


def test_names_are_labels_and_others_get_free_numbers(write) -> None:
    places = ((0, "2"), (2, "nucleus"), (4, "2"), (6, "01"), (8, "9999999999"), (10, None))
    shapes = [feature(square(x, 0, 1), name=name) for x, name in places]
    assert read_geojson(write(shapes), (1, 11))[0, ::2].tolist() == [2, 1, 3, 4, 5, 6]


def test_the_nucleus_of_a_cell_counts_not_its_membrane(write) -> None:
    cell = feature(square(0, 0, 9), objectType="cell")
    cell["nucleusGeometry"] = {"type": "Polygon", "coordinates": square(3, 3, 2)}
    assert np.argwhere(read_geojson(write([cell]), (9, 9))).tolist() == [
        [3, 3],
        [3, 4],
        [4, 3],
        [4, 4],
    ]


def test_regions_around_detections_are_no_nuclei(write) -> None:
    region = feature(square(0, 0, 9), objectType="annotation")
    tile = feature(square(0, 0, 5), objectType="tile")
    child = feature(square(1, 1, 1), objectType="detection")
    region["properties"]["childObjects"] = [child]
    collection = {"type": "FeatureCollection", "features": [region, tile]}
    assert np.argwhere(read_geojson(write(collection), (9, 9))).tolist() == [[1, 1]]


def test_annotations_alone_are_nuclei(write) -> None:
    shapes = [feature(square(x, 1, 2), objectType="annotation") for x in (0, 4)]
    assert np.unique(read_geojson(write(shapes), (9, 9))).tolist() == [0, 1, 2]


def test_the_smaller_of_two_overlapping_shapes_lies_on_top(write) -> None:
    shapes = [feature(square(2, 2, 2), name="1"), feature(square(0, 0, 8), name="2")]
    labels = read_geojson(write(shapes), (8, 8))
    assert np.count_nonzero(labels == 1) == 4
    assert np.count_nonzero(labels == 2) == 60


def test_several_polygons_and_bare_geometries_are_read(write) -> None:
    multi = {"type": "MultiPolygon", "coordinates": [square(0, 0, 2), square(1, 1, 2)]}
    point = {"type": "Point", "coordinates": [1, 1]}
    labels = read_geojson(
        write({"type": "GeometryCollection", "geometries": [multi, point]}), (4, 4)
    )
    # Pieces of one shape do not cancel each other.
    assert np.count_nonzero(labels == 1) == 7


def test_shapes_are_cut_at_the_border_and_those_outside_are_told_of(write) -> None:
    shapes = [feature(square(-5, -1e9, 2e9), name="7"), feature(square(50, 0, 3))]
    with pytest.warns(SproutWarning, match="1 of the 2 shapes"):
        labels = read_geojson(write(shapes), (4, 6))
    assert (labels == 7).all()


def test_shapes_of_another_image_are_refused(write) -> None:
    path = write([feature(square(100, 100, 5))])
    with pytest.raises(ImageError, match="lies in this image") as caught:
        read_geojson(path, (50, 60))
    assert str(path) in str(caught.value)
    assert "60 x 50 px" in str(caught.value)


@pytest.mark.parametrize(
    "document",
    [
        "",
        "{",
        "[" * 100_000,
        "5",
        "null",
        "{}",
        '["a"]',
        '{"type": "FeatureCollection", "features": 5}',
        '{"type": "Topology"}',
        b"\xff\xfe\x00garbage".decode("latin-1"),
    ],
)
def test_what_is_not_geojson_is_refused_in_a_sentence(write, document: str) -> None:
    path = write(document)
    with pytest.raises(ImageError, match="again") as caught:
        read_geojson(path, (9, 9))
    assert str(path) in str(caught.value)


@pytest.mark.parametrize(
    "coordinates",
    [
        5,
        None,
        "text",
        [5],
        [[5]],
        [[[1, 2]]],
        [[[1, 2], [3, 4]]],
        [[[1], [2], [3]]],
        [[["a", "b"], ["c", "d"], ["e", "f"]]],
        [[[0, 0], [1, float("inf")], [1, 1]]],
        [[[0, 0], [1, float("nan")], [1, 1]]],
        [[[0, 0], [1, 10**400], [1, 1]]],
        [[[0, 0], [None, 1], [1, 1]]],
        [{"a": 1}],
        [square(0, 0, 2), []],
    ],
)
def test_a_damaged_shape_is_named(write, coordinates: Any) -> None:
    path = write([feature(square(0, 0, 2)), feature(coordinates)])
    with pytest.raises(ImageError, match="Shape 2 in") as caught:
        read_geojson(path, (9, 9))
    assert str(path) in str(caught.value)


@pytest.mark.parametrize("geometry", [{"type": "Polygon"}, {"coordinates": []}, "Polygon", 5])
def test_a_damaged_geometry_is_named(write, geometry: Any) -> None:
    path = write([{"type": "Feature", "geometry": geometry}])
    with pytest.raises(ImageError, match="Shape 1 in"):
        read_geojson(path, (9, 9))


def test_a_missing_file_or_a_folder_is_refused(tmp_path: Path) -> None:
    for path in (tmp_path / "none.geojson", tmp_path):
        with pytest.raises(ImageError, match=r"does not exist|cannot be read"):
            read_geojson(path, (9, 9))


# Files of a feature a line


def test_a_large_file_of_ours_is_never_read_as_a_whole(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    labels = np.arange(1, 101, dtype=np.int32).reshape(10, 10)
    write_geojson(tmp_path / "a.geojson", labels, [])
    monkeypatch.setattr(Path, "read_bytes", lambda path: pytest.fail("read as a whole"))
    assert np.array_equal(read_geojson(tmp_path / "a.geojson", labels.shape), labels)


def test_our_file_that_was_cut_short_is_damaged(tmp_path: Path) -> None:
    path = tmp_path / "a.geojson"
    write_geojson(path, np.arange(1, 7, dtype=np.int32).reshape(2, 3), [])
    text = path.read_bytes()
    # The last newlines say nothing.
    for end in range(len(text) - 2):
        path.write_bytes(text[:end])
        with pytest.raises(ImageError, match="again"):
            read_geojson(path, (2, 3))


def test_our_file_with_more_in_it_is_read_as_well(tmp_path: Path) -> None:
    path = tmp_path / "a.geojson"
    labels = np.arange(1, 7, dtype=np.int32).reshape(2, 3)
    write_geojson(path, labels, [])
    path.write_text(path.read_text().replace("\n]}", '\n],"note":"mine"}'))
    assert np.array_equal(read_geojson(path, labels.shape), labels)
    path.write_text(json.dumps(json.loads(path.read_text()), indent=1))
    assert np.array_equal(read_geojson(path, labels.shape), labels)


def test_measurements_come_back_by_label(tmp_path: Path) -> None:
    write_geojson(tmp_path / "a.geojson", np.array([[3, 8]], np.int32), [NUCLEUS], 0.5)
    (found,) = geojson_measurements(tmp_path / "a.geojson").values()
    assert (found.id, found.area, found.eosin, found.score) == (3, 5, 0.1, 1.25)
    assert found.haematoxylin == pytest.approx(NUCLEUS.haematoxylin, rel=1e-5)
    assert math.isnan(found.predicted_iou)

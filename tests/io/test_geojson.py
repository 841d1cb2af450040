from __future__ import annotations

import dataclasses
import errno
import itertools
import json
import math
import os
import time
import uuid
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import shapely
import shapely.geometry
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import array_shapes, arrays
from numpy.typing import NDArray
from skimage.draw import disk
from skimage.draw import polygon as draw_polygon
from skimage.measure import label

from napari_sprout.core.instances import Nucleus
from napari_sprout.core.pieces import pieces_of
from napari_sprout.errors import ImageError, OutputError, SettingsError, SproutWarning
from napari_sprout.io.geojson import Classification, GeoJsonWriter, write_geojson
from napari_sprout.io.geojson_reader import geojson_measurements, read_geojson
from napari_sprout.io.pieces import NucleusPiece

# Touching, diagonally touching, holed and scattered labels are all likely among few values.
label_images = arrays(
    np.int32,
    array_shapes(min_dims=2, max_dims=2, max_side=9),
    elements=st.sampled_from([0, 1, 2, 7000]),
)
NUCLEUS = Nucleus(3, 1.0, 2.0, 5, 71.98765432, 0.5, 0.8123456789, 0.1, math.nan, 1.25)


@pytest.fixture(scope="module")
def file(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("geojson") / "case.geojson"


@pytest.fixture
def write(tmp_path: Path) -> Callable[[Any], Path]:
    def write_document(document: Any) -> Path:
        path = tmp_path / "other.geojson"
        path.write_text(document if isinstance(document, str) else json.dumps(document))
        return path

    return write_document


def features(path: Path) -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = json.loads(path.read_text(encoding="utf-8"))["features"]
    return found


def polygons(feature: dict[str, Any]) -> list[list[list[list[int]]]]:
    geometry = feature["geometry"]
    several = geometry["type"] == "MultiPolygon"
    found: list[list[list[list[int]]]] = geometry["coordinates"]
    return found if several else [found]  # type: ignore[list-item]


def square(x: float, y: float, side: float) -> list[list[list[float]]]:
    return [[[x, y], [x + side, y], [x + side, y + side], [x, y + side], [x, y]]]


def feature(coordinates: Any, kind: str = "Polygon", **properties: Any) -> dict[str, Any]:
    return {
        "type": "Feature",
        "geometry": {"type": kind, "coordinates": coordinates},
        "properties": properties,
    }


# Exactness


@settings(max_examples=150, deadline=None)
@given(labels=label_images)
def test_labels_survive_the_round_trip_exactly(file: Path, labels: NDArray[np.int32]) -> None:
    write_geojson(file, labels, [])
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert np.array_equal(read_geojson(file, labels.shape), labels)


@pytest.mark.parametrize(
    "rows",
    [
        ["###", "#.#", "###"],
        ["##.", "#.#", "###"],
        ["#.#", ".#.", "#.#"],
        ["#####", "#...#", "#.#.#", "#...#", "#####"],
        ["#####", "#.#.#", "##.##", "#.#.#", "#####"],
        ["####", "#.##", "##.#", "####"],
    ],
)
def test_holes_and_corners_that_touch_survive(tmp_path: Path, rows: list[str]) -> None:
    mask = np.array([[value == "#" for value in row] for row in rows])
    # The same shape once on the border and once inside, as two nuclei that touch.
    labels = np.hstack([mask * 5, mask * 9, 0 * mask]).astype(np.int32)
    write_geojson(tmp_path / "a.geojson", labels, [])
    assert np.array_equal(read_geojson(tmp_path / "a.geojson", labels.shape), labels)


def test_the_smallest_nucleus_is_a_unit_square_in_corner_coordinates(tmp_path: Path) -> None:
    labels = np.zeros((4, 6), np.int32)
    labels[2, 4] = 3
    write_geojson(tmp_path / "a.geojson", labels, [])
    (found,) = features(tmp_path / "a.geojson")
    assert found["geometry"]["type"] == "Polygon"
    (ring,) = found["geometry"]["coordinates"]
    assert sorted(ring[:-1]) == [[4, 2], [4, 3], [5, 2], [5, 3]]


def lattice(ring: list[list[int]]) -> list[tuple[int, int]]:
    """Every pixel corner that a closed ring passes, its end left out."""
    passed = []
    for (x0, y0), (x1, y1) in itertools.pairwise(ring):
        steps = max(abs(x1 - x0), abs(y1 - y0))
        passed += [
            (x0 + (x1 - x0) * step // steps, y0 + (y1 - y0) * step // steps)
            for step in range(steps)
        ]
    return passed


def signed_area(ring: list[list[int]]) -> float:
    return sum(x0 * y1 - x1 * y0 for (x0, y0), (x1, y1) in itertools.pairwise(ring)) / 2


@settings(max_examples=150, deadline=None)
@given(labels=label_images)
def test_polygons_are_valid(file: Path, labels: NDArray[np.int32]) -> None:
    write_geojson(file, labels, [])
    for found in features(file):
        ident = int(found["properties"]["name"])
        pieces, count = label(labels == ident, connectivity=1, return_num=True)
        assert len(polygons(found)) == count
        for outer, *holes in polygons(found):
            for ring in (outer, *holes):
                assert ring[0] == ring[-1]
                points = ring[:-1]
                following = (points[1:] + points[:1], points[2:] + points[:2])
                for before, here, after in zip(points, *following, strict=True):
                    # Axis-parallel, and a turn at every point: no point is superfluous.
                    assert (before[0] == here[0]) != (before[1] == here[1])
                    assert (before[0] == here[0]) != (here[0] == after[0])
                assert len(set(lattice(ring))) == len(lattice(ring))
            assert signed_area(outer) > 0
            assert all(signed_area(hole) < 0 for hole in holes)
            # Holes cut out exactly what is not in the piece: they lie inside and apart.
            x, y = min(outer[:-1], key=lambda point: (point[1], point[0]))
            area = np.count_nonzero(pieces == pieces[y, x])
            assert signed_area(outer) + sum(map(signed_area, holes)) == area
            # Rings meet at points alone, never along an edge.
            sides = [
                frozenset(side)
                for passed in map(lattice, (outer, *holes))
                for side in zip(passed, passed[1:] + passed[:1], strict=True)
            ]
            assert len(set(sides)) == len(sides)


# What QuPath reads


def test_a_detection_says_what_it_is(tmp_path: Path) -> None:
    labels = np.array([[3, 3, 0], [3, 0, 8]], np.int32)
    write_geojson(tmp_path / "a.geojson", labels, [NUCLEUS], mpp=0.5, image="ab")
    text = (tmp_path / "a.geojson").read_text(encoding="utf-8")
    assert json.loads(text)["type"] == "FeatureCollection"
    assert "NaN" not in text
    first, second = features(tmp_path / "a.geojson")
    assert first["type"] == "Feature"
    properties = first["properties"]
    assert properties["objectType"] == "detection"
    assert properties["classification"]["name"] == "Nucleus"
    assert all(0 <= value <= 255 for value in properties["classification"]["color"])
    assert len(properties["classification"]["color"]) == 3
    assert properties["measurements"] == {
        "Area px^2": 5,
        "Perimeter px": 71.9877,
        "Eccentricity": 0.5,
        "Haematoxylin OD mean": 0.812346,
        "Eosin OD mean": 0.1,
        "Score": 1.25,
        "Area µm^2": 1.25,
        "Perimeter µm": 35.9938,
    }
    assert second["properties"]["measurements"] == {}


def test_without_a_pixel_size_nothing_is_in_micrometres(tmp_path: Path) -> None:
    write_geojson(tmp_path / "a.geojson", np.array([[3]], np.int32), [NUCLEUS])
    assert "µm" not in (tmp_path / "a.geojson").read_text(encoding="utf-8")


def test_identifiers_belong_to_image_and_nucleus(tmp_path: Path) -> None:
    labels = np.array([[1, 0, 2]], np.int32)

    def idents(image: str, values: NDArray[np.int32]) -> list[str]:
        write_geojson(tmp_path / "a.geojson", values, [], image=image)
        return [found["id"] for found in features(tmp_path / "a.geojson")]

    first = idents("aa", labels)
    assert first == idents("aa", np.repeat(labels, 3, axis=0))
    assert idents("aa", labels[:, 2:]) == first[1:]
    assert len({*first, *idents("bb", labels)}) == 4
    assert all(str(uuid.UUID(ident)) == ident for ident in first)


def test_the_same_input_gives_the_same_bytes(tmp_path: Path) -> None:
    labels = np.array([[3, 0, 8]], np.int32)
    for name in ("a", "b"):
        write_geojson(tmp_path / name, labels, [NUCLEUS], 0.25, "cd")
    assert (tmp_path / "a").read_bytes() == (tmp_path / "b").read_bytes()


def test_no_nuclei_make_an_empty_collection(tmp_path: Path) -> None:
    write_geojson(tmp_path / "a.geojson", np.zeros((5, 4), np.int32), [])
    assert features(tmp_path / "a.geojson") == []
    assert not read_geojson(tmp_path / "a.geojson", (5, 4)).any()


def test_a_thousand_nuclei_take_less_than_a_second(tmp_path: Path) -> None:
    labels = np.zeros((1024, 1024), np.int32)
    for ident in range(1024):
        y, x = divmod(ident, 32)
        labels[disk((32 * y + 16, 32 * x + 16), 9 + ident % 6)] = ident + 1
    started = time.perf_counter()
    write_geojson(tmp_path / "a.geojson", labels, [])
    assert time.perf_counter() - started < 1
    assert np.array_equal(read_geojson(tmp_path / "a.geojson", labels.shape), labels)


@pytest.mark.parametrize("labels", [np.zeros((2, 2, 2), int), np.zeros((2, 2)), np.array([[-1]])])
def test_what_is_not_labels_is_refused(tmp_path: Path, labels: NDArray[Any]) -> None:
    with pytest.raises(OutputError, match="whole numbers"):
        write_geojson(tmp_path / "a.geojson", labels, [])
    assert list(tmp_path.iterdir()) == []


def test_a_senseless_pixel_size_is_refused(tmp_path: Path) -> None:
    with pytest.raises(SettingsError):
        write_geojson(tmp_path / "a.geojson", np.array([[3]], np.int32), [NUCLEUS], mpp=-1)


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


# Whole slides: batch by batch


def pieces_in(labels: NDArray[np.int32], offset: int = 0) -> list[NucleusPiece]:
    found = []
    for ident, (y0, x0, y1, x1), mask in pieces_of(labels):
        box = (y0 + offset, x0 + offset, y1 + offset, x1 + offset)
        found.append(NucleusPiece(dataclasses.replace(NUCLEUS, id=ident), box, mask))
    return found


@settings(max_examples=150, deadline=None)
@given(labels=label_images)
def test_geometries_are_valid_to_geos_and_cover_the_same_area(
    file: Path, labels: NDArray[np.int32]
) -> None:
    write_geojson(file, labels, [])
    for found in features(file):
        geometry = shapely.geometry.shape(found["geometry"])
        assert shapely.is_valid(geometry), shapely.is_valid_reason(geometry)
        assert geometry.area == np.count_nonzero(labels == int(found["properties"]["name"]))


@settings(max_examples=60, deadline=None)
@given(labels=label_images, size=st.integers(1, 5))
def test_batches_make_no_difference(file: Path, labels: NDArray[np.int32], size: int) -> None:
    pieces = pieces_in(labels)
    write_geojson(file, labels, [one.nucleus for one in pieces], 0.5, "ab")
    expected = file.read_bytes()
    with GeoJsonWriter(file, mpp=0.5, image="ab") as writer:
        for start in range(0, len(pieces), size):
            writer.add(iter(pieces[start : start + size]))
    assert file.read_bytes() == expected


def test_coordinates_are_those_of_the_slide(tmp_path: Path) -> None:
    far = 90_000
    with GeoJsonWriter(tmp_path / "a.geojson") as writer:
        writer.add(pieces_in(np.array([[0, 0], [0, 7]], np.int32), far))
    (found,) = features(tmp_path / "a.geojson")
    (ring,) = found["geometry"]["coordinates"]
    assert sorted({x for x, _ in ring}) == sorted({y for _, y in ring}) == [far + 1, far + 2]


def test_an_interruption_keeps_the_old_file(tmp_path: Path) -> None:
    path = tmp_path / "a.geojson"
    path.write_text("old")
    writer = GeoJsonWriter(path)

    def interrupted() -> None:
        with writer:
            writer.add(pieces_in(np.eye(9, dtype=np.int32)))
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        interrupted()
    assert path.read_text() == "old"
    assert list(tmp_path.iterdir()) == [path]
    with pytest.raises(OutputError, match="not open"):
        writer.add([])


def test_a_disk_that_fills_up_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(descriptor: int) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(os, "fsync", full)
    with (
        pytest.raises(OutputError, match=r"a\.geojson' could not be written: the disk is full"),
        GeoJsonWriter(tmp_path / "a.geojson") as writer,
    ):
        writer.add(pieces_in(np.eye(9, dtype=np.int32)))
    assert list(tmp_path.iterdir()) == []


# Classes, cells, simpler outlines


def test_a_class_has_its_name_and_colour(tmp_path: Path) -> None:
    kind = Classification("Tumor: positive", (250, 0, 9))
    write_geojson(tmp_path / "a.geojson", np.eye(2, dtype=np.int32), [], classification=kind)
    (found,) = features(tmp_path / "a.geojson")
    assert found["properties"]["classification"] == {
        "name": "Tumor: positive",
        "color": [250, 0, 9],
    }


def test_a_cell_has_a_nucleus_and_is_read_again(tmp_path: Path) -> None:
    labels = np.array([[3, 3, 0], [3, 0, 8]], np.int32)
    write_geojson(tmp_path / "a.geojson", labels, [], object_type="cell")
    for found in features(tmp_path / "a.geojson"):
        assert found["properties"]["objectType"] == "cell"
        assert found["nucleusGeometry"] == found["geometry"]
    assert np.array_equal(read_geojson(tmp_path / "a.geojson", labels.shape), labels)


@settings(max_examples=100, deadline=None)
@given(
    labels=arrays(np.int32, (14, 14), elements=st.sampled_from([0, 1, 1, 1, 2])),
    tolerance=st.floats(0, 3),
)
def test_simpler_outlines_are_valid_and_move_no_further_than_allowed(
    file: Path, labels: NDArray[np.int32], tolerance: float
) -> None:
    write_geojson(file, labels, [])
    exact = [shapely.geometry.shape(found["geometry"]) for found in features(file)]
    write_geojson(file, labels, [], simplify=tolerance)
    simple = [shapely.geometry.shape(found["geometry"]) for found in features(file)]
    for before, after in zip(exact, simple, strict=True):
        assert shapely.is_valid(after)
        assert not after.is_empty
        assert shapely.get_num_coordinates(after) <= shapely.get_num_coordinates(before)
        assert shapely.hausdorff_distance(before.boundary, after.boundary) <= tolerance + 1e-9


def test_a_round_nucleus_needs_fewer_points(tmp_path: Path) -> None:
    labels = np.zeros((60, 60), np.int32)
    labels[disk((30, 30), 20)] = 1
    points = []
    for tolerance in (None, 1.0):
        write_geojson(tmp_path / "a.geojson", labels, [], simplify=tolerance)
        (found,) = features(tmp_path / "a.geojson")
        points.append(len(found["geometry"]["coordinates"][0]))
    assert points[1] < points[0] / 3
    read = read_geojson(tmp_path / "a.geojson", labels.shape)
    assert np.count_nonzero(read != labels) < 0.03 * np.count_nonzero(labels)


@pytest.mark.parametrize(
    "options",
    [
        {"simplify": -1.0},
        {"simplify": math.nan},
        {"classification": Classification("a", (0, 0, 256))},
    ],
)
def test_senseless_options_are_refused(tmp_path: Path, options: dict[str, Any]) -> None:
    with pytest.raises(SettingsError):
        write_geojson(tmp_path / "a.geojson", np.eye(2, dtype=np.int32), [], **options)
    assert list(tmp_path.iterdir()) == []


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

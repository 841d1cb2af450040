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
from skimage.measure import label

from napari_sprout.core.instances import Nucleus
from napari_sprout.core.pieces import pieces_of
from napari_sprout.errors import OutputError, SettingsError
from napari_sprout.io.geojson import Classification, GeoJsonWriter, write_geojson
from napari_sprout.io.geojson_reader import read_geojson
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


def features(path: Path) -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = json.loads(path.read_text(encoding="utf-8"))["features"]
    return found


def polygons(feature: dict[str, Any]) -> list[list[list[list[int]]]]:
    geometry = feature["geometry"]
    several = geometry["type"] == "MultiPolygon"
    found: list[list[list[list[int]]]] = geometry["coordinates"]
    return found if several else [found]  # type: ignore[list-item]


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

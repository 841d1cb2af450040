from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import skimage.io
import tifffile
from numpy.typing import NDArray

from napari_sprout.core.pieces import pieces_of
from napari_sprout.core.session import Session
from napari_sprout.core.settings import Settings
from napari_sprout.core.synthetic import SyntheticImage
from napari_sprout.errors import ImageError, SproutWarning
from napari_sprout.io.geojson import write_geojson
from napari_sprout.io.labels import write_labels
from napari_sprout.io.nuclei import read_nuclei

SHAPE = (60, 80)


@pytest.fixture
def labels() -> NDArray[np.int32]:
    image = np.zeros(SHAPE, np.int32)
    image[5:20, 5:25] = 1
    image[20:40, 5:25] = 7
    image[10:14, 8:12] = 0
    image[50:60, 70:80] = 200
    return image


def same(found: Any, expected: Any) -> bool:
    return len(found) == len(expected) and all(
        a[:2] == b[:2] and np.array_equal(a[2], b[2]) for a, b in zip(found, expected, strict=True)
    )


@pytest.mark.parametrize("kind", [np.uint8, np.uint16, np.uint32, np.int32, np.float32])
def test_a_label_tiff_of_any_depth_gives_its_nuclei(tmp_path, labels, kind) -> None:
    path = tmp_path / "stardist.tif"
    tifffile.imwrite(path, labels.astype(kind))
    assert same(read_nuclei(path, SHAPE), pieces_of(labels))


@pytest.mark.parametrize("kind", [np.uint8, np.uint16])
def test_so_does_a_label_png(tmp_path, labels, kind) -> None:
    path = tmp_path / "cellpose.png"
    skimage.io.imsave(path, labels.astype(kind), check_contrast=False)
    assert same(read_nuclei(path, SHAPE), pieces_of(labels))


def test_what_we_write_is_read_back(tmp_path, labels) -> None:
    labels[labels == 7] = 70_000
    write_labels(tmp_path / "a.tif", labels, mpp=0.25)
    write_geojson(tmp_path / "a.geojson", labels, ())
    assert same(read_nuclei(tmp_path / "a.tif", SHAPE), pieces_of(labels))
    assert same(read_nuclei(str(tmp_path / "a.geojson"), SHAPE), pieces_of(labels))


def square(x: float, y: float, side: float) -> dict[str, Any]:
    ring = [[x, y], [x + side, y], [x + side, y + side], [x, y + side], [x, y]]
    return {
        "type": "Feature",
        "geometry": {"type": "Polygon", "coordinates": [ring]},
        "properties": {"objectType": "detection"},
    }


def test_of_overlapping_outlines_the_smaller_lies_on_top(tmp_path) -> None:
    path = tmp_path / "qupath.json"
    path.write_text(json.dumps([square(10, 10, 20), square(25, 25, 10), square(99, 9, 5)]))
    with pytest.warns(SproutWarning, match=r"1 of the 3"):
        (first, second) = read_nuclei(path, SHAPE)
    assert (first[0], second[0]) == (1, 2)
    assert (first[2].sum(), second[2].sum()) == (400 - 25, 100)
    told: list[str] = []
    read_nuclei(path, SHAPE, told.append)
    assert len(told) == 1


def test_nuclei_of_another_size_are_refused_naming_both(tmp_path, labels) -> None:
    path = tmp_path / "half.tif"
    tifffile.imwrite(path, labels[::2, ::2].astype(np.uint16))
    with pytest.raises(ImageError, match=r"half\.tif' is 40 x 30 px.* 80 x 60 px"):
        read_nuclei(path, SHAPE)


@pytest.mark.parametrize("name", ["colour.png", "colour.tif"])
def test_a_colour_picture_is_refused(tmp_path, he, name) -> None:
    skimage.io.imsave(tmp_path / name, he, check_contrast=False)
    with pytest.raises(ImageError, match="colour"):
        read_nuclei(tmp_path / name, he.shape[:2])


def test_a_mask_that_tells_no_nucleus_from_another_is_refused(tmp_path, labels) -> None:
    path = tmp_path / "mask.png"
    mask = np.zeros(SHAPE, np.uint8)
    mask[::10, ::10] = 255
    skimage.io.imsave(path, mask, check_contrast=False)
    with pytest.raises(ImageError, match=r"mask\.png' gives all nuclei the same number, 255"):
        read_nuclei(path, SHAPE)
    one = np.where(labels == 7, 255, 0).astype(np.uint8)
    skimage.io.imsave(path, one, check_contrast=False)
    assert same(read_nuclei(path, SHAPE), pieces_of(one))


@pytest.mark.parametrize("name", ["empty.tif", "empty.geojson", "none.tif", "none.json"])
def test_files_without_nuclei_are_refused(tmp_path: Path, name: str) -> None:
    path = tmp_path / name
    if name == "empty.tif":
        tifffile.imwrite(path, np.zeros(SHAPE, np.uint16))
    elif name == "empty.geojson":
        path.write_text('{"type": "FeatureCollection", "features": []}')
    with pytest.raises(ImageError, match=name):
        read_nuclei(path, SHAPE)


def test_a_session_takes_nuclei_without_a_window(
    synthetic: SyntheticImage, fake_type: Any, tmp_path: Path
) -> None:
    from napari_sprout.core.correction import Correction
    from napari_sprout.core.edits import OpenNuclei
    from napari_sprout.io.export import results_of

    settings = Settings().with_changes(stain={"method": "fixed"}, features={"tile": 256})
    correction = Correction(Session(synthetic.rgb, settings, segmenter=fake_type()))
    write_labels(tmp_path / "nuclei.tif", synthetic.labels)
    pieces = read_nuclei(tmp_path / "nuclei.tif", synthetic.labels.shape)
    correction.apply(OpenNuclei(pieces))
    for _ in correction.run():
        pass
    results = results_of(correction)
    assert np.array_equal(results.labels, synthetic.labels)
    assert results.metadata["nuclei_given"] == len(pieces)

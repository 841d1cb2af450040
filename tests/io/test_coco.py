from __future__ import annotations

import dataclasses
import json
import math
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import array_shapes, arrays
from numpy.typing import NDArray
from pycocotools.coco import COCO

from napari_sprout.core.instances import Nucleus
from napari_sprout.core.pieces import pieces_of
from napari_sprout.errors import ImageError, OutputError, SproutWarning
from napari_sprout.io.coco import CocoWriter, read_coco, write_coco
from napari_sprout.io.pieces import NucleusPiece

NUCLEUS = Nucleus(3, 1.0, 2.0, 5, 7.0, 0.5, 0.8, 0.1, 0.9, 1.25)

LABELS = np.array([[3, 3, 0, 0, 9], [3, 0, 8, 0, 9], [0, 0, 8, 0, 9]], np.int32)


@pytest.fixture
def write(tmp_path: Path) -> Callable[[Any], Path]:
    def write_annotations(annotations: Any) -> Path:
        image = {"id": 4, "file_name": "a.png", "height": 6, "width": 9}
        document = {"images": [image], "annotations": annotations, "categories": []}
        path = tmp_path / "other.json"
        path.write_text(json.dumps(document))
        return path

    return write_annotations


@settings(
    max_examples=100, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
@given(
    arrays(
        np.int32,
        array_shapes(min_dims=2, max_dims=2, max_side=12),
        elements=st.sampled_from([0, 1, 2, 7000, 2**31 - 1]),
    )
)
def test_labels_survive_the_round_trip_exactly(tmp_path: Path, labels: NDArray[np.int32]) -> None:
    write_coco(tmp_path / "a.coco.json", labels)
    np.testing.assert_array_equal(read_coco(tmp_path / "a.coco.json"), labels)


def test_cocos_own_reader_sees_the_same(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = tmp_path / "a.coco.json"
    write_coco(path, LABELS, image_name="case.png", mpp=0.5, category="Lymphocyte", scores={3: 0.5})
    read = COCO(str(path))
    assert read.loadCats(read.getCatIds())[0]["name"] == "Lymphocyte"
    (image,) = read.loadImgs(read.getImgIds())
    assert (image["file_name"], image["height"], image["width"]) == ("case.png", 3, 5)
    annotations = read.loadAnns(read.getAnnIds(imgIds=image["id"]))
    assert [one["id"] for one in annotations] == [3, 8, 9]
    assert [one.get("score") for one in annotations] == [0.5, None, None]
    for one in annotations:
        mask = read.annToMask(one)
        np.testing.assert_array_equal(mask, one["id"] == LABELS)
        assert one["area"] == mask.sum()
        x, y, width, height = one["bbox"]
        assert mask[y : y + height, x : x + width].sum() == mask.sum()


def test_batches_make_no_difference(tmp_path: Path) -> None:
    pieces = [
        NucleusPiece(dataclasses.replace(NUCLEUS, id=ident), box, mask)
        for ident, box, mask in pieces_of(LABELS)
    ]
    for name, batches in (("a", [pieces]), ("b", [pieces[:1], [], pieces[1:]])):
        with CocoWriter(tmp_path / name, (3, 5), mpp=0.25) as writer:
            for batch in batches:
                writer.add(batch)
    assert (tmp_path / "a").read_bytes() == (tmp_path / "b").read_bytes()
    np.testing.assert_array_equal(read_coco(tmp_path / "a"), LABELS)


def test_an_image_beyond_cocos_counts_is_refused(tmp_path: Path) -> None:
    with pytest.raises(OutputError, match=r"4\.29 gigapixels"):
        CocoWriter(tmp_path / "a.coco.json", (80_000, 100_000))
    assert list(tmp_path.iterdir()) == []


def test_an_interruption_keeps_the_old_file(tmp_path: Path) -> None:
    path = tmp_path / "a.coco.json"
    path.write_text("old")
    with pytest.raises(ZeroDivisionError), CocoWriter(path, (3, 5)) as writer:
        writer.add_mask(1, (0, 0, 1, 1), np.ones((1, 1), bool), 1 / 0)
    assert path.read_text() == "old"
    assert list(tmp_path.iterdir()) == [path]


def test_a_score_that_is_no_number_is_left_out(tmp_path: Path) -> None:
    write_coco(tmp_path / "a.coco.json", LABELS, scores={3: math.nan})
    assert "NaN" not in (tmp_path / "a.coco.json").read_text()


# Files of other programs


def test_polygons_and_plain_counts_are_read(write) -> None:
    polygon = [[1, 1, 4, 1, 4, 3, 1, 3]]
    counts = {"size": [6, 9], "counts": [48, 6]}
    path = write([{"id": 7, "segmentation": polygon}, {"id": 5, "segmentation": counts}])
    labels = read_coco(path)
    expected = np.zeros((6, 9), np.int32)
    expected[1:3, 1:4] = 7
    expected[:, 8] = 5
    np.testing.assert_array_equal(labels, expected)


def test_the_smaller_of_two_that_overlap_lies_on_top_and_hidden_ones_are_told_of(write) -> None:
    whole = {"size": [6, 9], "counts": [0, 54]}
    one = {"size": [6, 9], "counts": [0, 1, 53]}
    path = write([{"id": n, "segmentation": s} for n, s in ((1, one), (2, whole), (3, one))])
    with pytest.warns(SproutWarning, match="1 of the 3 shapes"):
        labels = read_coco(path)
    assert labels[0, 0] == 3
    assert (labels == 2).sum() == 53


def test_ids_that_are_no_labels_get_free_numbers(write) -> None:
    annotations = [
        {"id": ident, "segmentation": {"size": [6, 9], "counts": [k, 1, 53 - k]}}
        for k, ident in enumerate([2, "x", 0, 2, None])
    ]
    assert read_coco(write(annotations))[:5, 0].tolist() == [2, 1, 3, 4, 5]


@pytest.mark.parametrize(
    "annotation",
    [
        5,
        {},
        {"segmentation": None},
        {"segmentation": {"size": [6, 8], "counts": [0, 48]}},
        {"segmentation": {"size": [6, 9], "counts": [0, 55]}},
        {"segmentation": {"size": [6, 9], "counts": "garbage~~"}},
        {"segmentation": {"size": [6, 9], "counts": [10**30]}},
        {"segmentation": {"size": [6, 9]}},
        {"segmentation": ["a"]},
        {"segmentation": []},
    ],
)
def test_a_damaged_annotation_is_named(write, annotation: Any) -> None:
    good = {"id": 1, "segmentation": {"size": [6, 9], "counts": [0, 1, 53]}}
    path = write([good, annotation])
    with pytest.raises(ImageError, match="Annotation 2 in") as caught:
        read_coco(path)
    assert str(path) in str(caught.value)


@pytest.mark.parametrize(
    "document",
    [
        [],
        {"type": "FeatureCollection", "features": []},
        {"images": [], "annotations": []},
        {"images": [{"height": 5}], "annotations": []},
        {"images": [{"height": 0, "width": 5}], "annotations": []},
        {"images": [{"height": 5, "width": 5}], "annotations": 5},
        {"images": 5, "annotations": []},
    ],
)
def test_what_is_no_coco_file_is_refused(tmp_path: Path, document: Any) -> None:
    path = tmp_path / "a.json"
    path.write_text(json.dumps(document))
    with pytest.raises(ImageError, match=r"export|give") as caught:
        read_coco(path)
    assert str(path) in str(caught.value)


def test_several_images_are_refused(tmp_path: Path) -> None:
    path = tmp_path / "a.json"
    path.write_text(json.dumps({"images": [{}, {}], "annotations": []}))
    with pytest.raises(ImageError, match="of 2 images"):
        read_coco(path)

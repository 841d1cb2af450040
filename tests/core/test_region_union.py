"""Regions of a slide added up, told by slides of which the true nuclei are known."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray
from skimage.measure import label, regionprops

from napari_sprout.core.instances import Box, Nucleus
from napari_sprout.core.region_union import RegionNuclei, RegionUnion

SHAPE = (96, 112)


def seen(truth: NDArray[np.int32], box: Box, corrected: bool = False) -> RegionNuclei:
    """Return what a perfect segmentation finds in a region: what its edges leave of the truth."""
    y0, x0, y1, x1 = box
    nuclei, boxes, masks = [], [], []
    for shape in regionprops(np.ascontiguousarray(truth[y0:y1, x0:x1])):
        a, b, c, d = shape.bbox
        y, x = shape.centroid
        number = len(nuclei) + 1
        nuclei.append(Nucleus(number, y + y0, x + x0, int(shape.area), 1.0, 0.0, 0.5, 0.5, 0.9, 1))
        boxes.append((a + y0, b + x0, c + y0, d + x0))
        masks.append(np.ascontiguousarray(shape.image))
    return RegionNuclei(
        box, corrected, tuple(nuclei), np.array(boxes, np.int64).reshape(-1, 4), tuple(masks)
    )


def painted(union: RegionUnion) -> tuple[NDArray[np.int32], list[Nucleus]]:
    """Return the sum as labels; fails if two nuclei share a pixel or a number."""
    labels, nuclei = np.zeros(SHAPE, np.int32), []
    for index in range(len(union.boxes)):
        for nucleus, (y0, x0, y1, x1), mask in union.pieces(index):
            assert not labels[y0:y1, x0:x1][mask].any()
            labels[y0:y1, x0:x1][mask] = nucleus.id
            nuclei.append(nucleus)
    assert [nucleus.id for nucleus in nuclei] == list(range(1, len(union) + 1))
    return labels, nuclei


@st.composite
def truths(draw: st.DrawFn) -> NDArray[np.int32]:
    mask = np.zeros(SHAPE, bool)
    rows, columns = np.mgrid[: SHAPE[0], : SHAPE[1]]
    for _ in range(draw(st.integers(0, 30))):
        y, x = draw(st.integers(0, SHAPE[0] - 1)), draw(st.integers(0, SHAPE[1] - 1))
        radius = draw(st.integers(1, 7))
        mask |= (rows - y) ** 2 + (columns - x) ** 2 <= radius**2
    found: NDArray[np.int32] = label(mask).astype(np.int32)
    return found


@st.composite
def region_boxes(draw: st.DrawFn) -> list[Box]:
    found = []
    for _ in range(draw(st.integers(1, 5))):
        y, x = draw(st.integers(0, SHAPE[0] - 20)), draw(st.integers(0, SHAPE[1] - 20))
        height = draw(st.integers(20, SHAPE[0] - y))
        width = draw(st.integers(20, SHAPE[1] - x))
        found.append((y, x, y + height, x + width))
    return list(dict.fromkeys(found))


def union_of(regions: list[RegionNuclei]) -> RegionUnion:
    by_box = {region.box: region for region in regions}
    return RegionUnion(list(by_box), by_box.__getitem__, SHAPE)


@given(truths(), region_boxes(), st.data())
@settings(deadline=None)
def test_the_sum_is_the_same_in_whatever_order_regions_were_made(
    truth: NDArray[np.int32], boxes: list[Box], data: st.DataObject
) -> None:
    # Every region sees the nuclei in its own way: otherwise there would be nothing to settle.
    regions = [
        seen(np.roll(truth, data.draw(st.integers(-3, 3)), axis=1), box, data.draw(st.booleans()))
        for box in boxes
    ]
    labels, nuclei = painted(union_of(regions))
    again, others = painted(union_of(data.draw(st.permutations(regions))))
    assert np.array_equal(labels, again)
    assert repr(nuclei) == repr(others)
    for nucleus in nuclei:
        assert nucleus.area == np.count_nonzero(labels == nucleus.id)


@given(truths(), region_boxes(), st.data())
@settings(deadline=None)
def test_every_nucleus_that_a_region_shows_whole_is_there_once_and_whole(
    truth: NDArray[np.int32], boxes: list[Box], data: st.DataObject
) -> None:
    regions = [seen(truth, box, data.draw(st.booleans())) for box in boxes]
    labels, _ = painted(union_of(regions))
    for shape in regionprops(truth):
        a, b, c, d = shape.bbox
        whole = any(
            _inside(a, box[0], 0) and _inside(b, box[1], 0)
            and _inside(-c, -box[2], -SHAPE[0]) and _inside(-d, -box[3], -SHAPE[1])
            for box in boxes
        )  # fmt: skip
        if whole:
            numbers = np.unique(labels[truth == shape.label])
            assert len(numbers) == 1
            assert numbers[0] > 0
            assert np.array_equal(labels == numbers[0], truth == shape.label)


def _inside(edge: int, region: int, slide: int) -> bool:
    """Whether a nucleus lies clear of a region's edge, or of the slide's where that is one."""
    return edge > region or edge == region == slide


def disc(*centres: tuple[int, int]) -> NDArray[np.int32]:
    rows, columns = np.mgrid[: SHAPE[0], : SHAPE[1]]
    labels = np.zeros(SHAPE, np.int32)
    for number, (y, x) in enumerate(centres, 1):
        labels[(rows - y) ** 2 + (columns - x) ** 2 <= 36] = number
    return labels


def test_a_nucleus_that_a_person_took_away_does_not_come_back_from_another_region() -> None:
    first, second = (0, 0, 96, 80), (0, 40, 96, 112)
    corrected = seen(disc((20, 20)), first, corrected=True)
    segmented = seen(disc((50, 60), (50, 95)), second)
    _, nuclei = painted(union_of([corrected, segmented]))
    assert sorted((round(n.y), round(n.x)) for n in nuclei) == [(20, 20), (50, 95)]


def test_a_corrected_region_counts_more_than_one_before_it() -> None:
    first = seen(disc((20, 20), (50, 60)), (0, 0, 96, 80))
    second = seen(disc((50, 63)), (0, 40, 96, 112), corrected=True)
    _, nuclei = painted(union_of([first, second]))
    assert sorted((round(n.y), round(n.x)) for n in nuclei) == [(20, 20), (50, 63)]


def test_a_nucleus_on_an_edge_is_taken_from_the_region_that_shows_it_whole() -> None:
    truth = disc((50, 77))
    regions = [seen(truth, (0, 0, 96, 80), corrected=True), seen(truth, (0, 40, 96, 112))]
    labels, nuclei = painted(union_of(regions))
    assert np.array_equal(labels > 0, truth > 0)
    assert len(nuclei) == 1


@pytest.mark.parametrize("boxes", [[(0, 0, 96, 112)], [(0, 0, 96, 50), (0, 50, 96, 112)]])
def test_regions_that_do_not_overlap_are_left_as_they_are(boxes: list[Box]) -> None:
    truth = disc((20, 20), (50, 50), (70, 100))
    regions = [seen(truth, box) for box in boxes]
    union = union_of(regions)
    for index, region in enumerate(regions):
        pieces = list(union.pieces(index))
        assert [mask for _, _, mask in pieces] == list(region.masks)
        assert [(n.y, n.x) for n, _, _ in pieces] == [(n.y, n.x) for n in region.nuclei]

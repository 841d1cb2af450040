from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from numpy.typing import NDArray
from pycocotools import mask as coco

from napari_sprout.core.instances import Box
from napari_sprout.io.run_lengths import counts_of, crop_of, packed, unpacked

Crop = tuple[tuple[int, int], Box, NDArray[np.bool_]]


@st.composite
def crops(draw: st.DrawFn) -> Crop:
    """Images of which a crop covers a part, or a whole side, or all."""
    height, width = draw(st.integers(1, 12)), draw(st.integers(1, 12))
    y0, x0 = draw(st.integers(0, height - 1)), draw(st.integers(0, width - 1))
    y1, x1 = draw(st.integers(y0 + 1, height)), draw(st.integers(x0 + 1, width))
    return (height, width), (y0, x0, y1, x1), draw(arrays(bool, (y1 - y0, x1 - x0)))


def dense(crop: Crop) -> NDArray[np.uint8]:
    shape, (y0, x0, y1, x1), mask = crop
    image = np.zeros(shape, np.uint8, order="F")
    image[y0:y1, x0:x1] = mask
    return image


@settings(max_examples=300, deadline=None)
@given(crops())
def test_a_crop_gives_what_pycocotools_makes_of_the_whole_image(crop: Crop) -> None:
    shape, box, mask = crop
    text = packed(counts_of(box, mask, shape), shape)
    assert text.encode() == coco.encode(dense(crop))["counts"]
    decoded = coco.decode({"size": list(shape), "counts": text})
    np.testing.assert_array_equal(decoded, dense(crop))


@settings(max_examples=300, deadline=None)
@given(crops())
def test_what_pycocotools_packs_is_unpacked_to_the_same_pixels(crop: Crop) -> None:
    image = dense(crop)
    counts = unpacked(coco.encode(image)["counts"].decode())
    box, mask = crop_of(counts, crop[0])
    np.testing.assert_array_equal(dense((crop[0], box, mask)), image)
    if mask.size:
        assert mask[0].any() or mask.shape == image.shape[:1]


@settings(max_examples=100, deadline=None)
@given(st.lists(st.integers(0, 2**32 - 1), min_size=1, max_size=9))
def test_counts_of_any_size_are_packed_as_pycocotools_does(counts: list[int]) -> None:
    # Its own text of these counts, whatever they add up to.
    text = coco.frPyObjects({"size": [1, 1], "counts": counts}, 1, 1)["counts"].decode()
    assert unpacked(text).tolist() == counts


def test_a_nucleus_far_out_in_a_slide_takes_little_memory() -> None:
    shape, box = (60_000, 70_000), (59_000, 69_000, 59_050, 69_040)
    text = packed(counts_of(box, np.ones((50, 40), bool), shape), shape)
    assert coco.area({"size": list(shape), "counts": text}) == 2000
    assert coco.toBbox({"size": list(shape), "counts": text}).tolist() == [69_000, 59_000, 40, 50]
    again, mask = crop_of(unpacked(text), shape)
    assert again == box
    assert mask.all()


@pytest.mark.parametrize("text", ["o", "\x10", "~", "oooooooooooooo1", "é"])
def test_damaged_text_is_refused(text: str) -> None:
    with pytest.raises(ValueError, match=r"."):
        unpacked(text)


@pytest.mark.parametrize("counts", [[], [11], [-1, 13], [13, 1], [10**18, 10**18]])
def test_counts_that_do_not_fill_the_image_are_refused(counts: list[int]) -> None:
    with pytest.raises(ValueError, match="run lengths"):
        crop_of(np.array(counts, np.int64), (3, 4))

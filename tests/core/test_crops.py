from __future__ import annotations

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import array_shapes, arrays
from scipy import ndimage

from napari_sprout.core.crops import fill_holes, resample, slices, tight, union_box
from napari_sprout.core.labels import to_full_resolution

QUICK = settings(deadline=None, max_examples=80)
masks = arrays(bool, array_shapes(min_dims=2, max_dims=2, min_side=1, max_side=14))


@QUICK
@given(masks)
def test_holes_are_filled_as_scipy_fills_them(mask):
    before = mask.copy()
    filled = fill_holes(mask)
    np.testing.assert_array_equal(filled, ndimage.binary_fill_holes(mask))
    np.testing.assert_array_equal(mask, before)
    assert (filled is mask) == np.array_equal(filled, mask)


@QUICK
@given(masks, st.integers(0, 9), st.integers(0, 9))
def test_a_tight_crop_holds_the_same_pixels_and_no_empty_edge(mask, y, x):
    found = tight((y, x, y + mask.shape[0], x + mask.shape[1]), mask)
    if found is None:
        assert not mask.any()
        return
    box, crop = found
    assert crop.shape == (box[2] - box[0], box[3] - box[1])
    assert crop[[0, -1]].any(1).all()
    assert crop[:, [0, -1]].any(0).all()
    whole, again = np.zeros((2, 30, 30), bool)
    whole[y : y + mask.shape[0], x : x + mask.shape[1]] = mask
    again[slices(box)] = crop
    np.testing.assert_array_equal(again, whole)


@QUICK
@given(st.tuples(*[st.integers(2, 40)] * 4), st.data())
def test_a_crop_is_resampled_as_the_whole_image_would_be(sizes, data):
    h, w, full_h, full_w = sizes
    y0, y1 = sorted(data.draw(st.lists(st.integers(0, h), min_size=2, max_size=2, unique=True)))
    x0, x1 = sorted(data.draw(st.lists(st.integers(0, w), min_size=2, max_size=2, unique=True)))
    mask = data.draw(arrays(bool, (y1 - y0, x1 - x0)))
    whole = np.zeros((h, w), np.int32)
    whole[y0:y1, x0:x1] = mask
    expected = to_full_resolution(whole, (full_h, full_w)) > 0
    box, crop = resample((y0, x0, y1, x1), mask, (h, w), (full_h, full_w))
    assert crop.shape == (box[2] - box[0], box[3] - box[1])
    assert box[2] <= full_h
    assert box[3] <= full_w
    found = np.zeros((full_h, full_w), bool)
    found[slices(box)] = crop
    np.testing.assert_array_equal(found, expected)


def test_the_union_of_boxes_holds_them_all():
    assert union_box([(3, 9, 5, 10), (4, 2, 9, 3)]) == (3, 2, 9, 10)
    assert union_box([(3, 9, 5, 10)]) == (3, 9, 5, 10)

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from napari_sprout.core.coordinates import Scale
from napari_sprout.core.labels import to_full_resolution

QUICK = settings(deadline=None, max_examples=60)

TARGET = 0.25
SHAPES = st.tuples(st.integers(32, 3000), st.integers(32, 3000))
SIZES = st.floats(0.05, 4.0)


def blob(shape, y, x, sigma):
    rows, columns = np.ogrid[: shape[0], : shape[1]]
    return np.exp(-((rows - y) ** 2 + (columns - x) ** 2) / (2 * sigma**2))


def centre(values):
    """Centroid (y, x) of what rises above the surroundings."""
    weight = np.asarray(values, dtype=float) - values.min()
    rows, columns = np.mgrid[: weight.shape[0], : weight.shape[1]]
    return np.array([(rows * weight).sum(), (columns * weight).sum()]) / weight.sum()


@QUICK
@given(SHAPES, SIZES, st.lists(st.tuples(st.floats(-1, 3001), st.floats(-1, 3001)), max_size=5))
def test_there_and_back_is_where_it_began(shape, mpp, points):
    scale = Scale.between(shape, mpp, TARGET)
    given_points = np.array(points, dtype=float).reshape(-1, 2)
    np.testing.assert_allclose(
        scale.to_full(scale.to_working(given_points)), given_points, atol=1e-6
    )
    np.testing.assert_allclose(
        scale.to_working(scale.to_full(given_points)), given_points, atol=1e-6
    )


@QUICK
@given(SHAPES, SIZES)
def test_corners_of_the_image_are_corners_of_the_working_image(shape, mpp):
    scale = Scale.between(shape, mpp, TARGET)
    full = np.array([(-0.5, -0.5), np.array(shape) - 0.5])
    working = np.array([(-0.5, -0.5), np.array(scale.working) - 0.5])
    np.testing.assert_allclose(scale.to_working(full), working, atol=1e-9)
    np.testing.assert_allclose(scale.to_full(working), full, atol=1e-9)


@QUICK
@given(SHAPES, SIZES)
def test_the_working_grid_keeps_the_physical_size_to_half_a_pixel(shape, mpp):
    scale = Scale.between(shape, mpp, TARGET)
    for full, working in zip(shape, scale.working, strict=True):
        assert working >= 1
        assert abs(working * scale.mpp - full * mpp) <= 0.5 * scale.mpp + 1e-9 or working == 1


@QUICK
@given(SHAPES, st.floats(0.9501, 1.0499))
def test_an_image_within_five_per_cent_of_the_target_is_used_as_it_is(shape, ratio):
    scale = Scale.between(shape, ratio * TARGET, TARGET)
    assert scale.identity
    assert scale.working == shape
    assert scale.mpp == ratio * TARGET
    points = np.array([(3.25, 4.5)])
    np.testing.assert_array_equal(scale.to_working(points), points)
    image = np.zeros((*shape, 3), dtype=np.uint8)
    assert scale.image_to_working(image) is image


@pytest.mark.parametrize("ratio", [0.94, 1.06])
def test_an_image_beyond_five_per_cent_is_resampled_to_the_target(ratio):
    scale = Scale.between((100, 200), ratio * TARGET, TARGET)
    assert not scale.identity
    assert scale.working == (round(100 * ratio), round(200 * ratio))
    assert scale.mpp == TARGET


def test_an_unknown_pixel_size_is_taken_to_be_the_target():
    scale = Scale.between((100, 200), None, 0.5)
    assert scale.identity
    assert scale.mpp == 0.5


@pytest.mark.parametrize("mpp", [0.1, 0.2, 0.5, 0.71, 1.0])
def test_a_spot_of_the_image_is_found_where_the_coordinates_say(mpp):
    shape, spot = (150, 210), np.array([(61.3, 140.7)])
    scale = Scale.between(shape, mpp, TARGET)
    sigma = 2 * max(1.0, TARGET / mpp)
    bright = np.rint(200 * blob(shape, *spot[0], sigma)).astype(np.uint8)
    image = np.repeat(bright[..., None], 3, axis=2)
    working = scale.image_to_working(image)
    assert working.shape == (*scale.working, 3)
    assert working.dtype == np.uint8
    found = centre(working[..., 0])[None]
    np.testing.assert_allclose(found, scale.to_working(spot), atol=0.1 * max(1.0, mpp / TARGET))


@pytest.mark.parametrize("mpp", [0.1, 0.5, 1.0])
def test_an_even_image_stays_even(mpp):
    scale = Scale.between((64, 80), mpp, TARGET)
    image = np.full((64, 80, 3), (200, 120, 180), dtype=np.uint8)
    np.testing.assert_array_equal(
        scale.image_to_working(image), np.broadcast_to(image[0, 0], (*scale.working, 3))
    )


@pytest.mark.parametrize("mpp", [0.1, 0.2, 0.5, 0.71])
@pytest.mark.parametrize("channels", [None, 2, 3, 6])
def test_a_map_is_brought_to_either_grid_in_place(mpp, channels):
    shape = (150, 210)
    scale = Scale.between(shape, mpp, TARGET)
    spot = np.array([(61.3, 140.7)])
    sigma = 4 * max(1.0, mpp / TARGET)
    working = blob(scale.working, *scale.to_working(spot)[0], sigma).astype(np.float32)
    if channels:
        working = np.stack([working * (i + 1) for i in range(channels)], axis=2)
    full = scale.map_to_full(working)
    back = scale.map_to_working(full)
    assert full.dtype == back.dtype == np.float32
    assert full.shape == (*shape, *working.shape[2:])
    assert back.shape == working.shape
    for made, expected in ((full, spot), (back, scale.to_working(spot))):
        for channel in range(channels or 1):
            plane = made[..., channel] if channels else made
            np.testing.assert_allclose(centre(plane)[None], expected, atol=0.25)
            assert plane.max() == pytest.approx(channel + 1, rel=0.1)


def test_a_map_of_one_channel_keeps_its_channel_axis():
    scale = Scale.between((40, 50), 0.5, TARGET)
    assert scale.map_to_full(np.zeros((80, 100, 1), np.float32)).shape == (40, 50, 1)
    assert scale.map_to_working(np.zeros((40, 50, 1), np.float32)).shape == (80, 100, 1)


def test_a_map_on_the_grid_asked_for_is_returned_as_it_is():
    scale = Scale.between((40, 50), 0.5, TARGET)
    full, working = np.ones((40, 50), np.float32), np.ones((80, 100), np.float32)
    assert scale.map_to_full(full) is full
    assert scale.map_to_working(working) is working


@QUICK
@given(st.integers(32, 90), st.integers(32, 90), st.floats(0.1, 1.0))
def test_labels_come_back_as_the_working_pixel_that_holds_each_centre(height, width, mpp):
    scale = Scale.between((height, width), mpp, TARGET)
    labels = np.arange(np.prod(scale.working), dtype=np.int32).reshape(scale.working)
    full = to_full_resolution(labels, scale.full)
    assert full.shape == (height, width)
    centres = np.stack(np.mgrid[:height, :width], axis=-1).reshape(-1, 2).astype(float)
    apart = np.stack(np.unravel_index(full.ravel(), scale.working), axis=1)
    assert np.abs(scale.to_working(centres) - apart).max() <= 0.5 + 1e-9

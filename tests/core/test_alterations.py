from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays

from napari_sprout.core.alterations import CHANNEL_ORDERS, KINDS, alter
from napari_sprout.core.settings import StainSettings
from napari_sprout.core.stain import concentrations, optical_density, stain_vectors
from napari_sprout.errors import ImageError, SettingsError

QUICK = settings(deadline=None, max_examples=40)

# The range of levels of each kind, and the level that changes nothing.
RANGES: dict[str, tuple[float, float, float | None]] = {
    "poisson": (0, 2, 0),
    "blur": (0, 50, 0),
    "anisotropic": (0, 50, 0),
    "downsample": (1, 64, 1),
    "haematoxylin": (0, 4, 1),
    "eosin": (0, 4, 1),
    "jpeg": (1, 100, None),
    "magnification": (1, 16, 1),
    "channels": (0, 5, 0),
}
WHOLE = ("jpeg", "channels")

small_images = arrays.arrays(
    np.uint8, st.tuples(st.integers(1, 24), st.integers(1, 24), st.just(3))
)


@st.composite
def kind_and_level(draw):
    kind = draw(st.sampled_from(sorted(KINDS)))
    low, high, _ = RANGES[kind]
    numbers = st.integers(int(low), int(high)) if kind in WHOLE else st.floats(low, high)
    return kind, draw(numbers)


@pytest.fixture(scope="module")
def rgb(synthetic):
    return synthetic.rgb


def test_every_kind_is_explained_and_tested():
    assert set(KINDS) == set(RANGES)
    for sentence in KINDS.values():
        assert "the level is" in sentence
        assert sentence.endswith(".")


@QUICK
@given(rgb=small_images, chosen=kind_and_level(), seed=st.integers(0, 2**40))
def test_every_level_in_range_gives_an_image_and_the_same_one_again(rgb, chosen, seed):
    kind, level = chosen
    before = rgb.copy()
    altered, factor = alter(rgb, kind, level, seed)
    assert np.array_equal(rgb, before)
    assert altered.dtype == np.uint8
    assert altered.flags.c_contiguous
    assert not np.shares_memory(altered, rgb)
    if kind == "magnification":
        assert factor == 1 / level
        assert altered.shape[:2] == tuple(max(1, round(side / level)) for side in rgb.shape[:2])
    else:
        assert factor == 1.0
        assert altered.shape == rgb.shape
    again, _ = alter(rgb, kind, level, seed)
    assert np.array_equal(again, altered)


@pytest.mark.parametrize(
    "kind", [kind for kind, (_, _, neutral) in RANGES.items() if neutral is not None]
)
def test_the_neutral_level_changes_nothing_and_another_does(kind, rgb):
    _, high, neutral = RANGES[kind]
    altered, factor = alter(rgb, kind, neutral)
    assert np.array_equal(altered, rgb)
    assert factor == 1.0
    assert not np.shares_memory(altered, rgb)
    other, _ = alter(rgb, kind, high)
    assert other.shape != rgb.shape or not np.array_equal(other, rgb)


@pytest.mark.parametrize("kind", RANGES)
def test_levels_out_of_range_are_refused(kind, rgb):
    low, high, _ = RANGES[kind]
    wrong = [low - 1, high + 1, math.nan, math.inf, "1", None, True]
    for level in [*wrong, low + 0.5] if kind in WHOLE else wrong:
        with pytest.raises(SettingsError, match=f"'{kind}' must be a .*number from"):
            alter(rgb, kind, level)


def test_unknown_kinds_and_seeds_are_refused(rgb):
    with pytest.raises(SettingsError, match=r"'blurr'.* Did you mean 'blur'"):
        alter(rgb, "blurr", 1)
    with pytest.raises(SettingsError, match="seed"):
        alter(rgb, "poisson", 1, seed=-1)
    with pytest.raises(ImageError):
        alter(rgb[..., 0], "blur", 1)


@pytest.mark.parametrize("level", [0.05, 0.1, 0.2])
def test_the_level_of_noise_is_that_of_white_relative_to_its_brightness(level):
    # Half as bright, so that little is cut off at white: half the photons, sqrt(1/2) the noise.
    grey = np.full((200, 200, 3), 128, np.uint8)
    noisy, _ = alter(grey, "poisson", level, seed=3)
    assert noisy.mean() == pytest.approx(128, rel=0.01)
    assert noisy.std() == pytest.approx(255 * level * math.sqrt(128 / 255), rel=0.03)
    other, _ = alter(grey, "poisson", level, seed=4)
    assert not np.array_equal(other, noisy)


def test_noise_too_small_to_be_seen_leaves_the_image_as_it_is(rgb):
    for level in (1e-157, 1e-8, 5e-324):
        assert np.array_equal(alter(rgb, "poisson", level)[0], rgb)


def test_noise_of_each_channel_is_its_own():
    noisy, _ = alter(np.full((100, 100, 3), 100, np.uint8), "poisson", 0.2)
    values = noisy.reshape(-1, 3).astype(float)
    assert np.abs(np.corrcoef(values.T)[np.triu_indices(3, 1)]).max() < 0.05


def spread(image, axis: int) -> float:
    """Standard deviation of what an image holds, in pixels along an axis."""
    light = image[..., 0].astype(float).sum(axis=1 - axis)
    places = np.arange(len(light))
    centre = np.average(places, weights=light)
    return float(np.sqrt(np.average((places - centre) ** 2, weights=light)))


@pytest.mark.parametrize("sigma", [2.0, 4.0])
def test_a_blur_has_its_sigma_in_both_directions_or_along_x_alone(sigma):
    block = np.zeros((81, 81, 3), np.uint8)
    block[36:45, 36:45] = 255
    own = spread(block, 0)
    blurred, _ = alter(block, "blur", sigma)
    along, _ = alter(block, "anisotropic", sigma)
    expected = math.hypot(own, sigma)
    for image, axis, size in ((blurred, 0, expected), (blurred, 1, expected), (along, 1, expected)):
        assert spread(image, axis) == pytest.approx(size, rel=0.03)
    assert spread(along, 0) == pytest.approx(own, rel=0.01)


@pytest.mark.parametrize("kind", ["blur", "anisotropic", "downsample", "magnification"])
def test_an_even_image_stays_even(kind):
    even = np.full((40, 33, 3), (200, 120, 180), np.uint8)
    altered, _ = alter(even, kind, 3.0)
    assert np.array_equal(
        altered.reshape(-1, 3), np.broadcast_to(even[0, 0], altered.shape).reshape(-1, 3)
    )


def test_downsampling_removes_fine_detail_and_keeps_coarse_where_it_was():
    stripes = np.zeros((64, 64, 3), np.uint8)
    stripes[:, ::2] = 255
    fine, _ = alter(stripes, "downsample", 4)
    assert np.ptp(fine[8:-8, 8:-8].astype(int)) <= 4
    half = np.zeros((64, 64, 3), np.uint8)
    half[:, 32:] = 255
    coarse, _ = alter(half, "downsample", 4)
    profile = coarse[32, :, 0].astype(int)
    assert profile[16] == 0
    assert profile[48] == 255
    assert np.allclose(profile + profile[::-1], 255, atol=2)


def test_a_lower_magnification_averages_areas():
    rng = np.random.default_rng(0)
    fine = rng.integers(0, 256, (32, 48, 3), dtype=np.uint8)
    small, factor = alter(fine, "magnification", 2)
    means = fine.reshape(16, 2, 24, 2, 3).mean(axis=(1, 3))
    assert factor == 0.5
    assert np.abs(small - means).max() <= 0.5 + 1e-9


def amounts(image, original):
    """Amounts of both stains in the colours that the original has."""
    density = optical_density(original)
    own = StainSettings(method="vahadane")
    vectors = stain_vectors(density, np.ones(original.shape[:2], bool), own, seed=0)
    return concentrations(optical_density(image), vectors).reshape(-1, 2)


@pytest.mark.parametrize(("kind", "column"), [("haematoxylin", 0), ("eosin", 1)])
@pytest.mark.parametrize("level", [0.5, 1.5])
def test_one_stain_is_scaled_and_the_other_stays(kind, column, level, rgb):
    altered, _ = alter(rgb, kind, level)
    before, after = amounts(rgb, rgb), amounts(altered, rgb)
    # Where nothing is cut off at black, and there is stain enough to tell a factor.
    fair = (altered.min(axis=2).ravel() > 20) & (before[:, column] > 0.3)
    assert fair.mean() > 0.1
    ratio = after[fair, column] / before[fair, column]
    assert np.median(ratio) == pytest.approx(level, rel=0.02)
    other = 1 - column
    assert np.abs(after[fair, other] - before[fair, other]).mean() < 0.02


def test_glass_takes_no_stain(rgb):
    glass = np.concatenate([rgb, np.full_like(rgb, 255)])
    altered, _ = alter(glass, "haematoxylin", 4.0)
    assert (altered[len(rgb) :] >= 254).all()


def test_worse_jpeg_is_further_from_the_image(rgb):
    errors = [
        np.abs(alter(rgb, "jpeg", quality)[0].astype(int) - rgb).mean() for quality in (95, 50, 10)
    ]
    assert errors[0] < errors[1] < errors[2]
    red = np.full((32, 32, 3), (200, 30, 60), np.uint8)
    assert np.abs(alter(red, "jpeg", 90)[0].astype(int) - red).max() < 8


def test_the_orders_of_the_channels_are_all_there_are_and_named_rightly(rgb):
    assert len({alter(rgb, "channels", level)[0].tobytes() for level in range(6)}) == 6
    for level, order in enumerate(CHANNEL_ORDERS):
        altered, _ = alter(rgb, "channels", level)
        assert np.array_equal(altered, rgb[..., list(order)])
        if level:
            assert f"{level} " + "".join("RGB"[i] for i in order) in KINDS["channels"]

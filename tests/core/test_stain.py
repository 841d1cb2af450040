from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp
from scipy.spatial.transform import Rotation

from napari_sprout.core.settings import StainSettings
from napari_sprout.core.stain import (
    StainVectors,
    angle_between,
    concentrations,
    fixed_vectors,
    optical_density,
    stain_vectors,
    vectors_from_pixels,
)
from napari_sprout.errors import ImageError, SettingsError

QUICK = settings(deadline=None, max_examples=40)

ESTIMATES = ("macenko", "vahadane")


def unit(vector):
    return np.asarray(vector, dtype=float) / np.linalg.norm(vector)


def turned(vector, degrees, rng):
    axis = unit(rng.standard_normal(3))
    turn = Rotation.from_rotvec(np.radians(degrees) * axis)
    return unit(np.clip(turn.apply(unit(vector)), 0, None))


def two_stains(haematoxylin, eosin, rng, size=160, noise=1.5):
    """Nuclei of almost pure haematoxylin, fibres of pure eosin, and mixtures."""
    kind = rng.choice(3, (size, size), p=[0.3, 0.4, 0.3])
    mixed = kind == 2
    h = np.where(kind == 0, rng.uniform(0.6, 1.6, kind.shape), 0.0)
    e = np.where(kind == 1, rng.uniform(0.3, 1.2, kind.shape), 0.0)
    h = np.where(mixed, rng.uniform(0, 1, kind.shape), h)
    e = np.where(mixed, rng.uniform(0, 1, kind.shape), e)
    od = h[..., None] * np.asarray(haematoxylin) + e[..., None] * np.asarray(eosin)
    light = 256 * np.exp(-od) - 1 + noise * rng.standard_normal(od.shape)
    return np.clip(np.rint(light), 0, 255).astype(np.uint8)


def everywhere(od):
    return np.ones(od.shape[:2], dtype=bool)


def test_optical_density_follows_its_definition_for_every_grey_level():
    rgb = np.repeat(np.arange(256, dtype=np.uint8)[None, :, None], 3, axis=2)
    expected = -np.log((rgb.astype(float) + 1) / 256)
    od = optical_density(rgb)
    assert od.dtype == np.float32
    np.testing.assert_allclose(od, expected, rtol=1e-6, atol=1e-7)


@QUICK
@given(hnp.arrays(np.uint8, hnp.array_shapes(min_dims=2, max_dims=2).map(lambda s: (*s, 3))))
def test_concentrations_are_finite_for_any_image(rgb):
    amounts = concentrations(optical_density(rgb), fixed_vectors())
    assert amounts.shape == (*rgb.shape[:2], 2)
    assert amounts.dtype == np.float32
    assert np.isfinite(amounts).all()


def test_white_holds_no_stain_and_black_holds_much():
    rgb = np.zeros((1, 2, 3), dtype=np.uint8)
    rgb[0, 0] = 255
    amounts = concentrations(optical_density(rgb), fixed_vectors())
    np.testing.assert_allclose(amounts[0, 0], 0, atol=1e-6)
    assert amounts[0, 1, 0] > 2


@pytest.mark.parametrize(
    "array",
    [
        np.zeros((4, 4), np.uint8),
        np.zeros((4, 4, 4), np.uint8),
        np.zeros((4, 4, 3), np.float32),
        np.zeros((4, 4, 3), np.uint16),
    ],
)
def test_only_8_bit_rgb_is_accepted(array):
    with pytest.raises(ImageError, match="8 bits"):
        optical_density(array)


@QUICK
@given(
    hnp.arrays(np.float32, (3, 5, 2), elements=st.floats(0, 3, width=32)),
    st.floats(-10, 10),
    st.floats(-10, 10),
    st.integers(0, 1000),
)
def test_concentrations_invert_beer_lambert_exactly(amounts, turn_h, turn_e, seed):
    rng = np.random.default_rng(seed)
    vectors = StainVectors(
        tuple(turned((0.65, 0.70, 0.29), turn_h, rng)),
        tuple(turned((0.07, 0.99, 0.11), turn_e, rng)),
        "given",
    )
    od = (amounts @ vectors.matrix.T).astype(np.float32)
    np.testing.assert_allclose(concentrations(od, vectors), amounts, atol=2e-5)


def test_a_colour_outside_the_stains_keeps_its_negative_amount():
    vectors = fixed_vectors()
    od = (2 * vectors.matrix[:, 1] - 0.5 * vectors.matrix[:, 0]).astype(np.float32)
    amounts = concentrations(od[None, None], vectors)
    np.testing.assert_allclose(amounts[0, 0], [-0.5, 2], atol=1e-5)


def test_vectors_become_unit_vectors_and_columns_of_q():
    vectors = StainVectors((6.5, 7.0, 2.9), (0.07, 0.99, 0.11), "given")
    np.testing.assert_allclose(np.linalg.norm(vectors.matrix, axis=0), 1)
    np.testing.assert_allclose(vectors.matrix[:, 0], unit((0.65, 0.70, 0.29)))
    assert vectors == StainVectors((0.65, 0.7, 0.29), (0.07, 0.99, 0.11), "given", "a note")


@pytest.mark.parametrize(
    ("haematoxylin", "eosin", "reason"),
    [
        ((0, 0, 0), (0.07, 0.99, 0.11), "haematoxylin is zero"),
        ((0.65, 0.7, 0.29), (0, 0, 0), "eosin is zero"),
        ((float("nan"), 0.7, 0.29), (0.07, 0.99, 0.11), "finite"),
        ((0.65, 0.7), (0.07, 0.99, 0.11), "three"),
        ((0.65, 0.7, -0.4), (0.07, 0.99, 0.11), "negative"),
        ((0.65, 0.7, 0.29), (0.66, 0.7, 0.3), "degrees"),
    ],
)
def test_impossible_vectors_are_refused_with_a_reason(haematoxylin, eosin, reason):
    with pytest.raises(SettingsError, match=reason):
        StainVectors(haematoxylin, eosin, "given")


def test_given_vectors_are_used_as_given():
    chosen = StainSettings(method="given", haematoxylin=(0.55, 0.75, 0.35), eosin=(0.2, 0.85, 0.5))
    od = np.zeros((8, 8, 3), np.float32)
    vectors = stain_vectors(od, everywhere(od), chosen)
    np.testing.assert_allclose(vectors.haematoxylin, unit((0.55, 0.75, 0.35)))
    np.testing.assert_allclose(vectors.eosin, unit((0.2, 0.85, 0.5)))
    assert vectors.source == "given"
    assert vectors.note == ""


def test_parallel_vectors_given_by_hand_are_an_error_not_a_fallback():
    same = StainSettings(method="given", haematoxylin=(0.5, 0.7, 0.4), eosin=(0.5, 0.7, 0.4))
    od = np.zeros((8, 8, 3), np.float32)
    with pytest.raises(SettingsError, match="told apart"):
        stain_vectors(od, everywhere(od), same)


def test_vectors_given_the_wrong_way_round_carry_a_note():
    swapped = StainSettings(
        method="given", haematoxylin=(0.07, 0.99, 0.11), eosin=(0.65, 0.70, 0.29)
    )
    od = np.zeros((8, 8, 3), np.float32)
    assert "swapped" in stain_vectors(od, everywhere(od), swapped).note


@pytest.mark.parametrize("method", ESTIMATES)
@pytest.mark.parametrize(
    ("haematoxylin", "eosin"),
    [((0.65, 0.70, 0.29), (0.07, 0.99, 0.11)), ((0.56, 0.72, 0.41), (0.20, 0.82, 0.54))],
)
@pytest.mark.parametrize("seed", [0, 1])
def test_turned_stains_are_found_within_three_degrees(method, haematoxylin, eosin, seed):
    rng = np.random.default_rng(seed)
    true_h, true_e = turned(haematoxylin, 7, rng), turned(eosin, -7, rng)
    od = optical_density(two_stains(true_h, true_e, rng))
    found = stain_vectors(od, everywhere(od), StainSettings(method=method))
    assert found.source == method
    assert found.note == ""
    assert angle_between(found.haematoxylin, true_h) < 3
    assert angle_between(found.eosin, true_e) < 3


@pytest.mark.parametrize("method", ESTIMATES)
def test_estimates_come_closer_than_the_fixed_vectors_on_painted_tissue(method):
    true_h, true_e = unit((0.56, 0.72, 0.41)), unit((0.20, 0.82, 0.54))
    od = optical_density(two_stains(true_h, true_e, np.random.default_rng(5), noise=4))
    found = stain_vectors(od, everywhere(od), StainSettings(method=method))
    fixed = fixed_vectors()
    assert angle_between(found.eosin, true_e) < angle_between(fixed.eosin, true_e) / 3
    assert angle_between(found.haematoxylin, true_h) < angle_between(fixed.haematoxylin, true_h)


@pytest.mark.parametrize("method", ESTIMATES)
def test_estimates_are_the_same_to_the_bit_for_a_seed(method):
    rng = np.random.default_rng(3)
    od = optical_density(two_stains(unit((0.6, 0.7, 0.35)), unit((0.2, 0.85, 0.45)), rng))
    chosen = StainSettings(method=method)
    first = stain_vectors(od, everywhere(od), chosen, seed=4)
    again = stain_vectors(od, everywhere(od), chosen, seed=4)
    other = stain_vectors(od, everywhere(od), chosen, seed=5)
    assert first == again
    assert first != other
    assert angle_between(first.eosin, other.eosin) < 2


@pytest.mark.parametrize("method", ESTIMATES)
def test_only_tissue_is_looked_at(method):
    true_h, true_e = unit((0.6, 0.7, 0.35)), unit((0.2, 0.85, 0.45))
    rgb = two_stains(true_h, true_e, np.random.default_rng(6))
    tissue = np.ones(rgb.shape[:2], dtype=bool)
    tissue[:60] = False
    rgb[:60] = (30, 60, 190)
    od = optical_density(rgb)
    found = stain_vectors(od, tissue, StainSettings(method=method))
    assert angle_between(found.haematoxylin, true_h) < 3
    assert angle_between(found.eosin, true_e) < 3


def blank():
    return np.full((64, 64, 3), 245, np.uint8)


def black():
    return np.zeros((64, 64, 3), np.uint8)


def one_stain(noise=0.0):
    rng = np.random.default_rng(0)
    od = rng.uniform(0.4, 1.4, (64, 64, 1)) * unit((0.1, 0.9, 0.3))
    light = 256 * np.exp(-od) - 1 + noise * rng.standard_normal((64, 64, 3))
    return np.clip(light, 0, 255).astype(np.uint8)


def one_noisy_stain():
    return one_stain(noise=4)


def brown_and_blue():
    rng = np.random.default_rng(0)
    return two_stains(unit((0.75, 0.6, 0.25)), unit((0.27, 0.57, 0.78)), rng)


@pytest.mark.parametrize("method", ESTIMATES)
@pytest.mark.parametrize("image", [blank, black, one_stain, one_noisy_stain, brown_and_blue])
def test_an_estimate_that_cannot_be_right_falls_back_and_says_so(method, image):
    od = optical_density(image())
    vectors = stain_vectors(od, everywhere(od), StainSettings(method=method))
    assert vectors == fixed_vectors()
    assert vectors.source == "fixed"
    assert "fixed stain vectors are used instead" in vectors.note


@pytest.mark.parametrize("method", ESTIMATES)
def test_an_empty_tissue_mask_falls_back(method):
    rgb = two_stains(unit((0.65, 0.7, 0.29)), unit((0.2, 0.85, 0.4)), np.random.default_rng(1))
    od = optical_density(rgb)
    vectors = stain_vectors(od, ~everywhere(od), StainSettings(method=method))
    assert vectors.source == "fixed"
    assert "Only 0 stained tissue pixels" in vectors.note


def test_fixed_vectors_carry_no_note():
    od = np.zeros((8, 8, 3), np.float32)
    vectors = stain_vectors(od, everywhere(od), StainSettings(method="fixed"))
    assert vectors == fixed_vectors()
    assert vectors.note == ""


def test_two_picked_pixels_give_their_own_colours():
    vectors = vectors_from_pixels((80, 60, 140), (230, 140, 190))
    od = optical_density(np.array([[[80, 60, 140], [230, 140, 190]]], np.uint8))
    np.testing.assert_allclose(vectors.haematoxylin, unit(od[0, 0]), atol=1e-6)
    np.testing.assert_allclose(vectors.eosin, unit(od[0, 1]), atol=1e-6)
    assert vectors.source == "picked"
    amounts = concentrations(od, vectors)
    np.testing.assert_allclose(amounts[0, 0, 1], 0, atol=1e-5)
    np.testing.assert_allclose(amounts[0, 1, 0], 0, atol=1e-5)


def test_pixels_picked_in_the_wrong_order_carry_a_note():
    assert "swapped" in vectors_from_pixels((230, 140, 190), (80, 60, 140)).note


@pytest.mark.parametrize(
    ("haematoxylin", "eosin", "reason"),
    [
        ((250, 250, 250), (230, 140, 190), "as bright as glass"),
        ((80, 60, 140), (255, 255, 255), "as bright as glass"),
        ((80, 60, 140), (81, 61, 141), "told apart"),
        ((80, 60), (230, 140, 190), "from 0 to 255"),
        ((80, 60, 300), (230, 140, 190), "from 0 to 255"),
    ],
)
def test_pixels_that_show_no_stain_are_refused(haematoxylin, eosin, reason):
    with pytest.raises(SettingsError, match=reason):
        vectors_from_pixels(haematoxylin, eosin)

from __future__ import annotations

from itertools import pairwise
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import ndimage

from napari_sprout.core.synthetic import EOSIN, HAEMATOXYLIN, SyntheticImage, synthetic_he
from napari_sprout.errors import SproutError


def concentrations(image: SyntheticImage) -> np.ndarray[Any, np.dtype[np.float64]]:
    density = -np.log((image.rgb.astype(float) + 1) / 256)
    result: np.ndarray[Any, np.dtype[np.float64]] = density @ np.linalg.pinv(image.stain_vectors).T
    return result


def number_touching(labels: np.ndarray[Any, np.dtype[np.int32]]) -> int:
    touching: set[int] = set()
    for label in range(1, int(labels.max()) + 1):
        around = ndimage.binary_dilation(labels == label, np.ones((3, 3)))
        others = set(np.unique(labels[around])) - {0, label}
        touching |= {label} if others else set()
    return len(touching)


def test_the_same_arguments_give_the_same_image() -> None:
    one, two = synthetic_he((96, 96), 5, seed=3), synthetic_he((96, 96), 5, seed=3)
    np.testing.assert_array_equal(one.rgb, two.rgb)
    np.testing.assert_array_equal(one.labels, two.labels)


def test_another_seed_gives_another_image() -> None:
    one, two = synthetic_he((96, 96), 5, seed=3), synthetic_he((96, 96), 5, seed=4)
    assert (one.labels != two.labels).any()


def test_types_and_shapes_are_as_promised(synthetic: SyntheticImage) -> None:
    height, width = synthetic.labels.shape
    assert (synthetic.rgb.dtype, synthetic.rgb.shape) == (np.uint8, (height, width, 3))
    assert synthetic.labels.dtype == np.int32
    assert synthetic.centres.shape == (synthetic.labels.max(), 2)


@settings(deadline=None, max_examples=15)
@given(
    seed=st.integers(0, 10_000),
    mpp=st.sampled_from([0.25, 0.5, 1.0]),
    touching=st.floats(0, 1),
    glass=st.sampled_from([0.0, 0.2]),
)
def test_every_nucleus_is_one_piece_around_its_centre(
    seed: int, mpp: float, touching: float, glass: float
) -> None:
    side = round(48 / mpp)
    image = synthetic_he((side, side + 7), 10, seed, mpp, touching=touching, glass=glass)
    assert set(np.unique(image.labels)) == set(range(11))
    for label, centre in enumerate(np.rint(image.centres).astype(int), start=1):
        assert image.labels[tuple(centre)] == label
        assert ndimage.label(image.labels == label)[1] == 1
    assert not (image.labels > 0)[image.glass].any()


def test_lone_nuclei_are_six_to_ten_micrometres_wide() -> None:
    image = synthetic_he((400, 400), 40, seed=1, mpp=0.25, touching=0)
    diameters = 2 * np.sqrt(np.bincount(image.labels.ravel())[1:] / np.pi) * image.mpp
    assert 5.7 < diameters.min() < 7.5
    assert 8.5 < diameters.max() < 10.4


def test_the_share_of_touching_nuclei_is_obeyed() -> None:
    assert number_touching(synthetic_he(n_nuclei=24, seed=2, touching=0).labels) == 0
    assert number_touching(synthetic_he(n_nuclei=24, seed=2, touching=0.5).labels) >= 12


def test_nuclei_hold_far_more_haematoxylin_than_the_rest(synthetic: SyntheticImage) -> None:
    haematoxylin = concentrations(synthetic)[..., 0]
    inside = haematoxylin[ndimage.binary_erosion(synthetic.labels > 0)]
    outside = haematoxylin[~ndimage.binary_dilation(synthetic.labels > 0, iterations=2)]
    assert np.median(inside) > 2.5 * np.median(outside)
    # Chromatin texture, not flat discs.
    assert inside.std() > 0.1


def test_the_colours_obey_beer_lambert_with_the_stated_vectors() -> None:
    image = synthetic_he((96, 96), 5, seed=5, noise=0)
    density = -np.log((image.rgb.astype(float) + 1) / 256)
    rebuilt = concentrations(image) @ image.stain_vectors.T
    # Rounding to whole grey levels is all that is left.
    assert np.abs(256 * np.exp(-rebuilt) - 256 * np.exp(-density)).max() < 1.5


def test_unrotated_stains_are_those_of_ruifrok_and_johnston() -> None:
    image = synthetic_he((64, 64), 1, stain_rotation=0)
    given = np.array([HAEMATOXYLIN, EOSIN]).T
    np.testing.assert_allclose(image.stain_vectors, given / np.linalg.norm(given, axis=0))


def test_rotated_stains_differ_between_seeds_and_keep_unit_length() -> None:
    vectors = [synthetic_he((64, 64), 1, seed, stain_rotation=5).stain_vectors for seed in range(4)]
    np.testing.assert_allclose(np.linalg.norm(vectors, axis=1), 1)
    assert all(np.abs(one - two).max() > 0.005 for one, two in pairwise(vectors))


def test_stronger_staining_is_darker() -> None:
    means = [
        synthetic_he((64, 64), 2, stain_intensity=factor).rgb.mean() for factor in (0.5, 1, 1.5)
    ]
    assert means[0] > means[1] + 10 > means[2] + 20


def test_glass_takes_its_share_and_is_white() -> None:
    image = synthetic_he(n_nuclei=15, seed=2, glass=0.3)
    assert image.glass.mean() == pytest.approx(0.3, abs=0.01)
    deep = ndimage.binary_erosion(image.glass, iterations=8)
    assert image.rgb[deep].min() > 235
    assert np.median(image.rgb[~image.glass]) < 235


def test_an_image_may_hold_no_nucleus() -> None:
    image = synthetic_he((40, 50), 0)
    assert not image.labels.any()
    assert image.centres.shape == (0, 2)


def test_too_many_nuclei_are_refused_with_the_number_that_fits() -> None:
    with pytest.raises(SproutError, match=r"Only \d+ of 100 nuclei fit .* 64 x 64"):
        synthetic_he((64, 64), 100)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"shape": (0, 5)}, "height and width"),
        ({"n_nuclei": -1}, "n_nuclei"),
        ({"mpp": 0}, "mpp"),
        ({"touching": 1.5}, "touching"),
        ({"glass": 1.0}, "glass"),
        ({"noise": -1}, "noise"),
        ({"blur": float("nan")}, "blur"),
    ],
)
def test_impossible_arguments_are_refused(arguments: dict[str, Any], message: str) -> None:
    with pytest.raises(SproutError, match=message):
        synthetic_he(**arguments)

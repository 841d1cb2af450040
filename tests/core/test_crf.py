from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from napari_sprout.core.crf import affinity, mean_field
from napari_sprout.errors import ImageError, SettingsError

OPTIONS = {
    "iterations": 5,
    "weight": 3.0,
    "radius": 3,
    "position_sigma": 2.0,
    "density_sigma": 0.15,
}


def refine(probability: Tensor, density: Tensor, **options: float) -> Tensor:
    """Both steps in one."""
    updates = {name: options.pop(name) for name in ("iterations", "weight")}
    return mean_field(probability, affinity(density, **options), **updates)


def random_maps(shape: tuple[int, ...], seed: int = 0) -> tuple[Tensor, Tensor]:
    """Return probabilities (..., C, h, w) and a density image (h, w, 3)."""
    generator = torch.Generator().manual_seed(seed)
    logits = torch.randn(shape, generator=generator)
    density = torch.rand((*shape[-2:], 3), generator=generator)
    return torch.softmax(logits, dim=-3), density


def two_classes(foreground: Tensor) -> Tensor:
    return torch.stack([foreground, 1 - foreground])


def disk(size: int, radius: float) -> Tensor:
    steps = torch.arange(size) - (size - 1) / 2
    return steps[:, None] ** 2 + steps**2 <= radius**2


def dense_mean_field(probability: np.ndarray, density: np.ndarray, **options) -> np.ndarray:
    """Mean field with the kernel between every two pixels written out in full."""
    classes, height, width = probability.shape
    places = np.indices((height, width)).reshape(2, -1).T
    colours = density.reshape(-1, density.shape[-1])
    kernel = np.exp(
        -((places[:, None] - places) ** 2).sum(-1) / (2 * options["position_sigma"] ** 2)
        - ((colours[:, None] - colours) ** 2).sum(-1) / (2 * options["density_sigma"] ** 2)
    )
    np.fill_diagonal(kernel, 0)
    kernel *= np.abs(places[:, None] - places).max(-1) <= options["radius"]
    kernel /= kernel.sum(1, keepdims=True)
    unary = -np.log(probability.reshape(classes, -1))
    current = np.exp(-unary)
    compatibility = 1 - np.eye(classes)
    for _ in range(options["iterations"]):
        messages = options["weight"] * current @ kernel.T
        current = np.exp(-unary - compatibility @ messages)
        current /= current.sum(0)
    return current.reshape(probability.shape)


@pytest.mark.parametrize(
    ("shape", "radius"), [((3, 7, 9), 9), ((2, 9, 4), 20), ((4, 12, 11), 2), ((3, 1, 6), 3)]
)
def test_equals_mean_field_with_every_kernel_written_out(shape, radius):
    probability, density = random_maps(shape)
    options = {**OPTIONS, "radius": radius, "density_sigma": 0.4}
    expected = dense_mean_field(probability.double().numpy(), density.double().numpy(), **options)
    np.testing.assert_allclose(refine(probability, density, **options), expected, atol=2e-5)


def test_strips_of_rows_do_not_show():
    # Wide enough that the sum is taken a few rows at a time.
    probability, density = random_maps((2, 11, 9000))
    whole = refine(probability, density, **OPTIONS)
    part = refine(probability[..., :40].contiguous(), density[:, :40], **OPTIONS)
    torch.testing.assert_close(whole[..., :20], part[..., :20], rtol=0, atol=1e-5)


@pytest.mark.parametrize("changes", [{"iterations": 0}, {"weight": 0.0}])
def test_no_iterations_or_no_weight_leaves_the_input_as_it_is(changes):
    probability, density = random_maps((4, 3, 8, 8))
    refined = refine(probability, density, **{**OPTIONS, **changes})
    assert torch.equal(refined, probability)
    assert refined.data_ptr() != probability.data_ptr()


def test_the_input_is_not_overwritten():
    probability, density = random_maps((4, 3, 8, 8))
    before = probability.clone(), density.clone()
    refine(probability, density, **OPTIONS)
    assert torch.equal(probability, before[0])
    assert torch.equal(density, before[1])


def test_confident_maps_of_a_uniform_image_do_not_change():
    probability = two_classes(torch.full((20, 20), 0.999))
    refined = refine(probability, torch.full((20, 20, 3), 0.4), **OPTIONS)
    assert (refined[0] >= probability[0]).all()
    torch.testing.assert_close(refined, probability, rtol=0, atol=2e-3)


def test_the_border_is_smoothed_as_much_as_the_inside():
    probability = two_classes(torch.full((20, 20), 0.6))
    refined = refine(probability, torch.full((20, 20, 3), 0.4), **OPTIONS)
    assert refined[0].std() < 1e-6
    assert refined[0, 0, 0] > 0.9


def test_noise_inside_a_uniform_disk_is_removed():
    nucleus = disk(60, 18)
    density = torch.where(nucleus, 0.9, 0.2)[..., None].expand(-1, -1, 3)
    generator = torch.Generator().manual_seed(3)
    flipped = torch.rand(60, 60, generator=generator) < 0.15
    noisy = torch.where(nucleus ^ flipped, 0.75, 0.25)
    refined = refine(two_classes(noisy), density, **OPTIONS)[0] > 0.5
    assert ((noisy > 0.5) != nucleus).float().mean() > 0.1
    assert (refined != nucleus).float().mean() < 0.005


def test_a_blurred_activation_snaps_to_the_edge_of_the_stain():
    nucleus = disk(60, 15)
    density = torch.where(nucleus, 0.9, 0.2)[..., None].expand(-1, -1, 3)
    too_large = torch.where(disk(60, 17), 0.6, 0.15)
    refined = refine(two_classes(too_large), density, **OPTIONS)[0] > 0.5
    wrong_before = ((too_large > 0.5) != nucleus).sum()
    wrong_after = (refined != nucleus).sum()
    assert wrong_before > 150
    assert wrong_after < wrong_before / 4


def test_pixels_unlike_all_others_keep_their_own_opinion():
    probability, density = random_maps((3, 9, 9))
    density = torch.full_like(density, 0.2)
    density[4, 4] = 50.0
    refined = refine(probability, density, **OPTIONS)
    assert refined.isfinite().all()
    torch.testing.assert_close(refined[:, 4, 4], probability[:, 4, 4])


def test_certain_probabilities_stay_finite():
    probability = two_classes((torch.rand(12, 12) > 0.5).float())
    refined = refine(probability, torch.zeros(12, 12, 3), **OPTIONS)
    assert refined.isfinite().all()
    torch.testing.assert_close(refined.sum(0), torch.ones(12, 12))


def test_maps_of_a_batch_do_not_influence_each_other():
    probability, density = random_maps((5, 3, 16, 18))
    batch = refine(probability, density, **OPTIONS)
    for one, expected in zip(probability, batch, strict=True):
        assert torch.equal(refine(one, density, **OPTIONS), expected)


def test_one_affinity_serves_many_maps():
    probability, density = random_maps((2, 3, 16, 18))
    shared = affinity(density, radius=3, position_sigma=2.0, density_sigma=0.15)
    for one in probability:
        refined = mean_field(one, shared, iterations=5, weight=3.0)
        assert torch.equal(refined, refine(one, density, **OPTIONS))


def test_double_precision_is_returned_as_given():
    probability, density = random_maps((3, 8, 8))
    assert refine(probability.double(), density, **OPTIONS).dtype == torch.float64


@st.composite
def cases(draw):
    shape = tuple(draw(st.integers(1, high)) for high in (3, 5, 12, 12))
    options = {
        "iterations": draw(st.integers(0, 6)),
        "weight": draw(st.floats(0, 100)),
        "radius": draw(st.integers(1, 15)),
        "position_sigma": draw(st.floats(0.1, 50)),
        "density_sigma": draw(st.floats(1e-3, 10)),
    }
    return *random_maps(shape, draw(st.integers(0, 2**31))), options


@settings(deadline=None, max_examples=80)
@given(cases())
def test_probabilities_sum_to_one_for_any_setting(case):
    probability, density, options = case
    refined = refine(probability, density, **options)
    assert refined.shape == probability.shape
    assert refined.min() >= 0
    torch.testing.assert_close(refined.sum(1), torch.ones_like(refined.sum(1)))


@settings(deadline=None, max_examples=60)
@given(cases(), st.randoms(use_true_random=False))
def test_reordering_classes_reorders_the_result(case, random):
    probability, density, options = case
    # Strong weights make the update unstable: rounding alone would then decide.
    options["weight"] = min(options["weight"], 2.0)
    order = random.sample(range(probability.shape[1]), probability.shape[1])
    refined = refine(probability, density, **options)[:, order]
    reordered = refine(probability[:, order], density, **options)
    torch.testing.assert_close(reordered, refined, rtol=0, atol=1e-4)


@settings(deadline=None, max_examples=30)
@given(cases())
def test_mirroring_the_image_mirrors_the_result(case):
    probability, density, options = case
    options["weight"] = min(options["weight"], 2.0)
    refined = refine(probability, density, **options).flip(-1).flip(-2)
    mirrored = refine(probability.flip(-1).flip(-2), density.flip(1).flip(0), **options)
    torch.testing.assert_close(mirrored, refined, rtol=0, atol=1e-4)


@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA GPU")
def test_gpu_and_cpu_agree():
    probability, density = random_maps((3, 3, 64, 80))
    there = refine(probability.cuda(), density.cuda(), **OPTIONS)
    assert there.device.type == "cuda"
    torch.testing.assert_close(
        there.cpu(), refine(probability, density, **OPTIONS), atol=1e-4, rtol=0
    )


@pytest.mark.parametrize(
    ("changes", "error", "message"),
    [
        ({"iterations": -1}, SettingsError, "crf_iterations"),
        ({"weight": -1.0}, SettingsError, "crf_weight"),
        ({"weight": math.nan}, SettingsError, "crf_weight"),
        ({"radius": 0}, SettingsError, "crf_radius"),
        ({"position_sigma": 0.0}, SettingsError, "crf_position_sigma"),
        ({"density_sigma": math.nan}, SettingsError, "crf_density_sigma"),
        ({"density": torch.full((8, 8, 3), math.nan)}, ImageError, "optical density"),
        ({"density": torch.zeros(8, 8)}, ValueError, "density must have shape"),
        ({"density": torch.zeros(8, 7, 3)}, ValueError, "probability must have shape"),
        ({"probability": torch.full((2, 8, 8), math.nan)}, ImageError, "activation map"),
        ({"probability": torch.ones(8, 8)}, ValueError, "probability must have shape"),
    ],
)
def test_invalid_inputs_are_refused_in_words(changes, error, message):
    arguments = {
        "probability": torch.full((2, 8, 8), 0.5),
        "density": torch.zeros(8, 8, 3),
        **OPTIONS,
        **changes,
    }
    with pytest.raises(error, match=message):
        refine(arguments.pop("probability"), arguments.pop("density"), **arguments)

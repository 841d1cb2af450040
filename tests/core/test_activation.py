from __future__ import annotations

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp
from scipy import ndimage

from napari_sprout.core.activation import (
    Scan,
    activation_shape,
    assignments,
    class_probabilities,
    prototype_maps,
    run_scan,
    scan_masses,
)
from napari_sprout.core.coordinates import Scale
from napari_sprout.core.prototypes import Prototypes
from napari_sprout.core.settings import ActivationSettings, TransportSettings
from napari_sprout.core.tiles import TileGrid

QUICK = settings(deadline=None, max_examples=50)

SIDE = 128
METHODS = ["partial", "balanced", "cosine"]


def disks(shape=(SIDE, SIDE)):
    """Nine nuclei, 20 px wide and 40 px apart."""
    rows, columns = np.mgrid[: shape[0], : shape[1]]
    near = [(rows - y) ** 2 + (columns - x) ** 2 for y in (24, 64, 104) for x in (24, 64, 104)]
    return np.min(near, axis=0) <= 100


class Planted:
    """Features, prototypes and optical density of known nuclei on a token map."""

    def __init__(self, nuclei=None, noise=0.1, seed=0):
        self.nuclei = disks() if nuclei is None else nuclei
        self.grid = TileGrid.over(self.nuclei.shape, SIDE, 0.5)
        rng = np.random.default_rng(seed)
        padded = np.zeros(self.grid.padded, dtype=bool)
        padded[: self.nuclei.shape[0], : self.nuclei.shape[1]] = self.nuclei
        h, w = self.grid.tokens
        token = self.grid.token
        self.tokens = padded.reshape(h, token, w, token).mean(axis=(1, 3)) > 0.5
        kinds = np.array([(1, 0, 0.2), (0.9, 0.1, 0.1), (0, 1, 0.1), (0.1, 0.9, 0)])
        which = np.where(self.tokens, 0, 2) + rng.integers(0, 2, self.tokens.shape)
        features = kinds[which] + noise * rng.standard_normal((h, w, 3))
        self.features = torch.from_numpy(np.moveaxis(features, 2, 0).astype(np.float32))
        self.prototypes = Prototypes(torch.tensor(kinds, dtype=torch.float32), 2)
        stain = np.where(self.nuclei[..., None], (0.9, 0.9, 0.4), (0.1, 0.4, 0.1))
        self.density = stain.astype(np.float32)
        self.tissue = np.ones(self.nuclei.shape, dtype=bool)

    def inside(self):
        h, w = self.grid.tokens
        token = self.grid.token
        padded = np.zeros(self.grid.padded, dtype=bool)
        padded[: self.tissue.shape[0], : self.tissue.shape[1]] = self.tissue
        return torch.from_numpy(padded.reshape(h, token, w, token).any(axis=(1, 3)))

    def weights(self, method="partial", **changes):
        made, _, converged = assignments(
            self.features,
            self.inside(),
            self.prototypes,
            TransportSettings(method=method, rho_start=0.6, rho_step=0.05, **changes),
        )
        assert converged
        return made

    def scan(self, method="partial", **changes):
        transport = TransportSettings(method=method, rho_start=0.6, rho_step=0.05)
        return list(
            run_scan(
                self.weights(method),
                2,
                self.density,
                self.tissue,
                self.grid,
                scan_masses(transport),
                ActivationSettings(**changes),
            )
        )


@pytest.fixture(scope="module")
def planted():
    return Planted()


def mask_of(step, shape):
    scale = Scale.between(shape, None, 0.25)
    return scale.map_to_working(step.foreground) > step.threshold


def iou(a, b):
    return np.count_nonzero(a & b) / np.count_nonzero(a | b)


@pytest.mark.parametrize("method", METHODS)
def test_every_step_of_the_scan_finds_the_planted_nuclei(planted, method):
    steps = planted.scan(method)
    assert len(steps) == (9 if method == "partial" else 1)
    for step in steps:
        found = mask_of(step, planted.nuclei.shape)
        assert iou(found, planted.nuclei) > 0.8
        assert ndimage.label(found)[1] == 9


@pytest.mark.parametrize("method", METHODS)
def test_maps_are_probabilities_on_the_activation_grid(planted, method):
    for factor in (1, 2, 4):
        for step in planted.scan(method, downsample=factor):
            assert step.foreground.shape == activation_shape(planted.nuclei.shape, factor)
            assert step.foreground.dtype == np.float32
            assert step.foreground.min() >= 0
            assert step.foreground.max() <= 1


def test_refinement_makes_noisy_activation_follow_the_stain():
    known = Planted(noise=0.6)
    rough, fine = (known.scan("cosine", crf_iterations=n)[0] for n in (0, 5))
    before, after = (iou(mask_of(step, known.nuclei.shape), known.nuclei) for step in (rough, fine))
    assert after > before + 0.05


def test_partial_transport_moves_exactly_the_mass_of_each_step(planted):
    # All features and prototypes have one direction, so F* is the plan itself.
    known = Planted(noise=0.0)
    known.prototypes = Prototypes(torch.tensor([[1.0, 0, 0], [1.0, 0, 0]]), 1)
    known.features = torch.zeros((3, *known.grid.tokens))
    known.features[0] = 1.0
    weights = known.weights()
    masses = scan_masses(TransportSettings(method="partial", rho_start=0.6, rho_step=0.05))
    np.testing.assert_allclose(weights.sum(-1).mean((1, 2)), masses, atol=1e-3)
    np.testing.assert_allclose(known.weights(method="balanced").sum(-1), 1.0, atol=1e-4)
    np.testing.assert_allclose(known.weights(method="cosine").sum(-1), 1.0, atol=1e-4)


@pytest.mark.parametrize("method", METHODS)
def test_weights_are_shares_of_a_feature(planted, method):
    weights = planted.weights(method=method)
    assert weights.shape[1:] == (*planted.grid.tokens, 4)
    assert (weights >= 0).all()
    assert (weights.sum(-1) <= 1 + 1e-4).all()


def test_more_mass_matches_more_of_the_image_and_the_surest_first(planted):
    weights = planted.weights().sum(-1)
    assert (weights.mean((1, 2)).diff() > 0).all()
    # A token unlike any prototype is the last to be matched.
    known = Planted()
    known.features[:, :4, :4] = torch.tensor([0.0, 0.0, 1.0])[:, None, None]
    odd = known.weights().sum(-1)[:, :4, :4].amax((1, 2))
    assert odd[0] < 0.2
    assert odd[0] < weights[0].median()


def test_balanced_transport_gives_each_prototype_the_same_mass(planted):
    # A fifth of the tokens are nuclei, yet balanced transport must give them half the mass.
    known = Planted(noise=0.0)
    weights = known.weights("balanced")[0]
    cosine = torch.nn.functional.cosine_similarity(
        known.features[:, :, :, None], known.prototypes.vectors.T[:, None, None], dim=0
    )
    share = (weights / cosine).mean((0, 1))
    np.testing.assert_allclose(share, 1 / 4, atol=0.01)


@pytest.mark.parametrize("method", METHODS)
def test_what_is_no_tissue_carries_nothing(method):
    known = Planted()
    known.tissue[:, 80:] = False
    weights = known.weights(method=method)
    assert (weights[:, :, 40:] == 0).all()
    assert (weights[:, :, :40].sum(-1) > 0).any()
    for step in known.scan(method):
        assert (step.foreground[:, 40:] == 0).all()
        found = mask_of(step, known.nuclei.shape)
        assert iou(found, known.nuclei & known.tissue) > 0.8


def test_what_is_no_tissue_changes_nothing_elsewhere():
    known, other = Planted(), Planted()
    for each in (known, other):
        each.tissue[:, 80:] = False
    other.features[:, :, 40:] = 100.0
    assert torch.equal(known.weights(), other.weights())


@QUICK
@given(
    hnp.arrays(np.float32, (2, 3, 4, 5), elements=st.floats(0, 1, width=32)),
    st.integers(1, 4),
)
def test_class_probabilities_sum_to_one(weights, n_foreground):
    weights = torch.from_numpy(weights / max(weights.sum(-1).max(), 1.0))
    made = class_probabilities(weights, n_foreground)
    assert made.shape == (2, 3, 3, 4)
    assert (made >= 0).all()
    np.testing.assert_allclose(made.sum(1), 1.0, atol=1e-5)
    np.testing.assert_allclose(made[:, 0], weights[..., :n_foreground].sum(-1), atol=1e-5)
    np.testing.assert_allclose(made[:, 1], weights[..., n_foreground:].sum(-1), atol=1e-5)


def test_what_was_matched_to_nothing_is_unmatched():
    made = class_probabilities(torch.zeros(1, 2, 2, 4), 2)
    assert (made[:, 2] == 1).all()
    assert (made[:, :2] == 0).all()


def test_the_scan_of_the_paper_visits_060_to_100():
    masses = scan_masses(TransportSettings(method="partial", rho_start=0.6, rho_step=0.05))
    np.testing.assert_allclose(masses, np.arange(0.6, 1.001, 0.05), atol=1e-6)


@QUICK
@given(st.floats(0.05, 1), st.floats(0.01, 0.5))
def test_masses_rise_by_the_step_and_end_at_most_one_step_short_of_all(start, step):
    masses = scan_masses(TransportSettings("partial", rho_start=start, rho_step=step))
    assert masses[0] == pytest.approx(start, abs=1e-6)
    assert (np.abs(np.diff(masses) - step) < 2e-6).all()
    assert 1 - step - 2e-6 < masses[-1] <= 1
    assert all(mass > 0 for mass in masses)


@pytest.mark.parametrize("method", ["balanced", "cosine"])
def test_without_a_scan_all_mass_is_matched_at_once(method):
    assert scan_masses(TransportSettings(method=method)) == (1.0,)


@pytest.mark.parametrize("shape", [(128, 128), (203, 171), (151, 202), (201, 150)])
@pytest.mark.parametrize("side", [128, 192])
def test_maps_can_be_made_at_every_size_and_downsampling(shape, side):
    grid = TileGrid.over(shape, side, 0.5)
    rng = np.random.default_rng(0)
    weights = torch.from_numpy(rng.random((1, *grid.tokens, 4)).astype(np.float32) / 4)
    density = rng.random((*shape, 3)).astype(np.float32)
    tissue = np.ones(shape, dtype=bool)
    for factor in range(1, 9):
        chosen = ActivationSettings(downsample=factor, crf_iterations=0)
        (step,) = run_scan(weights, 2, density, tissue, grid, (1.0,), chosen)
        assert step.foreground.shape == activation_shape(shape, factor)


@pytest.mark.parametrize("factor", [1, 2, 4, 8])
@pytest.mark.parametrize("side", [128, 512])
@pytest.mark.parametrize("length", [520, 513])
def test_maps_lie_where_the_tokens_lie(length, side, factor):
    grid = TileGrid.over((length, length), side, 0.5)
    scale = Scale.between((length, length), None, 0.25)
    reach = 32 // grid.token
    for place in (64, 464):
        token = place // grid.token
        weights = torch.zeros((1, *grid.tokens, 2))
        around = slice(token - reach, token + reach + 1)
        weights[0, around, around, 0] = 1.0
        chosen = ActivationSettings(downsample=factor, crf_iterations=0)
        density = np.ones((length, length, 3), np.float32)
        tissue = np.ones((length, length), dtype=bool)
        (step,) = run_scan(weights, 1, density, tissue, grid, (1.0,), chosen)
        back = scale.map_to_working(step.foreground)
        centre = np.array(ndimage.center_of_mass(back))
        expected = token * grid.token + (grid.token - 1) / 2
        # A quarter of an activation pixel is rounding, more is another place.
        assert np.abs(centre - expected).max() <= 0.25 * factor


def test_one_steps_prototype_maps_are_its_assignments():
    made = np.random.default_rng(0).random((2, 3, 4, 5)).astype(np.float32)
    scan = Scan((), made, 2, True, np.zeros((0, 0)))
    maps = prototype_maps(scan, 1)
    assert maps.shape == (5, 3, 4)
    np.testing.assert_array_equal(maps[3], made[1, :, :, 3])


def test_a_solver_cut_short_says_so(planted):
    hurried = TransportSettings("partial", max_iterations=1, tolerance=1e-9, epsilon=0.001)
    weights, _, converged = assignments(
        planted.features, planted.inside(), planted.prototypes, hurried
    )
    assert not converged
    assert weights.isfinite().all()

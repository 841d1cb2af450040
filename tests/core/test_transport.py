from __future__ import annotations

import math
from dataclasses import asdict

import numpy as np
import ot
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.optimize import minimize
from scipy.spatial.distance import cdist
from scipy.special import logsumexp

from napari_sprout.core.settings import TransportSettings
from napari_sprout.core.transport import TransportPlan, cosine_cost, solve
from napari_sprout.errors import ImageError, SettingsError

TIGHT = {"tolerance": 1e-10, "max_iterations": 10_000}
USUAL = {"tolerance": 1e-4, "max_iterations": 1000}
SCAN = [0.6, 0.65, 0.7, 0.75, 0.8, 0.85, 0.9, 0.95, 1.0]


def costs(n: int, m: int, seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).uniform(0, 2, (n, m))


def paper_scaling(
    cost: np.ndarray, rho: float, epsilon: float, kl_weight: float, *, steps: int
) -> tuple[np.ndarray, np.ndarray]:
    """Algorithm 2 of the paper, in the log domain; returns the plan and the slack."""
    n, m = cost.shape
    kernel = -np.hstack([cost, np.zeros((n, 1))]) / epsilon
    with np.errstate(divide="ignore"):
        beta = np.log(np.r_[np.full(m, rho / m), 1 - rho])
    exponent = np.r_[np.full(m, kl_weight / (kl_weight + epsilon)), 1.0]
    log_b = np.zeros(m + 1)
    for _ in range(steps):
        log_a = -np.log(n) - logsumexp(kernel + log_b, axis=1)
        log_b = exponent * (beta - logsumexp(kernel + log_a[:, None], axis=0))
    log_a = -np.log(n) - logsumexp(kernel + log_b, axis=1)
    plan = np.exp(log_a[:, None] + kernel + log_b)
    return plan[:, :m], plan[:, m]


def check_constraints(solved: TransportPlan, tolerance: float, rounding: float = 1e-6) -> None:
    plan, slack = solved.plan.double(), solved.slack.double()
    n = plan.shape[1]
    assert plan.isfinite().all()
    assert slack.isfinite().all()
    assert plan.min() >= 0
    assert slack.min() >= 0
    assert n * (plan.sum(2) + slack - 1 / n).abs().max() <= rounding
    assert n * plan.sum(2).max() <= 1 + rounding
    moved = plan.sum((1, 2)).cpu()
    assert ((moved - solved.rho).abs() <= tolerance * solved.rho + rounding).all()
    assert (solved.error <= tolerance).all()
    assert solved.converged.all()


@pytest.mark.parametrize("epsilon", [0.5, 0.05])
@pytest.mark.parametrize(("rho", "kl_weight"), [(0.3, 1.0), (0.85, 0.1), (0.85, 5.0), (1.0, 1.0)])
def test_plan_and_slack_are_the_fixed_point_of_the_papers_algorithm(epsilon, rho, kl_weight):
    cost = costs(50, 4)
    plan, slack = paper_scaling(cost, rho, epsilon, kl_weight, steps=4000)
    solved = solve(torch.tensor(cost), [rho], epsilon=epsilon, kl_weight=kl_weight, **TIGHT)
    np.testing.assert_allclose(solved.plan[0], plan, rtol=0, atol=1e-8 / len(cost))
    np.testing.assert_allclose(solved.slack[0], slack, rtol=0, atol=1e-8 / len(cost))


def test_an_image_large_enough_for_a_sampled_start_reaches_the_same_fixed_point():
    cost = costs(9000, 3)
    plan, _ = paper_scaling(cost, 0.7, 0.2, 1.0, steps=200)
    solved = solve(torch.tensor(cost), [0.7], epsilon=0.2, kl_weight=1.0, **TIGHT)
    np.testing.assert_allclose(len(cost) * solved.plan[0], len(cost) * plan, atol=1e-7)


@pytest.mark.parametrize("epsilon", [1.0, 0.1, 0.02])
def test_balanced_transport_equals_pots_sinkhorn(epsilon):
    cost = costs(40, 5)
    expected = ot.sinkhorn(
        [], [], cost, epsilon, method="sinkhorn_log", stopThr=1e-13, numItermax=100_000
    )
    solved = solve(torch.tensor(cost), [1.0], epsilon=epsilon, kl_weight=math.inf, **TIGHT)
    np.testing.assert_allclose(solved.plan[0], expected, rtol=0, atol=1e-9)
    assert solved.slack.eq(0).all()


def test_hard_columns_equal_pots_sinkhorn_with_a_dummy_column():
    cost, rho, epsilon = costs(40, 5), 0.65, 0.05
    expected = ot.sinkhorn(
        np.full(40, 1 / 40),
        np.r_[np.full(5, rho / 5), 1 - rho],
        np.hstack([cost, np.zeros((40, 1))]),
        epsilon,
        method="sinkhorn_log",
        stopThr=1e-13,
        numItermax=100_000,
    )
    solved = solve(torch.tensor(cost), [rho], epsilon=epsilon, kl_weight=math.inf, **TIGHT)
    np.testing.assert_allclose(solved.plan[0], expected[:, :-1], rtol=0, atol=1e-9)
    np.testing.assert_allclose(solved.slack[0], expected[:, -1], rtol=0, atol=1e-9)


@pytest.mark.parametrize("rho", [0.4, 0.8])
def test_plan_approaches_pots_partial_transport_as_entropy_vanishes(rho):
    # POT's regulariser leaves the slack out, so the two agree as epsilon goes to 0, not before.
    cost = costs(60, 3)
    masses = np.full(60, 1 / 60), np.full(3, rho / 3)
    gaps = []
    for epsilon in (0.1, 0.03, 0.01):
        expected = ot.partial.entropic_partial_wasserstein(
            *masses, cost, epsilon, m=rho, method="sinkhorn_log", numItermax=4000, stopThr=1e-9
        )
        options = {"epsilon": epsilon, **TIGHT}
        hard = solve(torch.tensor(cost), [rho], kl_weight=math.inf, **options)
        firm = solve(torch.tensor(cost), [rho], kl_weight=1e4, **options)
        torch.testing.assert_close(60 * firm.plan, 60 * hard.plan, rtol=0, atol=1e-3)
        gaps.append(np.abs(hard.plan[0].numpy() - expected).sum() / rho)
    assert gaps[0] > gaps[1] > gaps[2]
    assert gaps[2] < 0.04
    exact = ot.partial.partial_wasserstein(*masses, cost, m=rho)
    hard = solve(torch.tensor(cost), [rho], epsilon=1e-3, kl_weight=math.inf, **TIGHT)
    moved_cost = (hard.plan[0].numpy() * cost).sum()
    assert moved_cost == pytest.approx((exact * cost).sum(), rel=1e-3)
    assert np.abs(hard.plan[0].numpy() - exact).sum() < 0.02 * rho


@pytest.mark.parametrize("kl_weight", [0.05, 1.0])
def test_soft_columns_equal_pots_unbalanced_sinkhorn(kl_weight):
    cost, epsilon = costs(30, 4), 0.1
    expected = ot.unbalanced.sinkhorn_unbalanced(
        np.full(30, 1 / 30),
        np.full(4, 1 / 4),
        cost,
        epsilon,
        reg_m=(math.inf, kl_weight),
        reg_type="kl",
        numItermax=100_000,
        stopThr=1e-14,
    )
    solved = solve(torch.tensor(cost), [1.0], epsilon=epsilon, kl_weight=kl_weight, **TIGHT)
    np.testing.assert_allclose(solved.plan[0], expected, rtol=0, atol=1e-8)


@pytest.mark.parametrize(("rho", "kl_weight", "epsilon"), [(0.6, 0.3, 0.1), (0.9, 0.02, 0.2)])
def test_plan_minimises_the_papers_objective(rho, kl_weight, epsilon):
    n, m = 6, 3
    cost = costs(n, m, seed=4)
    extended = np.hstack([cost, np.zeros((n, 1))])

    def objective(values: np.ndarray) -> float:
        plan = values.reshape(n, m + 1)
        columns = plan[:, :m].sum(0)
        divergence = (columns * np.log(columns / (rho / m))).sum()
        entropy = -(plan * (np.log(plan) - 1)).sum()
        return (plan * extended).sum() + kl_weight * divergence - epsilon * entropy

    result = minimize(
        objective,
        np.full(n * (m + 1), 1 / (n * (m + 1))),
        method="SLSQP",
        bounds=[(1e-12, 1)] * (n * (m + 1)),
        constraints=[
            {"type": "eq", "fun": lambda values: values.reshape(n, m + 1).sum(1) - 1 / n},
            {"type": "eq", "fun": lambda values: values.reshape(n, m + 1)[:, :m].sum() - rho},
        ],
        options={"maxiter": 2000, "ftol": 1e-13},
    )
    assert result.success
    solved = solve(torch.tensor(cost), [rho], epsilon=epsilon, kl_weight=kl_weight, **TIGHT)
    found = torch.cat([solved.plan[0], solved.slack[0, :, None]], dim=1).numpy()
    assert objective(found.ravel()) == pytest.approx(result.fun, abs=1e-8)
    assert objective(found.ravel()) <= result.fun + 1e-10
    np.testing.assert_allclose(found, result.x.reshape(n, m + 1), atol=2e-4)


@pytest.mark.parametrize("epsilon", [1.0, 0.3, 0.1, 0.03, 0.01, 0.003, 0.001])
@pytest.mark.parametrize("kl_weight", [0.01, 1.0, math.inf])
def test_constraints_hold_in_float32_at_every_epsilon(epsilon, kl_weight):
    cost = torch.tensor(costs(3000, 6), dtype=torch.float32)
    solved = solve(cost, SCAN, epsilon=epsilon, kl_weight=kl_weight, **USUAL)
    assert solved.plan.dtype == torch.float32
    check_constraints(solved, 1e-4)


def test_default_settings_converge_in_a_handful_of_steps():
    defaults = asdict(TransportSettings())
    names = ("epsilon", "kl_weight", "tolerance", "max_iterations")
    cost = torch.tensor(costs(15_625, 6), dtype=torch.float32)
    solved = solve(cost, SCAN, **{name: defaults[name] for name in names})
    check_constraints(solved, defaults["tolerance"])
    assert solved.iterations <= 20


@pytest.mark.parametrize("kl_weight", [1.0, math.inf])
def test_a_batch_equals_its_masses_one_at_a_time(kl_weight):
    cost = torch.tensor(costs(300, 5))
    options = {"epsilon": 0.01, "kl_weight": kl_weight, **TIGHT}
    batch = solve(cost, SCAN, **options)
    for index, rho in enumerate(SCAN):
        alone = solve(cost, [rho], **options)
        torch.testing.assert_close(300 * alone.plan[0], 300 * batch.plan[index], atol=1e-7, rtol=0)


def test_solving_twice_gives_the_same_bits():
    cost = torch.tensor(costs(10_000, 6), dtype=torch.float32)
    first, second = (solve(cost, SCAN, epsilon=0.05, kl_weight=1.0, **USUAL) for _ in range(2))
    assert torch.equal(first.plan, second.plan)
    assert torch.equal(first.slack, second.slack)


def test_the_cheapest_features_are_matched_first():
    cost = torch.linspace(0, 2, 101, dtype=torch.float64)[:, None]
    solved = solve(cost, [0.2, 0.5, 0.8], epsilon=0.01, kl_weight=1.0, **USUAL)
    share = 101 * solved.plan[:, :, 0]
    assert (share.diff(dim=1) <= 1e-12).all()
    assert (share.diff(dim=0) >= -1e-12).all()
    assert ((share > 0.5).sum(1) - torch.tensor([20, 50, 81])).abs().max() <= 1


def test_a_stronger_kl_weight_evens_out_the_prototypes():
    cost = torch.tensor(costs(200, 3) * [1.0, 0.5, 0.1])
    spread = []
    for kl_weight in (0.01, 0.1, 1.0, 10.0, math.inf):
        solved = solve(cost, [0.7], epsilon=0.05, kl_weight=kl_weight, **TIGHT)
        columns = solved.plan[0].sum(0)
        spread.append(float(columns.max() - columns.min()))
    assert spread == sorted(spread, reverse=True)
    assert spread[0] > 0.3
    assert spread[-1] < 1e-8


def test_too_few_iterations_are_reported_and_leave_valid_rows():
    cost = torch.tensor(costs(200, 4))
    solved = solve(cost, [0.5, 1.0], epsilon=0.01, kl_weight=1.0, tolerance=1e-6, max_iterations=2)
    assert solved.iterations == 2
    assert not solved.converged.any()
    assert (solved.error > 1e-6).all()
    rows = solved.plan.sum(2) + solved.slack
    torch.testing.assert_close(rows, torch.full_like(rows, 1 / 200))


def test_vanished_curvature_yields_no_nan():
    cost = torch.tensor(costs(7, 3), dtype=torch.float32)
    solved = solve(cost, [0.3, 1.0], epsilon=1e-7, kl_weight=math.inf, **USUAL)
    assert solved.plan.isfinite().all()
    assert solved.slack.isfinite().all()
    rows = solved.plan.sum(2) + solved.slack
    torch.testing.assert_close(rows, torch.full_like(rows, 1 / 7))


@st.composite
def problems(draw):
    n, m = draw(st.integers(1, 40)), draw(st.integers(1, 6))
    kind = draw(st.sampled_from(["any", "ties", "equal", "zero", "tiny"]))
    generator = np.random.default_rng(draw(st.integers(0, 2**32 - 1)))
    cost = {
        "any": lambda: generator.uniform(0, 2, (n, m)),
        "ties": lambda: generator.choice([0.0, 0.5, 2.0], (n, m)),
        "equal": lambda: np.full((n, m), generator.uniform(0, 2)),
        "zero": lambda: np.zeros((n, m)),
        "tiny": lambda: generator.uniform(0, 1e-6, (n, m)),
    }[kind]()
    dtype = draw(st.sampled_from([torch.float32, torch.float64]))
    rho = draw(
        st.lists(st.floats(1e-6, 1.0) | st.sampled_from([1 / n, 0.5, 1.0]), min_size=1, max_size=4)
    )
    epsilon = 10 ** draw(st.floats(-3, 0))
    kl_weight = draw(st.floats(-2, 3).map(lambda power: 10**power) | st.just(math.inf))
    return torch.tensor(cost, dtype=dtype), rho, epsilon, kl_weight


@settings(deadline=None, max_examples=150)
@given(problems())
def test_constraints_hold_for_any_valid_problem(problem):
    cost, rho, epsilon, kl_weight = problem
    solved = solve(cost, rho, epsilon=epsilon, kl_weight=kl_weight, **USUAL)
    assert tuple(solved.plan.shape) == (len(rho), *cost.shape)
    assert tuple(solved.slack.shape) == (len(rho), len(cost))
    assert solved.plan.dtype == cost.dtype
    check_constraints(solved, 1e-4)


@settings(deadline=None, max_examples=30)
@given(problems(), st.randoms(use_true_random=False))
def test_reordering_features_and_prototypes_reorders_the_plan(problem, random):
    cost, rho, epsilon, kl_weight = problem
    options = {"epsilon": max(epsilon, 0.02), "kl_weight": kl_weight, **TIGHT}
    cost = cost.double()
    rows, columns = (random.sample(range(size), size) for size in cost.shape)
    plan = solve(cost, rho, **options).plan
    permuted = solve(cost[rows][:, columns], rho, **options).plan
    torch.testing.assert_close(permuted, plan[:, rows][:, :, columns], rtol=0, atol=1e-8)


@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA GPU")
@pytest.mark.parametrize("epsilon", [0.05, 0.001])
def test_gpu_and_cpu_agree(epsilon):
    cost = torch.tensor(costs(20_000, 6), dtype=torch.float32)
    options = {"epsilon": epsilon, "kl_weight": 1.0, **USUAL}
    here = solve(cost, SCAN, **options)
    there = solve(cost.cuda(), SCAN, **options)
    assert there.plan.device.type == "cuda"
    check_constraints(there, 1e-4)
    torch.testing.assert_close(20_000 * there.plan.cpu(), 20_000 * here.plan, rtol=0, atol=1e-3)


@pytest.mark.parametrize(
    ("changes", "error", "message"),
    [
        ({"rho": [0.0]}, SettingsError, "rho must be above 0"),
        ({"rho": [0.5, 1.01]}, SettingsError, "rho must be above 0 and at most 1"),
        ({"rho": [math.nan]}, SettingsError, "rho must be above 0"),
        ({"rho": []}, ValueError, "at least one"),
        ({"epsilon": 0.0}, SettingsError, "transport.epsilon"),
        ({"epsilon": math.inf}, SettingsError, "transport.epsilon"),
        ({"epsilon": math.nan}, SettingsError, "transport.epsilon"),
        ({"kl_weight": -1.0}, SettingsError, "transport.kl_weight"),
        ({"tolerance": 0.0}, SettingsError, "transport.tolerance"),
        ({"max_iterations": 0}, SettingsError, "transport.max_iterations"),
        ({"cost": torch.full((4, 2), math.nan)}, ImageError, "not all finite"),
        ({"cost": torch.full((4, 2), math.inf)}, ImageError, "not all finite"),
        ({"cost": torch.zeros(4)}, ValueError, "matrix"),
        ({"cost": torch.zeros(0, 2)}, ValueError, "matrix"),
        ({"cost": torch.zeros(4, 2, dtype=torch.int64)}, ValueError, "float32 or float64"),
    ],
)
def test_invalid_inputs_are_refused_in_words(changes, error, message):
    arguments = {"cost": torch.ones(4, 2), "rho": [0.5], "epsilon": 0.1, "kl_weight": 1.0, **USUAL}
    arguments.update(changes)
    cost, rho = arguments.pop("cost"), arguments.pop("rho")
    with pytest.raises(error, match=message):
        solve(cost, rho, **arguments)


def test_cosine_cost_equals_scipys():
    generator = np.random.default_rng(1)
    features, prototypes = generator.normal(size=(50, 8)), generator.normal(size=(6, 8))
    cost = cosine_cost(torch.tensor(features), torch.tensor(prototypes))
    assert cost.dtype == torch.float32
    np.testing.assert_allclose(cost, cdist(features, prototypes, "cosine"), atol=1e-6)


def test_cosine_cost_ignores_length_and_survives_zero_vectors():
    features = torch.tensor([[3.0, 0.0], [-1.0, 0.0], [0.0, 0.0], [1e10, 1e10]])
    cost = cosine_cost(features, torch.tensor([[2.0, 0.0], [0.0, 0.0]]))
    expected = torch.tensor([[0.0, 1.0], [2.0, 1.0], [1.0, 1.0], [1 - math.sqrt(0.5), 1.0]])
    torch.testing.assert_close(cost, expected)


def test_cosine_cost_refuses_features_of_another_length():
    with pytest.raises(ValueError, match="same length"):
        cosine_cost(torch.zeros(4, 3), torch.zeros(2, 5))

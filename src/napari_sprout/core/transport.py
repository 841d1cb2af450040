"""Partial optimal transport from image features to prototypes (paper 3.2, Eq. 4, A.3 to A.5).

A slack column of cost 0 takes the mass 1 - rho that is left unmatched, and the
entropic problem has the plan ``diag(a) exp(-C / epsilon) diag(b)``. The paper
finds the M + 1 column scalings b by repeating (Algorithm 2)

    a = alpha / (G b),    b = (beta / (G^T a)) ^ f,    f = lambda / (lambda + epsilon).

Its fixed point is also the maximum of a smooth concave function of
``g = epsilon log b`` alone, the semi-dual

    - epsilon mean_i logsumexp_j((g_j - C_ij) / epsilon) + (1 - rho) g_slack
    - rho lambda log mean_j exp(-g_j / lambda),

in which the last term is the paper's KL penalty after the free shift of g has
been maximised out: it makes the function blind to that shift, so it stays well
conditioned up to lambda = inf (columns of exactly rho / M). Newton's method
needs a handful of passes over the image where scaling needs hundreds, at small
epsilon many thousands. The row scalings a never appear: they are a softmax, so
the row constraint holds to float precision and the column masses are the ones
that hold to `tolerance`.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from ..errors import ImageError, SettingsError

# Numbers that one pass touches at once: a few MB on a CPU, to stay in its cache.
_BLOCK_CPU = 1 << 20
_BLOCK_GPU = 1 << 25
# Larger images get their start from every n-th row, about this many of them.
_SAMPLE = 4096
# That start descends to the epsilon asked for in steps, each solved to this error.
_PHASE_RATIO = 4.0
_PHASE_ERROR = 0.1
_DAMPING = 1e-3


@dataclass(frozen=True, eq=False)
class TransportPlan:
    """The optimal plans of one cost matrix at R transported masses.

    `plan` and `slack` have the cost's dtype and device; the rest, one or a few
    numbers for each mass, is float64 on the CPU.

    Attributes
    ----------
    plan
        (R, N, M) mass moved from feature to prototype, at least 0.
    slack
        (R, N) mass each feature keeps; ``plan.sum(2) + slack`` is 1 / N.
    rho
        (R,) transported masses asked for.
    iterations
        Newton steps taken over all of the batch, the coarse start included.
    error
        (R,) sum of the prototypes' absolute mass errors, divided by rho, so
        the transported mass is off by at most ``error * rho``.
    converged
        (R,) whether `error` is within the tolerance.
    potentials
        (R, M + 1) ``epsilon log b``, the slack's last: with them :func:`shares` gives the
        plan of any feature by itself.
    """

    plan: Tensor
    slack: Tensor
    rho: Tensor
    iterations: int
    error: Tensor
    converged: Tensor
    potentials: Tensor


@dataclass(frozen=True, eq=False)
class _Problem:
    """One level of the solve: costs (M + 1, n) with the slack's zeros last."""

    costs: Tensor
    rho: Tensor
    epsilon: float
    kl_weight: float


@dataclass(frozen=True, eq=False)
class _State:
    """What one pass over the features leaves: all float64 on the CPU.

    `overlap` is the mean over features of the products of their shares.
    """

    rho: Tensor  # (R,)
    mass: Tensor  # (R, M + 1), of the columns
    overlap: Tensor  # (R, M + 1, M + 1)
    target: Tensor  # (R, M), what the prototypes' masses should be


def cosine_cost(features: Tensor, prototypes: Tensor) -> Tensor:
    """Return 1 - cosine of features (N, d) and prototypes (M, d): (N, M) float32 (paper Eq. 3).

    Costs run from 0 (same direction) to 2; a vector of zeros costs 1 everywhere.

    Raises
    ------
    ValueError
        If the two are not matrices with rows of the same length.
    """
    if features.ndim != 2 or prototypes.ndim != 2 or features.shape[1] != prototypes.shape[1]:
        raise ValueError(
            "Features and prototypes must be matrices with rows of the same length, not "
            f"{tuple(features.shape)} and {tuple(prototypes.shape)}."
        )
    rows = torch.nn.functional.normalize(features.float(), dim=1)
    columns = torch.nn.functional.normalize(prototypes.to(rows), dim=1)
    return (1.0 - rows @ columns.T).clamp_(0.0, 2.0)


def solve(
    cost: Tensor,
    rho: Tensor | Sequence[float],
    *,
    epsilon: float,
    kl_weight: float,
    tolerance: float,
    max_iterations: int,
) -> TransportPlan:
    """Solve entropic partial optimal transport at every mass of `rho` (paper Eq. 4 and 14).

    Parameters
    ----------
    cost
        (N, M) finite costs, float32 or float64, on any device.
    rho
        R transported masses, each above 0 and at most 1.
    epsilon
        Entropic regularisation, above 0, in units of cost.
    kl_weight
        The paper's lambda, above 0; infinite fixes each prototype's mass to
        rho / M.
    tolerance
        A mass is solved when the prototypes' masses are off by at most
        ``tolerance * rho`` in sum. Where float32 cannot resolve that, the
        work is done in float64.
    max_iterations
        Most Newton steps of the whole call.

    Raises
    ------
    SettingsError
        If a number is out of its range.
    ImageError
        If a cost is not finite.
    ValueError
        If an array has the wrong shape or type.
    """
    masses = _checked_rho(rho)
    _check_numbers(epsilon, kl_weight, tolerance, max_iterations)
    _check_cost(cost)
    cost = cost.detach()
    scale = float(cost.abs().max())
    resolved = torch.finfo(cost.dtype).eps * scale / epsilon < 0.1 * tolerance
    work = cost if resolved else cost.double()
    costs = torch.nn.functional.pad(work, (0, 1)).T.contiguous()
    problem = _Problem(costs, masses, epsilon, kl_weight)
    potentials, left = _start(problem, max_iterations)
    potentials, left = _maximise(problem, potentials, tolerance, left)
    shares, error = _plan(problem, potentials)
    return TransportPlan(
        plan=shares[:, :-1].transpose(1, 2).to(cost.dtype),
        slack=shares[:, -1].to(cost.dtype),
        rho=masses,
        iterations=max_iterations - left,
        error=error,
        converged=error <= tolerance,
        potentials=potentials,
    )


def shares(cost: Tensor, potentials: Tensor, epsilon: float) -> Tensor:
    """Return how features divide their mass among prototypes, given the columns' potentials.

    Once the potentials are known every row of the plan follows from its own costs alone
    (the row scaling is a softmax), so features that took no part in :func:`solve` can be
    transported as if they had been drawn from the same slide.

    Parameters
    ----------
    cost
        (N, M) costs.
    potentials
        (R, M + 1) from :attr:`TransportPlan.potentials`.
    epsilon
        As in :func:`solve`.

    Returns
    -------
    Tensor
        (R, N, M) shares of a feature's mass, 0 to 1; the slack's share is what is missing to 1.
    """
    costs = torch.nn.functional.pad(cost, (0, 1))
    logits = potentials.to(costs)[:, None, :] - costs
    return torch.softmax(logits.div_(epsilon), dim=2)[..., :-1]


def _checked_rho(rho: Tensor | Sequence[float]) -> Tensor:
    masses = torch.as_tensor(rho, dtype=torch.float64).detach().cpu()
    if masses.ndim != 1 or len(masses) == 0:
        raise ValueError("rho must be a list of at least one transported mass.")
    if not bool(((masses > 0) & (masses <= 1)).all()):
        raise SettingsError(
            f"The transported mass rho must be above 0 and at most 1, not {masses.tolist()}."
        )
    return masses


def _check_numbers(epsilon: float, kl_weight: float, tolerance: float, max_iterations: int) -> None:
    numbers = {"epsilon": epsilon, "tolerance": tolerance, "max_iterations": max_iterations}
    for name, value in {**numbers, "kl_weight": kl_weight}.items():
        if not value > 0 or (math.isinf(value) and name in numbers):
            raise SettingsError(f"Setting 'transport.{name}' must be above 0, not {value!r}.")


def _check_cost(cost: Tensor) -> None:
    if cost.ndim != 2 or 0 in cost.shape or cost.dtype not in (torch.float32, torch.float64):
        raise ValueError(
            "The cost must be a float32 or float64 matrix of features by prototypes, not "
            f"{tuple(cost.shape)} {cost.dtype}."
        )
    if not bool(cost.isfinite().all()):
        raise ImageError(
            "The image's features are not all finite numbers, so they cannot be matched; "
            "check that the image and the model's weights are undamaged."
        )


def _with_slack(problem: _Problem, real: Tensor) -> Tensor:
    """Append the slack's potential: 0 by convention, or minus infinity where rho = 1."""
    slack = torch.zeros_like(problem.rho).masked_fill(problem.rho == 1, -math.inf)
    return torch.cat([real, slack[:, None]], dim=1)


def _start(problem: _Problem, budget: int) -> tuple[Tensor, int]:
    """Solve roughly on a sample of rows, from a large epsilon down to the one asked for."""
    step = max(1, problem.costs.shape[1] // _SAMPLE)
    sample = problem.costs[:, ::step].contiguous()
    real = sample[:-1]
    ratio = max(float(real.max() - real.min()) / problem.epsilon, 1.0)
    phases = math.ceil(math.log(ratio, _PHASE_RATIO))
    epsilons = [problem.epsilon * _PHASE_RATIO**phase for phase in range(phases, -1, -1)]
    # With a constant cost this start is exact; its second term follows epsilon down.
    odds = (problem.rho / len(real)).log() - (-problem.rho).log1p()
    odds = odds.masked_fill(problem.rho == 1, 0.0)[:, None]
    potentials = _with_slack(problem, real.mean(1).cpu().double() + epsilons[0] * odds)
    for epsilon, finer in zip(epsilons, [*epsilons[1:], problem.epsilon], strict=True):
        if step > 1 or epsilon > problem.epsilon:
            level = _Problem(sample, problem.rho, epsilon, max(problem.kl_weight, epsilon))
            potentials, budget = _maximise(level, potentials, _PHASE_ERROR, budget)
            potentials[:, :-1] += (finer - epsilon) * odds
    return potentials, budget


def _maximise(
    problem: _Problem, potentials: Tensor, tolerance: float, budget: int
) -> tuple[Tensor, int]:
    """Newton's method on the semi-dual; masses that have converged leave the batch.

    The last step of each is taken after its error is known to be within
    `tolerance`: it costs no pass and makes the result better than asked for.
    """
    potentials = potentials.clone()
    active = torch.arange(len(potentials))
    while len(active) and budget > 0:
        state = _measure(problem, problem.rho[active], potentials[active])
        potentials[active, :-1] += _step(problem, state)
        active = active[_error(state.rho, state.mass, state.target) > tolerance]
        budget -= 1
    return potentials, budget


def _blocks(problem: _Problem, rhos: int) -> tuple[Tensor, ...]:
    limit = _BLOCK_CPU if problem.costs.device.type == "cpu" else _BLOCK_GPU
    return torch.split(problem.costs, max(1, limit // (rhos * len(problem.costs))), dim=1)


def _shares(problem: _Problem, costs: Tensor, potentials: Tensor) -> Tensor:
    """Return how each feature divides its mass, (R, M + 1, n), summing to 1 over columns."""
    logits = potentials.to(costs)[:, :, None] - costs
    return torch.softmax(logits.div_(problem.epsilon), dim=1)


def _measure(problem: _Problem, rho: Tensor, potentials: Tensor) -> _State:
    """Pass over all features once; what is left to do is small and stays on the CPU."""
    shape = potentials.shape
    mass = problem.costs.new_zeros(shape)
    overlap = problem.costs.new_zeros((*shape, shape[1]))
    for costs in _blocks(problem, len(potentials)):
        shares = _shares(problem, costs, potentials)
        mass += shares.sum(2)
        overlap += shares @ shares.transpose(1, 2)
    rows = problem.costs.shape[1]
    target = _targets(problem, rho, potentials)
    return _State(rho, mass.cpu().double() / rows, overlap.cpu().double() / rows, target)


def _targets(problem: _Problem, rho: Tensor, potentials: Tensor) -> Tensor:
    """Return the prototypes' masses (R, M) that the KL penalty wants at these potentials."""
    return rho[:, None] * torch.softmax(-potentials[:, :-1] / problem.kl_weight, dim=1)


def _error(rho: Tensor, mass: Tensor, target: Tensor) -> Tensor:
    return (mass[:, :-1] - target).abs().sum(1) / rho


def _step(problem: _Problem, state: _State) -> Tensor:
    """Return a step (R, M) of the prototypes' potentials that raises the semi-dual.

    It is Newton's, or the paper's scaling step where the curvature has
    vanished in floating point.
    """
    residual = state.target - state.mass[:, :-1]
    newton, info = torch.linalg.solve_ex(_curvature(problem, state), residual[:, :, None])
    step = newton[:, :, 0]
    usable = (info == 0) & step.isfinite().all(1) & ((step * residual).sum(1) > 0)
    # Within this length the curvature cannot change enough for the step to pass the maximum
    # (self-concordance of log-sum-exp, Bach 2010, Lemma 1), so there is no line search.
    fixed = torch.where(state.rho < 1, 0.0, step[:, 0])
    ends = torch.cat([step, fixed[:, None]], dim=1)
    reach = (ends.amax(1) - ends.amin(1)) / min(problem.epsilon, problem.kl_weight)
    length = torch.where(reach > 0, reach.log1p() / reach, 1.0)
    return torch.where(usable[:, None], step * length[:, None], _scaling_step(problem, state))


def _curvature(problem: _Problem, state: _State) -> Tensor:
    """Return the negative Hessian (R, M, M) of the semi-dual, damped far from its maximum.

    With the slack it is a graph Laplacian, so its diagonal is summed from the
    other entries: exact to relative precision however small they become.
    """
    links = state.overlap / problem.epsilon
    pull = state.target[:, :, None] * state.target[:, None]
    links[:, :-1, :-1] += pull / (state.rho * problem.kl_weight)[:, None, None]
    links -= torch.diag_embed(links.diagonal(dim1=1, dim2=2))
    hessian = (torch.diag_embed(links.sum(2)) - links)[:, :-1, :-1]
    # The scaling iteration's own metric bounds the curvature: a share of it, gone as the
    # error vanishes, bounds the step where hardly any feature is split between columns.
    metric = torch.maximum(state.mass[:, :-1], state.target) / problem.epsilon
    error = _error(state.rho, state.mass, state.target).clamp(max=1.0)
    hessian += torch.diag_embed(_DAMPING * error[:, None] * metric)
    # Without a slack a shift of all potentials changes nothing: forbid it.
    hessian += torch.where(state.rho < 1, 0.0, metric.mean(1))[:, None, None]
    return hessian


def _scaling_step(problem: _Problem, state: _State) -> Tensor:
    """Return the paper's update of b as a step of the potentials relative to the slack's."""
    tiny = torch.finfo(torch.float64).tiny
    mass = state.mass.clamp(min=tiny).log()
    exponent = 1.0 / (1.0 + problem.epsilon / problem.kl_weight)
    real = exponent * (state.target.clamp(min=tiny).log() - mass[:, :-1])
    slack = torch.where(state.rho < 1, (-state.rho).log1p() - mass[:, -1], 0.0)
    return problem.epsilon * (real - slack[:, None])


def _plan(problem: _Problem, potentials: Tensor) -> tuple[Tensor, Tensor]:
    """Return the plan with its slack, (R, M + 1, N), and its error (R,)."""
    parts = [_shares(problem, c, potentials) for c in _blocks(problem, len(potentials))]
    shares = torch.cat(parts, dim=2).div_(problem.costs.shape[1])
    target = _targets(problem, problem.rho, potentials)
    return shares, _error(problem.rho, shares.sum(2).cpu().double(), target)

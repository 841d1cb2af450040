"""From a finished run to a state that can be corrected, with all earlier hand work in it.

What a person has touched stays: points placed or moved, chosen answers, drawn and
locked masks, with the ids that they have. What a person has taken away stays away.
A new run places its own points anew; one that stands where a touched point stands,
or stood before it was moved or deleted, is that point and is not placed again.
"""

from __future__ import annotations

from collections.abc import Generator
from dataclasses import replace

import numpy as np
from numpy.typing import NDArray
from scipy.spatial import cKDTree

from .crops import slices
from .instances import Prompt
from .labels import on_full_grid
from .prompts import nearest_negatives
from .redecode import decoding, serve, would_serve
from .resolve import resolve_all
from .state import Ground, Served, State
from .transaction import Transaction

HAND_IDS = 100_000
"""Ids kept free for a person after those of the first run; later runs number around them.

An edit may be on its way, with an id of its own, while a run is made: the two must not meet.
"""

SAME_PLACE = 1.5
"""Points of two runs that are no further apart than this (um) are the same point."""


def begin(ground: Ground, old: State | None) -> Generator[tuple[int, int], None, State]:
    """Make the state of a new run, and carry the hand work of the state before it over.

    Parameters
    ----------
    ground
        The new run.
    old
        The state so far, not changed; None after the first run.

    Yields
    ------
    tuple of int
        Units of work done, and in all.
    """
    prompts = ground.prompts.prompts
    base = old.hand_base if old else 1 + max((prompt.id for prompt in prompts), default=0)
    same = _matches(prompts, old, ground) if old else {}
    dropped = set(same) | (_inside_fixed(prompts, old) if old else set())
    numbers = _numbers(prompts, dropped, base, _touched(old) if old else set())
    labels = np.zeros(ground.scale.full, dtype=np.int32)
    state = State(ground, labels, base)
    stale = _place_automatic(state, numbers)
    if old is None or not _has_hand_work(old):
        _take_result(state, numbers)
        return state
    edit = Transaction(state)
    matched = {ident: number for number, ident in same.items()}
    again = sorted(stale | _place_by_hand(edit, old, matched))
    for ident in again:
        edit.put(state.served, ident, serve(state, state.prompts[ident]))
    for done in decoding(edit, again):
        yield done, len(again) + 1
    for ident in sorted(set(state.decoded) | set(state.pins) | set(state.locks)):
        edit.refresh(ident)
    resolve_all(edit)
    return state


def _touched(old: State) -> set[int]:
    """Return the ids that a person has touched: no other nucleus may get them."""
    by_hand = {ident for ident, prompt in old.prompts.items() if prompt.source == "hand"}
    return by_hand.union(old.pins, old.locks, old.removed, old.origins)


def _has_hand_work(old: State) -> bool:
    return bool(_touched(old))


def _numbers(
    prompts: tuple[Prompt, ...], dropped: set[int], base: int, touched: set[int]
) -> dict[int, int]:
    """Map the run's own ids to ids that no one else has and no person will be given."""
    last = max([prompt.id for prompt in prompts], default=0)
    spare = max(last, base) + HAND_IDS
    numbers = {}
    for prompt in prompts:
        if prompt.id in dropped:
            continue
        number = prompt.id if prompt.id < base else prompt.id + HAND_IDS
        while number in touched:
            spare += 1
            number = spare
        numbers[prompt.id] = number
    return numbers


def _matches(prompts: tuple[Prompt, ...], old: State, ground: Ground) -> dict[int, int]:
    """Find the new points that are touched ones: their ids, to the ids of those."""
    by_hand = [prompt for prompt in old.prompts.values() if prompt.source == "hand"]
    targets = [*old.origins.values(), *by_hand]
    pairs: list[tuple[float, int, int, int]] = []
    for kind in ("positive", "negative"):
        new = [prompt for prompt in prompts if prompt.kind == kind]
        before = [prompt for prompt in targets if prompt.kind == kind]
        if not new or not before:
            continue
        tree = cKDTree(_working(new, ground))
        places = _working(before, ground)
        radius = SAME_PLACE / ground.scale.mpp
        for row, prompt in enumerate(before):
            for index in tree.query_ball_point(places[row], radius):
                apart = float(np.hypot(*(tree.data[index] - places[row])))
                pairs.append((apart, prompt.id, row, new[index].id))
    same: dict[int, int] = {}
    claimed: set[tuple[int, int]] = set()
    for _, ident, row, number in sorted(pairs):
        if number not in same and (ident, row) not in claimed:
            same[number] = ident
            claimed.add((ident, row))
    return same


def _working(prompts: list[Prompt], ground: Ground) -> NDArray[np.float64]:
    places = np.array([(prompt.y, prompt.x) for prompt in prompts])
    return ground.scale.to_working(places.reshape(-1, 2))


def _inside_fixed(prompts: tuple[Prompt, ...], old: State) -> set[int]:
    """Find the new positive points inside masks that a person has drawn or locked."""
    fixed = np.zeros(old.labels.shape, dtype=bool)
    for mask in (*old.pins.values(), *old.locks.values()):
        fixed[slices(mask.box)] |= mask.mask
    return {
        prompt.id
        for prompt in prompts
        if prompt.kind == "positive" and fixed[round(prompt.y), round(prompt.x)]
    }


def _place_automatic(state: State, numbers: dict[int, int]) -> set[int]:
    """Place the run's own prompts with their masks; return those to decode anew."""
    ground, made = state.ground, state.ground.prompts
    positive = [prompt for prompt in made.prompts if prompt.kind == "positive"]
    negative = [prompt for prompt in made.prompts if prompt.kind == "negative"]
    for prompt in made.prompts:
        if prompt.id in numbers:
            state.prompts[numbers[prompt.id]] = replace(prompt, id=numbers[prompt.id])
    points, others = _working(positive, ground), _working(negative, ground)
    count = ground.settings.prompts.negatives
    served: list[list[int]] = nearest_negatives(points, others, count).tolist()
    present = set(np.unique(made.regions).tolist())
    stale = set()
    for prompt, (y, x), row in zip(positive, points.tolist(), served, strict=True):
        ident = numbers.get(prompt.id)
        if ident is None:
            continue
        state.regions[ident] = prompt.id if prompt.id in present else 0
        given = [numbers.get(negative[index].id, 0) for index in row]
        reach = 0.0 if count == 0 else np.inf
        if count and len(row) == count:
            reach = float(np.hypot(*(others[row[-1]] - (y, x))))
        state.served[ident] = Served(y, x, tuple(given), reach)
        if 0 in given:
            stale.add(ident)
    for candidate in ground.candidates:
        ident = numbers.get(candidate.id)
        if ident is not None:
            state.decoded[ident] = replace(candidate, id=ident)
    return stale


def _take_result(state: State, numbers: dict[int, int]) -> None:
    """Take the run's own outcome: no hand work has a say in it."""
    result = state.ground.result
    for ident, full in on_full_grid(state.decoded.values(), state.ground.scale).items():
        state.masks[ident], state.full[ident] = state.decoded[ident], full
    outcome = result.suppressed
    for ident, number in numbers.items():
        if number in state.full:
            state.scores[number] = outcome.scores[ident]
            why = outcome.rejected.get(ident)
            if why is not None:
                state.rejected[number] = replace(why, by=why.by and numbers[why.by])
    state.areas = {numbers[nucleus.id]: nucleus.area for nucleus in result.nuclei}
    lookup = np.zeros(max(numbers, default=0) + 1, dtype=np.int32)
    lookup[list(numbers)] = list(numbers.values())
    state.labels[:] = lookup[result.labels]


def _place_by_hand(edit: Transaction, old: State, matched: dict[int, int]) -> set[int]:
    """Place what a person has touched; return the prompts to decode anew."""
    state = edit.state
    state.answers.update(old.answers)
    state.pins.update(old.pins)
    state.locks.update(old.locks)
    state.removed.update(old.removed)
    state.origins.update(old.origins)
    again: set[int] = set()
    for ident in sorted(_touched(old) & set(old.prompts)):
        prompt = old.prompts[ident]
        if prompt.source != "hand" and ident in matched:
            state.regions[ident] = matched[ident]
        else:
            # No region of this run proposed it: a person alone stands for it now.
            prompt = replace(prompt, source="hand")
        state.prompts[ident] = prompt
        if prompt.kind == "positive":
            again.add(ident)
    for ident in sorted(_touched(old) & set(old.prompts)):
        prompt = state.prompts[ident]
        if prompt.kind == "negative":
            again |= would_serve(state, prompt.y, prompt.x)
    return again

"""From a finished run to a state that can be corrected, with all earlier hand work in it.

What a person has touched stays: points placed or moved, chosen answers, drawn and
locked masks, with the ids that they have. What a person has taken away stays away.
A new run places its own points anew; one that stands where a touched point stands,
or stood before it was moved or deleted, is that point and is not placed again.

Nuclei made elsewhere are pinned as they were opened, but for those that a person has
touched since. Newly opened they take the place of everything but what is locked; what
was there before comes back when that is undone.
"""

from __future__ import annotations

from collections.abc import Generator
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray
from scipy.spatial import cKDTree

from .crops import slices, subtract, tight
from .edits import Piece
from .instances import Prompt
from .labels import on_full_grid
from .prompts import nearest_negatives
from .redecode import decoding, serve, would_serve
from .resolve import resolve_all
from .state import Ground, Served, State, hand_drawn
from .tables import MaskTable
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
    plan = _plan(ground, old) if ground.opened is None else _plan_opened(ground, old)
    state = State(ground, np.zeros(ground.scale.full, dtype=np.int32), plan.base)
    stale = _place_automatic(state, plan.numbers)
    if ground.opened is None and not plan.touched:
        _take_result(state, plan.numbers)
        return state
    edit = Transaction(state)
    if old is not None:
        stale |= _place_by_hand(edit, old, plan)
    _pin_opened(state, plan)
    again = sorted(stale)
    for ident in again:
        edit.put(state.served, ident, serve(state, state.prompts[ident]))
    for done in decoding(edit, again):
        yield done, len(again) + 1
    for ident in sorted(set(state.decoded) | set(state.pins) | set(state.locks)):
        edit.refresh(ident)
    resolve_all(edit)
    return state


@dataclass(frozen=True)
class Plan:
    """What goes into a new state.

    Attributes
    ----------
    base
        First of the ids kept free for a person.
    touched
        Ids of the old state whose hand work is carried over.
    same
        The run's own ids to the touched ids whose points they are again.
    numbers
        The run's own ids to those that they get; others are not placed.
    pieces
        Nuclei made elsewhere as they are pinned, under the run's own ids.
    """

    base: int
    touched: set[int]
    same: dict[int, int]
    numbers: dict[int, int]
    pieces: tuple[Piece, ...] = ()


def _plan(ground: Ground, old: State | None) -> Plan:
    """Plan the state of a run that has placed its points itself."""
    prompts = ground.prompts.prompts
    if old is None:
        ids = [prompt.id for prompt in prompts]
        return Plan(1 + max(ids, default=0), set(), {}, {ident: ident for ident in ids})
    touched = _touched(old)
    same = _matches(prompts, old, ground)
    dropped = set(same) | _inside_fixed(prompts, old, touched)
    # Nuclei made elsewhere may be opened again in settings: their numbers stay free.
    taken = touched | (ground.given.ids if ground.given else set())
    numbers = _numbers(prompts, dropped, old.hand_base, taken)
    return Plan(old.hand_base, touched, same, numbers)


def _plan_opened(ground: Ground, old: State | None) -> Plan:
    """Plan the state of a run that began with nuclei made elsewhere."""
    prompts = ground.prompts.prompts
    pieces = ground.opened.pieces if ground.opened else ()
    if old is None:
        numbers = {prompt.id: prompt.id for prompt in prompts}
        return Plan(1 + max(numbers), set(), {}, numbers, pieces)
    negatives = tuple(prompt for prompt in prompts if prompt.kind == "negative")
    if ground.opened is old.ground.given:
        touched = _touched(old)
        same = {ident: ident for ident in touched & old.given.keys()}
        same |= _matches(negatives, old, ground)
    else:
        touched, same = set(old.locks), {}
    # The nuclei themselves keep their numbers, whatever a person was to be given.
    base = max(old.hand_base, *(1 + ident for ident, _, _ in pieces))
    left = _beside(pieces, old, touched)
    placed = {ident for ident, _, _ in left}.union(prompt.id for prompt in negatives)
    dropped = {prompt.id for prompt in prompts} - placed | set(same)
    return Plan(base, touched, same, _numbers(prompts, dropped, base, touched), left)


def _beside(pieces: tuple[Piece, ...], old: State, touched: set[int]) -> tuple[Piece, ...]:
    """Take from nuclei made elsewhere the pixels of those that a person has drawn or locked.

    One that loses more than half is left out: it is drawn or locked already.
    """
    fixed = MaskTable()
    for ident in touched:
        own = old.fixed(ident)
        if own is not None:
            fixed[ident] = own
    found: list[Piece] = []
    for ident, box, mask in pieces:
        others = [(fixed[other].box, fixed[other].mask) for other in fixed.near(box)]
        left = subtract(box, mask, others) if others else mask
        shrunk = tight(box, left)
        if shrunk is not None and 2 * np.count_nonzero(left) >= np.count_nonzero(mask):
            found.append((ident, *shrunk))
    return tuple(found)


def _pin_opened(state: State, plan: Plan) -> None:
    """Pin nuclei made elsewhere, those that no person has touched."""
    for ident, box, mask in plan.pieces:
        number = plan.numbers.get(ident)
        if number is not None:
            state.given[number] = state.pins[number] = hand_drawn(number, box, mask)


def _touched(old: State) -> set[int]:
    """Return the ids that a person has touched: no other nucleus may get them."""
    by_hand = {ident for ident, prompt in old.prompts.items() if prompt.source == "hand"}
    pinned = {ident for ident in old.pins if not old.as_given(ident)}
    return by_hand.union(pinned, old.locks, old.removed, old.origins)


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


def _inside_fixed(prompts: tuple[Prompt, ...], old: State, touched: set[int]) -> set[int]:
    """Find the new positive points inside masks that a person has drawn or locked."""
    fixed = np.zeros(old.labels.shape, dtype=bool)
    for ident in touched:
        for mask in (old.pins.get(ident), old.locks.get(ident)):
            if mask is not None:
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


def _place_by_hand(edit: Transaction, old: State, plan: Plan) -> set[int]:
    """Place what a person has touched; return the prompts to decode anew."""
    state, touched = edit.state, plan.touched
    for name in ("answers", "pins", "locks", "removed", "origins", "kept"):
        before, after = getattr(old, name), getattr(state, name)
        after.update({ident: before[ident] for ident in before if ident in touched})
    if state.ground.given is old.ground.given:
        state.given.update({i: mask for i, mask in old.given.items() if i in touched})
    matched = {ident: number for number, ident in plan.same.items()}
    prompts = {ident: old.prompts[ident] for ident in sorted(touched & set(old.prompts))}
    again: set[int] = set()
    for ident, prompt in prompts.items():
        placed = prompt
        if ident in matched and (prompt.source != "hand" or state.ground.opened is not None):
            state.regions[ident] = matched[ident]
        else:
            # No region of this run proposed it: a person alone stands for it now.
            placed = replace(prompt, source="hand")
        state.prompts[ident] = placed
        if prompt.kind == "positive":
            again.add(ident)
    for prompt in prompts.values():
        if prompt.kind == "negative":
            again |= would_serve(state, prompt.y, prompt.x)
    return again

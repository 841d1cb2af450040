"""Which masks are nuclei and which pixels they own: for all of an image, or around an edit.

Around an edit, only masks that share a pixel with a mask that came, went or changed
are settled anew. All others stand as they are: they still compete with those, in the
place they had, and keep every pixel they own.
"""

from __future__ import annotations

import numpy as np

from .crops import slices
from .instances import Box, Candidate
from .labels import paint
from .state import State
from .suppression import Rejection, mask_intersection, suppress
from .transaction import Transaction

SAME = 0.5
"""Two masks whose IoU is at least this stand for the same thing."""


def resolve_around(edit: Transaction) -> None:
    """Settle the masks that an edit has changed, and those that they touch or touched."""
    state = edit.state
    touched = [mask for mask in edit.changed.values() if mask is not None]
    touched += [state.full[ident] for ident in edit.changed if ident in state.full]
    members = {ident for ident in edit.changed if ident in state.full}
    for mask in touched:
        members |= {
            ident
            for ident in state.full.near(mask.box)
            if ident not in members and mask_intersection(state.full[ident], mask)
        }
    for box in {mask.box for mask in touched} | {state.full[ident].box for ident in members}:
        edit.save(box)
    _settle(edit, sorted(members))
    boxes = [(ident, mask.box) for ident, mask in edit.changed.items() if mask is not None]
    _repaint(edit, sorted(members), boxes)


def resolve_all(edit: Transaction) -> None:
    """Settle and paint all masks of a state without labels."""
    members = sorted(edit.state.full)
    _settle(edit, members)
    _repaint(edit, members, [])


def _settle(edit: Transaction, members: list[int]) -> None:
    """Let members compete with each other and with all that their boxes overlap."""
    state = edit.state
    inside = set(members)
    removed = {}
    for ident in members:
        by = None if state.chosen(ident) else _removed_before(state, state.full[ident])
        if by is not None:
            removed[ident] = by
    around: set[int] = set()
    for ident in members if len(inside) < len(state.masks) else ():
        around |= set(state.masks.near(state.masks[ident].box))
    around = {
        ident
        for ident in around - inside
        if ident not in state.rejected or state.rejected[ident].reason != "removed"
    }
    competing = sorted((inside - set(removed)) | around)
    outcome = suppress(
        [state.masks[ident] for ident in competing],
        state.ground.settings.suppression,
        frozenset(ident for ident in competing if state.chosen(ident)),
        {i: None if i in state.rejected else state.scores[i] for i in around},
    )
    for ident in members:
        if ident in removed:
            rejection: Rejection | None = Rejection("removed", removed[ident], 0.0)
            score = 0.0
        else:
            rejection, score = outcome.rejected.get(ident), outcome.scores[ident]
        edit.put(state.rejected, ident, rejection)
        edit.put(state.scores, ident, score)


def _removed_before(state: State, mask: Candidate) -> int | None:
    """Return the removed nucleus that a mask stands for, the lowest id if there are several."""
    for ident in state.removed.near(mask.box):
        other = state.removed[ident]
        shared = mask_intersection(mask, other)
        if shared >= SAME * (mask.area + other.area - shared):
            return ident
    return None


def _repaint(edit: Transaction, members: list[int], before: list[tuple[int, Box]]) -> None:
    """Paint members anew: hand-drawn masks as they are, the others on what is free."""
    state = edit.state
    for ident, box in [*before, *((ident, state.full[ident].box) for ident in members)]:
        crop = state.labels[slices(box)]
        crop[crop == ident] = 0
    areas = dict.fromkeys((ident for ident, _ in before), 0)
    areas.update(dict.fromkeys(members, 0))
    others = []
    for ident in members:
        fixed = state.fixed(ident)
        if fixed is not None:
            state.labels[slices(fixed.box)][fixed.mask] = ident
            areas[ident] = int(np.count_nonzero(fixed.mask))
        elif ident not in state.rejected:
            others.append((ident, state.scores[ident]))
    chosen = frozenset(ident for ident, _ in others if state.chosen(ident))
    visible = state.ground.settings.suppression.min_visible
    areas |= paint(state.labels, state.full, others, state.ground.min_area, chosen, visible)
    for ident, area in areas.items():
        edit.put(state.areas, ident, area or None)

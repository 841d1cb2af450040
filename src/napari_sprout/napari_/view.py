"""A correction at one moment: taken where the work is done, shown in the viewer's thread."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ..core.correction import Change, Correction
from ..core.crops import Mask, slices
from ..core.instances import Box, Prompt
from ..core.masks import USUAL_ANSWER


@dataclass(frozen=True, eq=False)
class Ghost:
    """A suppressed candidate.

    Attributes
    ----------
    id
        Its prompt's id.
    box, mask
        Where it would be, in full-resolution pixels.
    reason
        Why it was suppressed.
    by
        The id of the mask that suppressed it, if it was one.
    score
        Its score when it was dropped.
    """

    id: int
    box: Box
    mask: Mask
    reason: str
    by: int | None
    score: float


@dataclass(frozen=True, eq=False)
class View:
    """What there is to be seen; nothing here changes while the next edit is done.

    Attributes
    ----------
    revision
        The correction's; a view with a lower one than the last is out of date.
    box, labels
        The region that may differ from the view before, and its labels, int32.
    prompts
        All prompts.
    ghosts
        The suppressed candidates.
    pinned, locked
        Nuclei drawn by hand, and those that nothing may change.
    answers
        SAM's answer of each nucleus for which a person has chosen one.
    usual_answer
        That of all others, 0 where it differs from nucleus to nucleus.
    fresh
        Identifiers for what a person adds next; nobody else is given them.
    can_undo, can_redo
        Whether there is anything to take back or to bring back.
    """

    revision: int
    box: Box
    labels: NDArray[np.int32]
    prompts: tuple[Prompt, ...]
    ghosts: tuple[Ghost, ...]
    pinned: frozenset[int]
    locked: frozenset[int]
    answers: dict[int, int]
    usual_answer: int
    fresh: tuple[int, ...]
    can_undo: bool
    can_redo: bool


def take_view(correction: Correction, change: Change | None = None, fresh: int = 0) -> View:
    """Return what is to be seen of a correction.

    Parameters
    ----------
    correction
        One that is ready.
    change
        What has changed since the view before; all of it by default.
    fresh
        How many new identifiers to draw.
    """
    shape = correction.labels.shape
    box = (0, 0, shape[0], shape[1]) if change is None else change.box or (0, 0, 0, 0)
    return View(
        correction.revision,
        box,
        correction.labels[slices(box)].copy(),
        tuple(correction.prompts.values()),
        _ghosts(correction),
        correction.pinned,
        correction.locked,
        dict(correction.state.answers),
        USUAL_ANSWER.get(correction.state.ground.settings.decoding.multimask, 0),
        tuple(correction.new_id() for _ in range(fresh)),
        correction.can_undo,
        correction.can_redo,
    )


def _ghosts(correction: Correction) -> tuple[Ghost, ...]:
    candidates = correction.candidates
    return tuple(
        Ghost(
            ident,
            candidates[ident].box,
            candidates[ident].mask,
            rejection.reason,
            rejection.by,
            rejection.score,
        )
        for ident, rejection in correction.suppressed.items()
        if ident in candidates
    )


def ghost_labels(ghosts: Iterable[Ghost], shape: tuple[int, int]) -> NDArray[np.int32]:
    """Return an image of suppressed candidates, small ones over the large ones they lie in.

    Returns
    -------
    ndarray
        `shape`, int32: a candidate's id, or 0.
    """
    labels = np.zeros(shape, np.int32)
    for ghost in sorted(ghosts, key=lambda one: (-np.count_nonzero(one.mask), one.id)):
        labels[slices(ghost.box)][ghost.mask] = ghost.id
    return labels


def ghost_at(ghosts: Iterable[Ghost], y: float, x: float) -> Ghost | None:
    """Return the smallest suppressed candidate that covers a place, in full-resolution pixels."""
    row, column = round(y), round(x)
    under = [
        ghost
        for ghost in ghosts
        if ghost.box[0] <= row < ghost.box[2]
        and ghost.box[1] <= column < ghost.box[3]
        and ghost.mask[row - ghost.box[0], column - ghost.box[1]]
    ]
    return min(under, key=lambda ghost: (np.count_nonzero(ghost.mask), ghost.id), default=None)


def ghost_features(ghosts: Sequence[Ghost]) -> dict[str, Any]:
    """Return what napari shows of a suppressed candidate under the pointer."""
    return {
        "index": [0, *(ghost.id for ghost in ghosts)],
        "reason": ["", *(ghost.reason for ghost in ghosts)],
        "suppressed by": ["", *("" if g.by is None else str(g.by) for g in ghosts)],
        "score": [0.0, *(round(ghost.score, 3) for ghost in ghosts)],
    }

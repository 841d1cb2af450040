"""Containment-aware soft-NMS: which of the overlapping masks are nuclei.

Paper section 3.3 and Algorithm 3 (D.3); every row of Tables 13, 14 and 15 is a
value of :class:`SuppressionSettings` and runs through the same code.

Two masks can affect each other only if their boxes overlap, so the answer for a
mask depends on nothing outside its connected component in the graph of
overlapping boxes: adding, moving or removing a mask elsewhere leaves it
bit-identical. Ties go to the lower id, so the order of the input is irrelevant.
"""

from __future__ import annotations

import heapq
import itertools
import math
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from ..errors import SproutError
from .instances import Candidate
from .settings import SuppressionSettings

Reason = Literal["contains several", "overlap", "low score", "covered", "removed"]


@dataclass(frozen=True)
class Rejection:
    """Why a mask was not kept.

    Attributes
    ----------
    reason
        "low score": its own score was under the threshold before any
        competition. "contains several": the containment penalty took more from
        it than its rivals did. "overlap": better masks on the same place.
        "covered": it was kept, but too little of it is to be seen under better masks.
        "removed": a person has removed the nucleus that it stands for.
    by
        For "overlap", the id of the mask that lowered it most (it may have been
        removed since); for "removed", the id that was removed; otherwise None.
    score
        Its score when it was dropped.
    """

    reason: Reason
    by: int | None
    score: float


@dataclass(frozen=True)
class Suppressed:
    """The outcome of suppression; every candidate is in `kept` or in `rejected`.

    Attributes
    ----------
    kept
        (id, score) in decreasing priority: pinned masks first, then by
        decreasing score, ties by increasing id (see :func:`ranked`).
    rejected
        Id to the reason it was dropped.
    scores
        Id to final score, of all candidates. Not bounded by 1 when the score is
        a sum (setting `score` = "both": 0 to 2).
    """

    kept: tuple[tuple[int, float], ...]
    rejected: Mapping[int, Rejection]
    scores: Mapping[int, float]


def ranked(
    scored: Iterable[tuple[int, float]], pinned: frozenset[int] = frozenset()
) -> tuple[tuple[int, float], ...]:
    """Order (id, score) pairs best first: pinned ids, then higher scores, then lower ids."""
    return tuple(sorted(scored, key=lambda item: (item[0] not in pinned, -item[1], item[0])))


def suppress(
    candidates: Sequence[Candidate],
    settings: SuppressionSettings,
    pinned: frozenset[int] = frozenset(),
    standing: Mapping[int, float | None] | None = None,
) -> Suppressed:
    """Let overlapping masks compete (paper Algorithm 3).

    The best remaining mask is kept; each mask whose box overlaps its box at IoU
    u is multiplied by f(u) ("soft"), discarded if u > `overlap_threshold`
    ("hard"), or either ("hard+soft"). A mask whose score falls below
    `threshold` is dropped and takes no further part. With "none" the threshold
    alone decides. A discarded mask keeps the score it had.

    The paper names three decays and gives a formula for one. Here exponential is
    exp(-u^2 / sigma), its formula; linear is 1 - u; polynomial is 1 - u^2. Linear
    is used at every u: the cut at a threshold of Bodla et al. (2017) makes the
    score jump there, and would turn "hard+soft" into "hard".

    Parameters
    ----------
    candidates
        Masks with distinct ids, in any order.
    settings
        The switches of the paper's ablations.
    pinned
        Ids that a person chose. They are always kept, come first, and nothing
        lowers their score; they suppress others as any kept mask does. Ids that
        are not among the candidates are ignored.
    standing
        Ids whose fate is settled already: the final score of one that is kept,
        None for one that is not. Nothing changes them and they are not in the
        outcome, but they affect the others as they would in a contest among all:
        where only some masks are settled anew, with all that their boxes overlap
        standing, and no mask has changed, their fate is what it was.

    Returns
    -------
    Suppressed
        The kept and rejected ids with their final scores.

    Raises
    ------
    SproutError
        If two candidates carry the same id.
    """
    ordered = sorted(candidates, key=lambda candidate: candidate.id)
    for first, second in itertools.pairwise(ordered):
        if first.id == second.id:
            raise SproutError(
                f"Two masks carry the number {first.id}; give every prompt its own number "
                "and segment again."
            )
    boxes = np.array([c.box for c in ordered], dtype=np.int64).reshape(-1, 4)
    pairs = overlapping_pairs(boxes)
    shared = _shared_area(boxes, pairs)
    penalties = _penalties(ordered, pairs, shared, settings)
    fixed = standing or {}
    contest = _Contest(ordered, penalties, settings, pinned, fixed)
    contest.run(_neighbours(boxes, pairs, shared))
    scores = zip(ordered, contest.scores, strict=True)
    return Suppressed(
        kept=tuple(item for item in contest.kept if item[0] not in fixed),
        rejected=contest.rejected,
        scores={c.id: score for c, score in scores if c.id not in fixed},
    )


class _Contest:
    """Algorithm 3's loop, with a heap in place of its argmax over all masks."""

    def __init__(
        self,
        candidates: Sequence[Candidate],
        penalties: Sequence[float],
        settings: SuppressionSettings,
        pinned: frozenset[int],
        standing: Mapping[int, float | None],
    ) -> None:
        n = len(candidates)
        self.ids = [c.id for c in candidates]
        self.pinned = [c.id in pinned for c in candidates]
        self.own = [own_score(c, settings.score) for c in candidates]
        self.penalties = [
            1.0 if safe else p for p, safe in zip(penalties, self.pinned, strict=True)
        ]
        self.scores = [s * p for s, p in zip(self.own, self.penalties, strict=True)]
        self.threshold = settings.threshold
        self.limit = settings.overlap_threshold if "hard" in settings.method else math.inf
        self.decay = _decay(settings)
        self.decayed = [1.0] * n
        self.strongest: list[tuple[float, int | None]] = [(1.0, None)] * n
        self.settled = [c.id in standing and standing[c.id] is None for c in candidates]
        self.standing = [c.id in standing for c in candidates]
        for i, c in enumerate(candidates):
            score = standing.get(c.id)
            if score is not None:
                self.scores[i] = score
        self.kept: list[tuple[int, float]] = []
        self.rejected: dict[int, Rejection] = {}

    def run(self, neighbours: Sequence[Sequence[tuple[int, float]]]) -> None:
        """Settle every mask, given each one's (index, box IoU) neighbours."""
        heap = []
        for i, (score, safe) in enumerate(zip(self.scores, self.pinned, strict=True)):
            if self.settled[i]:
                continue
            # "not >=" also drops a NaN, which would spoil the heap's order.
            if safe or self.standing[i] or score >= self.threshold:
                heap.append((not safe, -score, i))
            else:
                self._drop(i)
        heapq.heapify(heap)
        while heap:
            rank, negated, i = heapq.heappop(heap)
            if self.settled[i]:
                continue
            if self.scores[i] < -negated:
                # Decayed since it was queued: back to its place. Scores only ever
                # fall, so a queued score is an upper bound and the top is the maximum.
                heapq.heappush(heap, (rank, -self.scores[i], i))
                continue
            self.settled[i] = True
            self.kept.append((self.ids[i], self.scores[i]))
            for j, u in neighbours[i]:
                if not (self.settled[j] or self.pinned[j] or self.standing[j]):
                    self._lower(j, i, u)

    def _lower(self, i: int, winner: int, u: float) -> None:
        if u > self.limit:
            self.strongest[i] = (0.0, self.ids[winner])
            self._drop(i, discarded=True)
            return
        factor = self.decay(u)
        self.scores[i] *= factor
        self.decayed[i] *= factor
        if factor < self.strongest[i][0]:
            self.strongest[i] = (factor, self.ids[winner])
        if self.scores[i] < self.threshold:
            self._drop(i)

    def _drop(self, i: int, discarded: bool = False) -> None:
        reason: Reason
        if discarded:
            reason = "overlap"
        elif not self.own[i] >= self.threshold:
            reason = "low score"
        else:
            reason = "contains several" if self.penalties[i] < self.decayed[i] else "overlap"
        by = self.strongest[i][1] if reason == "overlap" else None
        self.settled[i] = True
        self.rejected[self.ids[i]] = Rejection(reason, by, self.scores[i])


def own_score(candidate: Candidate, kind: str) -> float:
    """Return the score before any penalty (Table 14)."""
    if kind == "none":
        return 1.0
    sam = candidate.predicted_iou if kind in ("sam", "both") else 0.0
    stain = candidate.haematoxylin if kind in ("haematoxylin", "both") else 0.0
    return float(sam + stain)


def _decay(settings: SuppressionSettings) -> Callable[[float], float]:
    """Return f, from box IoU to the factor of a score (Table 15)."""
    # Scalar math, not numpy: vectorised transcendental functions may round an
    # element differently by its place in the array, and results must be bit-identical.
    if "soft" not in settings.method:
        return lambda u: 1.0
    if settings.decay == "linear":
        return lambda u: 1.0 - u
    if settings.decay == "polynomial":
        return lambda u: 1.0 - u * u
    return lambda u: math.exp(-u * u / settings.sigma)


def _penalties(
    candidates: Sequence[Candidate],
    pairs: NDArray[np.int64],
    shared: NDArray[np.int64],
    settings: SuppressionSettings,
) -> list[float]:
    """Return each mask's factor 1 - tanh(eps_c * N) where it contains N > 1 smaller masks."""
    counts = [0] * len(candidates)
    if settings.containment:
        share = settings.containment_share
        areas = np.array([c.area for c in candidates], dtype=np.int64)
        swap = areas[pairs[:, 0]] < areas[pairs[:, 1]]
        large = np.where(swap, pairs[:, 1], pairs[:, 0])
        small = np.where(swap, pairs[:, 0], pairs[:, 1])
        needed = share * areas[small]
        # Masks share no more than their boxes do, which spares most pairs the exact count.
        possible = np.flatnonzero((areas[small] < areas[large]) & (shared >= needed))
        for i, j, least in zip(
            large[possible].tolist(),
            small[possible].tolist(),
            needed[possible].tolist(),
            strict=True,
        ):
            counts[i] += mask_intersection(candidates[i], candidates[j]) >= least
    scale = settings.containment_scale
    return [1.0 - math.tanh(scale * n) if n > 1 else 1.0 for n in counts]


def _shared_area(boxes: NDArray[np.int64], pairs: NDArray[np.int64]) -> NDArray[np.int64]:
    """Return the area of overlap of each pair of overlapping boxes, in square pixels."""
    a, b = boxes[pairs[:, 0]], boxes[pairs[:, 1]]
    height, width = (np.minimum(a[:, 2:], b[:, 2:]) - np.maximum(a[:, :2], b[:, :2])).T
    area: NDArray[np.int64] = height * width
    return area


def _neighbours(
    boxes: NDArray[np.int64], pairs: NDArray[np.int64], shared: NDArray[np.int64]
) -> list[list[tuple[int, float]]]:
    """Return, for each box, the index and IoU of every box that overlaps it."""
    areas = (boxes[:, 2] - boxes[:, 0]) * (boxes[:, 3] - boxes[:, 1])
    iou = shared / (areas[pairs[:, 0]] + areas[pairs[:, 1]] - shared)
    neighbours: list[list[tuple[int, float]]] = [[] for _ in range(len(boxes))]
    for (i, j), u in zip(pairs.tolist(), iou.tolist(), strict=True):
        neighbours[i].append((j, u))
        neighbours[j].append((i, u))
    return neighbours


def mask_intersection(a: Candidate, b: Candidate) -> int:
    """Return the number of working pixels that both masks cover."""
    y0, x0 = max(a.box[0], b.box[0]), max(a.box[1], b.box[1])
    y1, x1 = min(a.box[2], b.box[2]), min(a.box[3], b.box[3])
    if y1 <= y0 or x1 <= x0:
        return 0
    part_a = a.mask[y0 - a.box[0] : y1 - a.box[0], x0 - a.box[1] : x1 - a.box[1]]
    part_b = b.mask[y0 - b.box[0] : y1 - b.box[0], x0 - b.box[1] : x1 - b.box[1]]
    return int(np.count_nonzero(part_a & part_b))


def overlapping_pairs(boxes: NDArray[np.integer]) -> NDArray[np.int64]:
    """Find every pair of boxes that share at least one pixel.

    Boxes are hashed into a uniform grid and only boxes of one cell are compared:
    time and memory grow with the number of boxes and of near pairs, not with the
    square of the number of boxes.

    Parameters
    ----------
    boxes
        Shape (n, 4), whole numbers (y0, x0, y1, x1), half open.

    Returns
    -------
    numpy.ndarray
        Shape (m, 2): indices i < j, in lexicographic order, each pair once.
    """
    if len(boxes) < 2:
        return np.empty((0, 2), dtype=np.int64)
    corners = np.asarray(boxes, dtype=np.int64)
    low, high = corners[:, :2], corners[:, 2:]
    # With the root mean square as cell side, n boxes never fill more than a few n cells.
    cell = max(1, math.ceil(math.sqrt(np.mean((high - low).max(axis=1) ** 2))))
    origin = low.min(axis=0)
    first, last = (low - origin) // cell, (high - 1 - origin) // cell
    spans = np.maximum(last - first + 1, 0)
    counts = spans.prod(axis=1)
    owner = np.repeat(np.arange(len(corners)), counts)
    step, width = _count_up(counts), spans[owner, 1]
    stride = int(last[:, 1].max()) + 1
    key = (first[owner, 0] + step // width) * stride + first[owner, 1] + step % width

    order = np.argsort(key, kind="stable")
    key, owner = key[order], owner[order]
    following = np.searchsorted(key, key, side="right") - np.arange(len(key)) - 1
    left = np.repeat(np.arange(len(key)), following)
    i, j = owner[left], owner[left + 1 + _count_up(following)]

    start = np.maximum(low[i], low[j])
    overlap = (start < np.minimum(high[i], high[j])).all(axis=1)
    # A pair that meets in several cells counts in the one where its overlap starts.
    place = (start - origin) // cell
    home = place[:, 0] * stride + place[:, 1] == key[left]
    pairs: NDArray[np.int64] = np.column_stack([i, j])[overlap & home]
    return pairs[np.lexsort((pairs[:, 1], pairs[:, 0]))]


def _count_up(lengths: NDArray[np.int64]) -> NDArray[np.int64]:
    """Return 0..n-1 for each n of `lengths`, one after another."""
    ends = np.cumsum(lengths)
    return np.arange(int(lengths.sum()), dtype=np.int64) - np.repeat(ends - lengths, lengths)

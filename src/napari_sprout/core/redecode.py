"""SAM's masks for prompts that an edit concerns, and the negatives that each is given."""

from __future__ import annotations

from collections.abc import Iterable, Iterator

import numpy as np

from .crops import Mask, tight
from .instances import Box, Candidate, Prompt
from .mask_prompts import PointPrompts
from .masks import plausible
from .state import Served, State
from .transaction import Transaction


def serve(state: State, prompt: Prompt) -> Served:
    """Find a positive prompt's nearest negatives; of equally near ones the lower ids."""
    count = state.ground.settings.prompts.negatives
    y, x = state.ground.to_working(prompt.y, prompt.x)
    ids, places = state.prompts.points(positive=False)
    if count == 0 or not len(ids):
        return Served(y, x, (), np.inf if count else 0.0)
    row, column = state.ground.scale.to_working(places).T
    distance = np.hypot(row - y, column - x)
    if len(ids) > count:
        near = distance <= np.partition(distance, count - 1)[count - 1]
        ids, distance = ids[near], distance[near]
    order = np.lexsort((ids, distance))[:count]
    reach = float(distance[order[-1]]) if len(order) == count else np.inf
    return Served(y, x, tuple(ids[order].tolist()), reach)


def would_serve(state: State, y: float, x: float) -> set[int]:
    """Return the positives to which a negative at (y, x) would be given."""
    row, column = state.ground.to_working(y, x)
    return set(state.served.reached_from(row, column))


def serving(state: State, negatives: Iterable[int]) -> set[int]:
    """Return the positives that are given any of these negatives."""
    found = set()
    for ident in negatives:
        prompt = state.prompts[ident]
        for positive in would_serve(state, prompt.y, prompt.x):
            if ident in state.served[positive].negatives:
                found.add(positive)
    return found


def decode(edit: Transaction, idents: Iterable[int]) -> None:
    """Decode prompts anew, serve them first, and refresh their masks."""
    state = edit.state
    wanted = sorted(idents)
    for ident in wanted:
        edit.put(state.served, ident, serve(state, state.prompts[ident]))
    for _ in decoding(edit, wanted):
        pass
    for ident in wanted:
        edit.refresh(ident)


def decoding(edit: Transaction, idents: list[int]) -> Iterator[int]:
    """Decode prompts with the negatives they are served, yielding how many are done."""
    state = edit.state
    found: dict[int, Candidate] = {}
    done = 0
    for asked, batch in state.ground.decoder.decode(_point_prompts(state, idents)):
        found |= {candidate.id: candidate for candidate in batch}
        done += asked
        yield done
    for ident in idents:
        edit.put(state.decoded, ident, _accepted(state, found.get(ident)))


def _accepted(state: State, candidate: Candidate | None) -> Candidate | None:
    """Drop what cannot be a nucleus, unless a person knows better.

    An answer that a person chose is taken whatever it looks like, and a point set
    by hand, or a nucleus made elsewhere, says that there is a nucleus, however
    pale; but not how large it is.
    """
    if candidate is None or candidate.id in state.answers:
        return candidate
    ground = state.ground
    known = candidate.id in state.given or candidate.id in state.kept
    by_hand = state.prompts[candidate.id].source == "hand"
    stained = 0.0 if by_hand or known else ground.stained
    kept = plausible([candidate], ground.settings.decoding, ground.scale.mpp, stained)
    return kept[0] if kept else None


def _point_prompts(state: State, idents: list[int]) -> PointPrompts:
    """Gather what SAM is asked, in working pixels."""
    ground = state.ground
    served = [state.served[ident] for ident in idents]
    width = max((len(s.negatives) for s in served), default=0)
    negatives = np.full((len(idents), width, 2), np.nan)
    for row, one in enumerate(served):
        for column, negative in enumerate(one.negatives):
            prompt = state.prompts[negative]
            negatives[row, column] = ground.to_working(prompt.y, prompt.x)
    return PointPrompts(
        np.array(idents, dtype=np.int64),
        np.array([(s.y, s.x) for s in served]).reshape(-1, 2),
        negatives,
        ground.prompts.regions,
        np.array([_region(state, ident) for ident in idents], dtype=np.int64),
        {ident: shape for ident in idents if (shape := suggestion(state, ident)) is not None},
        {ident: state.answers[ident] for ident in idents if ident in state.answers},
    )


def _region(state: State, ident: int) -> int:
    """Return the region that stands for a nucleus; 0 if its point has left it.

    A point moved by hand leaves a region that the method had proposed, wherever it
    goes, but a nucleus made elsewhere only when it is outside.
    """
    region = state.regions.get(ident, 0)
    if state.prompts[ident].source != "hand" or not region:
        return region
    served, regions = state.served[ident], state.ground.prompts.regions
    row, column = round(served.y), round(served.x)
    inside = 0 <= row < regions.shape[0] and 0 <= column < regions.shape[1]
    stays = state.ground.opened is not None and inside and regions[row, column] == region
    return region if stays else 0


def suggestion(state: State, ident: int) -> tuple[Box, Mask] | None:
    """Return what to suggest to SAM around a point placed by hand, in working pixels.

    No region of the image proposed it, yet SAM with a point alone mostly draws too
    much or too little. A disk the size of a small nucleus, cut halfway to other
    positive points, does as well as a region.
    """
    ground = state.ground
    radius = ground.settings.decoding.hand_radius / ground.scale.mpp
    if state.prompts[ident].source != "hand" or radius <= 0 or _region(state, ident):
        return None
    served = state.served[ident]
    y, x = served.y, served.x
    height, width = ground.scale.working
    y0, x0 = max(0, int(y - radius)), max(0, int(x - radius))
    y1, x1 = min(height, int(y + radius) + 2), min(width, int(x + radius) + 2)
    rows, columns = np.ogrid[y0:y1, x0:x1]
    apart = (rows - y) ** 2 + (columns - x) ** 2
    disk = apart <= radius**2
    for other in _positives_near(state, ident, 2 * radius):
        disk &= apart <= (rows - other[0]) ** 2 + (columns - other[1]) ** 2
    return tight((y0, x0, y1, x1), disk)


def _positives_near(state: State, ident: int, distance: float) -> list[tuple[float, float]]:
    own = state.served[ident]
    row, column, _ = state.served.rows.T
    near = state.served.where(np.hypot(row - own.y, column - own.x) <= distance)
    return [(state.served[i].y, state.served[i].x) for i in near if i != ident]

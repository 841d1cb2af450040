"""Nuclei of several regions of one slide, added up to one result.

Regions may overlap, and then show the same nuclei. What becomes of them follows from the
regions alone, never from the order in which they were made:

- A corrected region counts more than one that was only segmented; among equals the one
  that comes first in reading order does.
- In the box of a region that counts more, that region says what is there: a nucleus of
  another whose centroid lies in it is left out.
- A nucleus that its region's edge cuts through gives way to the same nucleus where another
  region shows it whole.
- Of nuclei that still overlap, the weaker region's goes if both are the same one, and else
  gives up the pixels that they share.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, field, replace
from typing import Final

import numpy as np
from numpy.typing import NDArray

from .crops import Mask, common, meet, slices, subtract, tight, within
from .instances import Box, Nucleus
from .labels import largest_piece
from .seams import SAME, holds, remeasured

_BIN: Final = 128
"""px; side of the squares in which neighbours are looked for."""

_Key = tuple[int, int]
"""A region's place in reading order, and a nucleus's among the region's."""


@dataclass(frozen=True, eq=False)
class RegionNuclei:
    """The nuclei of one region, in pixels of the whole slide.

    Attributes
    ----------
    box
        (y0, x0, y1, x1) of the region, half open.
    corrected
        Whether a person has worked on them.
    nuclei
        Measured.
    boxes
        (n, 4) their boxes, half open.
    masks
        The mask inside each box.
    """

    box: Box
    corrected: bool = False
    nuclei: tuple[Nucleus, ...] = ()
    boxes: NDArray[np.int64] = field(default_factory=lambda: np.zeros((0, 4), np.int64))
    masks: tuple[Mask, ...] = ()

    def __len__(self) -> int:
        return len(self.nuclei)


@dataclass(frozen=True, eq=False)
class _Contested:
    """A nucleus that other regions may see too."""

    key: _Key
    nucleus: Nucleus
    box: Box
    mask: Mask
    cut: bool


class RegionUnion:
    """Adds up the regions of a slide.

    In memory are only the nuclei that lie where regions overlap, and one region at a time.

    Parameters
    ----------
    boxes
        Of the regions, no two alike, in any order.
    load
        Called with one of the boxes, gives its nuclei; each is asked for twice.
    shape
        (H, W) of the slide.
    step
        Called with the number of regions looked through so far; may raise to stop.
    """

    def __init__(
        self,
        boxes: Iterable[Box],
        load: Callable[[Box], RegionNuclei],
        shape: tuple[int, int],
        step: Callable[[int], None] = lambda done: None,
    ) -> None:
        self.boxes: Final[tuple[Box, ...]] = tuple(sorted(boxes))
        self._load = load
        self._shape = shape
        self._counts: list[int] = []
        contested: list[_Contested] = []
        corrected = []
        for index, box in enumerate(self.boxes):
            found = load(box)
            corrected.append(found.corrected)
            self._counts.append(len(found))
            contested += self._overlapping(index, found)
            step(index + 1)
        order = sorted(range(len(self.boxes)), key=lambda i: (not corrected[i], i))
        self._rank = {index: rank for rank, index in enumerate(order)}
        settled = _settled(contested, self.boxes, self._rank)
        self._gone = {one.key for one in contested if one.key not in settled}
        self._changed = {key: crop for key, crop in settled.items() if crop is not None}
        for index, _ in self._gone:
            self._counts[index] -= 1

    def __len__(self) -> int:
        """Return how many nuclei there are in all."""
        return sum(self._counts)

    def pieces(self, index: int) -> Iterator[tuple[Nucleus, Box, Mask]]:
        """Yield what is left of the nuclei of one region.

        Parameters
        ----------
        index
            Of the region in :attr:`boxes`.

        Yields
        ------
        nucleus, box, mask
            Numbered from 1 over all regions in turn. No two of all share a pixel.
        """
        found = self._load(self.boxes[index])
        number = sum(self._counts[:index])
        for i, nucleus in enumerate(found.nuclei):
            if (index, i) in self._gone:
                continue
            number += 1
            y0, x0, y1, x1 = found.boxes[i].tolist()
            box, mask = self._changed.get((index, i), ((y0, x0, y1, x1), found.masks[i]))
            if (index, i) in self._changed:
                nucleus = remeasured(nucleus, box, mask)
            yield replace(nucleus, id=number), box, mask

    def _overlapping(self, index: int, found: RegionNuclei) -> Iterator[_Contested]:
        """Yield those of a region's nuclei that reach into another region."""
        if not len(found):
            return
        low, high = found.boxes[:, :2], found.boxes[:, 2:]
        reach = np.zeros(len(found), bool)
        for other, box in enumerate(self.boxes):
            if other != index and meet(box, found.box):
                reach |= ((low < box[2:]) & (high > box[:2])).all(axis=1)
        cut = _cut(found, self._shape)
        for i in np.flatnonzero(reach).tolist():
            y0, x0, y1, x1 = found.boxes[i].tolist()
            box = (y0, x0, y1, x1)
            yield _Contested((index, i), found.nuclei[i], box, found.masks[i], bool(cut[i]))


def _cut(found: RegionNuclei, shape: tuple[int, int]) -> NDArray[np.bool_]:
    """Return which nuclei reach to an edge of their region that is none of the slide's."""
    y0, x0, y1, x1 = found.box
    low = [y0 if y0 > 0 else -1, x0 if x0 > 0 else -1]
    high = [y1 if y1 < shape[0] else -1, x1 if x1 < shape[1] else -1]
    cut: NDArray[np.bool_] = ((found.boxes[:, :2] == low) | (found.boxes[:, 2:] == high)).any(1)
    return cut


def _settled(
    contested: Sequence[_Contested], boxes: Sequence[Box], rank: dict[int, int]
) -> dict[_Key, tuple[Box, Mask] | None]:
    """Return those that stay, with what is left of them; None where all of it is."""
    near = _Neighbours(contested)
    stand_ins: dict[_Key, set[int]] = defaultdict(set)
    replaced: set[_Key] = set()
    for one in contested:
        if one.cut:
            for other in near.of(one):
                if not other.cut and _shared(one, other) > SAME:
                    stand_ins[other.key].add(one.key[0])
                    replaced.add(one.key)
    left = [
        one
        for one in contested
        if one.key not in replaced and not _foreign(one, boxes, rank, stand_ins[one.key])
    ]
    left.sort(key=lambda one: (rank[one.key[0]], one.key[1]))
    return _apart(left)


def _apart(ordered: Sequence[_Contested]) -> dict[_Key, tuple[Box, Mask] | None]:
    """Take from each, strongest first, what those before it have; leave out their doubles."""
    near, kept = _Neighbours(ordered), dict[_Key, tuple[Box, Mask] | None]()
    for one in ordered:
        others = [
            (other.box, other.mask, share)
            for other in near.of(one)
            if other.key in kept and (share := _shared(one, other)) > 0
        ]
        if any(share > SAME for _, _, share in others):
            continue
        if not others:
            kept[one.key] = None
            continue
        rest = subtract(one.box, one.mask, [(box, mask) for box, mask, _ in others])
        crop = tight(one.box, largest_piece(rest))
        if crop is not None:
            kept[one.key] = crop
    return kept


def _foreign(
    one: _Contested, boxes: Sequence[Box], rank: dict[int, int], stands_for: set[int]
) -> bool:
    """Whether a centroid lies where a region that counts more says what is there."""
    mine, y, x = one.key[0], one.nucleus.y, one.nucleus.x
    return any(
        rank[other] < rank[mine]
        and other not in stands_for
        and holds(box, y, x)
        # The centroid of a crescent may lie where nothing of it is to be seen.
        and _reaches(one, box)
        for other, box in enumerate(boxes)
    )


def _reaches(one: _Contested, box: Box) -> bool:
    if not meet(one.box, box):
        return False
    return bool(one.mask[slices(within(common(one.box, box), one.box))].any())


class _Neighbours:
    """Finds nuclei of other regions whose boxes overlap."""

    def __init__(self, all_of_them: Iterable[_Contested]) -> None:
        self._bins: dict[tuple[int, int], list[_Contested]] = defaultdict(list)
        for one in all_of_them:
            for place in _bins(one.box):
                self._bins[place].append(one)

    def of(self, one: _Contested) -> list[_Contested]:
        """Return them, each once and always in the same order."""
        found = {
            other.key: other
            for place in _bins(one.box)
            for other in self._bins.get(place, ())
            if other.key[0] != one.key[0] and meet(other.box, one.box)
        }
        return [found[key] for key in sorted(found)]


def _bins(box: Box) -> Iterator[tuple[int, int]]:
    for row in range(box[0] // _BIN, (box[2] - 1) // _BIN + 1):
        for column in range(box[1] // _BIN, (box[3] - 1) // _BIN + 1):
            yield row, column


def _shared(one: _Contested, other: _Contested) -> float:
    """Return the common pixels of two masks as a share of the smaller one."""
    both = common(one.box, other.box)
    parts = [item.mask[slices(within(both, item.box))] for item in (one, other)]
    areas = [int(np.count_nonzero(item.mask)) for item in (one, other)]
    return int(np.count_nonzero(parts[0] & parts[1])) / max(min(areas), 1)

"""One nucleus where tiles of a slide meet: which tile's answer counts, in any order.

Tiles are segmented by themselves, each with a margin (halo) around it. A nucleus belongs
to the tile that holds its centroid. Two tiles may see the same nucleus differently, so
that both claim it or neither does; hence each also hands on, in the second rank, those
whose centroid lies just outside of it. Nuclei of different tiles that overlap are ranked;
the weaker one goes where they are one nucleus, and else gives up the pixels that they
share.

What becomes of a nucleus follows from the nuclei that it overlaps and their ranks alone.
So every tile can be resolved by itself, after those around it are segmented, and neither
the order nor the number of those who work makes any difference.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field, replace
from typing import Final

import numpy as np
from numpy.typing import NDArray
from skimage.measure import regionprops

from .crops import Mask, subtract, tight, within
from .instances import Box, Nucleus
from .labels import largest_piece

Cell = tuple[int, int]
"""(row, column) of a tile."""

SAME: Final = 0.5
"""Share of the smaller of two masks above which they are of one nucleus."""

_Rank = tuple[bool, float, Cell, int]


@dataclass(frozen=True, eq=False)
class TileNuclei:
    """What was found in one tile, in pixels of the whole slide.

    No two of its masks share a pixel.

    Attributes
    ----------
    cell
        Which tile.
    nuclei
        Measured; the ids count within the tile.
    boxes, masks
        (y0, x0, y1, x1), half open, and the mask inside it, of each.
    owned
        (n,) bool: whether the centroid lies in the tile, or just outside.
    """

    cell: Cell
    nuclei: tuple[Nucleus, ...] = ()
    boxes: NDArray[np.int64] = field(default_factory=lambda: np.zeros((0, 4), np.int64))
    masks: tuple[Mask, ...] = ()
    owned: NDArray[np.bool_] = field(default_factory=lambda: np.zeros(0, bool))

    def __len__(self) -> int:
        return len(self.nuclei)

    def box(self, index: int) -> Box:
        """Return the box of one nucleus."""
        y0, x0, y1, x1 = self.boxes[index].tolist()
        return y0, x0, y1, x1

    @classmethod
    def of(cls, cell: Cell, found: Iterable[tuple[Nucleus, Box, Mask, bool]]) -> TileNuclei:
        """Gather nuclei with their boxes and masks, and whether the tile owns them."""
        rows = list(found)
        if not rows:
            return cls(cell)
        nuclei, boxes, masks, owned = zip(*rows, strict=True)
        return cls(
            cell, nuclei, np.array(boxes, np.int64).reshape(-1, 4), masks, np.array(owned, bool)
        )


@dataclass(frozen=True)
class _Overlap:
    """That a nucleus shares pixels with a stronger one of another tile."""

    cell: Cell
    index: int
    same: bool


class Seams:
    """Decides, tile by tile, what becomes of the nuclei where tiles meet.

    Parameters
    ----------
    found
        Called with a cell, gives what was found there; empty where nothing was sought.
        It is asked for a tile and those around it, seldom for more.
    """

    def __init__(self, found: Callable[[Cell], TileNuclei]) -> None:
        self._found = found
        self._stronger: dict[Cell, dict[int, list[_Overlap]]] = {}
        self._kept: dict[tuple[Cell, int], bool] = {}

    def resolve(
        self, cell: Cell, min_area: int = 1, min_visible: float = 0.0
    ) -> tuple[TileNuclei, NDArray[np.bool_]]:
        """Return what is left of a tile's nuclei.

        Parameters
        ----------
        cell
            The tile.
        min_area
            Least area of what is left of a nucleus, in pixels.
        min_visible
            Least share of its mask that must be left, 0 to 1.

        Returns
        -------
        nuclei : TileNuclei
            No two nuclei of all tiles' answers share a pixel.
        trimmed : numpy.ndarray
            (n,) bool: which of them gave up pixels, and are measured again, their stains
            apart (:func:`remeasured`).
        """
        mine = self._found(cell)
        overlaps = self._overlaps(cell)
        kept: list[tuple[Nucleus, Box, Mask, bool]] = []
        trimmed = []
        for index, nucleus in enumerate(mine.nuclei):
            if not self._keeps(cell, index):
                continue
            mask = mine.masks[index]
            left = self._left(mine, index, overlaps.get(index, []), min_area, min_visible)
            if left is None:
                continue
            changed = left[1] is not mask
            row = remeasured(nucleus, *left) if changed else nucleus
            kept.append((row, *left, bool(mine.owned[index])))
            trimmed.append(changed)
        return TileNuclei.of(cell, kept), np.array(trimmed, bool)

    def _left(
        self,
        mine: TileNuclei,
        index: int,
        overlaps: list[_Overlap],
        min_area: int,
        min_visible: float,
    ) -> tuple[Box, Mask] | None:
        """Return what stronger nuclei leave of a mask; None if that is no nucleus."""
        box, mask = mine.box(index), mine.masks[index]
        others = [
            (self._found(o.cell).box(o.index), self._found(o.cell).masks[o.index])
            for o in overlaps
            if self._keeps(o.cell, o.index)
        ]
        if not others:
            return box, mask
        rest = largest_piece(subtract(box, mask, others))
        area = int(np.count_nonzero(rest))
        if area < max(1, min_area, min_visible * np.count_nonzero(mask)):
            return None
        return tight(box, rest)

    def _keeps(self, cell: Cell, index: int) -> bool:
        """Whether no stronger nucleus that is kept itself is the same one.

        Ranks only rise along the way, so it comes to an end; an own stack, since nobody
        can say how far.
        """
        waiting = [(cell, index)]
        while waiting:
            one = waiting[-1]
            if one in self._kept:
                waiting.pop()
                continue
            rivals = [(o.cell, o.index) for o in self._overlaps(one[0]).get(one[1], ()) if o.same]
            unknown = [rival for rival in rivals if rival not in self._kept]
            if unknown:
                waiting += unknown
                continue
            self._kept[one] = not any(self._kept[rival] for rival in rivals)
            waiting.pop()
        return self._kept[cell, index]

    def _overlaps(self, cell: Cell) -> dict[int, list[_Overlap]]:
        """Return for nuclei of a tile the stronger ones of others that they share pixels with."""
        if cell not in self._stronger:
            found: dict[int, list[_Overlap]] = {}
            mine = self._found(cell)
            for other in around(cell) if len(mine) else ():
                theirs = self._found(other)
                for i, j in _touching(mine, theirs):
                    if _rank(theirs, j) < _rank(mine, i):
                        shared = _shared(mine, i, theirs, j)
                        if shared > 0:
                            found.setdefault(i, []).append(_Overlap(other, j, shared > SAME))
            self._stronger[cell] = found
        return self._stronger[cell]


def around(cell: Cell) -> Iterator[Cell]:
    """Yield the eight cells around one, row by row; some may lie outside the slide."""
    row, column = cell
    for y in (row - 1, row, row + 1):
        for x in (column - 1, column, column + 1):
            if (y, x) != cell:
                yield y, x


def remeasured(nucleus: Nucleus, box: Box, mask: Mask) -> Nucleus:
    """Return a nucleus with the position and shape of another mask; stains and scores stay.

    Parameters
    ----------
    nucleus
        As it was measured.
    box, mask
        Its mask as it is now, not empty.
    """
    (shape,) = regionprops(mask.astype(np.uint8))
    y, x = shape.centroid
    return replace(
        nucleus,
        y=float(box[0] + y),
        x=float(box[1] + x),
        area=int(shape.area),
        perimeter=float(shape.perimeter),
        eccentricity=float(shape.eccentricity),
    )


def _rank(tile: TileNuclei, index: int) -> _Rank:
    """Return what nuclei are ordered by, the strongest first."""
    return not tile.owned[index], -tile.nuclei[index].score, tile.cell, index


def _touching(mine: TileNuclei, theirs: TileNuclei) -> Iterator[tuple[int, int]]:
    """Yield the pairs whose boxes overlap."""
    if not len(mine) or not len(theirs):
        return
    # Only the strip where the two tiles meet holds any.
    low, high = theirs.boxes[:, :2].min(0), theirs.boxes[:, 2:].max(0)
    near = np.flatnonzero(((mine.boxes[:, :2] < high) & (mine.boxes[:, 2:] > low)).all(1))
    if not len(near):
        return
    a = mine.boxes[near]
    low, high = a[:, :2].min(0), a[:, 2:].max(0)
    far = np.flatnonzero(((theirs.boxes[:, :2] < high) & (theirs.boxes[:, 2:] > low)).all(1))
    b = theirs.boxes[far]
    meet = (a[:, None, :2] < b[None, :, 2:]) & (a[:, None, 2:] > b[None, :, :2])
    for i, j in np.argwhere(meet.all(2)).tolist():
        yield int(near[i]), int(far[j])


def _shared(mine: TileNuclei, i: int, theirs: TileNuclei, j: int) -> float:
    """Return the common pixels of two masks as a share of the smaller one."""
    a, b = mine.box(i), theirs.box(j)
    both = (max(a[0], b[0]), max(a[1], b[1]), min(a[2], b[2]), min(a[3], b[3]))
    parts = []
    for box, mask in ((a, mine.masks[i]), (b, theirs.masks[j])):
        y0, x0, y1, x1 = within(both, box)
        parts.append(mask[y0:y1, x0:x1])
    common = np.count_nonzero(parts[0] & parts[1])
    return common / min(np.count_nonzero(mine.masks[i]), np.count_nonzero(theirs.masks[j]))


def from_labels(
    labels: NDArray[np.int32], nuclei: Iterable[Nucleus], corner: tuple[int, int], core: Box
) -> Iterator[tuple[Nucleus, Box, Mask, bool]]:
    """Take a tile's label image apart, in pixels of the whole slide.

    Parameters
    ----------
    labels
        (H, W) int32 of the tile with its halo.
    nuclei
        Its measured nuclei, in pixels of `labels`.
    corner
        (y, x) of the first pixel of `labels` on the slide.
    core
        The tile without its halo, on the slide.

    Yields
    ------
    nucleus, box, mask, owned
        As of :class:`TileNuclei`.
    """
    by_label = {shape.label: shape for shape in regionprops(labels)}
    y, x = corner
    for nucleus in nuclei:
        y0, x0, y1, x1 = by_label[nucleus.id].bbox
        moved = replace(nucleus, y=nucleus.y + y, x=nucleus.x + x)
        mask = np.ascontiguousarray(by_label[nucleus.id].image, dtype=bool)
        yield moved, (y0 + y, x0 + x, y1 + y, x1 + x), mask, holds(core, moved.y, moved.x)


def holds(core: Box, y: float, x: float, margin: float = 0.0) -> bool:
    """Whether a point lies in a box of pixels, or at most `margin` px outside of it.

    Pixels are squares around their centres, and what lies on the line between two boxes
    belongs to the later one, so that every point of a slide lies in one box alone.
    """
    low = (core[0] - 0.5 - margin, core[1] - 0.5 - margin)
    high = (core[2] - 0.5 + margin, core[3] - 0.5 + margin)
    return low[0] <= y < high[0] and low[1] <= x < high[1]

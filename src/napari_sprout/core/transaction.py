"""One edit's changes to a state: done together or not at all, and kept so as to be undone."""

from __future__ import annotations

import math
from collections.abc import MutableMapping
from dataclasses import dataclass
from typing import Any, TypeVar

import numpy as np
from numpy.typing import NDArray

from .crops import slices
from .instances import Box, Candidate
from .state import State

V = TypeVar("V")
Entry = tuple[MutableMapping[int, Any], int, Any, Any]


def _write(table: MutableMapping[int, Any], key: int, value: Any) -> None:
    if value is not None:
        table[key] = value
    elif key in table:
        del table[key]


@dataclass(frozen=True, eq=False)
class Delta:
    """What one edit changed.

    Attributes
    ----------
    entries
        (table, key, value before, value after), in order; None where absent.
    places
        Flat indices of the label pixels that differ, in increasing order.
    before, after
        Their labels.
    """

    entries: tuple[Entry, ...]
    places: NDArray[np.int64]
    before: NDArray[np.int32]
    after: NDArray[np.int32]

    def undo(self, state: State) -> None:
        """Put everything back."""
        for table, key, before, _ in reversed(self.entries):
            _write(table, key, before)
        state.labels.reshape(-1)[self.places] = self.before

    def redo(self, state: State) -> None:
        """Do everything again."""
        for table, key, _, after in self.entries:
            _write(table, key, after)
        state.labels.reshape(-1)[self.places] = self.after

    def ids(self) -> frozenset[int]:
        """Return the nuclei whose pixels differ."""
        found = np.union1d(self.before, self.after)
        return frozenset(found[found != 0].tolist())

    def box(self, width: int) -> Box | None:
        """Return the box around the pixels that differ, in labels of this width."""
        return around(self.places, width)


def around(places: NDArray[np.int64], width: int) -> Box | None:
    """Return the box around the pixels with these flat indices; None for no pixels."""
    if not len(places):
        return None
    rows, columns = np.divmod(places, width)
    return (
        int(rows.min()),
        int(columns.min()),
        int(rows.max()) + 1,
        int(columns.max()) + 1,
    )


class Transaction:
    """Changes to a state, with a way back.

    Attributes
    ----------
    state
        What is changed.
    changed
        Ids whose mask was changed, with the mask (full grid) they had before.
    """

    def __init__(self, state: State) -> None:
        self.state = state
        self.changed: dict[int, Candidate | None] = {}
        self._entries: list[Entry] = []
        self._saved: list[tuple[Box, NDArray[np.int32]]] = []

    def put(self, table: MutableMapping[int, V], key: int, value: V | None) -> None:
        """Set one value of one of the state's tables; None removes it."""
        before = table.get(key)
        if value is not before:
            self._entries.append((table, key, before, value))
            _write(table, key, value)

    def refresh(self, ident: int) -> None:
        """Bring what competes and is painted in step with what was drawn, locked or decoded."""
        state = self.state
        before = state.full.get(ident)
        working, full = state.effective(ident) or (None, None)
        if _same(before, full) and _same(state.masks.get(ident), working):
            return
        self.changed.setdefault(ident, before)
        self.put(state.masks, ident, working)
        self.put(state.full, ident, full)
        if full is None:
            self.put(state.scores, ident, None)
            self.put(state.rejected, ident, None)

    def save(self, box: Box) -> None:
        """Remember the labels inside a box; to be called before any of them is changed."""
        self._saved.append((box, self.state.labels[slices(box)].copy()))

    def finish(self) -> Delta:
        """Return what has changed in all."""
        labels = self.state.labels
        width = labels.shape[1]
        places, values = [np.zeros(0, np.int64)], [np.zeros(0, np.int32)]
        for box, saved in self._saved:
            rows, columns = np.nonzero(saved != labels[slices(box)])
            places.append((rows + box[0]) * width + columns + box[1])
            values.append(saved[rows, columns])
        # Boxes overlap, but each was saved before anything was painted.
        found, first = np.unique(np.concatenate(places), return_index=True)
        before = np.concatenate(values)[first]
        after = labels.reshape(-1)[found]
        return Delta(tuple(self._entries), found, before, after)

    def roll_back(self) -> None:
        """Undo everything."""
        for table, key, before, _ in reversed(self._entries):
            _write(table, key, before)
        for box, saved in self._saved:
            self.state.labels[slices(box)] = saved


def _same(a: Candidate | None, b: Candidate | None) -> bool:
    if a is None or b is None or a is b:
        return a is b
    return (
        a.box == b.box
        and a.predicted_iou == b.predicted_iou
        and a.haematoxylin == b.haematoxylin
        and (a.stability == b.stability or (math.isnan(a.stability) and math.isnan(b.stability)))
        and bool(np.array_equal(a.mask, b.mask))
    )

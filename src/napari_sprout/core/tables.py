"""Mappings from ids whose values can also be asked for by where they are.

An edit asks which few of thousands of masks or points are near; numpy answers that
from one row of numbers for each id, kept in step with the mapping.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, MutableMapping, Sequence
from typing import TypeVar

import numpy as np
from numpy.typing import NDArray

from .instances import Box, Candidate, Prompt

V = TypeVar("V")


class RowTable(MutableMapping[int, V]):
    """A mapping from ids to values, with a row of numbers for each.

    Parameters
    ----------
    width
        Numbers in a row.
    row
        Returns the row of a value.
    """

    def __init__(self, width: int, row: Callable[[V], Sequence[float]]) -> None:
        self._row_of = row
        self._values: dict[int, V] = {}
        self._places: dict[int, int] = {}
        self._free: list[int] = []
        self._ids = np.zeros(0, dtype=np.int64)
        # Nothing compares true with NaN, so free rows are never found.
        self._rows = np.full((0, width), np.nan)

    @property
    def ids(self) -> NDArray[np.int64]:
        """(n,) the id of each row; of no meaning where the row is free."""
        return self._ids

    @property
    def rows(self) -> NDArray[np.float64]:
        """(n, width) the rows, in no order; NaN where a row is free."""
        return self._rows

    def where(self, chosen: NDArray[np.bool_]) -> list[int]:
        """Return the ids of the rows chosen, in increasing order."""
        return sorted(self._ids[chosen].tolist())

    def __getitem__(self, key: int) -> V:
        return self._values[key]

    def __iter__(self) -> Iterator[int]:
        return iter(self._values)

    def __len__(self) -> int:
        return len(self._values)

    def __setitem__(self, key: int, value: V) -> None:
        if key not in self._places:
            if not self._free:
                self._grow()
            self._places[key] = self._free.pop()
        place = self._places[key]
        self._values[key] = value
        self._ids[place] = key
        self._rows[place] = self._row_of(value)

    def __delitem__(self, key: int) -> None:
        del self._values[key]
        place = self._places.pop(key)
        self._rows[place] = np.nan
        self._free.append(place)

    def _grow(self) -> None:
        before = len(self._ids)
        after = max(64, 2 * before)
        self._ids = np.concatenate([self._ids, np.zeros(after - before, dtype=np.int64)])
        extra = np.full((after - before, self._rows.shape[1]), np.nan)
        self._rows = np.concatenate([self._rows, extra])
        self._free = list(range(after - 1, before - 1, -1))


class MaskTable(RowTable[Candidate]):
    """Masks by id, found by their boxes."""

    def __init__(self) -> None:
        super().__init__(4, lambda candidate: candidate.box)

    def near(self, box: Box) -> list[int]:
        """Return the ids of the masks whose boxes share a pixel with a box, in order."""
        y0, x0, y1, x1 = self.rows.T
        return self.where((y0 < box[2]) & (y1 > box[0]) & (x0 < box[3]) & (x1 > box[1]))


class PromptTable(RowTable[Prompt]):
    """Prompts by id, found by their places (full-resolution pixels)."""

    def __init__(self) -> None:
        super().__init__(3, lambda prompt: (prompt.y, prompt.x, prompt.kind == "positive"))

    def points(self, positive: bool) -> tuple[NDArray[np.int64], NDArray[np.float64]]:
        """Return the (n,) ids and (n, 2) places of all prompts of one kind, in no order."""
        chosen = self.rows[:, 2] == positive
        return self.ids[chosen], self.rows[chosen, :2]

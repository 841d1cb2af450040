"""Identifiers for what a person adds, at hand before they are needed."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterable
from typing import Final

_AT_HAND: Final = 64


class FreshIdentifiers:
    """Identifiers that were never used, drawn ahead of need.

    Parameters
    ----------
    more
        Returns another one. It may have to wait for the edit under way, so it is
        asked only when none is at hand.
    """

    def __init__(self, more: Callable[[], int]) -> None:
        self._more = more
        self._drawn: deque[int] = deque()
        self._taken: set[int] = set()

    @property
    def wanted(self) -> int:
        """How many should be drawn with the next answer."""
        return _AT_HAND - len(self._drawn)

    def add(self, drawn: Iterable[int]) -> None:
        """Put identifiers at hand."""
        self._drawn.extend(drawn)

    def take_out(self, ids: Iterable[int]) -> None:
        """Never give these, not even those at hand."""
        self._taken.update(ids)

    def new(self) -> int:
        """Return an identifier that was never used."""
        while True:
            ident = self._drawn.popleft() if self._drawn else self._more()
            if ident not in self._taken:
                return ident

"""How long a run will still take, from how far it has come."""

from __future__ import annotations

import time
from collections.abc import Callable

from .wording import whole_seconds

_FIRST_SECONDS = 1.0
_FIRST_SHARE = 0.02
_SMOOTHING = 0.3


class TimeLeft:
    """Estimates the time left; smoothed, so that it does not jump about.

    Parameters
    ----------
    clock
        Returns seconds; only differences count.
    """

    def __init__(self, clock: Callable[[], float] = time.perf_counter) -> None:
        self._clock = clock
        self.begin()

    def begin(self) -> None:
        """Start measuring."""
        self._start = self._clock()
        self._first: float | None = None
        self._end: float | None = None

    @property
    def elapsed(self) -> float:
        """Seconds since the beginning."""
        return self._clock() - self._start

    def text(self, fraction: float) -> str:
        """Return "about 12 s left", or nothing while it is too early to say.

        Parameters
        ----------
        fraction
            Share of the run that is finished, 0 to 1.
        """
        now = self._clock()
        if self._first is None:
            # Stages that are still fresh are skipped at once: they teach nothing.
            self._first = fraction
        done = fraction - self._first
        if now - self._start < _FIRST_SECONDS or done < _FIRST_SHARE:
            return ""
        end = self._start + (now - self._start) * (1 - self._first) / done
        self._end = end if self._end is None else self._end + _SMOOTHING * (end - self._end)
        return f"about {whole_seconds(self._end - now)} left" if fraction < 1 else ""

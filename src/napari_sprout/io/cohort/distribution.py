"""How a measurement is distributed, found batch by batch in memory that does not grow.

The edges of the bins are fixed for each measurement, so that the histograms of slides
add up to that of their cohort. Sums are kept as whole numbers, so that no result depends
on the order in which nuclei come.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from fractions import Fraction
from types import MappingProxyType
from typing import Any, Final, Self

import numpy as np
from numpy.typing import NDArray

QUANTILES: Final[Mapping[str, float]] = MappingProxyType(
    {"p5": 0.05, "p25": 0.25, "median": 0.5, "p75": 0.75, "p95": 0.95}
)
# Far below what a measurement is worth, and large enough for sums of squares in whole numbers.
_STEPS: Final = 1 << 20


@dataclass(frozen=True)
class Bins:
    """Equal bins from `low` to `high`; the last one holds `high` too."""

    low: float
    high: float
    number: int

    @property
    def edges(self) -> NDArray[np.float64]:
        """(number + 1,) where the bins begin and end."""
        return np.linspace(self.low, self.high, self.number + 1)

    @property
    def width(self) -> float:
        """Width of one bin, in the measurement's unit."""
        return (self.high - self.low) / self.number


@dataclass(frozen=True)
class Histogram:
    """How many values lie in each of some equal bins.

    Attributes
    ----------
    bins
        Where the bins lie.
    counts
        How many values each holds.
    below, above
        How many values lie outside all bins.
    """

    bins: Bins
    counts: tuple[int, ...]
    below: int = 0
    above: int = 0

    def __post_init__(self) -> None:
        if len(self.counts) != self.bins.number:
            raise ValueError(f"{self.bins.number} counts are needed, not {len(self.counts)}.")
        if min(self.below, self.above, *self.counts) < 0:
            raise ValueError("A bin cannot hold fewer than no values.")

    @property
    def total(self) -> int:
        """Number of values, those outside the bins included."""
        return sum(self.counts) + self.below + self.above

    def __add__(self, other: Histogram) -> Histogram:
        """Return the histogram of both; ValueError if their bins are others."""
        if self.bins != other.bins:
            raise ValueError("Histograms of other bins do not add up.")
        counts = tuple(a + b for a, b in zip(self.counts, other.counts, strict=True))
        return Histogram(self.bins, counts, self.below + other.below, self.above + other.above)

    def quantile(self, share: float, low: float, high: float) -> float:
        """Return where `share` of the values lie below, between 0 and 1.

        It is less than one bin away from the value of that rank (the inverse of the
        empirical distribution function). Values outside the bins are taken to be spread
        evenly from `low`, the least value, to the first bin, and from the last bin to
        `high`, the greatest.
        """
        edges = self.bins.edges
        starts = np.concatenate([[min(low, edges[0])], edges, [max(high, edges[-1])]])
        held = np.array([self.below, *self.counts, self.above])
        reached = np.cumsum(held)
        rank = share * self.total
        place = int(np.searchsorted(reached, rank, side="left"))
        inside = (rank - (reached[place] - held[place])) / held[place]
        value = starts[place] + inside * (starts[place + 1] - starts[place])
        return float(min(max(value, low), high))


@dataclass(frozen=True)
class Distribution:
    """One measurement over all nuclei of a slide, or of several.

    Attributes
    ----------
    n
        How many nuclei have it.
    missing
        How many nuclei lack it (the score of one drawn by hand).
    mean, sd
        Arithmetic mean and sample standard deviation, to 1e-6 of the unit; None with too
        few values, 1 and 2.
    least, greatest
        The extremes; None without values.
    p5, p25, median, p75, p95
        Quantiles as of :meth:`Histogram.quantile`; None without values.
    histogram
        The counts from which the quantiles come.
    """

    n: int
    missing: int
    mean: float | None
    sd: float | None
    least: float | None
    greatest: float | None
    p5: float | None
    p25: float | None
    median: float | None
    p75: float | None
    p95: float | None
    histogram: Histogram

    def to_dict(self) -> dict[str, Any]:
        """Return plain values, ready for JSON."""
        bins = self.histogram.bins
        plain = {name: value for name, value in vars(self).items() if name != "histogram"}
        held = {name: value for name, value in vars(self.histogram).items() if name != "bins"}
        return {**plain, "histogram": {**vars(bins), **held, "counts": list(held["counts"])}}

    @classmethod
    def from_dict(cls, values: Mapping[str, Any]) -> Self:
        """Read what :meth:`to_dict` gave; KeyError, TypeError or ValueError if it is not that."""
        given = values["histogram"]
        bins = Bins(float(given["low"]), float(given["high"]), int(given["number"]))
        counts = tuple(int(count) for count in given["counts"])
        histogram = Histogram(bins, counts, int(given["below"]), int(given["above"]))
        n, missing = int(values["n"]), int(values["missing"])
        if n != histogram.total:
            raise ValueError(f"The histogram holds {histogram.total} values, not {n}.")
        numbers = {name: _number(values[name]) for name in _NUMBERS}
        if n and None in (numbers[name] for name in _NUMBERS if name != "sd"):
            raise ValueError("A distribution of values must have a mean and quantiles.")
        return cls(n, missing, **numbers, histogram=histogram)


_NUMBERS: Final = ("mean", "sd", "least", "greatest", *QUANTILES)


def _number(value: Any) -> float | None:
    return None if value is None else float(value)


class DistributionBuilder:
    """Takes values in any order and any batches; the result is the same.

    Parameters
    ----------
    bins
        The bins of the histogram.
    """

    def __init__(self, bins: Bins) -> None:
        self._bins = bins
        self._counts = np.zeros(bins.number + 2, dtype=np.int64)
        self._missing = 0
        self._sum = 0
        self._squares = 0
        self._least, self._greatest = math.inf, -math.inf

    def add(self, values: Iterable[float]) -> None:
        """Take values; what is not finite counts as missing."""
        given = np.fromiter(values, dtype=np.float64)
        found = given[np.isfinite(given)]
        self._missing += len(given) - len(found)
        if not len(found):
            return
        edges = self._bins.edges
        places = np.searchsorted(edges, found, side="right")
        places[found == edges[-1]] = self._bins.number
        self._counts += np.bincount(places, minlength=len(self._counts))
        self._least = min(self._least, float(found.min()))
        self._greatest = max(self._greatest, float(found.max()))
        # Python's whole numbers do not overflow, whatever a slide holds.
        steps = [round(value * _STEPS) for value in found.tolist()]
        self._sum += sum(steps)
        self._squares += sum(step * step for step in steps)

    def distribution(self) -> Distribution:
        """Return the distribution of all values so far."""
        below, *counts, above = self._counts.tolist()
        histogram = Histogram(self._bins, tuple(counts), below, above)
        n = histogram.total
        if not n:
            return Distribution(0, self._missing, **dict.fromkeys(_NUMBERS), histogram=histogram)
        low, high = self._least, self._greatest
        quantiles = {name: histogram.quantile(q, low, high) for name, q in QUANTILES.items()}
        return Distribution(
            n,
            self._missing,
            mean=float(Fraction(self._sum, n * _STEPS)),
            sd=self._sd(n),
            least=low,
            greatest=high,
            **quantiles,
            histogram=histogram,
        )

    def _sd(self, n: int) -> float | None:
        if n == 1:
            return None
        variance = Fraction(n * self._squares - self._sum**2, n * (n - 1) * _STEPS**2)
        return math.sqrt(variance)

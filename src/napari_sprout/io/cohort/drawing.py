"""The report's pictures as SVG, which needs no library, no script and no network to show."""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from itertools import groupby
from typing import Final

import numpy as np
from markupsafe import Markup, escape
from numpy.typing import NDArray

from .distribution import Bins, Distribution, Histogram

_BARS: Final = 50
# Nuclei that are all alike are shown as a peak, not as a wall.
_FEWEST: Final = 20
# So few extremes that they would only squeeze all others together.
_UNSEEN: Final = 0.001
# With fewer nuclei single bars are tall by chance, and would flatten those of all others.
_ENOUGH: Final = 100
_NICE: Final = (1.0, 2.0, 5.0, 10.0)
_DOT: Final = 5.0
# Higher stacks are pressed together.
_STACK: Final = 12


@dataclass(frozen=True)
class Frame:
    """What the histograms of one measurement share, so that they can be compared.

    Attributes
    ----------
    edges
        (n + 1,) edges of the bars.
    tallest
        Share of nuclei at the top of the picture.
    pooled
        (n,) share of all nuclei of the cohort in each bar.
    """

    edges: NDArray[np.float64]
    tallest: float
    pooled: NDArray[np.float64]

    @classmethod
    def of(cls, bins: Bins, distributions: Sequence[Distribution]) -> Frame:
        """Return the frame of a measurement over all slides of a cohort."""
        histograms = [found.histogram for found in distributions]
        pooled = Histogram(bins, (0,) * bins.number)
        for histogram in histograms:
            pooled += histogram
        edges = _edges(pooled)
        shares = [_shares(h, edges) for h in histograms if h.total >= _ENOUGH]
        whole = _shares(pooled, edges)
        tallest = max((float(share.max()) for share in [*shares, whole]), default=0.0)
        return cls(edges, tallest or 1.0, whole)


def histogram(found: Distribution, frame: Frame, width: int = 190, height: int = 84) -> Markup:
    """Draw a slide's histogram over that of its cohort.

    The line is the median, the band beneath the quarter of nuclei on either side of
    it, and the outline all nuclei of the cohort.

    Parameters
    ----------
    found
        The slide's measurement.
    frame
        What all slides share.
    width, height
        In CSS px.
    """
    low, high = float(frame.edges[0]), float(frame.edges[-1])
    base = height - 16.0
    axis = _Axis(low, high, 4.0, width - 4.0)
    bars = _steps(_shares(found.histogram, frame.edges), frame, axis, base)
    parts = [_band(found, axis, base), f'<path class="bars" d="{bars}Z"/>']
    parts.append(f'<path class="cohort" d="{_steps(frame.pooled, frame, axis, base)}"/>')
    if found.median is not None:
        x = axis.at(found.median)
        parts.append(f'<line class="median" x1="{x:.1f}" x2="{x:.1f}" y1="2" y2="{base:g}"/>')
    parts.append(_axis_marks(axis, base, wanted=4))
    return _svg(width, height, parts)


def strip(values: Sequence[tuple[str, str, float]], width: int = 1120) -> Markup:
    """Draw one dot a slide along an axis, stacked where slides are alike.

    The band holds the middle half of the slides, the line is their median, and the
    least and the greatest are named.

    Parameters
    ----------
    values
        (name, identifier to link to, value) of each slide; at least one.
    width
        In CSS px.
    """
    ordered = sorted(values, key=lambda value: value[2])
    numbers = [value for _, _, value in ordered]
    axis = _Axis.around(numbers, 14.0, width - 14.0)
    columns = [
        (place, list(group))
        for place, group in groupby(ordered, key=lambda v: round(axis.at(v[2]) / (2 * _DOT)))
    ]
    deep = max(len(group) for _, group in columns)
    step = 2 * _DOT if deep <= _STACK else 2 * _DOT * _STACK / deep
    base = 28 + step * deep
    q25, median, q75 = np.quantile(numbers, [0.25, 0.5, 0.75])
    left, right = axis.at(float(q25)), axis.at(float(q75))
    x = axis.at(float(median))
    parts = [
        f'<rect class="band" x="{left:.1f}" width="{max(right - left, 1):.1f}" y="16" '
        f'height="{base - 16:.1f}"/>',
        f'<line class="median" x1="{x:.1f}" x2="{x:.1f}" y1="16" y2="{base:.1f}"/>',
    ]
    for _, group in columns:
        for rank, (name, link, value) in enumerate(group):
            label = escape(f"{name}: {plain(value)}")
            parts.append(
                f'<a href="#{escape(link)}"><circle cx="{axis.at(value):.1f}" '
                f'cy="{base - _DOT - 1 - rank * step:.1f}" r="{_DOT:g}"><title>{label}</title>'
                "</circle></a>"
            )
    parts += _ends(ordered, axis)
    parts.append(_axis_marks(axis, base, wanted=8))
    return _svg(width, base + 18, parts)


def plain(value: float) -> str:
    """Return a number as a person reads it, with about three digits."""
    if abs(value) >= 100 or value == int(value):
        return f"{value:,.0f}"
    return f"{value:.1f}" if abs(value) >= 10 else f"{value:.2f}"


@dataclass(frozen=True)
class _Axis:
    """Values from `low` to `high` at places from `left` to `right`."""

    low: float
    high: float
    left: float
    right: float

    @classmethod
    def around(cls, values: Sequence[float], left: float, right: float) -> _Axis:
        """Return an axis with round ends around all values."""
        low, high = min(values), max(values)
        step = _nice_step((high - low) or abs(high) or 1.0, 8)
        start, end = math.floor(low / step) * step, math.ceil(high / step) * step
        return cls(start, end if end > start else start + step, left, right)

    def at(self, value: float) -> float:
        """Return where a value lies, held to the axis."""
        share = (value - self.low) / (self.high - self.low)
        return self.left + min(max(share, 0.0), 1.0) * (self.right - self.left)


def _edges(pooled: Histogram) -> NDArray[np.float64]:
    """Return edges of some 50 bars over where nearly all values lie, between given edges."""
    edges = pooled.bins.edges
    reached = np.cumsum(pooled.counts) + pooled.below
    if not pooled.total or reached[-1] == pooled.below:
        return edges[:: max(1, pooled.bins.number // _BARS)]
    first = int(np.searchsorted(reached, _UNSEEN * pooled.total, side="right"))
    last = int(np.searchsorted(reached, (1 - _UNSEEN) * pooled.total, side="left"))
    first, last = min(first, pooled.bins.number - 1), min(last, pooled.bins.number - 1)
    last = max(last, min(first + _FEWEST, pooled.bins.number) - 1)
    each = max(1, math.ceil((last + 1 - first) / _BARS))
    start = max(0, first - first % each)
    chosen = np.arange(start, last + each + 1, each)
    return edges[chosen[chosen <= pooled.bins.number]]


def _shares(histogram: Histogram, edges: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return the share of all values in each bar."""
    fine = histogram.bins.edges
    reached = np.concatenate([[0], np.cumsum(histogram.counts)])
    at = reached[np.searchsorted(fine, edges - histogram.bins.width / 2)]
    return np.asarray(np.diff(at) / max(1, histogram.total), dtype=np.float64)


def _steps(shares: NDArray[np.float64], frame: Frame, axis: _Axis, base: float) -> str:
    tall = np.minimum(shares / frame.tallest, 1.0) * (base - 4)
    xs = [axis.at(float(edge)) for edge in frame.edges]
    path = [f"M{xs[0]:.1f} {base:g}"]
    for top, right in zip(tall, xs[1:], strict=True):
        path.append(f"V{base - top:.1f}H{right:.1f}")
    return "".join([*path, f"V{base:g}"])


def _band(found: Distribution, axis: _Axis, base: float) -> str:
    if found.p25 is None or found.p75 is None:
        return ""
    left, right = axis.at(found.p25), axis.at(found.p75)
    return (
        f'<rect class="band" x="{left:.1f}" width="{max(right - left, 1):.1f}" y="2" '
        f'height="{base - 2:g}"/>'
    )


def _ends(ordered: Sequence[tuple[str, str, float]], axis: _Axis) -> Iterable[str]:
    for name, _, value in dict.fromkeys((ordered[0], ordered[-1])):
        anchor = "start" if axis.at(value) < (axis.left + axis.right) / 2 else "end"
        short = name if len(name) <= 32 else f"{name[:31]}…"
        yield (
            f'<text x="{axis.at(value):.1f}" y="11" text-anchor="{anchor}">{escape(short)}</text>'
        )


def _axis_marks(axis: _Axis, base: float, wanted: int) -> str:
    step = _nice_step(axis.high - axis.low, wanted)
    digits = max(0, -math.floor(math.log10(step) + 1e-9))
    parts = [
        f'<line class="axis" x1="{axis.left:g}" x2="{axis.right:g}" y1="{base:g}" y2="{base:g}"/>'
    ]
    first = math.ceil(axis.low / step - 1e-9)
    for number in range(first, math.floor(axis.high / step + 1e-9) + 1):
        value = number * step
        x = axis.at(value)
        parts.append(
            f'<line class="axis" x1="{x:.1f}" x2="{x:.1f}" y1="{base:g}" y2="{base + 3:g}"/>'
            f'<text x="{x:.1f}" y="{base + 13:g}" text-anchor="{_anchor(x, axis)}">'
            f"{value:,.{digits}f}</text>"
        )
    return "".join(parts)


def _anchor(x: float, axis: _Axis) -> str:
    """Return how a number is set so that it stays inside the picture."""
    if x < axis.left + 6:
        return "start"
    return "end" if x > axis.right - 6 else "middle"


def _nice_step(span: float, wanted: int) -> float:
    """Return a step of one round digit that divides a span into at most `wanted` parts."""
    rough = span / wanted
    power = 10.0 ** math.floor(math.log10(rough))
    return next(nice * power for nice in _NICE if nice * power >= rough * (1 - 1e-9))


def _svg(width: float, height: float, parts: Iterable[str]) -> Markup:
    return Markup(
        f'<svg viewBox="0 0 {width:g} {height:g}" width="{width:g}" height="{height:g}" '
        f'role="img">{"".join(parts)}</svg>'
    )

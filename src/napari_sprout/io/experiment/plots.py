"""Curves over the values of a setting, and over the levels of an alteration."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Final

from ..atomic import replacing, writable_folder
from .matrix import Alteration, Sweep
from .summary import Results, Spread

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

_SHOWN: Final = ("AJI", "PQ")
_PREFIXES: Final = ("sweep_", "altered_")


def write_plots(folder: Path, results: Results) -> list[Path]:
    """Draw a plot for every sweep and every kind of alteration.

    Plots of an earlier matrix in the same folder are removed.

    Parameters
    ----------
    folder
        Where the PNG files go; made if there is anything to draw.
    results
        What was measured.

    Returns
    -------
    list of Path
        The files.

    Raises
    ------
    ImportError
        If matplotlib is not installed.
    OutputError
        If a file cannot be written.
    """
    drawings: dict[str, Callable[[], Figure]] = {}
    for number, sweep in enumerate(results.matrix.sweeps, 1):
        name = f"sweep_{number}_{_slug(sweep.setting)}.png"
        drawings[name] = partial(_draw_sweep, results, sweep)
    for kind in dict.fromkeys(made.kind for made in results.matrix.alterations):
        levels = [made for made in results.matrix.alterations if made.kind == kind]
        drawings[f"altered_{_slug(kind)}.png"] = partial(_draw_alteration, results, levels)
    _remove_others(folder, drawings)
    for name, draw in drawings.items():
        figure = draw()
        writable_folder(folder)
        with replacing(folder / name) as temporary:
            figure.savefig(temporary, dpi=150)
    return [folder / name for name in drawings]


def _slug(text: str) -> str:
    return re.sub(r"[^A-Za-z0-9]+", "_", text).strip("_")


def _remove_others(folder: Path, kept: Mapping[str, object]) -> None:
    for prefix in _PREFIXES:
        for path in folder.glob(f"{prefix}*.png"):
            if path.name not in kept:
                path.unlink(missing_ok=True)


def _figure(panels: int, title: str) -> tuple[Figure, list[Axes]]:
    # Not pyplot: it keeps figures in a global list and may want a screen.
    from matplotlib.figure import Figure

    figure = Figure(figsize=(1 + 4.5 * panels, 4), layout="constrained")
    figure.suptitle(title)
    axes = [figure.add_subplot(1, panels, number + 1) for number in range(panels)]
    return figure, axes


def _draw_sweep(results: Results, sweep: Sweep) -> Figure:
    figure, (axes,) = _figure(1, results.matrix.title)
    rows = {row.name: row for row in results.matrix.rows}
    numeric = all(
        isinstance(value, int | float) and not isinstance(value, bool) for value in sweep.values
    )
    places = list(sweep.values) if numeric else list(range(len(sweep.values)))
    order = sorted(range(len(places)), key=lambda index: float(places[index]))
    for number, metric in enumerate(_SHOWN):
        spreads = [results.metric(rows[sweep.rows[index]], metric) for index in order]
        _line(axes, [places[index] for index in order], spreads, metric, f"C{number}")
    if not numeric:
        axes.set_xticks(places, [str(value) for value in sweep.values])
    axes.set_xlabel(sweep.setting)
    axes.set_ylabel("mean over images")
    axes.grid(alpha=0.3)
    axes.legend()
    return figure


def _draw_alteration(results: Results, levels: Sequence[Alteration]) -> Figure:
    figure, panels = _figure(len(_SHOWN), f"{results.matrix.title}: {levels[0].kind}")
    ordered = sorted(levels, key=lambda made: made.level)
    for axes, metric in zip(panels, _SHOWN, strict=True):
        for number, row in enumerate(results.matrix.rows):
            colour = f"C{number}"
            spreads = [results.metric(row, metric, made) for made in ordered]
            _line(axes, [made.level for made in ordered], spreads, row.name, colour)
            axes.axhline(results.metric(row, metric).mean, color=colour, ls=":", lw=1)
        axes.set_xlabel(f"{levels[0].kind}, level (dotted: unaltered)")
        axes.set_ylabel(metric)
        axes.grid(alpha=0.3)
    panels[0].legend(fontsize="small")
    return figure


def _line(
    axes: Axes, places: Sequence[float], spreads: Sequence[Spread], label: str, colour: str
) -> None:
    """Draw means as a line, and their spread over the seeds as a band."""
    means = [spread.mean for spread in spreads]
    axes.plot(places, means, marker="o", label=label, color=colour)
    low, high = [spread.low for spread in spreads], [spread.high for spread in spreads]
    axes.fill_between(places, low, high, color=colour, alpha=0.2, lw=0)

"""The file that says what an experiment compares: rows of settings, sweeps, altered images."""

from __future__ import annotations

import dataclasses
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

import numpy as np

from ...core.alterations import alter
from ...core.baseline import BASELINE
from ...core.loaded import check_present
from ...core.settings import GROUPS, Settings
from ...errors import SettingsError, nearest
from ..toml_file import read_toml

METRICS: Final[Mapping[str, str]] = {
    "AJI": "aji",
    "PQ": "pq",
    "DQ": "dq",
    "SQ": "sq",
    "Dice": "dice",
}
"""The ratios of :class:`~..core.metrics.Scores`, by the names they have in tables."""

_KEYS: Final = (
    *("title", "text", "after", "seeds", "preset", "base", "baseline", "prompt_quality"),
    *("by_image", "row", "sweep", "alter"),
)


@dataclass(frozen=True)
class Row:
    """One line of the table.

    Attributes
    ----------
    name
        As in the table; unique.
    settings
        What is measured, whatever its seed; None is the classical baseline.
    paper
        The paper's own values to print below, by the names in :data:`METRICS`.
    """

    name: str
    settings: Settings | None
    paper: Mapping[str, float] = field(default_factory=dict)


@dataclass(frozen=True)
class Sweep:
    """One setting at several values, each a row of its own.

    Attributes
    ----------
    setting
        Its group and name: "reference.fraction".
    values
        As in the file.
    rows
        The names of the rows, one for each value.
    """

    setting: str
    values: tuple[Any, ...]
    rows: tuple[str, ...]


@dataclass(frozen=True)
class Alteration:
    """One way to alter the images; see :func:`~..core.alterations.alter`."""

    kind: str
    level: float

    def __str__(self) -> str:
        """Return its name in sentences: "blur 2"."""
        return f"{self.kind} {self.level:g}"


@dataclass(frozen=True)
class Matrix:
    """All that an experiment compares.

    Attributes
    ----------
    title, text, after
        The table's heading, and Markdown to stand above and below it.
    seeds
        Every row is measured once for each.
    rows
        In the order of the table, those of the sweeps among them.
    sweeps
        What is plotted over a setting's values.
    alterations
        Every row is measured on the images as they are, and again on these.
    prompt_quality
        Whether the table says how well the points are placed.
    by_image
        Whether there is a table of single images.
    """

    title: str
    text: str
    after: str
    seeds: tuple[int, ...]
    rows: tuple[Row, ...]
    sweeps: tuple[Sweep, ...]
    alterations: tuple[Alteration, ...]
    prompt_quality: bool
    by_image: bool


def read_matrix(path: Path, seeds: Sequence[int] = ()) -> Matrix:
    """Read a matrix from a TOML file.

    Parameters
    ----------
    path
        The file.
    seeds
        Used in the place of the file's, if any.

    Raises
    ------
    SettingsError
        If the file cannot be read, has an unknown key, setting, preset or kind of
        alteration (with the nearest valid name), a value out of range, two rows of
        one name, or nothing to measure.
    """
    values = read_toml(path, "matrix")
    try:
        return _matrix({**values, "seeds": list(seeds)} if seeds else values)
    except SettingsError as exc:
        raise SettingsError(f"In the matrix '{path}': {exc}") from exc


def _matrix(values: dict[str, Any]) -> Matrix:
    _check_keys(values, _KEYS, "key")
    preset = _text(values, "preset", "default")
    base = _table(values.get("base", {}), "base")
    rows = [
        _row(entry, preset, base, number) for number, entry in enumerate(_entries(values, "row"), 1)
    ]
    sweeps = []
    for entry in _entries(values, "sweep"):
        sweep, made = _sweep(entry, _settings(preset, base, {}))
        sweeps.append(sweep)
        rows += made
    if _flag(values, "baseline"):
        rows.append(Row(BASELINE, None))
    if not rows:
        raise SettingsError(
            "There is nothing to measure: add a [[row]], a [[sweep]] or 'baseline = true'."
        )
    _check_unique([row.name for row in rows], "row")
    for row in rows:
        _check_runnable(row)
    return Matrix(
        _text(values, "title", "Experiment"),
        _text(values, "text", ""),
        _text(values, "after", ""),
        _seeds(values.get("seeds", [0])),
        tuple(rows),
        tuple(sweeps),
        _alterations(_entries(values, "alter")),
        _flag(values, "prompt_quality"),
        _flag(values, "by_image"),
    )


# Rows


def _row(entry: dict[str, Any], preset: str, base: dict[str, Any], number: int) -> Row:
    _check_keys(entry, ("name", "settings", "paper", "preset"), f"key in row {number}:")
    name = _text(entry, "name", "").strip()
    if not name:
        raise SettingsError(f"Row {number} has no name; add 'name = \"...\"'.")
    try:
        chosen = _table(entry.get("settings", {}), "settings")
        settings = _settings(_text(entry, "preset", preset), base, chosen)
        return Row(name, settings, _paper(entry.get("paper", {})))
    except SettingsError as exc:
        raise SettingsError(f"Row '{name}': {exc}") from exc


def _settings(preset: str, base: dict[str, Any], changes: dict[str, Any]) -> Settings:
    for values in (base, changes):
        if "seed" in values or "preset" in values:
            raise SettingsError(
                "'seeds' and 'preset' are keys of the matrix itself; write them above the settings."
            )
    return Settings.preset(preset).with_changes(**base).with_changes(**changes)


def _paper(values: object) -> dict[str, float]:
    table = _table(values, "paper")
    _check_keys(table, tuple(METRICS), "metric")
    return {name: _number(value, f"paper.{name}") for name, value in table.items()}


def _sweep(entry: dict[str, Any], settings: Settings) -> tuple[Sweep, list[Row]]:
    _check_keys(entry, ("setting", "values"), "key in [[sweep]]:")
    setting = _text(entry, "setting", "")
    values = entry.get("values")
    if not isinstance(values, list) or not values:
        raise SettingsError(f"The sweep of '{setting}' needs its values: values = [1, 2, 3].")
    group, _, name = setting.partition(".")
    if not name:
        names = [f"{g}.{f.name}" for g, made in GROUPS.items() for f in _fields(made)]
        raise SettingsError(f"Unknown setting '{setting}'. {nearest(setting, names)}")
    rows = [
        Row(f"{setting} = {_shown(value)}", settings.with_changes(**{group: {name: value}}))
        for value in values
    ]
    return Sweep(setting, tuple(values), tuple(row.name for row in rows)), rows


def _fields(group: Any) -> tuple[dataclasses.Field[Any], ...]:
    return dataclasses.fields(group)


def _shown(value: object) -> str:
    return str(value).lower() if isinstance(value, bool) else str(value)


def _check_runnable(row: Row) -> None:
    if row.settings is None:
        return
    check_present(row.settings.features)
    if row.settings.prompts.source == "given":
        raise SettingsError(
            f"Row '{row.name}' starts from opened nuclei (prompts.source = \"given\"), which an "
            "experiment does not have; choose another source."
        )


# Seeds and alterations


def _seeds(values: object) -> tuple[int, ...]:
    if not isinstance(values, list) or not values:
        raise SettingsError(f"'seeds' must be a list of whole numbers, not {values!r}.")
    seeds = tuple(Settings.from_dict({"seed": value}).seed for value in values)
    _check_unique(seeds, "seed")
    return seeds


def _alterations(entries: Sequence[dict[str, Any]]) -> tuple[Alteration, ...]:
    found = []
    for entry in entries:
        _check_keys(entry, ("kind", "levels"), "key in [[alter]]:")
        kind, levels = _text(entry, "kind", ""), entry.get("levels")
        if not isinstance(levels, list) or not levels:
            raise SettingsError(f"The alteration '{kind}' needs its levels: levels = [1, 2, 3].")
        for level in levels:
            # An empty image costs nothing, and whether kind and level exist shows all the same.
            alter(np.zeros((0, 0, 3), np.uint8), kind, level, 0)
            found.append(Alteration(kind, float(level)))
    _check_unique([f"{made.kind} {made.level:g}" for made in found], "alteration")
    return tuple(found)


# Checks


def _check_keys(values: Collection[str], known: Sequence[str], what: str) -> None:
    for name in values:
        if name not in known:
            raise SettingsError(f"Unknown {what} '{name}'. {nearest(name, list(known))}")


def _check_unique(values: Sequence[object], what: str) -> None:
    for value in values:
        if values.count(value) > 1:
            raise SettingsError(
                f"There are {values.count(value)} of the {what} '{value}'; keep one."
            )


def _entries(values: Mapping[str, Any], name: str) -> list[dict[str, Any]]:
    found = values.get(name, [])
    if not isinstance(found, list) or not all(isinstance(entry, dict) for entry in found):
        raise SettingsError(f"'{name}' must be tables, each below a line [[{name}]].")
    return found


def _table(value: object, name: str) -> dict[str, Any]:
    if not isinstance(value, dict):
        raise SettingsError(f"'{name}' must be a table, not {value!r}.")
    return value


def _text(values: Mapping[str, Any], name: str, default: str) -> str:
    value = values.get(name, default)
    if not isinstance(value, str):
        raise SettingsError(f"'{name}' must be text, not {value!r}.")
    return value


def _flag(values: Mapping[str, Any], name: str) -> bool:
    value = values.get(name, False)
    if not isinstance(value, bool):
        raise SettingsError(f"'{name}' must be true or false, not {value!r}.")
    return value


def _number(value: object, name: str) -> float:
    if isinstance(value, bool) or not isinstance(value, int | float) or not 0 <= value <= 1:
        raise SettingsError(f"'{name}' must be a number from 0 to 1, not {value!r}.")
    return float(value)

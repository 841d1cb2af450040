"""Settings as a TOML file that explains itself."""

from __future__ import annotations

import dataclasses
import json
from pathlib import Path
from typing import Any

from ..core.presets import find_preset
from ..core.settings import Settings
from ..core.settings_fields import Group
from ..errors import SettingsError
from .toml_file import read_toml


def read_settings(path: str | Path, preset: str | None = None) -> Settings:
    """Read settings from a TOML file; what it leaves out is as in a preset.

    Parameters
    ----------
    path
        The TOML file, UTF-8. It may name a preset itself: ``preset = "paper"``
        above the first group.
    preset
        The preset on which the file's settings are laid; None for the one that the
        file names, and the defaults where it names none.

    Raises
    ------
    SettingsError
        If the file cannot be read, is not TOML (naming the line), holds an
        unknown setting or preset or a value out of range, or names another preset
        than the one given.
    """
    path = Path(path)
    if preset is not None:
        find_preset(preset)
    values = read_toml(path, "settings file")
    try:
        return Settings.from_dict(_over(preset, values))
    except SettingsError as exc:
        raise SettingsError(f"In the settings file '{path}': {exc}") from exc


def _over(preset: str | None, values: dict[str, Any]) -> dict[str, Any]:
    """Lay what a file holds over a preset."""
    if preset is None:
        return values
    named = values.get("preset", preset)
    if named != preset:
        raise SettingsError(
            f"It names the preset {named!r}, but '{preset}' was asked for; leave one of them out."
        )
    return values | {"preset": preset}


def settings_toml(settings: Settings) -> str:
    """Return all settings as TOML, each below a comment with its meaning, range and default.

    Reading the text back gives equal settings.
    """
    lone, tables = [], []
    for field in dataclasses.fields(settings):
        value = getattr(settings, field.name)
        if isinstance(value, Group):
            tables.append(_table(field.name, value))
        else:
            lone.append(_entry(field, value))
    # A key below a table's heading would belong to that table, so lone keys come first.
    return "\n\n".join(lone + tables) + "\n"


def _table(name: str, group: Group) -> str:
    summary = (type(group).__doc__ or "").strip().splitlines()[0]
    entries = [
        _entry(field, getattr(group, field.name))
        for field in dataclasses.fields(group)  # type: ignore[arg-type]
    ]
    return "\n\n".join([f"# {summary}\n[{name}]", *entries])


def _entry(field: dataclasses.Field[Any], value: Any) -> str:
    meta = field.metadata
    lines = [f"# {meta['description']}"]
    allowed = []
    if meta["choices"]:
        allowed.append("One of: " + ", ".join(meta["choices"]) + ".")
    low, high = meta["low"], meta["high"]
    unit = f" {meta['unit']}" if meta["unit"] else ""
    if low is not None and high is not None:
        allowed.append(f"From {_number(low)} to {_number(high)}{unit}.")
    elif low is not None or high is not None:
        bound, word = (low, "At least") if low is not None else (high, "At most")
        allowed.append(f"{word} {_number(bound)}{unit}.")
    elif unit:
        allowed.append(f"In{unit}.")
    lines.append("# " + " ".join([*allowed, f"Default: {_toml(field.default)}."]))
    lines.append(f"{field.name} = {_toml(value)}")
    return "\n".join(lines)


def _number(value: float) -> str:
    return str(int(value)) if value == int(value) else repr(value)


def _toml(value: Any) -> str:
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, str):
        # JSON's escapes are TOML's, but for the delete character.
        return json.dumps(value, ensure_ascii=False).replace("\x7f", "\\u007f")
    if isinstance(value, tuple):
        return "[" + ", ".join(map(_toml, value)) + "]"
    return repr(value)

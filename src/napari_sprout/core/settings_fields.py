"""How a setting is declared, checked and read: one mechanism for every group.

A setting is a dataclass field made by :func:`setting`; its range, choices and a
sentence in a pathologist's words travel in the field's metadata, so the command
line, the documentation and the plugin's forms all read the same source.
"""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Mapping
from typing import Any, ClassVar, TypeVar

from ..errors import SettingsError, nearest

T = TypeVar("T")


def setting(
    default: Any,
    description: str,
    *,
    low: float | None = None,
    high: float | None = None,
    multiple: int | None = None,
    choices: tuple[str, ...] | None = None,
    unit: str = "",
    advanced: bool = False,
) -> Any:
    """Declare one setting.

    Parameters
    ----------
    default
        The value used when none is given; its type is the setting's type.
    description
        One sentence in a pathologist's words (the plugin's tooltip).
    low, high
        Inclusive range of a number, or of each element of a tuple.
    multiple
        A whole number must be a multiple of this.
    choices
        The allowed words of a text setting.
    unit
        Physical unit, empty where there is none.
    advanced
        True for settings that the plugin folds away.
    """
    metadata = {
        "description": description,
        "low": low,
        "high": high,
        "multiple": multiple,
        "choices": choices,
        "unit": unit,
        "advanced": advanced,
    }
    return dataclasses.field(default=default, metadata=metadata)


def _check_number(where: str, value: Any, meta: Any, example: Any) -> float | int:
    whole = isinstance(example, int) and not isinstance(example, bool)
    if isinstance(value, bool) or not isinstance(value, int | float):
        kind = "a whole number" if whole else "a number"
        raise SettingsError(f"Setting '{where}' must be {kind}, not {value!r}.")
    # A whole number of any size is finite; asking math would overflow.
    finite = isinstance(value, int) or math.isfinite(value)
    if not finite or (whole and value != int(value)):
        kind = "a whole number" if whole else "finite"
        raise SettingsError(f"Setting '{where}' must be {kind}, not {value!r}.")
    low, high = meta["low"], meta["high"]
    if (low is not None and value < low) or (high is not None and value > high):
        bounds = " and ".join(
            f"{word} {bound:g}"
            for word, bound in (("at least", low), ("at most", high))
            if bound is not None
        )
        raise SettingsError(f"Setting '{where}' must be {bounds}, not {value!r}.")
    if meta["multiple"] and value % meta["multiple"]:
        raise SettingsError(
            f"Setting '{where}' must be a multiple of {meta['multiple']}, not {value!r}."
        )
    # Adding 0.0 makes -0.0 plain zero: equal settings must have equal keys.
    return int(value) if whole else float(value) + 0.0


def checked(where: str, value: Any, field: dataclasses.Field[Any]) -> Any:
    """Return `value` in the field's own type, or raise a sentence that says what is allowed.

    Raises
    ------
    SettingsError
        If the value has the wrong type, is not finite, or lies outside the
        field's range or choices.
    """
    meta, example = field.metadata, field.default
    if isinstance(example, bool):
        if not isinstance(value, bool):
            raise SettingsError(f"Setting '{where}' must be true or false, not {value!r}.")
        return value
    if isinstance(example, str):
        if not isinstance(value, str):
            raise SettingsError(f"Setting '{where}' must be text, not {value!r}.")
        choices = meta["choices"]
        if choices and value not in choices:
            raise SettingsError(
                f"Setting '{where}' must be one of {', '.join(choices)}, not '{value}'. "
                + nearest(value, list(choices))
            )
        return value
    if isinstance(example, tuple):
        if not isinstance(value, list | tuple) or len(value) != len(example):
            raise SettingsError(
                f"Setting '{where}' must be a list of {len(example)} numbers, not {value!r}."
            )
        return tuple(_check_number(where, v, meta, e) for v, e in zip(value, example, strict=True))
    return _check_number(where, value, meta, example)


class Group:
    """Base of a frozen dataclass of settings: checks every field when made."""

    name: ClassVar[str]

    def __post_init__(self) -> None:
        for field in dataclasses.fields(self):  # type: ignore[arg-type]
            value = checked(f"{self.name}.{field.name}", getattr(self, field.name), field)
            object.__setattr__(self, field.name, value)


def build(cls: type[T], values: Any, prefix: str, base: Mapping[str, Any]) -> T:
    """Make a settings group from a mapping, refusing unknown names.

    Parameters
    ----------
    cls
        The group's class.
    values
        A dict of its settings.
    prefix
        Its name.
    base
        What the group holds where `values` say nothing; where neither does, the default.

    Raises
    ------
    SettingsError
        For an unknown name (with the nearest valid one) or a bad value.
    """
    if not isinstance(values, dict):
        raise SettingsError(f"'{prefix}' must be a table of settings, not {values!r}.")
    names = [field.name for field in dataclasses.fields(cls)]  # type: ignore[arg-type]
    for name in values:
        if name not in names:
            raise SettingsError(f"Unknown setting '{prefix}.{name}'. {nearest(name, names)}")
    return cls(**{**base, **values})

"""TOML files read whole, with one sentence for every way in which that can fail."""

from __future__ import annotations

import tomllib
from pathlib import Path
from typing import Any

from ..errors import SettingsError


def read_toml(path: Path, what: str) -> dict[str, Any]:
    """Return what a TOML file holds.

    Parameters
    ----------
    path
        The file, UTF-8.
    what
        What the file is, for the sentences: "settings file".

    Raises
    ------
    SettingsError
        If the file cannot be read or is not TOML, naming the line.
    """
    try:
        # Windows editors begin UTF-8 files with a mark that TOML does not allow.
        text = path.read_text(encoding="utf-8-sig")
    except UnicodeDecodeError as exc:
        raise SettingsError(
            f"The {what} '{path}' is not a text file in UTF-8; save it as such."
        ) from exc
    except FileNotFoundError as exc:
        raise SettingsError(
            f"The {what} '{path}' does not exist; check its name and folder."
        ) from exc
    except OSError as exc:
        raise SettingsError(
            f"The {what} '{path}' cannot be read ({exc.strerror or exc}); "
            "check that it is a file you may read."
        ) from exc
    try:
        return tomllib.loads(text)
    except tomllib.TOMLDecodeError as exc:
        detail = str(exc).replace("at end of document", f"at line {text.count(chr(10)) + 1}")
        raise SettingsError(
            f"The {what} '{path}' is not valid TOML: {detail}; correct that line."
        ) from exc

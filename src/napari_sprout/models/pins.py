"""The folder of downloaded weights, and notes of what they were when they first came."""

from __future__ import annotations

import json
import os
import secrets
import sys
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Final

from ..errors import WeightsError
from .download_errors import unwritable
from .registry import Model

FOLDER_VARIABLE: Final = "NAPARI_SPROUT_MODELS"
_PIN: Final = "pinned.json"


@dataclass(frozen=True)
class Pin:
    """What a model's weights were when they first came to this computer.

    Attributes
    ----------
    repository, file
        Where from.
    commit
        Of the repository: what is asked for from then on.
    sha256
        Of the file, in hexadecimal.
    """

    repository: str
    file: str
    commit: str
    sha256: str


def models_folder() -> Path:
    """Return the folder of downloaded weights, one folder a model; it need not exist.

    The environment's NAPARI_SPROUT_MODELS, else the place where this system keeps a
    person's data.
    """
    if chosen := os.environ.get(FOLDER_VARIABLE, "").strip():
        return Path(chosen).expanduser()
    return _data_folder() / "napari-sprout" / "models"


def _data_folder() -> Path:
    if sys.platform == "win32":
        local = os.environ.get("LOCALAPPDATA", "")
        return Path(local) if local else Path.home() / "AppData" / "Local"
    if sys.platform == "darwin":
        return Path.home() / "Library" / "Application Support"
    # The specification has relative paths ignored.
    chosen = Path(os.environ.get("XDG_DATA_HOME", ""))
    return chosen if chosen.is_absolute() else Path.home() / ".local" / "share"


def pin_path(one: Model) -> Path:
    """Return where the note on a model's weights is, whether there is one or not."""
    return models_folder() / one.name / _PIN


def pinned(one: Model) -> Pin | None:
    """Return what was noted at the first download; None if there was none.

    Raises
    ------
    WeightsError
        If the note is damaged.
    """
    path = pin_path(one)
    try:
        found = Pin(**json.loads(path.read_text(encoding="utf-8")))
    except (FileNotFoundError, NotADirectoryError):
        return None
    except (OSError, ValueError, TypeError) as error:
        raise WeightsError(
            f"The note of what '{one.name}' should be, '{path}', cannot be read: delete it, and "
            "the next download notes it anew."
        ) from error
    # A later version of the program may fetch a model from elsewhere.
    return found if (found.repository, found.file) == (one.repository, one.file) else None


def write_pin(one: Model, pin: Pin) -> None:
    """Note what a model's weights are.

    Raises
    ------
    WeightsError
        If that cannot be written.
    """
    path = pin_path(one)
    temporary = path.with_name(f".{_PIN}-{secrets.token_hex(6)}")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        temporary.write_text(json.dumps(asdict(pin), indent=2) + "\n", encoding="utf-8")
        temporary.replace(path)
    except OSError as error:
        raise unwritable(path, error) from error
    finally:
        temporary.unlink(missing_ok=True)

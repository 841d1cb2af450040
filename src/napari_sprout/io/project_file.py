"""``project.json``: what a project was made from, checked against damage."""

from __future__ import annotations

import dataclasses
import hashlib
import json
import uuid
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Final

from .._version import __version__
from ..core.settings import Settings
from ..errors import ProjectError, SettingsError
from .atomic import replacing

_FORMAT: Final = "napari-sprout project"
_VERSION: Final = 1


@dataclass(frozen=True)
class ImageFacts:
    """How to find a project's image again, and to know that it is the same.

    Attributes
    ----------
    name
        The file's name.
    relative
        The file as seen from the project folder, with forward slashes; empty if
        there is no such way.
    absolute
        The file on the computer that made the project.
    file_sha256, pixel_sha256
        Hashes of the file, and of the pixels read from it.
    shape
        Height and width in px.
    """

    name: str
    relative: str
    absolute: str
    file_sha256: str
    pixel_sha256: str
    shape: tuple[int, int]


@dataclass(frozen=True)
class ProjectFacts:
    """What is settled when a project is made, and never changes.

    Attributes
    ----------
    identity
        A UUID; the journal belongs to it.
    created
        When, in UTC (ISO 8601).
    software
        What made it, with its version.
    image
        Which image.
    mpp
        Pixel size in um per px; None if unknown.
    settings
        The settings to start from.
    """

    identity: str
    created: str
    software: str
    image: ImageFacts
    mpp: float | None
    settings: Settings

    @classmethod
    def of(cls, image: ImageFacts, mpp: float | None, settings: Settings) -> ProjectFacts:
        """Return the facts of a project made now, with a new identity."""
        now = datetime.now(UTC).isoformat(timespec="seconds")
        software = f"napari-sprout {__version__}"
        return cls(str(uuid.uuid4()), now, software, image, mpp, settings)


def write_facts(path: Path, facts: ProjectFacts) -> None:
    """Write the file, whole or not at all.

    Raises
    ------
    OutputError
        If it cannot be written.
    """
    values = {
        "format": _FORMAT,
        "version": _VERSION,
        **dataclasses.asdict(facts),
        "settings": facts.settings.to_dict(),
    }
    values = {**values, "check": _check(values)}
    with replacing(path) as temporary:
        temporary.write_text(json.dumps(values, indent=2) + "\n", encoding="utf-8")


def read_facts(path: Path) -> ProjectFacts:
    """Read the file.

    Raises
    ------
    ProjectError
        If it is missing, unreadable, damaged, or of a later version.
    """
    folder = path.parent
    try:
        values = json.loads(path.read_bytes())
        if not isinstance(values, dict) or values.get("format") != _FORMAT:
            raise ValueError
    except (FileNotFoundError, NotADirectoryError) as exc:
        if not folder.exists():
            raise ProjectError(
                f"The project '{folder}' does not exist; check its name and folder."
            ) from exc
        raise ProjectError(
            f"'{folder}' is not a project: it holds no '{path.name}'; choose a folder that this "
            "program made."
        ) from exc
    except OSError as exc:
        raise ProjectError(
            f"'{path}' cannot be read ({exc.strerror or exc}); ask for permission or copy the "
            "project elsewhere."
        ) from exc
    except (ValueError, RecursionError) as exc:
        raise _damaged(path) from exc
    return _parsed(path, values)


def _parsed(path: Path, values: dict[str, Any]) -> ProjectFacts:
    version = values.get("version")
    if isinstance(version, int) and version > _VERSION:
        raise ProjectError(
            f"The project '{path.parent}' was made by a later version of this program "
            f"({values.get('software')}); install that version to open it."
        )
    if version != _VERSION or values.get("check") != _check(values):
        raise _damaged(path)
    try:
        image = ImageFacts(**{**values["image"], "shape": tuple(values["image"]["shape"])})
        settings = Settings.from_dict(values["settings"])
        return ProjectFacts(
            values["identity"],
            values["created"],
            values["software"],
            image,
            values["mpp"],
            settings,
        )
    except SettingsError as exc:
        raise ProjectError(
            f"The project '{path.parent}' was made by {values['software']}, whose settings differ "
            f"from this version's ({exc}); install that version to open it."
        ) from exc
    except (KeyError, TypeError) as exc:
        raise _damaged(path) from exc


def _check(values: dict[str, Any]) -> str:
    text = json.dumps({k: v for k, v in values.items() if k != "check"}, sort_keys=True)
    return hashlib.sha256(text.encode()).hexdigest()[:16]


def _damaged(path: Path) -> ProjectError:
    return ProjectError(f"'{path}' is damaged; restore it from a backup.")

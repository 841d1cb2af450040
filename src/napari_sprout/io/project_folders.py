"""Which project folders there are of one image: NAME.sprout, NAME-2.sprout and so on."""

from __future__ import annotations

import re
from collections.abc import Iterator
from itertools import count
from pathlib import Path

from .project import FACTS_NAME, JOURNAL_NAME, SUFFIX


def numbered(base: Path) -> Iterator[Path]:
    """Yield NAME.sprout, NAME-2.sprout, NAME-3.sprout and so on, whether they are there or not.

    Parameters
    ----------
    base
        The first; its ending is that of all.
    """
    yield base
    for number in count(2):
        yield base.with_name(f"{base.stem}-{number}{base.suffix}")


def is_numbered(folder: Path, base: Path) -> bool:
    """Whether a folder's name is one of those that :func:`numbered` gives."""
    stem, suffix = re.escape(base.stem), re.escape(base.suffix)
    return re.fullmatch(rf"{stem}(-\d+)?{suffix}", folder.name) is not None


def projects_at(base: Path) -> Iterator[Path]:
    """Yield the projects NAME.sprout, NAME-2.sprout and so on; some may have been deleted."""
    yield from (one for one in projects_inside(base.parent) if is_numbered(one, base))


def projects_inside(place: Path) -> Iterator[Path]:
    """Yield all projects in a folder, by name; none if it cannot be read."""
    try:
        found = sorted(place.iterdir())
    except OSError:
        return
    yield from (one for one in found if one.suffix == SUFFIX and is_project(one))


def is_project(folder: Path) -> bool:
    """Whether a folder holds what makes a project."""
    return (folder / FACTS_NAME).is_file() and (folder / JOURNAL_NAME).is_file()


def last_changed(folder: Path) -> tuple[int, str]:
    """Return when a project was last worked on, and its name, to sort by."""
    try:
        return (folder / JOURNAL_NAME).stat().st_mtime_ns, folder.name
    except OSError:
        return 0, folder.name

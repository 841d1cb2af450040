"""What went wrong with a file, as one sentence that names it."""

from __future__ import annotations

from collections.abc import Collection
from pathlib import Path

from ..errors import SproutError


def failure(path: Path, error: Exception, command: str, known_as: Collection[str] = ()) -> str:
    """Return one sentence that names the image and says what went wrong.

    Parameters
    ----------
    path
        The image.
    error
        Any error that arose from it.
    command
        The command that was at work, which shows where a fault in the program is.
    known_as
        Other text by which a sentence may name the image: its results, say.
    """
    named = str(path)
    if isinstance(error, SproutError):
        text = str(error)
        if any(name in text for name in (named, *known_as)):
            return text
        return f"{named}: {text}"
    full = type(error).__name__ == "OutOfMemoryError" or "Insufficient memory" in str(error)
    if full or isinstance(error, MemoryError):
        return f"{named}: it does not fit in memory; cut out a region, or try --device cpu."
    if isinstance(error, OSError):
        return f"{named}: {error.strerror or error}."
    first = (str(error).splitlines() or [""])[0]
    return (
        f"{named}: an unexpected {type(error).__name__} ({first}); this is a fault in the program, "
        f"'napari-sprout --debug {command} ...' shows where."
    )

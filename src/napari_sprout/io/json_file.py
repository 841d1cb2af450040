"""JSON files of other programs."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from ..errors import ImageError
from .raster import file_errors_in_words


def read_json(path: Path, kind: str) -> Any:
    """Return what a JSON file holds.

    Parameters
    ----------
    path
        The file.
    kind
        What it should be, for a person.

    Raises
    ------
    ImageError
        If it is missing, unreadable or not JSON.
    """
    try:
        with file_errors_in_words(path):
            return json.loads(path.read_bytes())
    except (ValueError, RecursionError) as exc:
        raise ImageError(f"'{path}' is damaged or not a {kind} ({exc}); export it again.") from exc

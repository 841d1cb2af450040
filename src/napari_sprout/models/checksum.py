"""The SHA-256 of a file of any size. No torch."""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from pathlib import Path
from typing import Final

from ..errors import StoppedError, WeightsError

_BLOCK: Final = 1 << 20


def file_sha256(path: Path, stopped: Callable[[], bool] = lambda: False) -> str:
    """Return a file's SHA-256 in hexadecimal.

    Parameters
    ----------
    path
        The file.
    stopped
        Asked now and then whether to give up.

    Raises
    ------
    WeightsError
        If it cannot be read.
    StoppedError
        If `stopped` said so.
    """
    digest = hashlib.sha256()
    try:
        with path.open("rb") as file:
            while block := file.read(_BLOCK):
                digest.update(block)
                if stopped():
                    raise StoppedError(f"Checking '{path}' was stopped.")
    except OSError as error:
        raise unreadable(path, error) from error
    return digest.hexdigest()


def unreadable(path: Path, error: OSError) -> WeightsError:
    """Return the error to raise where a weights file cannot be read."""
    return WeightsError(
        f"The model weights {path} cannot be read ({error.strerror or error}): check the path, or "
        "install napari-sprout again if they are part of it."
    )

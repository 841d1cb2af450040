"""Where tracebacks go: a small log file that a person can be pointed to."""

from __future__ import annotations

import logging
from logging.handlers import RotatingFileHandler
from pathlib import Path

from qtpy.QtCore import QStandardPaths

from ..errors import SproutError
from .memory import is_out_of_memory

LOGGER = logging.getLogger("napari_sprout")
_BYTES = 1_000_000


def log_path() -> Path:
    """Return the log file's path, in the folder the system keeps such files in."""
    location = QStandardPaths.StandardLocation.GenericDataLocation
    return Path(QStandardPaths.writableLocation(location)) / "napari-sprout" / "napari-sprout.log"


def open_log() -> Path | None:
    """Send the package's log to its file, once a process; None if it cannot be written."""
    path = log_path()
    for handler in LOGGER.handlers:
        if isinstance(handler, RotatingFileHandler) and Path(handler.baseFilename) == path:
            return path
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        made = RotatingFileHandler(path, maxBytes=_BYTES, backupCount=1, encoding="utf-8")
    except OSError:
        # A home that cannot be written to must not keep anyone from working.
        return None
    made.setFormatter(logging.Formatter("%(asctime)s %(levelname)s %(message)s"))
    LOGGER.addHandler(made)
    return path


def explained(error: BaseException) -> SproutError:
    """Return an error whose message is for a person, and write the traceback to the log.

    Parameters
    ----------
    error
        Errors raised on purpose speak for themselves and are returned as they are;
        of any other it is said that something went wrong and where the details are.
    """
    if isinstance(error, SproutError):
        LOGGER.info("%s", error, exc_info=error)
        return error
    path = open_log()
    LOGGER.error("Unexpected error", exc_info=error)
    if is_out_of_memory(error):
        text = "The memory ran out: choose 'Processor' as the device, or close other programs."
    else:
        text = f"Sorry, something went wrong ({type(error).__name__})."
    where = f"The details are in {path}." if path else "The details are on the console."
    made = SproutError(f"{text} {where}")
    made.__cause__ = error
    return made

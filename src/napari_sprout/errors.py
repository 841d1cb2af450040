"""Errors a person can act on.

Every error raised on purpose derives from :class:`SproutError`; its message is
one sentence that names the file or setting, what is wrong and what to do. The
command line prints that sentence alone; the plugin shows it in a notification.
"""

from __future__ import annotations

import difflib
import warnings


class SproutError(Exception):
    """Base of every error this package raises on purpose."""


class ImageError(SproutError):
    """An image that cannot be read or segmented."""


class UnsuitableImageError(ImageError):
    """A sound file that holds another kind of picture than one H&E image in colour."""


class SettingsError(SproutError):
    """A setting with an unknown name or a value outside its range."""


class WeightsError(SproutError):
    """A weights file that is missing, damaged or not trusted."""


class OutputError(SproutError):
    """A result that could not be written."""


class ProjectError(SproutError):
    """A project folder that is damaged, in use, or does not fit its image."""


class ResultsError(SproutError):
    """Results of an earlier run that are missing, damaged, or of a later version."""


class StoppedError(SproutError):
    """A run that was asked to stop before it had finished."""


class SproutWarning(UserWarning):
    """Something a person should know, though a result was made."""


def warn(text: str) -> None:
    """Tell whoever called what a person should know, as a :class:`SproutWarning`.

    Python's warnings are one for the whole process: what works in a thread of its
    own is given something else to tell such sentences to.

    Parameters
    ----------
    text
        One sentence, as in an error.
    """
    warnings.warn(text, SproutWarning, stacklevel=3)


def nearest(name: str, names: list[str]) -> str:
    """Return "Did you mean 'x'?" for the closest of `names`, or their list."""
    close = difflib.get_close_matches(name, names, n=1, cutoff=0.4)
    return f"Did you mean '{close[0]}'?" if close else "Use one of: " + ", ".join(names) + "."

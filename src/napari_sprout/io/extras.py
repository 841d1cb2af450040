"""Libraries that come with an extra, imported when they are needed."""

from __future__ import annotations

from importlib import import_module
from types import ModuleType

from ..errors import SproutError


def needed(module: str, extra: str = "slides") -> ModuleType:
    """Import a library of an extra.

    Parameters
    ----------
    module
        Its name, as for ``import``.
    extra
        The extra of this package that brings it.

    Raises
    ------
    SproutError
        If it is not installed, with the command that installs it.
    """
    try:
        return import_module(module)
    except ModuleNotFoundError as error:
        if error.name is None or error.name.split(".")[0] != module.split(".")[0]:
            raise
        raise SproutError(
            f"This needs the library '{error.name}', which is not installed: run "
            f"pip install 'napari-sprout[{extra}]' and try again."
        ) from error

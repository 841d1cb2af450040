"""The docks that are open, as Qt itself knows them: nobody else has to keep a list."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

if TYPE_CHECKING:
    from ..napari_.controller import SessionController

DOCK: Final = "napari-sprout-dock"
"""Qt's name of the dock widget."""


def open_sessions() -> list[SessionController]:
    """Return the sessions of all windows; none where there is no Qt, or no window."""
    try:
        from qtpy.QtWidgets import QApplication
    except ImportError:
        # napari can do without a window.
        return []
    if QApplication.instance() is None:
        return []
    docks: list[Any] = [one for one in QApplication.allWidgets() if one.objectName() == DOCK]
    return [controller for dock in docks for controller in dock.sessions.registry]

"""The commands of napari's command palette and menus; each opens the dock first if need be."""

from __future__ import annotations

from typing import Any

import napari.viewer
from napari.plugins import menu_item_template
from napari.utils.notifications import show_info
from qtpy.QtWidgets import QPushButton, QWidget

from .activation import prepare

_TITLE = "SPROUT"


def open_dock(viewer: napari.viewer.Viewer) -> None:
    """Show the dock."""
    _dock(viewer)


def run(viewer: napari.viewer.Viewer) -> None:
    """Segment the chosen image, where nothing has to be decided first."""
    dock = _dock(viewer)
    dock.tabs.setCurrentWidget(dock.segment)
    if dock.sessions.is_running:
        # The same button cancels by now.
        show_info("The run is under way already.")
    else:
        _press(dock.segment.run_button)


def review(viewer: napari.viewer.Viewer) -> None:
    """Show the nuclei in doubt."""
    dock = _dock(viewer)
    dock.tabs.setCurrentWidget(dock.review)


def export(viewer: napari.viewer.Viewer) -> None:
    """Show where the results are written."""
    dock = _dock(viewer)
    dock.tabs.setCurrentWidget(dock.export)


def open_project(viewer: napari.viewer.Viewer) -> None:
    """Ask for a project folder, and go on with the work in it."""
    dock = _dock(viewer)
    dock.tabs.setCurrentWidget(dock.export)
    _press(dock.export.open)


def show_help(viewer: napari.viewer.Viewer) -> None:
    """Show the steps and the keys."""
    _dock(viewer).show_help()


def _dock(viewer: napari.viewer.Viewer) -> Any:
    """Return the viewer's dock, opened and in front."""
    prepare()
    # Only now: torch comes with it.
    from .dock import SproutDock

    window = viewer.window
    for widget in window.dock_widgets.values():
        if isinstance(widget, SproutDock):
            found = widget
            break
    else:
        found = SproutDock(viewer)
        # The name that the entry in the Plugins menu looks for, so that it finds this one.
        window.add_dock_widget(found, name=menu_item_template.format(_TITLE, _TITLE))
    wrapper = found.parent()
    if isinstance(wrapper, QWidget):
        wrapper.setVisible(True)
        wrapper.raise_()
    return found


def _press(button: QPushButton) -> None:
    """Press a button, or say why it cannot be pressed."""
    if button.isEnabled():
        button.click()
    else:
        show_info(button.toolTip().splitlines()[-1])

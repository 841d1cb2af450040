"""The dock widget: everything that a person does with SPROUT, in four tabs."""

from __future__ import annotations

from typing import Any, Final

import napari
import napari.viewer
from napari.utils.notifications import show_error, show_info, show_warning
from qtpy.QtCore import QEvent, QTimer
from qtpy.QtWidgets import (
    QComboBox,
    QHBoxLayout,
    QLabel,
    QTabWidget,
    QVBoxLayout,
    QWidget,
)

from ..napari_.roles import LayerRole
from .export_tab import ExportTab
from .help_panel import HelpPanel
from .log import open_log
from .open_docks import DOCK
from .parts import allow, button
from .pauses import CollectorRest, ImportsAhead
from .prompts_tab import PromptsTab
from .review_tab import REVIEW_KEYS, ReviewTab
from .segment_tab import SegmentTab
from .sessions import Sessions
from .status_bar import StatusBar

_LEFT: Final = (
    "Changes are no longer kept, so the layers cannot be edited. Open SPROUT again to go on with "
    "your work."
)


class SproutDock(QWidget):
    """Segments, corrects, reviews and exports the images of one viewer.

    Parameters
    ----------
    viewer
        Where the images are. (napari hands it over where the annotation is
        spelled exactly so.)
    """

    def __init__(self, viewer: napari.viewer.Viewer) -> None:
        super().__init__()
        self.setObjectName(DOCK)
        open_log()
        # napari hands plugins a proxy, whose layers are never the same object twice.
        self.sessions = Sessions(getattr(viewer, "__wrapped__", viewer))
        self.segment = SegmentTab(self.sessions)
        self.prompts = PromptsTab(self.sessions)
        self.review = ReviewTab(self.sessions)
        self.export = ExportTab(self.sessions)
        self.status = StatusBar(self.sessions)
        self._help: HelpPanel | None = None
        self._docked = False
        self.tabs = QTabWidget()
        for title, tab in (
            ("Segment", self.segment),
            ("Prompts", self.prompts),
            ("Review", self.review),
            ("Export", self.export),
        ):
            self.tabs.addTab(tab, title)
        layout = QVBoxLayout(self)
        layout.setContentsMargins(0, 4, 0, 0)
        layout.setSpacing(4)
        layout.addLayout(self._head())
        layout.addWidget(self.tabs, 1)
        layout.addWidget(self.status)
        self.setMinimumWidth(360)
        self._rest = CollectorRest(self.sessions.viewer.layers)
        self._ahead = ImportsAhead(self._rest.set_aside_more)
        self._connect()
        self._show_images()

    def _head(self) -> QVBoxLayout:
        self.images = QComboBox()
        self.images.setToolTip("The image that is worked on.")
        self.images.setSizeAdjustPolicy(
            QComboBox.SizeAdjustPolicy.AdjustToMinimumContentsLengthWithIcon
        )
        self.images.activated.connect(self._choose)
        self.undo = button("Undo", "Take back the last change (Ctrl+Z on the image).", self._undo)
        self.redo = button(
            "Redo", "Bring back what was taken back (Ctrl+Shift+Z on the image).", self._redo
        )
        self.help = button("Help, keys", "How to, and all keys.", self.show_help)
        first, second = QHBoxLayout(), QHBoxLayout()
        first.addWidget(QLabel("Image"))
        first.addWidget(self.images, 1)
        for made in (self.undo, self.redo, self.help):
            second.addWidget(made)
        head = QVBoxLayout()
        head.setContentsMargins(8, 0, 8, 0)
        head.addLayout(first)
        head.addLayout(second)
        return head

    def _connect(self) -> None:
        sessions = self.sessions
        sessions.images_changed.connect(self._show_images)
        sessions.current_changed.connect(self._show_images)
        sessions.history_changed.connect(self._show_history)
        sessions.failed.connect(show_error)
        sessions.said.connect(self._say)
        sessions.warned.connect(show_warning)
        # With the window goes this widget: its threads end soon after.
        self.destroyed.connect(self.segment.slide.slides.close)
        self.destroyed.connect(sessions.close)
        self.destroyed.connect(self._rest.close)
        self.destroyed.connect(self._ahead.close)

    def _say(self, text: str) -> None:
        # While an image is opened by its own dialog there may be no window to say it in.
        if not self.isVisible():
            show_info(text)

    # Closing

    def shut_down(self) -> None:
        """Stop all work, and let go of the viewer; everything done is kept."""
        self._ahead.close()
        self._rest.close()
        self.review.close_watch()
        self.prompts.tools.close_watch()
        self.segment.slide.slides.close()
        self.sessions.close()

    def event(self, event: QEvent | None) -> bool:
        """Shut down when a person closes the dock: napari then takes the widget out of it."""
        if event is not None and event.type() == QEvent.Type.ParentChange:
            QTimer.singleShot(0, self._close_if_taken_out)
        return super().event(event)

    def _close_if_taken_out(self) -> None:
        if self.parent() is None and self._docked:
            begun = len(self.sessions.registry) > 0
            self.shut_down()
            if begun:
                show_info(_LEFT)
            self.deleteLater()
        self._docked = self.parent() is not None

    # What a person does

    def show_help(self) -> None:
        """Open the window with the steps and the keys."""
        if self._help is None:
            self._help = HelpPanel(REVIEW_KEYS, self)
        self._help.show()
        self._help.raise_()

    def _choose(self, index: int) -> None:
        images = self.sessions.images
        if not 0 <= index < len(images):
            return
        self.sessions.choose(images[index])
        controller, selection = self.sessions.current, self.sessions.viewer.layers.selection
        if controller is not None and controller.scene.holds(selection.active):
            return
        # Keys and mouse work on the active layer: it must be one of the image that is shown.
        if controller is None or controller.scene.make_active(LayerRole.PROMPTS, "select") is None:
            selection.active = images[index]

    def _undo(self) -> None:
        if (controller := self.sessions.current) is not None:
            controller.undo()

    def _redo(self) -> None:
        if (controller := self.sessions.current) is not None:
            controller.redo()

    # What is shown

    def _show_images(self, event: Any = None) -> None:
        images, chosen = self.sessions.images, self.sessions.layer
        self.images.clear()
        self.images.addItems([layer.name for layer in images])
        if chosen is not None and chosen in images:
            self.images.setCurrentIndex(images.index(chosen))
        self.images.setPlaceholderText("Open an H&E image")
        self.images.setEnabled(bool(images))
        for layer in images:
            layer.events.name.disconnect(self._show_images)
            layer.events.name.connect(self._show_images)
        self._show_history()

    def _show_history(self) -> None:
        controller = self.sessions.current
        can_undo = controller is not None and controller.can_undo
        can_redo = controller is not None and controller.can_redo
        allow(self.undo, "" if can_undo else "There is nothing to take back.")
        allow(self.redo, "" if can_redo else "Nothing was taken back.")

"""Small pieces that the tabs are made of."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from qtpy.QtCore import QSize, Qt, QUrl
from qtpy.QtGui import QDesktopServices, QFontMetrics, QPainter, QPaintEvent
from qtpy.QtWidgets import (
    QFrame,
    QHBoxLayout,
    QLabel,
    QPushButton,
    QScrollArea,
    QVBoxLayout,
    QWidget,
)

SPACING = 6


class Tab(QScrollArea):
    """A page of the dock that scrolls up and down, never sideways."""

    def __init__(self) -> None:
        super().__init__()
        self.page = QWidget()
        self.lines = QVBoxLayout(self.page)
        self.lines.setContentsMargins(8, 8, 8, 8)
        self.lines.setSpacing(SPACING)
        self.setWidget(self.page)
        self.setWidgetResizable(True)
        self.setFrameShape(QFrame.Shape.NoFrame)
        self.setHorizontalScrollBarPolicy(Qt.ScrollBarPolicy.ScrollBarAlwaysOff)

    def minimumSizeHint(self) -> QSize:  # noqa: N802
        """Return a size at which nothing is cut off at the sides."""
        return QSize(self.page.minimumSizeHint().width() + 20, 120)


class OneLine(QLabel):
    """One line of text that is cut with "..." where it does not fit, never wider than its place.

    The whole text is in the tooltip.
    """

    def setText(self, text: str | None) -> None:  # noqa: N802
        """Show another text."""
        super().setText(text)
        self.setToolTip(text or "")

    def minimumSizeHint(self) -> QSize:  # noqa: N802
        """Return a size that any place has."""
        return QSize(20, super().minimumSizeHint().height())

    def paintEvent(self, event: QPaintEvent | None) -> None:  # noqa: N802
        """Draw as much of the text as fits."""
        painter = QPainter(self)
        text = QFontMetrics(self.font()).elidedText(
            self.text(), Qt.TextElideMode.ElideMiddle, self.width()
        )
        painter.drawText(self.rect(), int(Qt.AlignmentFlag.AlignVCenter), text)


def button(
    text: str, tooltip: str, press: Callable[[], Any], *, checkable: bool = False
) -> QPushButton:
    """Return a button.

    Parameters
    ----------
    text
        What is on it.
    tooltip
        What it does, while it can be pressed; see :func:`allow`.
    press
        Called when it is pressed.
    checkable
        Whether it stays down.
    """
    made = QPushButton(text)
    made.setCheckable(checkable)
    made.setProperty("does", tooltip)
    made.setToolTip(tooltip)
    made.clicked.connect(lambda: press())
    return made


def allow(widget: QWidget, why_not: str = "") -> None:
    """Enable a widget, or disable it and say in its tooltip why.

    Parameters
    ----------
    widget
        Made by :func:`button`, or with its tooltip in the property "does".
    why_not
        The reason, in a sentence; enabled if empty.
    """
    widget.setEnabled(not why_not)
    does = str(widget.property("does") or "")
    widget.setToolTip(f"{does}\n{why_not}".strip() if why_not else does)


def row(*widgets: QWidget) -> QHBoxLayout:
    """Return a line of widgets, close to each other."""
    line = QHBoxLayout()
    line.setSpacing(4)
    for widget in widgets:
        line.addWidget(widget)
    return line


def heading(text: str) -> QLabel:
    """Return a heading."""
    return QLabel(f"<b>{text}</b>")


def note(text: str = "") -> QLabel:
    """Return a label for sentences, which are wrapped."""
    made = QLabel(text)
    made.setWordWrap(True)
    return made


def open_folder(path: str) -> None:
    """Show a folder in the system's file manager."""
    QDesktopServices.openUrl(QUrl.fromLocalFile(path))

"""A heading that unfolds what is below it."""

from __future__ import annotations

from qtpy.QtCore import Qt
from qtpy.QtWidgets import QSizePolicy, QToolButton, QVBoxLayout, QWidget


class Fold(QWidget):
    """Some content under a heading that hides it.

    superqt's QCollapsible folds by squeezing the height: its hidden fields still
    take the keyboard's focus, and nested ones are cut off. Here they are hidden.

    Parameters
    ----------
    title
        The heading, always visible.
    content
        What is folded; it becomes a child.
    tooltip
        Shown over the heading.
    unfolded
        Whether it starts open.
    """

    def __init__(
        self, title: str, content: QWidget, *, tooltip: str = "", unfolded: bool = False
    ) -> None:
        super().__init__()
        self.content = content
        self.heading = QToolButton(self)
        self.heading.setText(title)
        self.heading.setToolTip(tooltip)
        self.heading.setCheckable(True)
        self.heading.setAutoRaise(True)
        self.heading.setToolButtonStyle(Qt.ToolButtonStyle.ToolButtonTextBesideIcon)
        self.heading.setSizePolicy(QSizePolicy.Policy.Expanding, QSizePolicy.Policy.Fixed)
        layout = QVBoxLayout(self)
        layout.setContentsMargins(0, 0, 0, 0)
        layout.setSpacing(2)
        layout.addWidget(self.heading)
        layout.addWidget(content)
        self.heading.toggled.connect(self._show)
        self.heading.setChecked(unfolded)
        self._show(unfolded)

    def _show(self, unfolded: bool) -> None:
        arrow = Qt.ArrowType.DownArrow if unfolded else Qt.ArrowType.RightArrow
        self.heading.setArrowType(arrow)
        self.content.setVisible(unfolded)

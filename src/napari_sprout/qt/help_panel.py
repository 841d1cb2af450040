"""The keys, and the few steps that a person must know."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from html import escape
from typing import Final

from qtpy.QtCore import Qt
from qtpy.QtWidgets import QDialog, QLabel, QScrollArea, QVBoxLayout, QWidget

from ..napari_.keys import KEYS, KeyAction
from ..napari_.roles import LayerRole

_STEPS: Final = (
    "Open an H&E image (File > Open, or drop it on the window).",
    "Press <b>Run</b> in the Segment tab. Every stage appears as a layer.",
    "Correct: in the Prompts tab choose <b>Add nucleus</b> and click where one was missed; choose "
    "<b>Select and move</b> and drag a point, or press Delete to take it away. Only that nucleus "
    "changes.",
    "Go through what is in doubt in the Review tab.",
    "Write the results in the Export tab. What you do is kept all the while.",
)
_PLACES: Final = {
    LayerRole.NUCLEI: "nuclei",
    LayerRole.PROMPTS: "prompts",
    LayerRole.REFERENCE: "high confidence",
}


def key_rows(actions: Iterable[KeyAction] = KEYS) -> list[tuple[str, str, str]]:
    """Return (keys, what they do, on which layers), keys of the same effect together."""
    rows: dict[tuple[str, str], list[str]] = {}
    for action in actions:
        where = ", ".join(_PLACES.get(role, str(role)) for role in action.roles)
        rows.setdefault((action.does, where), []).append(action.key)
    return [(" or ".join(keys), does, where) for (does, where), keys in rows.items()]


class HelpPanel(QDialog):
    """A window beside napari's; napari can be used while it is open.

    Parameters
    ----------
    review
        (keys, what they do) of the Review tab.
    parent
        The window that it belongs to.
    """

    def __init__(self, review: Sequence[tuple[str, str]] = (), parent: QWidget | None = None):
        super().__init__(parent)
        self.setWindowTitle("SPROUT: how to, and keys")
        self.setModal(False)
        text = QLabel(_page(review))
        text.setTextFormat(Qt.TextFormat.RichText)
        text.setWordWrap(True)
        text.setAlignment(Qt.AlignmentFlag.AlignTop)
        text.setMargin(12)
        area = QScrollArea()
        area.setWidgetResizable(True)
        area.setWidget(text)
        layout = QVBoxLayout(self)
        layout.setContentsMargins(0, 0, 0, 0)
        layout.addWidget(area)
        self.resize(520, 640)


def _page(review: Sequence[tuple[str, str]]) -> str:
    steps = "".join(f"<li>{step}</li>" for step in _STEPS)
    keys = "".join(_row(key, f"{does} <i>({where})</i>") for key, does, where in key_rows())
    queue = "".join(_row(key, escape(does)) for key, does in review)
    return (
        f"<h3>How to</h3><ol>{steps}</ol>"
        "<h3>Keys on the layers</h3><p>They work while the layer named in brackets is selected in "
        f"the layer list, and the pointer is over the image.</p><table>{keys}</table>"
        f"<h3>Keys of the review</h3><table>{queue}</table>"
    )


def _row(key: str, does: str) -> str:
    return f"<tr><td width='130'><b>{escape(key)}</b></td><td>{does}</td></tr>"

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
    "A whole slide is worked on in regions: go where the tissue is, and press <b>Region from "
    "view</b> in the Segment tab.",
    "Press <b>Run</b> in the Segment tab. Every stage appears as a layer.",
    "Correct: in the Prompts tab choose <b>Add nucleus</b> and click where one was missed; choose "
    "<b>Move points</b> and drag a point, or press Delete to take it away. Only that nucleus "
    "changes.",
    "Go through what is in doubt in the Review tab.",
    "Write the results in the Export tab. What you do is kept all the while.",
    "All this can be had from napari's command palette too: press <b>Ctrl+Shift+P</b> and type "
    "SPROUT.",
)
_PLACES: Final = {
    LayerRole.NUCLEI: "nuclei",
    LayerRole.PROMPTS: "prompts",
    LayerRole.REFERENCE: "high-confidence masks",
}


def key_rows(role: LayerRole, actions: Iterable[KeyAction] = KEYS) -> list[tuple[str, str]]:
    """Return (keys, what they do) on a layer, keys of the same effect together."""
    rows: dict[str, list[str]] = {}
    for action in actions:
        if role in action.roles:
            rows.setdefault(action.does, []).append(action.key)
    return [(" or ".join(keys), does) for does, keys in rows.items()]


class HelpPanel(QDialog):
    """A window beside napari's; napari can be used while it is open.

    Parameters
    ----------
    review
        The keys of the Review tab.
    parent
        The window that it belongs to.
    """

    def __init__(self, review: Sequence[KeyAction] = (), parent: QWidget | None = None):
        super().__init__(parent)
        self.setWindowTitle("SPROUT: how to, and keys")
        self.setModal(False)
        self.text = QLabel(_page((*KEYS, *review)))
        self.text.setTextFormat(Qt.TextFormat.RichText)
        self.text.setWordWrap(True)
        self.text.setAlignment(Qt.AlignmentFlag.AlignTop)
        self.text.setMargin(12)
        area = QScrollArea()
        area.setWidgetResizable(True)
        area.setWidget(self.text)
        layout = QVBoxLayout(self)
        layout.setContentsMargins(0, 0, 0, 0)
        layout.addWidget(area)
        self.resize(520, 640)


def _page(actions: Sequence[KeyAction]) -> str:
    steps = "".join(f"<li>{step}</li>" for step in _STEPS)
    roles = [role for role in LayerRole if any(role in action.roles for action in actions)]
    tables = "".join(
        f"<h4>On the layer of the {escape(_PLACES.get(role, str(role)))}</h4>"
        f"<table>{''.join(_row(*row) for row in key_rows(role, actions))}</table>"
        for role in roles
    )
    return (
        f"<h3>How to</h3><ol>{steps}</ol>"
        "<h3>Keys</h3><p>They work while the layer is selected in the layer list, and the pointer "
        f"is over the image.</p>{tables}"
    )


def _row(key: str, does: str) -> str:
    return f"<tr><td width='150'><b>{escape(key)}</b></td><td>{escape(does)}</td></tr>"

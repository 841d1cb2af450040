"""The mouse's tools over prompts and nuclei: which there are, and which one is in hand."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Final

from napari.layers import Layer, Points
from psygnal import Signal
from qtpy.QtWidgets import QGridLayout, QPushButton, QWidget

from ..core.instances import PromptKind
from ..napari_.roles import LayerRole
from .parts import allow, button
from .sessions import Sessions


@dataclass(frozen=True)
class Tool:
    """What the mouse does.

    Attributes
    ----------
    text, tooltip
        Its button's.
    role
        The layer that it works on.
    mode
        That layer's mode, as napari calls it.
    kind
        What it adds, if it adds prompts.
    """

    text: str
    tooltip: str
    role: LayerRole
    mode: str
    kind: PromptKind | None = None


MOVE: Final = Tool(
    "Move points",
    "Drag a point: its nucleus is outlined anew. Delete takes selected points away.",
    LayerRole.PROMPTS,
    "select",
)
TOOLS: Final = (
    Tool(
        "Add nucleus",
        "Click where a nucleus was missed: it is outlined at once.",
        LayerRole.PROMPTS,
        "add",
        "positive",
    ),
    Tool(
        "Add negative",
        "Click where there is no nucleus: outlines near it draw back.",
        LayerRole.PROMPTS,
        "add",
        "negative",
    ),
    MOVE,
    Tool(
        "Select nuclei",
        "Click on a nucleus; with Shift, on several. Drag to move the image.",
        LayerRole.NUCLEI,
        "pan_zoom",
    ),
    Tool(
        "Paint",
        "Paint the selected nucleus larger with the brush. It is then kept as you drew it.",
        LayerRole.NUCLEI,
        "paint",
    ),
    Tool(
        "Erase",
        "Rub out parts of nuclei. They are then kept as you drew them.",
        LayerRole.NUCLEI,
        "erase",
    ),
)
_COLUMNS: Final = 3


class ToolBox(QWidget):
    """One button a tool; the one in hand is down, however it was taken up.

    Parameters
    ----------
    sessions
        The viewer's sessions.
    """

    taken = Signal(Tool)

    def __init__(self, sessions: Sessions) -> None:
        super().__init__()
        self._sessions = sessions
        self._followed: Layer | None = None
        self.buttons: dict[str, QPushButton] = {}
        layout = QGridLayout(self)
        layout.setContentsMargins(0, 0, 0, 0)
        layout.setSpacing(4)
        for index, tool in enumerate(TOOLS):
            made = button(tool.text, tool.tooltip, self._taker(tool), checkable=True)
            self.buttons[tool.text] = made
            layout.addWidget(made, index // _COLUMNS, index % _COLUMNS)
        sessions.viewer.layers.selection.events.active.connect(self._follow)
        self._follow()

    def take(self, tool: Tool) -> None:
        """Take up a tool: its layer is selected and put into its mode."""
        controller = self._sessions.current
        if controller is None:
            return
        if tool.kind is not None:
            controller.actions.choose_prompt_kind(tool.kind)
        controller.scene.make_active(tool.role, tool.mode)
        self._follow()
        self.taken.emit(tool)

    def put_down(self, kind: PromptKind) -> None:
        """Add prompts of a kind no more: who did moves points from now on."""
        if (controller := self._sessions.current) is None:
            return
        held = self._in_hand()
        controller.actions.choose_prompt_kind("positive" if kind == "negative" else "negative")
        if held is not None and held.kind == kind:
            self.take(MOVE)

    def close_watch(self) -> None:
        """Stop watching the viewer."""
        self._sessions.viewer.layers.selection.events.active.disconnect(self._follow)
        self._watch(None)

    def show_tools(self, why_not: str) -> None:
        """Allow the tools, or say why they cannot be used."""
        controller = self._sessions.current
        in_hand = self._in_hand()
        for tool in TOOLS:
            made = self.buttons[tool.text]
            gone = controller is not None and controller.layer(tool.role) is None
            allow(made, why_not or ("Its layer was deleted: press Run." if gone else ""))
            made.setChecked(tool is in_hand and not why_not)

    def _taker(self, tool: Tool) -> Callable[[], None]:
        return lambda: self.take(tool)

    def _in_hand(self) -> Tool | None:
        """Return the tool that the viewer's active layer and mode amount to."""
        controller, layer = self._sessions.current, self._sessions.viewer.layers.selection.active
        if controller is None or layer is None:
            return None
        layer_mode = str(layer.mode)
        for tool in TOOLS:
            held = layer is controller.layer(tool.role) and layer_mode == tool.mode
            if held and tool.kind in (None, _next_kind(layer)):
                return tool
        return None

    def _follow(self, event: Any = None) -> None:
        """Follow the active layer's mode."""
        self._watch(self._sessions.viewer.layers.selection.active)
        self._check()

    def _watch(self, layer: Layer | None) -> None:
        if layer is self._followed:
            return
        if self._followed is not None:
            self._followed.events.mode.disconnect(self._check)
        self._followed = layer
        if layer is not None:
            layer.events.mode.connect(self._check)

    def _check(self, event: Any = None) -> None:
        in_hand = self._in_hand()
        for tool in TOOLS:
            made = self.buttons[tool.text]
            made.setChecked(tool is in_hand and made.isEnabled())


def _next_kind(layer: Layer) -> str:
    """Return what the next added point of a layer of prompts is."""
    if isinstance(layer, Points) and "kind" in layer.feature_defaults:
        return str(layer.feature_defaults["kind"][0])
    return ""

"""The Prompts tab: correct points and outlines with the mouse, and ask why a point is there."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Final

from qtpy.QtWidgets import QCheckBox, QFormLayout, QGridLayout, QLabel, QPushButton

from ..napari_.actions import NucleusActions
from ..napari_.controller import SessionController
from ..napari_.keys import KEYS
from ..napari_.roles import LayerRole
from .parts import Tab, allow, button, heading, note
from .sessions import Sessions
from .tools import Tool, ToolBox

_NOT_YET: Final = "There are no nuclei yet: press Run in the Segment tab."
_RUNNING: Final = "Wait until the run is over."
_SOURCES: Final = {
    "activation": "the activation scan",
    "stain": "the stain alone",
    "grid": "the plain grid",
    "given": "the nuclei you opened",
    "hand": "you",
}


class PromptsTab(Tab):
    """Corrects the chosen image.

    Parameters
    ----------
    sessions
        The viewer's sessions.
    """

    def __init__(self, sessions: Sessions) -> None:
        super().__init__()
        self._sessions = sessions
        self._actions: NucleusActions | None = None
        self.counts = note()
        self.tools = ToolBox(sessions)
        self.selected = note()
        self.negatives = QCheckBox("Show negative points")
        self.negatives.setProperty("does", "The blue crosses: where there is no nucleus.")
        self.negatives.toggled.connect(self._show_negatives)
        self.suppressed = QCheckBox("Show suppressed outlines")
        self.suppressed.setProperty(
            "does", "Outlines that lost against better ones. A click on one brings it back."
        )
        self.suppressed.clicked.connect(self._show_suppressed)
        self.tools.taken.connect(self._tool_taken)
        self.lines.addWidget(self.counts)
        self.lines.addWidget(heading("The mouse"))
        self.lines.addWidget(self.tools)
        self.lines.addWidget(heading("Selected nuclei"))
        self.lines.addWidget(self.selected)
        self.lines.addLayout(self._actions_grid())
        self.lines.addWidget(heading("To be seen"))
        self.lines.addWidget(self.negatives)
        self.lines.addWidget(self.suppressed)
        self.lines.addWidget(heading("Why is this point here?"))
        self.lines.addLayout(self._why())
        self.lines.addStretch()
        sessions.current_changed.connect(self._attach)
        sessions.changed.connect(lambda _: self._show_counts())
        sessions.history_changed.connect(self.show_all)
        sessions.busy.connect(lambda _: self.show_all())
        self._attach()

    def _actions_grid(self) -> QGridLayout:
        keys = {action.call: action.key for action in reversed(KEYS)}
        grid = QGridLayout()
        grid.setSpacing(4)
        self.action_buttons: dict[str, QPushButton] = {}
        for index, (text, call, tooltip) in enumerate(_ACTIONS):
            made = button(f"{text} ({_short(keys[call])})", tooltip, self._caller(call))
            self.action_buttons[call] = made
            grid.addWidget(made, index // 2, index % 2)
        return grid

    def _why(self) -> QFormLayout:
        lines = QFormLayout()
        self.why: dict[str, QLabel] = {}
        for name, text, tooltip in _REASONS:
            label, value = QLabel(text), QLabel("–")
            for one in (label, value):
                one.setToolTip(tooltip)
            self.why[name] = value
            lines.addRow(label, value)
        return lines

    def _caller(self, call: str) -> Callable[[], None]:
        def press() -> None:
            if self._actions is not None:
                getattr(self._actions, call)()

        return press

    def _attach(self) -> None:
        """Follow the selection of the chosen image."""
        if self._actions is not None:
            self._actions.selection_changed.disconnect(self._selection_changed)
        controller = self._sessions.current
        self._actions = None if controller is None else controller.actions
        if self._actions is not None:
            self._actions.selection_changed.connect(self._selection_changed)
        self._show_negatives(self.negatives.isChecked())
        self.show_all()

    def show_all(self) -> None:
        """Show what there is to correct."""
        controller = self._sessions.current
        view = None if controller is None else controller.view
        why_not = "" if view else _RUNNING if self._sessions.is_running else _NOT_YET
        self.tools.show_tools(why_not)
        allow(self.negatives, why_not)
        allow(self.suppressed, why_not)
        layer = None if controller is None else controller.layer(LayerRole.SUPPRESSED)
        self.suppressed.setChecked(layer is not None and layer.visible)
        ghosts = 0 if view is None else len(view.ghosts)
        self.suppressed.setText(f"Show suppressed outlines ({ghosts})")
        self._show_counts()
        self._show_selection()

    def _show_counts(self) -> None:
        controller = self._sessions.current
        view = None if controller is None else controller.view
        if controller is None or view is None:
            self.counts.setText(_NOT_YET)
            return
        positive = sum(prompt.kind == "positive" for prompt in view.prompts)
        nuclei = len(controller.correction.areas)
        self.counts.setText(
            f"<b>{nuclei} nuclei</b>, {len(view.locked)} of them locked<br>"
            f"{positive} points, {len(view.prompts) - positive} negative points"
        )

    def _selection_changed(self, ids: frozenset[int]) -> None:
        self._show_selection()
        self._ask_why()

    def _show_selection(self) -> None:
        controller = self._sessions.current
        view = None if controller is None else controller.view
        ids = frozenset() if controller is None else controller.actions.selected
        locked = bool(ids) and view is not None and view.locked.issuperset(ids)
        self.action_buttons["toggle_lock"].setText("Unlock (K)" if locked else "Lock (K)")
        if len(ids) == 1:
            (ident,) = ids
            text = f"Nucleus {ident}" + (", locked" if locked else "")
        else:
            text = f"{len(ids)} nuclei" if ids else "None: click on one, or press U and draw."
        self.selected.setText(text)
        for call, made in self.action_buttons.items():
            allow(made, _why_not(call, controller, len(ids)))

    def _ask_why(self) -> None:
        """Ask the session why the selected point is where it is."""
        controller, ids = self._sessions.current, self._actions.selected if self._actions else ()
        if controller is None or len(ids) != 1:
            self._show_why(None, {})
            return
        (ident,) = ids
        correction = controller.correction

        def ask() -> dict[str, Any]:
            prompt = correction.prompts.get(ident)
            if prompt is None:
                return {}
            return {**correction.why(ident), "source": prompt.source}

        self._sessions.work(ask, lambda found: self._show_why(ident, found))

    def _show_why(self, ident: int | None, found: dict[str, Any]) -> None:
        if self._actions is None or (ident is not None and {ident} != self._actions.selected):
            return
        for name, label in self.why.items():
            value = found.get(name)
            label.setText("–" if value is None else _FORMATS[name](value))

    def _tool_taken(self, tool: Tool) -> None:
        if tool.kind == "negative":
            self.negatives.setChecked(True)

    def _show_negatives(self, shown: bool) -> None:
        if (controller := self._sessions.current) is not None:
            controller.scene.show_negatives(shown)
            if not shown:
                # What was added would be gone from sight at once.
                self.tools.put_down("negative")

    def _show_suppressed(self, visible: bool) -> None:
        controller = self._sessions.current
        if controller is None:
            return
        if visible:
            controller.scene.make_active(LayerRole.SUPPRESSED, "pan_zoom")
        elif (layer := controller.layer(LayerRole.SUPPRESSED)) is not None:
            layer.visible = False
            controller.scene.make_active(LayerRole.PROMPTS)


_ACTIONS: Final = (
    ("Merge", "merge_selected", "Make the selected nuclei one."),
    ("Split", "start_cut", "Draw a line across a nucleus to split it in two."),
    ("Remove", "remove_selected", "Remove the selected nuclei; later runs leave them out."),
    ("Lock", "toggle_lock", "Nothing changes a locked nucleus until it is unlocked."),
    ("Next answer", "cycle_answer", "See the model's other answers for the selected nucleus."),
    (
        "Refine with SAM",
        "refine_selected",
        "Let the model draw the selected nuclei again that you opened or drew yourself.",
    ),
    ("Draw around", "start_region", "Select the nuclei in a region that you draw around."),
)
_REASONS: Final = (
    ("source", "Placed by", "What put the point here."),
    (
        "haematoxylin",
        "Haematoxylin",
        "The stain at the point; 1 is among the darkest of the image.",
    ),
    ("prototype", "Looks like", "Which of the image's own examples of nuclei it is most like."),
    ("mass", "Matched", "How much of the place was matched to examples of nuclei, 0 to 1."),
    ("rho", "Active from", "The step of the scan at which the place first counted as nucleus."),
)
_FORMATS: Final[dict[str, Callable[[Any], str]]] = {
    "source": lambda value: _SOURCES.get(value, str(value)),
    "haematoxylin": lambda value: f"{value:.2f}",
    "prototype": lambda value: f"prototype {value + 1} of nuclei",
    "mass": lambda value: f"{value:.2f}",
    "rho": lambda value: f"share {value:.2f}",
}
_NEEDED: Final = {
    "merge_selected": 2,
    "remove_selected": 1,
    "toggle_lock": 1,
    "cycle_answer": 1,
    "refine_selected": 1,
}


def _why_not(call: str, controller: SessionController | None, selected: int) -> str:
    """Return why an action cannot be done; empty if it can."""
    if controller is None or controller.view is None:
        return _NOT_YET
    needed = _NEEDED.get(call, 0)
    if selected < needed:
        return "Select two or more nuclei first." if needed > 1 else "Select a nucleus first."
    if call == "cycle_answer" and selected > 1:
        return "Select one nucleus alone."
    return ""


def _short(key: str) -> str:
    return {"Delete": "Del", "Backspace": "Del"}.get(key, key)

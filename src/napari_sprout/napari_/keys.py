"""The keys of the session's layers, in one table that a help panel can show."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Any, Final

from napari.layers import Layer

from .roles import LayerRole

_EDITED: Final = (LayerRole.NUCLEI, LayerRole.PROMPTS)


@dataclass(frozen=True)
class KeyAction:
    """What a key does.

    Attributes
    ----------
    key
        As napari writes it; "Ctrl" is the Command key on a Mac.
    does
        For the person, as the end of the sentence "press the key to ...".
    call
        Name of the controller's method, which is called without arguments.
    roles
        The layers on which it works, when they are selected in the layer list.
    """

    key: str
    does: str
    call: str
    roles: tuple[LayerRole, ...] = _EDITED


KEYS: Final[tuple[KeyAction, ...]] = (
    KeyAction("Ctrl+Z", "take back the last change", "undo", (*_EDITED, LayerRole.REFERENCE)),
    KeyAction(
        "Ctrl+Shift+Z", "bring back what was taken back", "redo", (*_EDITED, LayerRole.REFERENCE)
    ),
    KeyAction("Q", "try SAM's next answer for the selected nucleus", "cycle_answer"),
    KeyAction("G", "merge the selected nuclei into one", "merge_selected"),
    KeyAction("W", "split a nucleus by drawing a line across it", "start_cut"),
    KeyAction("U", "select the nuclei in a region that you draw around", "start_region"),
    KeyAction("J", "let SAM draw the selected nuclei again", "refine_selected"),
    KeyAction("K", "lock the selected nuclei, or unlock them", "toggle_lock"),
    KeyAction("Delete", "remove the selected nuclei", "remove_selected", (LayerRole.NUCLEI,)),
    KeyAction("Backspace", "remove the selected nuclei", "remove_selected", (LayerRole.NUCLEI,)),
)
"""Single letters that napari uses on no layer, and its own keys of the same meaning:
undo of a labels layer, which would know of strokes alone, and Delete."""


def key_table(actions: Iterable[KeyAction] = KEYS) -> dict[str, tuple[str, str]]:
    """Return, by key, what it does and the controller's method that does it."""
    return {action.key: (action.does, action.call) for action in actions}


def bind_keys(
    layer: Layer, role: LayerRole, target: object, actions: Iterable[KeyAction] = KEYS
) -> None:
    """Bind the keys of a role on a layer.

    Parameters
    ----------
    layer
        The layer; keys bound on it before are replaced.
    role
        What the layer is for.
    target
        Has the methods that the table names.
    actions
        The table.
    """
    for action in actions:
        if role in action.roles:
            layer.bind_key(action.key, _caller(getattr(target, action.call)), overwrite=True)


def unbind_keys(layer: Layer, role: LayerRole, actions: Iterable[KeyAction] = KEYS) -> None:
    """Take the keys of a role off a layer."""
    for action in actions:
        if role in action.roles:
            layer.bind_key(action.key, None)


def _caller(method: Callable[[], Any]) -> Callable[[Layer], None]:
    # napari calls with the layer, and only plain functions become its methods.
    def call(layer: Layer) -> None:
        method()

    return call

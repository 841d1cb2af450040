from __future__ import annotations

import pytest
from napari.components import ViewerModel
from napari.layers import Image, Labels, Layer, Points, Shapes
from napari.utils.action_manager import action_manager
from napari.utils.key_bindings import KeymapHandler, coerce_keybinding
from napari.utils.shortcuts import default_shortcuts

from napari_sprout.napari_.keys import KEYS, bind_keys, key_table, unbind_keys
from napari_sprout.napari_.roles import LayerRole
from napari_sprout.qt.review_tab import REVIEW_KEYS

KINDS: dict[LayerRole, type[Layer]] = {
    LayerRole.NUCLEI: Labels,
    LayerRole.REFERENCE: Labels,
    LayerRole.PROMPTS: Points,
}
ALL = (*KEYS, *REVIEW_KEYS)
SAME_MEANING = {"Ctrl+Z", "Ctrl+Shift+Z"}


def napari_keys(kind: type[Layer]) -> set[str]:
    """What napari itself does on a layer of this kind, and in the viewer whatever the layer."""
    prefixes = {Labels: "label", Points: "point", Shapes: "shape", Image: "image"}
    found = {str(key) for cls in (ViewerModel, *kind.__mro__) for key in _class_keys(cls)}
    for name, keys in default_shortcuts.items():
        action = action_manager._actions.get(name)
        provider = action.keymapprovider if action is not None else None
        mine = provider in (ViewerModel, kind) if provider else prefixes[kind] in name
        if mine:
            found |= {str(key) for key in keys}
    return found


def _class_keys(cls: type) -> list[object]:
    return list(getattr(cls, "class_keymap", {}))


def test_napari_s_own_keys_are_known_to_this_test() -> None:
    assert {"P", "Delete", "Ctrl+V", "V", "Space"} <= napari_keys(Points)
    assert {"P", "M", "X", "[", "Ctrl+Z", "V", "Space"} <= napari_keys(Labels)


@pytest.mark.parametrize("action", ALL, ids=lambda action: action.key)
def test_no_key_clashes_with_napari_s(action) -> None:
    for role in action.roles:
        taken = napari_keys(KINDS[role]) - SAME_MEANING
        assert str(coerce_keybinding(action.key)) not in taken


def test_letters_are_free_on_every_kind_of_layer() -> None:
    letters = {action.key for action in KEYS if len(action.key) == 1}
    for kind in (Labels, Points, Shapes, Image):
        assert not letters & napari_keys(kind)


def test_every_key_calls_something_that_exists(opened) -> None:
    table = key_table()
    assert set(table) == {action.key for action in KEYS}
    for does, call in table.values():
        assert callable(getattr(opened.control.actions, call))
        assert does[0].islower()
        assert not does.endswith(".")


def press(opened, layer: Layer, key: str) -> bool:
    handler = KeymapHandler()
    handler.keymap_providers = [layer, opened.viewer]
    return handler.press_key(key)


def test_keys_work_on_the_layers(opened) -> None:
    ident = min(opened.control.correction.areas)
    before = opened.labels.copy()
    opened.control.actions.select(frozenset({ident}))
    assert press(opened, opened.nuclei, "Delete")
    assert ident not in opened.labels
    press(opened, opened.points, "Ctrl+Z")
    assert (opened.labels == before).all()
    press(opened, opened.nuclei, "Ctrl+Shift+Z")
    assert ident not in opened.labels
    press(opened, opened.nuclei, "Ctrl+Z")
    press(opened, opened.points, "K")
    opened.control.actions.select(frozenset({ident}))
    press(opened, opened.points, "K")
    assert opened.control.view.locked == {ident}
    opened.check()


def test_unbound_keys_do_nothing_more(opened) -> None:
    unbind_keys(opened.nuclei, LayerRole.NUCLEI)
    assert not press(opened, opened.nuclei, "K")
    bind_keys(opened.nuclei, LayerRole.NUCLEI, opened.control.actions)
    bind_keys(opened.nuclei, LayerRole.NUCLEI, opened.control.actions)
    assert press(opened, opened.nuclei, "K")

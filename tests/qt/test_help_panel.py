from __future__ import annotations

import re
from html import unescape

import pytest
from napari import Viewer
from napari._app_model import get_app_model
from napari.utils.key_bindings import coerce_keybinding
from qtpy.QtGui import QAction
from qtpy.QtWidgets import QApplication, QShortcut

from napari_sprout.napari_.keys import KEYS
from napari_sprout.napari_.roles import LayerRole
from napari_sprout.qt.help_panel import HelpPanel
from napari_sprout.qt.review_tab import REVIEW_KEYS

ALL = (*KEYS, *REVIEW_KEYS)
SAME_MEANING = {"Ctrl+Z", "Ctrl+Shift+Z"}
"""napari's own undo and redo of a layer, which ours take the place of."""


def sections(panel: HelpPanel) -> dict[str, str]:
    """What the panel says of each layer, without markup."""
    page = panel.text.text()
    parts = re.split(r"<h4>On the layer of the (.*?)</h4>", page)
    return {
        unescape(name): unescape(re.sub(r"<[^>]+>", " ", text))
        for name, text in zip(parts[1::2], parts[2::2], strict=True)
    }


def test_every_key_is_listed_with_each_layer_that_it_works_on(desk):
    made = desk()
    made.dock.show_help()
    found = sections(made.dock._help)
    places = {
        LayerRole.NUCLEI: "nuclei",
        LayerRole.PROMPTS: "prompts",
        LayerRole.REFERENCE: "high-confidence masks",
    }
    assert set(found) == set(places.values())
    for role, place in places.items():
        listed = [line.strip() for line in re.split(r"\s{3,}", found[place]) if line.strip()]
        for action in ALL:
            if role in action.roles:
                keys = listed[listed.index(action.does) - 1].split(" or ")
                assert action.key in keys
            else:
                assert action.does not in listed


def test_no_two_actions_share_a_key_on_one_layer():
    for role in LayerRole:
        keys = [action.key for action in ALL if role in action.roles]
        assert len(keys) == len(set(keys))


def global_keys(viewer: Viewer) -> set[str]:
    """The keys that napari's window takes, whatever is selected: Qt asks these first."""
    found = {str(rule.keybinding) for rule in get_app_model().keybindings}
    window = viewer.window._qt_window
    for kind in (QAction, QShortcut):
        for one in window.findChildren(kind):
            sequences = one.shortcuts() if isinstance(one, QAction) else [one.key()]
            found |= {sequence.toString() for sequence in sequences if not sequence.isEmpty()}
    return {str(coerce_keybinding(key)) for key in found if "," not in key}


def test_no_key_is_taken_by_napari_s_window_or_menus(desk, sparse, tmp_path):
    made = desk()
    made.open(tmp_path / "case.png", sparse.rgb)
    # Menus get their keys when they are first shown.
    for menu in made.viewer.window._qt_window.menuBar().actions():
        menu.menu().aboutToShow.emit()
    QApplication.processEvents()
    taken = global_keys(made.viewer)
    assert {"Ctrl+O", "Ctrl+S", "Ctrl+Shift+P"} <= taken
    ours = {str(coerce_keybinding(action.key)) for action in ALL}
    assert not (ours & taken) - SAME_MEANING


@pytest.mark.parametrize("action", ALL, ids=lambda action: action.key)
def test_every_key_can_be_written_as_napari_writes_it(action):
    assert str(coerce_keybinding(action.key)) == action.key

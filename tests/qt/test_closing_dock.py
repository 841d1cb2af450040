from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from qtpy.QtCore import Qt

from napari_sprout.napari_.roles import LayerRole
from napari_sprout.qt import dock as dock_module

EDITED = (LayerRole.PROMPTS, LayerRole.NUCLEI, LayerRole.REFERENCE)


@pytest.fixture
def informed(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """What napari showed in its corner."""
    texts: list[str] = []
    monkeypatch.setattr(dock_module, "show_info", texts.append)
    return texts


def close_dock(desk: Any) -> dict[LayerRole, Any]:
    """Press the X of the dock, and return the layers that stay."""
    layers = {role: desk.layer(role) for role in EDITED}
    desk.viewer.window.remove_dock_widget(desk.dock)
    desk.until(lambda: not desk.dock.sessions.registry)
    return layers


def test_what_stays_after_closing_the_dock_cannot_be_edited_and_that_is_said(
    scanned: Any, informed: list[str]
) -> None:
    ident = scanned.lonely()
    y, x = scanned.prompt(ident)
    scanned.dock.prompts.tools.buttons["Move points"].click()
    scanned.click(scanned.layer(LayerRole.PROMPTS), y, x)
    layers = close_dock(scanned)
    scanned.until(lambda: bool(informed))
    assert len(informed) == 1
    assert "no longer kept" in informed[0]
    assert {role for role, layer in layers.items() if layer.editable} == set()
    points, nuclei = layers[LayerRole.PROMPTS], layers[LayerRole.NUCLEI]
    places, labels = points.data.copy(), nuclei.data.copy()
    scanned.viewer.layers.selection.active = points
    scanned.drag(points, (y, x), (y + 9, x + 9))
    scanned.key(Qt.Key.Key_Delete)
    assert np.array_equal(points.data, places)
    scanned.viewer.layers.selection.active = nuclei
    nuclei.mode = "paint"
    scanned.drag(nuclei, (y, x), (y + 20, x + 20))
    assert np.array_equal(nuclei.data, labels)


def test_nothing_is_said_where_nothing_was_kept(desk: Any, informed: list[str]) -> None:
    made = desk()
    made.viewer.window.remove_dock_widget(made.dock)
    made.qtbot.wait(100)
    assert informed == []


def test_the_layers_of_a_deleted_image_cannot_be_edited(working: Any) -> None:
    points, nuclei = working.layer(LayerRole.PROMPTS), working.layer(LayerRole.NUCLEI)
    working.viewer.layers.remove(working.dock.sessions.layer)
    assert not points.editable
    assert not nuclei.editable

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from napari_sprout.core.edits import MovePrompt, PaintNucleus, PaintReference
from napari_sprout.napari_.roles import LayerRole
from napari_sprout.napari_.stage_layers import SURE_NUCLEUS

FREE = np.array([69.0, 61.0])


def edits(opened: Any) -> list[Any]:
    return [change.edit for change in opened.changes]


def go_elsewhere(opened: Any) -> None:
    """Make another layer the active one, to which napari then sends the release."""
    opened.viewer.layers.selection.active = opened.control.layer(LayerRole.EOSIN)


def test_a_drag_cut_short_moves_the_point_as_far_as_it_is_shown(opened: Any, mouse: Any) -> None:
    points, ident = opened.points, 1
    opened.viewer.layers.selection.active = points
    start = points.data[opened.row(ident)].copy()
    points.mode = "select"
    mouse.press(points, start)
    mouse.move(points, start + 1)
    mouse.move(points, start + 2)
    assert opened.changes == []
    go_elsewhere(opened)
    assert edits(opened) == [MovePrompt(ident, *(start + 2))]
    opened.check()
    # The next drag begins where the mouse is, and ends as any other.
    opened.viewer.layers.selection.active = points
    mouse.drag(points, start + 2, start + 3, start + 4)
    assert edits(opened)[1:] == [MovePrompt(ident, *(start + 4))]
    opened.check()
    opened.control.undo()
    opened.control.undo()
    opened.check()
    assert np.array_equal(points.data[opened.row(ident)], start)


def test_a_stroke_cut_short_is_kept_as_far_as_it_went(opened: Any, mouse: Any) -> None:
    nuclei, before = opened.nuclei, opened.labels.copy()
    opened.viewer.layers.selection.active = nuclei
    nuclei.mode, nuclei.brush_size, nuclei.selected_label = "paint", 6, 1
    place = opened.place(1)
    mouse.press(nuclei, place)
    mouse.move(nuclei, place + np.array([0, 10]))
    mouse.move(nuclei, place + np.array([0, 18]))
    go_elsewhere(opened)
    (edit,) = edits(opened)
    assert isinstance(edit, PaintNucleus)
    assert np.count_nonzero(opened.labels == 1) > np.count_nonzero(before == 1)
    opened.check()
    opened.control.undo()
    opened.check()
    assert np.array_equal(opened.labels, before)


def test_a_stroke_on_the_sure_nuclei_cut_short_is_kept(opened: Any, mouse: Any) -> None:
    layer = opened.control.layer(LayerRole.REFERENCE)
    layer.visible = True
    opened.viewer.layers.selection.active = layer
    layer.mode, layer.brush_size, layer.selected_label = "paint", 4, SURE_NUCLEUS
    mouse.press(layer, FREE)
    mouse.move(layer, FREE + 3)
    go_elsewhere(opened)
    (edit,) = edits(opened)
    assert isinstance(edit, PaintReference)
    assert edit.which == "foreground"
    assert edit.mask.any()


@pytest.mark.parametrize("role", [LayerRole.PROMPTS, LayerRole.NUCLEI])
def test_going_elsewhere_without_a_button_down_does_nothing(
    opened: Any, mouse: Any, role: LayerRole
) -> None:
    layer = opened.control.layer(role)
    opened.viewer.layers.selection.active = layer
    go_elsewhere(opened)
    mouse.click(layer, FREE)
    go_elsewhere(opened)
    assert opened.changes == []
    opened.check()

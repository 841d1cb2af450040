"""Layers taken out of a viewer so that its canvas survives it."""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial

from napari.components import ViewerModel
from napari.layers import Layer
from qtpy.QtCore import QTimer


def take_away(viewer: ViewerModel, layers: Sequence[Layer]) -> None:
    """Remove layers: the first at once, each further one when the window has drawn itself.

    If labels and points go between two drawings, the next layer that comes makes
    the canvas read freed memory, and the program crashes (seen with napari 0.9,
    vispy 0.17 and Mesa, without this plugin too).

    Parameters
    ----------
    viewer
        The viewer.
    layers
        Those to remove; one that has gone meanwhile is passed over.
    """
    for index, layer in enumerate(layers):
        if layer in viewer.layers:
            viewer.layers.remove(layer)
            QTimer.singleShot(0, partial(take_away, viewer, layers[index + 1 :]))
            return

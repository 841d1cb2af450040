from __future__ import annotations

import gc
import weakref
from collections.abc import Callable

import numpy as np
from napari import Viewer
from napari.components import LayerList
from napari.layers import Image
from pytestqt.qtbot import QtBot

from napari_sprout.qt.pauses import CollectorRest


class Ring:
    """Garbage that only the collector can free."""

    def __init__(self, layer: Image) -> None:
        self.layer = layer
        self.ring = self


def test_what_was_there_is_set_aside_until_it_is_closed() -> None:
    before = gc.get_freeze_count()
    rest = CollectorRest(LayerList())
    assert gc.get_freeze_count() > before + 10_000
    rest.close()
    rest.close()
    assert gc.get_freeze_count() == 0


def test_a_layer_that_was_there_is_freed_when_it_is_removed(qtbot: QtBot) -> None:
    layers = LayerList([Image(np.zeros((8, 8))), Image(np.zeros((8, 8)))])
    # napari itself remembers the layer that was selected last.
    layers.selection.active = layers[1]
    pixels = weakref.ref(layers[0])
    Ring(layers[0])
    rest = CollectorRest(layers)
    del layers[0]
    qtbot.waitUntil(lambda: pixels() is None, timeout=30_000)
    assert gc.get_freeze_count() > 0
    rest.close()


def test_closing_the_window_lets_the_collector_look_at_everything(
    make_napari_viewer: Callable[[], Viewer], qtbot: QtBot
) -> None:
    viewer = make_napari_viewer()
    viewer.window.add_plugin_dock_widget("napari-sprout", "SPROUT")
    assert gc.get_freeze_count() > 0
    viewer.close()
    qtbot.waitUntil(lambda: gc.get_freeze_count() == 0, timeout=30_000)

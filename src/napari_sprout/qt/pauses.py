"""Keeping the window from being stopped by Python's own housekeeping."""

from __future__ import annotations

import gc
import weakref
from typing import Any

from napari.components import LayerList
from napari.layers import Layer
from qtpy.QtCore import QTimer


class CollectorRest:
    """Spares the garbage collector what was there before.

    With napari, Qt and torch loaded there are over a million objects, and each full
    collection looks at all of them, which stops the window for half a second, in the
    middle of a run or of a drag. Those that are there when the dock opens are set
    aside once; a full collection then takes a few milliseconds. A layer that is set
    aside could not be freed, so all are looked at again when one of them is removed.

    Parameters
    ----------
    layers
        The viewer's.
    """

    def __init__(self, layers: LayerList) -> None:
        self._layers = layers
        self._aside: weakref.WeakSet[Layer] = weakref.WeakSet()
        self._closed = False
        layers.events.removed.connect(self._removed)
        self._set_aside()

    def close(self) -> None:
        """Let the collector look at everything again; harmless if done already."""
        if self._closed:
            return
        self._closed = True
        self._layers.events.removed.disconnect(self._removed)
        gc.unfreeze()

    def _set_aside(self) -> None:
        if self._closed:
            return
        gc.unfreeze()
        gc.collect()
        gc.freeze()
        self._aside = weakref.WeakSet(self._layers)

    def _removed(self, event: Any) -> None:
        if event.value in self._aside:
            # Later, when nobody needs the layer for the removal itself any more.
            QTimer.singleShot(0, self._set_aside)

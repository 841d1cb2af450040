"""Keeping the window from being stopped by Python's own housekeeping and imports."""

from __future__ import annotations

import gc
import weakref
from collections.abc import Callable
from typing import Any, Final

from napari.components import LayerList
from napari.layers import Layer
from qtpy.QtCore import QTimer

from ..core.ahead import import_ahead
from .workers import ThreadedSubmit

_SETTLED: Final = 300
"""Milliseconds after which a dock that was opened has been drawn."""


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

    def set_aside_more(self) -> None:
        """Set aside what has come since; quick, for nothing is looked at."""
        if not self._closed:
            gc.freeze()
            self._aside.update(self._layers)

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


class ImportsAhead:
    """Imports what runs need, in a thread of its own, once the dock can be seen.

    Parameters
    ----------
    done
        Called when it is there.
    """

    def __init__(self, done: Callable[[], None]) -> None:
        self._done = done
        self._submit = ThreadedSubmit()
        self._timer = QTimer()
        self._timer.setSingleShot(True)
        self._timer.timeout.connect(self._begin)
        self._timer.start(_SETTLED)

    def close(self) -> None:
        """Begin no more, and call nothing; harmless if done already."""
        self._timer.stop()
        self._submit.retire()

    def _begin(self) -> None:
        def over(_: object) -> None:
            self.close()
            self._done()

        # What is wrong with an import is told by the run that cannot do without it.
        self._submit(import_ahead, on_progress=over, on_done=over, on_error=over)

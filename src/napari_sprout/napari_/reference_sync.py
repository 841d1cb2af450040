"""The high-confidence masks as a labels layer that a person can correct with the brush."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Final

import numpy as np
from napari.layers import Labels
from numpy.typing import NDArray

from ..core.crops import slices
from ..core.edits import Edit, PaintReference, ReferenceSide
from ..core.instances import Box
from .stage_layers import SURE_BACKGROUND, SURE_NUCLEUS
from .strokes import StrokeWatcher

_SIDES: Final[tuple[tuple[int, ReferenceSide], ...]] = (
    (SURE_NUCLEUS, "foreground"),
    (SURE_BACKGROUND, "background"),
)


class ReferenceSync:
    """Turns strokes on the reference layer into edits.

    Parameters
    ----------
    layer
        Its values are 1 for surely nucleus, 2 for surely not, 0 for neither.
    send
        Given the edits of one stroke.
    """

    def __init__(self, layer: Labels, send: Callable[[tuple[Edit, ...]], None]) -> None:
        self.layer = layer
        self._send = send
        self._seen = _copy(layer)
        self._watcher = StrokeWatcher(layer, self._stroke)

    def show(self, write: Callable[[], Any]) -> None:
        """Let `write` put new values into the layer: they are nobody's strokes."""
        with self._watcher.writing():
            write()
        self._seen = _copy(self.layer)

    def let_go(self) -> None:
        """End a stroke that another layer has cut short by becoming the active one."""
        self._watcher.let_go()

    def close(self) -> None:
        """Stop watching."""
        self._watcher.close()

    def _stroke(self, box: Box) -> None:
        data = self.layer.data
        if data.shape != self._seen.shape:
            self.show(lambda: setattr(self.layer, "data", self._seen))
            return
        now, before = data[slices(box)], self._seen[slices(box)]
        known = (0, SURE_NUCLEUS, SURE_BACKGROUND)
        if not np.isin(now, known).all():
            # A label that means nothing here.
            unknown = ~np.isin(now, known)
            now[unknown] = before[unknown]
            with self._watcher.writing():
                self.layer.refresh(extent=False)
        edits: list[Edit] = []
        for value, which in _SIDES:
            mask = now == value
            if not np.array_equal(mask, before == value):
                edits.append(PaintReference(which, box, mask))
        before[...] = now
        if edits:
            self._send(tuple(edits))


def _copy(layer: Labels) -> NDArray[np.integer[Any]]:
    return np.array(layer.data)

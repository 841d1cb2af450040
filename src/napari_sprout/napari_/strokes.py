"""Tells when a person has painted, and where.

napari's paint event comes after a stroke of the mouse, but before the pixels are
written when a polygon or a fill is asked for by a call. Its payload is a private
matter of napari's and changes between versions: it is asked for the region alone.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from typing import Any

import numpy as np
from napari.layers import Labels
from numpy.typing import NDArray

from ..core.crops import union_box
from ..core.instances import Box
from .release import ReleaseWatcher


class StrokeWatcher:
    """Watches one labels layer.

    Parameters
    ----------
    layer
        The layer; its data must be a numpy array of shape (H, W).
    on_stroke
        Called with the region in which pixels may have changed, when a stroke is
        over and its pixels are in the layer. For data that were replaced as a
        whole the region is the whole layer.
    on_free
        Called when the mouse has been released, after `on_stroke`.
    """

    def __init__(
        self,
        layer: Labels,
        on_stroke: Callable[[Box], None],
        on_free: Callable[[], None] = lambda: None,
    ) -> None:
        self.layer = layer
        self._on_stroke = on_stroke
        self._on_free = on_free
        self._pending: Box | None = None
        self._writing = 0
        layer.events.paint.connect(self._painted)
        layer.events.labels_update.connect(self._written)
        layer.events.data.connect(self._replaced)
        layer.events.set_data.connect(self._refreshed)
        self._mouse = ReleaseWatcher(layer, on_free)

    @property
    def drawing(self) -> bool:
        """Whether a stroke is under way: then nobody else may write into the layer."""
        # The second holds between the clicks of a stroke that takes several.
        return self._mouse.pressed or bool(getattr(self.layer, "_block_history", False))

    @contextmanager
    def writing(self) -> Iterator[None]:
        """While the program itself writes into the layer; that is no stroke.

        napari's own undo would afterwards put back pixels that have been replaced
        since, so its memory of strokes is emptied: undo is the session's.
        """
        self._writing += 1
        try:
            yield
        finally:
            self._writing -= 1
            self._forget_history()

    def close(self) -> None:
        """Stop watching."""
        events = self.layer.events
        events.paint.disconnect(self._painted)
        events.labels_update.disconnect(self._written)
        events.data.disconnect(self._replaced)
        events.set_data.disconnect(self._refreshed)
        self._mouse.close()

    def let_go(self) -> None:
        """End a stroke that another layer has cut short by becoming the active one."""
        self._mouse.let_go()

    def flush(self) -> None:
        """Report a stroke whose pixels are in the layer, if there is one."""
        box, self._pending = self._pending, None
        if box is not None:
            self._forget_history()
            self._on_stroke(box)

    def _painted(self, event: Any) -> None:
        if self._writing:
            return
        boxes = [_atom_box(atom) for atom in event.value]
        self._pending = union([*boxes, self._pending])
        if event.value and _is_written(self.layer.data, event.value[-1]):
            self.flush()

    def _written(self, event: Any) -> None:
        if not (self._writing or self.drawing):
            self.flush()

    def _replaced(self, event: Any) -> None:
        if not self._writing:
            self._pending = None
            self._forget_history()
            self._on_stroke((0, 0, *self.layer.data.shape[-2:]))

    def _refreshed(self, event: Any) -> None:
        # A stroke that was abandoned reports nothing but this.
        if not (self._writing or self.drawing):
            self._on_free()

    def _forget_history(self) -> None:
        forget = getattr(self.layer, "_reset_history", None)
        if forget is not None:
            forget()


def union(boxes: Iterable[Box | None]) -> Box | None:
    """Return the smallest region that holds all given ones; None if there are none."""
    given = [box for box in boxes if box is not None]
    return union_box(given) if given else None


def _atom_box(atom: Any) -> Box:
    """Return the region of one entry of napari's history of strokes."""
    if hasattr(atom, "slice_key"):
        rows, columns = atom.slice_key[-2:]
        return int(rows.start), int(columns.start), int(rows.stop), int(columns.stop)
    rows, columns = (np.atleast_1d(axis) for axis in atom[0][-2:])
    return int(rows.min()), int(columns.min()), int(rows.max()) + 1, int(columns.max()) + 1


def _is_written(data: NDArray[Any], atom: Any) -> bool:
    """Whether the layer already holds what an entry of the history says it should."""
    if hasattr(atom, "slice_key"):
        region = data[atom.slice_key]
        painted = region if atom.mask is None else region[atom.mask]
        return bool((painted == atom.new_value).all())
    return bool(np.all(data[atom[0]] == atom[2]))

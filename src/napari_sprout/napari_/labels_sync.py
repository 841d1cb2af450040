"""The nuclei as a labels layer: what a person paints becomes edits, and results appear."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any, Final

import numpy as np
from napari.layers import Labels
from numpy.typing import NDArray

from ..core.crops import Mask, slices, tight
from ..core.edits import Edit, PaintNucleus
from ..core.instances import Box
from .stage_layers import nucleus_colours
from .strokes import StrokeWatcher, union

_FEW: Final = 1 / 50
"""Share of the image up to which drawing a region alone is faster than drawing it all."""


@dataclass(frozen=True, eq=False)
class Strokes:
    """What was painted.

    Attributes
    ----------
    edits
        In the order in which they are to be applied.
    renumbered
        Labels that the person made up, and the identifiers that they get instead:
        the numbers of nuclei are never used twice.
    """

    edits: tuple[Edit, ...]
    renumbered: Mapping[int, int] = field(default_factory=dict)


def diff_labels(
    drawn: NDArray[np.integer[Any]],
    shown: NDArray[np.integer[Any]],
    box: Box,
    *,
    new_id: Callable[[], int],
    known: frozenset[int] = frozenset(),
    pinned: frozenset[int] = frozenset(),
) -> Strokes:
    """Find which nuclei were painted, and what their whole masks are now.

    Parameters
    ----------
    drawn
        (H, W) the layer's labels after the stroke.
    shown
        (H, W) the labels before it, as the session has them.
    box
        The region of the stroke.
    new_id
        Returns an identifier that was never used, at each call.
    known
        Identifiers given to nuclei that `shown` does not have yet.
    pinned
        Nuclei drawn by hand before: they give way to a later stroke only if they
        are told so. All others give way by themselves.
    """
    now, before = drawn[slices(box)], shown[slices(box)]
    changed = now != before
    if not changed.any():
        return Strokes(())
    gained = _labels(now[changed])
    renumbered: dict[int, int] = {}
    for label in gained:
        if label not in known and not (shown == label).any():
            renumbered[label] = new_id()
    shrunk = set(_labels(before[changed & (now == 0)])) | (set(_labels(before[changed])) & pinned)
    edits = [_painted(drawn, label, label) for label in sorted(shrunk - set(gained))]
    edits += [_painted(drawn, label, renumbered.get(label, label)) for label in gained]
    return Strokes(tuple(edits), renumbered)


def mask_of(labels: NDArray[np.integer[Any]], label: int) -> tuple[Box, Mask]:
    """Return where a label is: the smallest region that holds it, and its mask there.

    The region is empty, at (0, 0), if the label does not occur.
    """
    found = tight((0, 0, *labels.shape[:2]), labels == label)
    return ((0, 0, 0, 0), np.zeros((0, 0), bool)) if found is None else found


def _labels(values: NDArray[np.integer[Any]]) -> list[int]:
    return [label for label in np.unique(values).tolist() if label != 0]


def _painted(drawn: NDArray[np.integer[Any]], label: int, ident: int) -> Edit:
    return PaintNucleus(ident, *mask_of(drawn, label))


def make_nuclei_layer(shape: tuple[int, ...], name: str) -> Labels:
    """Return an empty layer for the outlines of nuclei, hidden so far.

    Parameters
    ----------
    shape
        Height and width.
    name
        The layer's name.
    """
    # Hidden, or napari would draw it for each of these, and again in the viewer.
    layer = Labels(
        np.zeros(shape, np.int32), name=name, opacity=0.9, colormap=nucleus_colours(), visible=False
    )
    layer.contour = 2
    layer.brush_size = 6
    return layer


class LabelsSync:
    """Keeps a labels layer and the labels of a correction together.

    Parameters
    ----------
    layer
        Made by :func:`make_nuclei_layer`, and filled with `shown`.
    shown
        (H, W) int32 what it shows. It is the caller's to keep, and changed here
        alone, in :meth:`show`.
    new_id
        Returns an identifier that was never used, at each call.
    pinned
        Returns the nuclei that were drawn by hand.
    send
        Given the edits of one stroke.
    settle
        Called when a stroke is over, whether it changed anything or not.
    """

    def __init__(
        self,
        layer: Labels,
        shown: NDArray[np.int32],
        *,
        new_id: Callable[[], int],
        pinned: Callable[[], frozenset[int]],
        send: Callable[[tuple[Edit, ...]], None],
        settle: Callable[[], None] = lambda: None,
    ) -> None:
        self.layer = layer
        self._shown = shown
        self._new_id = new_id
        self._pinned = pinned
        self._send = send
        self._known: frozenset[int] = frozenset()
        self._stale: Box | None = None
        self.watcher = StrokeWatcher(layer, self._stroke, settle)

    def show(self, box: Box, labels: NDArray[np.int32]) -> None:
        """Take on new labels of a region, and draw what they change.

        Pixels that a person has painted since stay until :meth:`reconcile`.
        """
        region = self._shown[slices(box)]
        differs = region != labels
        region[...] = labels
        if self.watcher.drawing:
            self._stale = union([self._stale, box])
        else:
            self._draw(box, differs)

    def reconcile(self) -> None:
        """Draw everything as the session has it; to be called when no edit is under way."""
        if self._stale is not None and not self.watcher.drawing:
            box, self._stale = self._stale, None
            self._draw(box, self.layer.data[slices(box)] != self._shown[slices(box)])
            self._known = frozenset()

    def let_go(self) -> None:
        """End a stroke that another layer has cut short by becoming the active one."""
        self.watcher.let_go()

    def close(self) -> None:
        """Stop watching."""
        self.watcher.close()

    def _stroke(self, box: Box) -> None:
        if self.layer.data.shape != self._shown.shape:
            with self.watcher.writing():
                self.layer.data = self._shown.copy()
            return
        found = diff_labels(
            self.layer.data,
            self._shown,
            box,
            new_id=self._new_id,
            known=self._known,
            pinned=self._pinned(),
        )
        self._stale = union([self._stale, box])
        for label, ident in found.renumbered.items():
            self._renumber(label, ident)
        if found.edits:
            self._send(found.edits)

    def _renumber(self, label: int, ident: int) -> None:
        box, mask = mask_of(self.layer.data, label)
        self._known |= {ident}
        self._write(box, mask, ident)
        if self.layer.selected_label == label:
            self.layer.selected_label = ident

    def _draw(self, box: Box, differs: Mask) -> None:
        """Copy the differing pixels of a region into the layer."""
        if differs.any():
            self._write(box, differs, self._shown[slices(box)][differs])

    def _write(self, box: Box, mask: Mask, values: NDArray[np.int32] | int) -> None:
        rows, columns = np.nonzero(mask)
        where = (rows + box[0], columns + box[1])
        with self.watcher.writing():
            few = len(rows) <= _FEW * self._shown.size
            if few and self.layer.visible and self.layer.loaded:
                # Draws the changed region alone. Before napari has drawn the layer for
                # the first time it would squeeze the values into the texture's type.
                self.layer.data_setitem(where, values)
            else:
                self.layer.data[where] = values
                self.layer.refresh(extent=False, thumbnail=False)

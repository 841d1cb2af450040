"""The colours of the two stains, picked from the image with two clicks."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, Final

import numpy as np
from napari.components import ViewerModel
from napari.layers import Image
from psygnal import Signal

from ..core.stain import StainVectors, vectors_from_pixels
from ..errors import SproutError
from ..napari_.image_layer import finest, is_slide, rgb_of

STEPS: Final = (
    "Click in the middle of a dark nucleus (haematoxylin).",
    "Now click on something pink without a nucleus (eosin).",
)
_REACH: Final = 2
"""Pixels around the clicked one that are averaged: single pixels are noisy."""
_STILL: Final = 4.0
"""Screen pixels that the mouse may move in a click."""


class StainPicker:
    """Asks for two clicks on an image layer.

    Parameters
    ----------
    viewer
        The image layer is made the active one, so that the clicks reach no other.
    layer
        The image.
    """

    asked = Signal(str)
    """What to click on next, in a sentence."""
    picked = Signal(StainVectors)
    """The colours; the picker is done."""
    ended = Signal(str)
    """Ended without colours: why, or nothing if a person gave up."""

    def __init__(self, viewer: ViewerModel, layer: Image) -> None:
        self._viewer = viewer
        self._layer = layer
        self._pixels: list[tuple[int, int, int]] = []
        self._active = False

    @property
    def active(self) -> bool:
        """Whether it waits for a click."""
        return self._active

    def start(self) -> None:
        """Ask for the first click."""
        self._pixels.clear()
        if not self._active:
            self._active = True
            self._layer.mouse_drag_callbacks.append(self._click)
            self._viewer.layers.events.removed.connect(self._removed)
        self._viewer.layers.selection.active = self._layer
        self._layer.visible = True
        self.asked.emit(STEPS[0])

    def cancel(self, why: str = "") -> None:
        """Give up; nothing is changed."""
        if self._active:
            self._stop()
            self.ended.emit(why)

    def _stop(self) -> None:
        self._active = False
        self._layer.mouse_drag_callbacks.remove(self._click)
        self._viewer.layers.events.removed.disconnect(self._removed)

    def _removed(self, event: Any) -> None:
        if event.value is self._layer:
            self.cancel("The image was closed.")

    def _click(self, layer: Image, event: Any) -> Iterator[None]:
        pressed = np.array(event.pos, dtype=float)
        yield
        while event.type == "mouse_move":
            yield
        # A hand is never quite still; further than this it moves the image.
        if np.abs(np.array(event.pos, dtype=float) - pressed).max() <= _STILL:
            self.take(event.position)

    def take(self, position: tuple[float, ...]) -> None:
        """Take the pixel at a position in the viewer's world; outside the image is ignored."""
        layer = self._layer
        # Of a slide only what lies around the point is read.
        pixels = finest(layer) if is_slide(layer) else rgb_of(layer)
        colour = mean_colour(pixels, layer.world_to_data(position)[-2:])
        if colour is None or not self._active:
            return
        self._pixels.append(colour)
        if len(self._pixels) < len(STEPS):
            self.asked.emit(STEPS[len(self._pixels)])
            return
        self._stop()
        try:
            vectors = vectors_from_pixels(*self._pixels)
        except SproutError as error:
            self.ended.emit(str(error))
        else:
            self.picked.emit(vectors)


def mean_colour(rgb: Any, point: tuple[float, float]) -> tuple[int, int, int] | None:
    """Return the mean red, green and blue around a point; None outside the image.

    Parameters
    ----------
    rgb
        (H, W, 3) uint8, an array or what can be cut like one.
    point
        (y, x) in pixels.
    """
    y, x = (round(float(value)) for value in point)
    if not (0 <= y < rgb.shape[0] and 0 <= x < rgb.shape[1]):
        return None
    rows = slice(max(y - _REACH, 0), y + _REACH + 1)
    columns = slice(max(x - _REACH, 0), x + _REACH + 1)
    around = np.asarray(rgb[rows, columns])
    red, green, blue = around.reshape(-1, 3).mean(axis=0).round().astype(int).tolist()
    return red, green, blue

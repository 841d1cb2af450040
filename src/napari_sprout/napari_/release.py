"""Tells when the mouse button has been released on a layer."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

from napari.layers import Layer


class ReleaseWatcher:
    """Watches the mouse on one layer.

    Parameters
    ----------
    layer
        The layer.
    on_release
        Called when the button has been released and the layer has seen to it.

    Attributes
    ----------
    pressed
        Whether the button is down.
    """

    def __init__(self, layer: Layer, on_release: Callable[[], None]) -> None:
        self.pressed = False
        self._layer = layer
        self._on_release = on_release
        layer.events.mode.connect(self._come_last)
        layer.mouse_drag_callbacks.append(self._drag)

    def close(self) -> None:
        """Stop watching."""
        self._layer.events.mode.disconnect(self._come_last)
        if self._drag in self._layer.mouse_drag_callbacks:
            self._layer.mouse_drag_callbacks.remove(self._drag)

    def _come_last(self, event: Any) -> None:
        # napari's own callback of the new mode must see the release first.
        callbacks = self._layer.mouse_drag_callbacks
        if self._drag in callbacks:
            callbacks.remove(self._drag)
            callbacks.append(self._drag)

    def _drag(self, layer: Layer, event: Any) -> Iterator[None]:
        self.pressed = True
        yield
        while event.type == "mouse_move":
            yield
        self.pressed = False
        self._on_release()

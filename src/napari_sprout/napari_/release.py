"""Tells when the mouse button has been released, on a layer or anywhere."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

from napari.components import ViewerModel
from napari.layers import Layer
from napari.utils.interactions import mouse_release_callbacks


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
        self._last: Any = None
        layer.events.mode.connect(self._come_last)
        layer.mouse_drag_callbacks.insert(0, self._come_first)
        layer.mouse_drag_callbacks.append(self._drag)

    def close(self) -> None:
        """Stop watching."""
        self._layer.events.mode.disconnect(self._come_last)
        for callback in (self._come_first, self._drag):
            if callback in self._layer.mouse_drag_callbacks:
                self._layer.mouse_drag_callbacks.remove(callback)

    def let_go(self) -> None:
        """End a press here and now, as at its last place.

        To be called when the layer is no longer the active one: napari sends the
        release to the active layer alone, and a drag would never end on this one.
        """
        if self.pressed and self._last is not None:
            last, self._last = self._last, None
            mouse_release_callbacks(self._layer, _Release(last))

    def _come_last(self, event: Any) -> None:
        # napari's own callback of the new mode must see the release first.
        callbacks = self._layer.mouse_drag_callbacks
        if self._drag in callbacks:
            callbacks.remove(self._drag)
            callbacks.append(self._drag)

    def _come_first(self, layer: Layer, event: Any) -> Iterator[None]:
        """Keep the last event of a drag, until the release comes by itself."""
        self._last = event.__wrapped__
        yield
        while event.type == "mouse_move":
            self._last = event.__wrapped__
            yield
        self._last = None

    def _drag(self, layer: Layer, event: Any) -> Iterator[None]:
        self.pressed = True
        yield
        while event.type == "mouse_move":
            yield
        self.pressed = False
        self._on_release()


class ButtonWatcher:
    """Watches the mouse button over a viewer's canvas, whichever layer it is for.

    Parameters
    ----------
    viewer
        The viewer.
    """

    def __init__(self, viewer: ViewerModel) -> None:
        self._viewer = viewer
        self._down = False
        self._waiting: list[Callable[[], None]] = []
        viewer.mouse_drag_callbacks.append(self._drag)

    def when_up(self, act: Callable[[], None]) -> None:
        """Do something now, or if the button is down, when it is up and the mouse moves again."""
        if not self._down:
            act()
            return
        if not self._waiting:
            self._viewer.mouse_move_callbacks.append(self._moved)
        self._waiting.append(act)

    def close(self) -> None:
        """Stop watching; what waits is not done."""
        self._waiting.clear()
        for callbacks, own in (
            (self._viewer.mouse_drag_callbacks, self._drag),
            (self._viewer.mouse_move_callbacks, self._moved),
        ):
            if own in callbacks:
                callbacks.remove(own)

    def _drag(self, viewer: ViewerModel, event: Any) -> Iterator[None]:
        self._down = True
        yield
        while event.type == "mouse_move":
            yield
        self._down = False

    def _moved(self, viewer: ViewerModel, event: Any) -> None:
        # Not at the release: the viewer is told of it before the layer that it is meant for.
        if not self._down:
            self._viewer.mouse_move_callbacks.remove(self._moved)
            waiting, self._waiting = self._waiting, []
            for act in waiting:
                act()


class _Release:
    """A release of the mouse where it was last seen; of all else it knows what that event did."""

    type = "mouse_release"
    is_dragging = False

    def __init__(self, last: Any) -> None:
        self._last = last

    def __getattr__(self, name: str) -> Any:
        return getattr(self._last, name)

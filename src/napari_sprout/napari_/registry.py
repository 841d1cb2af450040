"""The open sessions of one viewer, by image layer."""

from __future__ import annotations

from collections.abc import Iterator

from napari.layers import Layer

from .controller import SessionController


class SessionRegistry:
    """Holds one controller for each image that a person works on.

    Owned by whoever shows the sessions; two viewers have two of them.
    """

    def __init__(self) -> None:
        self._open: dict[int, SessionController] = {}

    def __iter__(self) -> Iterator[SessionController]:
        return iter(tuple(self._open.values()))

    def __len__(self) -> int:
        return len(self._open)

    def get(self, layer: Layer | None) -> SessionController | None:
        """Return the controller of an image layer; None if it has none."""
        return None if layer is None else self._open.get(id(layer))

    def add(self, controller: SessionController) -> None:
        """Take on a controller; one that its image had before is closed."""
        self.close(controller.image_layer)
        self._open[id(controller.image_layer)] = controller

    def owner(self, layer: Layer) -> SessionController | None:
        """Return the controller that a layer of any role belongs to; None if there is none."""
        for controller in self:
            if controller.scene.holds(layer):
                return controller
        return None

    def close(self, layer: Layer) -> None:
        """Close the controller of an image layer, if it has one."""
        controller = self._open.pop(id(layer), None)
        if controller is not None:
            controller.close()

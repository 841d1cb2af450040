"""A layer on which a person draws one line or region, which is taken away when it is done."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Literal

import numpy as np
from napari.layers import Shapes
from numpy.typing import NDArray

from .release import ReleaseWatcher

Tool = Literal["cut", "region", "rectangle"]

_MODES: dict[Tool, str] = {
    "cut": "add_path",
    "region": "add_polygon_lasso",
    "rectangle": "add_rectangle",
}


class ShapeTool:
    """Waits for one shape at a time.

    Parameters
    ----------
    name
        The layer's name.
    on_drawn
        Given the tool and the (N, 2) corners of the line or region, (y, x) in the
        layer's pixels. The shape is gone by then.
    """

    def __init__(self, name: str, on_drawn: Callable[[Tool, NDArray[np.float64]], None]) -> None:
        self.layer = Shapes(
            ndim=2, name=name, edge_color="#ffe100", face_color="transparent", edge_width=1
        )
        self._on_drawn = on_drawn
        self._tool: Tool = "cut"
        self._finished = False
        self.layer.events.data.connect(self._changed)
        self._mouse = ReleaseWatcher(self.layer, self._take)
        self.layer.mouse_move_callbacks.append(self._move)

    def start(self, tool: Tool) -> None:
        """Wait for a shape; the layer must be in a viewer, and the active one."""
        self._tool = tool
        self.layer.mode = _MODES[tool]

    def _changed(self, event: Any) -> None:
        # napari is in the middle of finishing the shape: it must not be touched yet.
        if str(event.action) == "added":
            self._finished = True

    def _take(self) -> None:
        if not self._finished:
            return
        self._finished = False
        self.layer.mode = "pan_zoom"
        shapes = [np.asarray(shape, dtype=np.float64)[:, -2:] for shape in self.layer.data]
        self.layer.data = []
        self._finished = False
        if shapes:
            self._on_drawn(self._tool, shapes[-1])

    def _move(self, layer: Shapes, event: Any) -> None:
        # For a shape that was finished by a key or a double click.
        self._take()

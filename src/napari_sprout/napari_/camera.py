"""What of a layer is in view, and how to bring something into view."""

from __future__ import annotations

from itertools import product
from typing import Any, Final

import numpy as np
from napari.components import ViewerModel
from napari.layers import Layer
from numpy.typing import NDArray

_CANVAS: Final = (600, 800)


def look_at(
    viewer: ViewerModel,
    layer: Layer,
    box: tuple[float, float, float, float],
    *,
    keep_closer: bool = False,
) -> None:
    """Move the camera until a box of a layer fills the view.

    Parameters
    ----------
    viewer
        The viewer.
    layer
        A flat layer.
    box
        (y0, x0, y1, x1) in pixels of the layer.
    keep_closer
        Zoom in if need be, but never out.
    """
    camera, sides = _camera(viewer), _canvas(viewer)
    y0, x0, y1, x1 = box
    centre = layer.data_to_world(((y0 + y1) / 2, (x0 + x1) / 2))[-2:]
    top, left = (_distance(layer, box[:2], end) for end in ((y1, x0), (y0, x1)))
    zoom = min(sides[0] / max(top, 1e-9), sides[1] / max(left, 1e-9))
    camera.center = (0.0, *(float(value) for value in centre))
    camera.zoom = max(camera.zoom, zoom) if keep_closer else zoom


def in_view(viewer: ViewerModel, layer: Layer) -> tuple[float, float, float, float]:
    """Return the smallest box (y0, x0, y1, x1), in pixels of a flat layer, that holds the view."""
    camera = _camera(viewer)
    half = np.array(_canvas(viewer)) / (2 * camera.zoom)
    corners = [
        layer.world_to_data(np.array(camera.center[-2:]) + half * signs)
        for signs in product((-1, 1), repeat=2)
    ]
    ends: NDArray[Any] = np.array(corners)[:, -2:]
    (y0, x0), (y1, x1) = ends.min(axis=0).tolist(), ends.max(axis=0).tolist()
    return y0, x0, y1, x1


def screen_pixel(viewer: ViewerModel, layer: Layer) -> float:
    """Return how many pixels of a flat layer one of the screen's is wide."""
    zoom = float(_camera(viewer).zoom)
    return 1 / max(zoom * _distance(layer, (0, 0), (0, 1)), 1e-9)


def _distance(layer: Layer, begin: tuple[float, ...], end: tuple[float, ...]) -> float:
    """Return how far from each other two places of a layer are in the viewer's world."""
    ends = [layer.data_to_world(place)[-2:] for place in (begin, end)]
    return float(np.hypot(*np.subtract(*ends)))


def _camera(viewer: ViewerModel) -> Any:
    # Since napari 0.9 a viewer has its camera in a scene, and its size in a canvas.
    return getattr(viewer, "scene", viewer).camera


def _canvas(viewer: ViewerModel) -> tuple[float, float]:
    if hasattr(viewer, "canvas"):
        height, width = viewer.canvas.size
    else:
        height, width = getattr(viewer, "_canvas_size", _CANVAS)
    return float(height), float(width)

"""What napari's File > Save calls for labels layers, one function for each kind of file."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from ..napari_.writers import save_labels
from .open_docks import open_sessions


def save_label_image(path: str, data: Any, meta: Mapping[str, Any]) -> list[str]:
    """Write a labels layer as a label image; see :func:`.save_labels`."""
    return save_labels(path, data, meta, (".tif", ".tiff"), open_sessions())


def save_table(path: str, data: Any, meta: Mapping[str, Any]) -> list[str]:
    """Write the measurements of a labels layer; see :func:`.save_labels`."""
    return save_labels(path, data, meta, (".csv",), open_sessions())


def save_outlines(path: str, data: Any, meta: Mapping[str, Any]) -> list[str]:
    """Write the outlines of a labels layer for QuPath; see :func:`.save_labels`."""
    return save_labels(path, data, meta, (".geojson", ".json"), open_sessions())


def save_picture(path: str, data: Any, meta: Mapping[str, Any]) -> list[str]:
    """Write the outlines of a session's nuclei, drawn on the image; see :func:`.save_labels`."""
    return save_labels(path, data, meta, (".png",), open_sessions())

"""Training-free nuclear instance segmentation of H&E images.

Examples
--------
>>> from napari_sprout import Session, segment          # doctest: +SKIP
>>> labels = segment(image, mpp=0.25)                   # doctest: +SKIP
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from ._version import __version__

if TYPE_CHECKING:
    from .core.session import Progress, Session, segment
    from .core.settings import Settings
    from .core.stages import Stage

__all__ = ["Progress", "Session", "Settings", "Stage", "__version__", "segment"]

_HOMES = {
    "Progress": "core.session",
    "Session": "core.session",
    "segment": "core.session",
    "Settings": "core.settings",
    "Stage": "core.stages",
}


def __getattr__(name: str) -> Any:
    """Import on first use: napari lists plugins without paying for torch."""
    if name not in _HOMES:
        raise AttributeError(f"module '{__name__}' has no attribute '{name}'")
    from importlib import import_module

    return getattr(import_module(f".{_HOMES[name]}", __name__), name)

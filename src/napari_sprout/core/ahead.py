"""What takes seconds to import, and is not needed before a run."""

from __future__ import annotations

from contextlib import suppress
from importlib import import_module
from typing import Final

MODULES: Final = (
    "sklearn.cluster",
    "sklearn.decomposition",
    # With timm, torchvision and segment-anything.
    "napari_sprout.models.networks",
    "napari_sprout.models.sam",
)


def import_ahead() -> None:
    """Import it now, so that the first run need not: in a thread, while a person looks around."""
    for name in MODULES:
        import_module(name)
    # There is not one for every processor.
    with suppress(ImportError):
        import_module("napari_sprout.models.openvino_encoder")

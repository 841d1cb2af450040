"""What takes seconds to import, and is not needed before a run."""

from __future__ import annotations

import atexit
import gc
import sys
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
    prepare = import_module("napari_sprout.core.threads").prepare
    prepare()


def import_at_once() -> None:
    """Do as :func:`import_ahead` does; quicker in a process that has nothing else to do yet.

    Python's search for garbage would look at all of it several times, for nothing: it is
    spared that, during the import and later.
    """
    if "torch" in sys.modules or not gc.isenabled():
        import_ahead()
        return
    gc.disable()
    try:
        import_ahead()
    finally:
        gc.enable()
    gc.freeze()
    # Before the end: some extension modules complain of what they see left over there.
    atexit.register(gc.unfreeze)

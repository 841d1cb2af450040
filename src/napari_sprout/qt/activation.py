"""What happens once, before napari first calls anything of the plugin."""

from __future__ import annotations

import os
import sys
from importlib import import_module
from importlib.util import find_spec
from typing import Any


def prepare(context: Any = None) -> None:
    """Load triton, which torchvision will ask for, in a way that survives Mesa's OpenGL.

    Both carry an LLVM of their own. Once napari has drawn with Mesa, triton's calls
    would reach Mesa's, and the program would crash. Loaded like this, triton prefers
    its own. (The same crash is known of triton beside tensorflow.)

    Parameters
    ----------
    context
        What npe2 hands over; not used.
    """
    own_symbols_first = getattr(os, "RTLD_DEEPBIND", 0)
    if not own_symbols_first or "triton" in sys.modules or find_spec("triton") is None:
        return
    flags = sys.getdlopenflags()
    sys.setdlopenflags(flags | own_symbols_first)
    try:
        import_module("triton")
    except ImportError:
        # Torch does without it too.
        return
    finally:
        sys.setdlopenflags(flags)

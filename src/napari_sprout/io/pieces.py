"""A nucleus with its pixels, as writers of whole slides take them batch by batch."""

from __future__ import annotations

from dataclasses import dataclass

from ..core.crops import Mask
from ..core.instances import Box, Nucleus


@dataclass(frozen=True, eq=False)
class NucleusPiece:
    """A measured nucleus and its mask, in full-resolution pixels of the whole image.

    Attributes
    ----------
    nucleus
        Measured; its id is its label.
    box
        (y0, x0, y1, x1), half open: what `mask` covers.
    mask
        Boolean, of shape (y1 - y0, x1 - x0): never the whole image.
    """

    nucleus: Nucleus
    box: Box
    mask: Mask

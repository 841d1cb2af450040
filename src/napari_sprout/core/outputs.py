"""What the stages hand on: one frozen dataclass each, where an array alone would not do."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from torch import Tensor

from .coordinates import Scale
from .features import TileEmbeddings
from .instances import Nucleus, Prompt
from .stain import StainVectors
from .suppression import Suppressed
from .tiles import TileGrid


@dataclass(frozen=True, eq=False)
class WorkingImage:
    """The image at the scale the method works at: (H, W, 3) uint8, and how it got there."""

    rgb: NDArray[np.uint8]
    scale: Scale


@dataclass(frozen=True, eq=False)
class Stains:
    """Stain vectors and what they say of every working pixel.

    Attributes
    ----------
    vectors
        The stain vectors used.
    concentrations
        (H, W, 2) float32, haematoxylin then eosin.
    haematoxylin
        (H, W) float32: haematoxylin divided by `top`, clipped to 0..1.
    top
        99th percentile of haematoxylin over tissue, in optical density.
    nuclear_diameter
        Of a typical nucleus, um; NaN where the stain shows too few.
    """

    vectors: StainVectors
    concentrations: NDArray[np.float32]
    haematoxylin: NDArray[np.float32]
    top: float
    nuclear_diameter: float


@dataclass(frozen=True, eq=False)
class Encoded:
    """What the models saw.

    Attributes
    ----------
    tiles
        SAM's embeddings, which prompts are decoded on.
    grid
        Where the tiles or patches lie that the features come from.
    features
        (d, h, w) features, h x w being ``grid.tokens``, stitched from the tiles or patches
        that hold tissue.
    encoder, encoder_sha256
        The name and the weights of the separate encoder that made the features; empty where
        they are SAM's own, or nothing had to be encoded.
    """

    tiles: TileEmbeddings
    grid: TileGrid
    features: Tensor
    encoder: str = ""
    encoder_sha256: str = ""


@dataclass(frozen=True, eq=False)
class PromptSet:
    """Prompts, and the regions that proposed the positive ones.

    Attributes
    ----------
    prompts
        In full-resolution pixels; positives first, ids from 1.
    regions
        (H, W) int32 at working resolution; a region's value is its prompt's id.
    foreground
        (H, W) bool at working resolution, before it was split.
    step
        Index of the scan's step taken; None without a scan.
    """

    prompts: tuple[Prompt, ...]
    regions: NDArray[np.int32]
    foreground: NDArray[np.bool_]
    step: int | None


@dataclass(frozen=True, eq=False)
class Nuclei:
    """The result.

    Attributes
    ----------
    labels
        (H, W) int32 on the image's own grid, read only; a nucleus's value is its id.
    nuclei
        One measured row for each label, by id.
    suppressed
        Which candidates were kept, and why the others were not.
    covered
        Ids that were kept but are hidden under better masks.
    """

    labels: NDArray[np.int32]
    nuclei: tuple[Nucleus, ...]
    suppressed: Suppressed
    covered: tuple[int, ...]

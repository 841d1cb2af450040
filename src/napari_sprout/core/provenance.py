"""What an image must be to enter, and what is said of the labels that leave."""

from __future__ import annotations

import math
import platform
from collections.abc import Mapping
from importlib.metadata import version
from typing import Any

import numpy as np
from numpy.typing import NDArray

from .._version import __version__
from ..errors import ImageError
from .activation import Scan
from .coordinates import MIN_SIDE, MPP_RANGE
from .given import GivenNuclei
from .outputs import Encoded, PromptSet, Stains, WorkingImage
from .prototypes import Prototypes
from .settings import Settings
from .stages import Stage, needed

# Those whose version can change a label.
DECISIVE_PACKAGES = (
    "numpy",
    "opencv-python-headless",
    "scikit-image",
    "scikit-learn",
    "scipy",
    "segment-anything",
    "timm",
    "torch",
)


def check_mpp(mpp: float | None) -> None:
    """Refuse a pixel size that no microscope has: nanometres, say, typed as micrometres."""
    if mpp is None:
        return
    number = isinstance(mpp, int | float | np.number) and not isinstance(mpp, bool)
    if not number or not MPP_RANGE[0] <= mpp <= MPP_RANGE[1]:
        raise ImageError(
            f"The pixel size must be between {MPP_RANGE[0]} and {MPP_RANGE[1]} um, not {mpp!r}."
        )


def check_image(image: NDArray[np.uint8]) -> None:
    """Refuse what is not an 8-bit RGB image large enough to hold a nucleus."""
    if not isinstance(image, np.ndarray) or image.dtype != np.uint8:
        raise ImageError("The image must be an 8-bit array of red, green and blue.")
    if image.ndim != 3 or image.shape[2] != 3:
        raise ImageError(
            f"The image must have the shape (height, width, 3), not {image.shape}: "
            "H&E needs its colours."
        )
    if min(image.shape[:2]) < MIN_SIDE:
        raise ImageError(
            f"The image is {image.shape[1]} x {image.shape[0]} px: it must have at least "
            f"{MIN_SIDE} px a side."
        )


def describe(
    outputs: Mapping[Stage, Any], settings: Settings, given: GivenNuclei | None = None
) -> dict[str, Any]:
    """Describe what made the labels, apart from the image and the model.

    Parameters
    ----------
    outputs
        Every stage's output.
    settings
        The settings that made them.
    given
        Nuclei made elsewhere.

    Returns
    -------
    dict
        Plain values, ready for JSON; "nuclei_given" is how many nuclei were made
        elsewhere.
    """
    working: WorkingImage = outputs[Stage.IMAGE]
    prompts: PromptSet = outputs[Stage.PROMPTS]
    stains: Stains = outputs[Stage.STAIN]
    encoded: Encoded | None = outputs.get(Stage.ENCODING)
    diameter = stains.nuclear_diameter
    rho = None
    if prompts.step is not None:
        scan: Scan = outputs[Stage.ACTIVATION]
        rho = scan.steps[prompts.step].rho
    return {
        "software": f"napari-sprout {__version__}",
        "python": platform.python_version(),
        "packages": {name: version(name) for name in DECISIVE_PACKAGES},
        "working_mpp": working.scale.mpp,
        "stain_vectors": stains.vectors.matrix.T.tolist(),
        "stain_source": stains.vectors.source,
        "rho": rho,
        "nuclear_diameter_um": None if math.isnan(diameter) else diameter,
        "tile_px": encoded.tiles.grid.side if encoded else None,
        "nuclei_given": len(given) if given and settings.prompts.source == "given" else 0,
        "seed": settings.seed,
        "settings": settings.to_dict(),
    }


def warnings(outputs: Mapping[Stage, Any], settings: Settings) -> tuple[str, ...]:
    """Return what a person should know about outputs, one sentence each.

    Parameters
    ----------
    outputs
        The output of every stage that has run.
    settings
        The settings in force: what they leave out is not spoken of.
    """
    found = []
    used = needed(Stage.NUCLEI, settings)
    if Stage.TISSUE in outputs and not outputs[Stage.TISSUE].any():
        return ("No tissue was found: the image seems to be blank glass or black.",)
    if Stage.STAIN in outputs:
        stains: Stains = outputs[Stage.STAIN]
        if stains.vectors.note:
            found.append(stains.vectors.note)
    if Stage.PROTOTYPES in used and Stage.PROTOTYPES in outputs:
        prototypes: Prototypes = outputs[Stage.PROTOTYPES]
        if not prototypes.usable:
            found.append("No haematoxylin-stained region was found: is this an H&E image?")
    if Stage.ACTIVATION in used and Stage.ACTIVATION in outputs:
        scan: Scan = outputs[Stage.ACTIVATION]
        if not scan.converged:
            found.append(
                "The matching to the prototypes was cut short before it had settled: raise "
                "'Most iterations' or 'Epsilon' in the settings under 'Matching' (in a "
                "settings file: transport.max_iterations, transport.epsilon)."
            )
    return tuple(found)

"""The sample images as layers, for napari's menu "Open Sample"."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from ..samples import SAMPLES, Sample

LayerData = tuple[NDArray[np.uint8], dict[str, Any], str]


def hgsc_nest() -> list[LayerData]:
    """Return the tumour nest as one RGB layer, (H, W, 3) uint8."""
    return [_layer(SAMPLES[0])]


def hgsc_stromal() -> list[LayerData]:
    """Return the stroma as one RGB layer, (H, W, 3) uint8."""
    return [_layer(SAMPLES[1])]


def _layer(sample: Sample) -> LayerData:
    from ..io.images import read_image

    loaded = read_image(sample.path, sample.mpp)
    options = {
        "name": sample.title,
        "rgb": True,
        "scale": (sample.mpp, sample.mpp),
        "units": ("um", "um"),
        "metadata": {"mpp": sample.mpp, "path": str(sample.path)},
    }
    return loaded.rgb, options, "image"

"""The sample images as layers, for napari's menu "Open Sample"."""

from __future__ import annotations

from ..io.images import read_image
from ..samples import SAMPLES, Sample
from .readers import LayerData, image_options


def hgsc_nest() -> list[LayerData]:
    """Return the tumour nest as one RGB layer, (H, W, 3) uint8."""
    return [_layer(SAMPLES[0])]


def hgsc_stromal() -> list[LayerData]:
    """Return the stroma as one RGB layer, (H, W, 3) uint8."""
    return [_layer(SAMPLES[1])]


def _layer(sample: Sample) -> LayerData:
    loaded = read_image(sample.path, sample.mpp)
    return loaded.rgb, image_options(sample.title, sample.mpp, sample.path), "image"

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from napari.layers import Layer
from npe2 import PluginManager, PluginManifest

from napari_sprout.io.images import read_image
from napari_sprout.napari_.sample_data import LayerData, hgsc_nest, hgsc_stromal
from napari_sprout.samples import SAMPLES, sample_paths

OPENERS: list[Callable[[], list[LayerData]]] = [hgsc_nest, hgsc_stromal]


@pytest.mark.parametrize("opener", OPENERS)
def test_a_sample_becomes_a_layer_with_its_scale(opener: Callable[[], list[LayerData]]) -> None:
    (layer_data,) = opener()
    layer = Layer.create(*layer_data)
    assert layer.data.dtype == np.uint8
    assert layer.data.shape == (512, 512, 3)
    assert layer.rgb
    assert tuple(layer.scale) == (0.5, 0.5)
    assert {str(unit) for unit in layer.units} == {"micrometer"}
    assert layer.metadata["mpp"] == 0.5


def test_the_samples_are_two_different_stained_images() -> None:
    images = [read_image(path).rgb.astype(float) for path in sample_paths()]
    assert len(images) == 2
    assert np.abs(images[0] - images[1]).mean() > 10
    for image in images:
        red, green, blue = image.reshape(-1, 3).mean(0)
        assert green < min(red, blue), "H&E absorbs green most"


def test_the_manifest_offers_every_sample() -> None:
    manifest = PluginManifest.from_distribution("napari-sprout")
    manager = PluginManager()
    manager.register(manifest)
    manager.activate(manifest.name)
    offered: list[Any] = manifest.contributions.sample_data or []
    assert [sample.key for sample in offered] == [sample.name for sample in SAMPLES]
    for sample, expected in zip(offered, SAMPLES, strict=True):
        ((data, _, kind),) = manager.commands.execute(sample.command)
        assert kind == "image"
        assert np.array_equal(data, read_image(expected.path).rgb)

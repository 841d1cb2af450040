"""Every network of the registry, far smaller, from the image to the labels."""

from __future__ import annotations

import dataclasses

import pytest
import torch

from fakes import FakeSegmenter
from napari_sprout.core.session import Session
from napari_sprout.core.stages import Stage
from napari_sprout.models import registry
from napari_sprout.models.encoders import TimmEncoder
from napari_sprout.models.recipes import Recipe, fill

CPU = torch.device("cpu")
ENCODERS = [name for name, one in registry.models().items() if one.kind == "encoder"]


@pytest.mark.parametrize("name", ENCODERS)
def test_every_architecture_of_the_registry_runs_from_the_image_to_the_labels(
    name, synthetic, small_tiles
):
    recipe = Recipe.of(name)
    small = {**recipe.arguments, "embed_dim": 48, "depth": 2, "num_heads": 2}
    recipe = dataclasses.replace(recipe, arguments=small)
    network = recipe.build(16)
    generator = torch.Generator().manual_seed(3)
    state = {
        key: 0.1 * torch.randn(tensor.shape, generator=generator) + float("norm" in key)
        for key, tensor in network.state_dict().items()
    }
    fill(network, state, "They")
    encoder = TimmEncoder(network, name, "e" * 64, CPU, recipe.mean, recipe.std)
    settings = small_tiles.with_changes(features={"encoder": name})
    session = Session(synthetic.rgb, settings, segmenter=FakeSegmenter(), encoder=encoder)
    session.finish()
    encoded = session.output(Stage.ENCODING)
    assert encoded.features.shape == (48, *encoded.grid.tokens)
    assert bool(torch.isfinite(encoded.features).all())
    assert session.output(Stage.PROTOTYPES).usable
    assert session.output(Stage.ACTIVATION).steps
    assert session.labels.max() > 0
    assert session.metadata()["encoder"] == name

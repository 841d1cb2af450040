"""Encoders on networks of the registry's architectures: without memory, or shrunken and random."""

from __future__ import annotations

import dataclasses
import socket

import cv2
import numpy as np
import pytest
import timm
import torch
from safetensors.torch import save_file
from timm.layers import resample_abs_pos_embed

from napari_sprout.errors import ImageError, SettingsError, WeightsError
from napari_sprout.models import encoders, registry
from napari_sprout.models.encoders import TimmEncoder, load_encoder
from napari_sprout.models.protocols import FeatureEncoder
from napari_sprout.models.recipes import Recipe, fill

CPU = torch.device("cpu")
SMALL = {"embed_dim": 48, "depth": 2, "num_heads": 2}
# Class and register tokens, and tensors of the whole network, as its publisher counts them: a
# block has 12, or 14 with layer scale (DINOv3's 13: no bias of queries, keys and values).
FACTS = {
    "uni": (1, 342),
    "uni2_h": (9, 343),
    "virchow": (1, 454),
    "virchow2": (5, 455),
    "h_optimus_1": (5, 567),
    "dinov2_vit_l": (1, 342),
    "dinov2_vit_l_reg": (5, 343),
    "dinov3_vit_l": (5, 318),
    "vit_l_16": (1, 294),
}
over_names = pytest.mark.parametrize("name", FACTS)
RECIPES = {name: Recipe.of(name) for name in FACTS}


@pytest.fixture(autouse=True)
def _no_network(monkeypatch):
    def never(*_, **__):
        raise AssertionError("the network was asked")

    monkeypatch.setattr(socket.socket, "connect", never)


def small(name) -> Recipe:
    """Return the recipe of a registered encoder, far smaller but otherwise the same."""
    recipe = RECIPES[name]
    return dataclasses.replace(recipe, arguments={**recipe.arguments, **SMALL})


def random_state(network, seed=0) -> dict[str, torch.Tensor]:
    """Return tensors for a network, as large as trained ones are."""
    generator = torch.Generator().manual_seed(seed)
    return {
        key: 0.2 * torch.randn(tensor.shape, generator=generator) + float("norm" in key)
        for key, tensor in network.state_dict().items()
    }


def encoder(name, tokens=4, state=None) -> TimmEncoder:
    recipe = small(name)
    network = recipe.build(tokens)
    fill(network, random_state(network) if state is None else state, "They")
    return TimmEncoder(network, name, "e" * 64, CPU, recipe.mean, recipe.std)


def random_tiles(count, side, seed=0):
    return np.random.default_rng(seed).integers(0, 256, (count, side, side, 3), dtype=np.uint8)


def seen_by(made: TimmEncoder, monkeypatch) -> list[torch.Tensor]:
    """Note the pixels that reach an encoder's network."""
    seen: list[torch.Tensor] = []
    inner = made._network.forward_features

    def forward(pixels):
        seen.append(pixels)
        return inner(pixels)

    monkeypatch.setattr(made._network, "forward_features", forward)
    return seen


@pytest.fixture
def weights(tmp_path, monkeypatch):
    """Write a shrunken encoder's tensors to a file, and let its name mean that network."""

    def write(name, change=lambda state: state, tokens=None):
        recipe = small(name)
        monkeypatch.setattr(Recipe, "of", classmethod(lambda cls, _: recipe))
        network = recipe.build(tokens or 4)
        path = tmp_path / f"{name}.safetensors"
        save_file(change(random_state(network)), path)
        return path

    return write


def test_every_encoder_of_the_registry_is_spoken_of_here():
    listed = [name for name, one in registry.models().items() if one.kind == "encoder"]
    assert list(FACTS) == listed


@over_names
def test_the_full_network_is_the_one_that_the_registry_describes(name):
    one, (prefix, tensors) = registry.model(name), FACTS[name]
    network = Recipe.of(name).build(16)
    assert {parameter.device.type for parameter in network.parameters()} == {"meta"}
    assert network.embed_dim == one.dimension
    assert network.patch_embed.patch_size == (one.patch, one.patch)
    assert network.num_prefix_tokens == prefix
    assert len(network.state_dict()) == tensors
    assert not any(key.startswith("head") for key in network.state_dict())
    count = sum(parameter.numel() for parameter in network.parameters()) / 1e6
    assert count == pytest.approx(one.parameters, rel=0.01)
    with torch.device("meta"):
        found = network.forward_features(torch.empty(2, 3, 16 * one.patch, 16 * one.patch))
    assert found.shape == (2, prefix + 16 * 16, one.dimension)


@over_names
def test_features_are_those_of_timms_own_network(name):
    recipe, tokens = small(name), 4
    arguments = {
        key: {"SwiGLUPacked": timm.layers.SwiGLUPacked, "SiLU": torch.nn.SiLU}.get(value, value)
        if isinstance(value, str)
        else value
        for key, value in recipe.arguments.items()
    }
    side = tokens * recipe.patch
    network = timm.create_model(
        recipe.architecture, pretrained=False, num_classes=0, **{**arguments, "img_size": side}
    ).eval()
    state = random_state(network)
    network.load_state_dict(state, strict=True)
    tiles = random_tiles(3, side)
    pixels = torch.from_numpy(tiles).permute(0, 3, 1, 2) / 255
    mean, std = (torch.tensor(v).view(1, 3, 1, 1) for v in (recipe.mean, recipe.std))
    with torch.inference_mode():
        expected = network.forward_features((pixels - mean) / std)
    made = encoder(name, tokens, state)
    assert isinstance(made, FeatureEncoder)
    found = made.encode_batch(tiles)
    assert found.shape == (3, 48, tokens, tokens)
    assert found.dtype == torch.float32
    assert (made.patch, made.tokens, made.dimension) == (recipe.patch, tokens, 48)
    flat = expected[:, FACTS[name][0] :]
    torch.testing.assert_close(found.flatten(2).transpose(1, 2), flat, rtol=1e-4, atol=1e-5)
    assert found.std() > 0.1


@over_names
def test_a_feature_lies_where_its_part_of_the_image_lies(name):
    recipe, tokens = small(name), 4
    state = random_state(recipe.build(tokens))
    # Without what mixes tokens, and without places, each is a function of its own pixels.
    for key in state:
        if key == "pos_embed" or ".attn.proj." in key:
            state[key].zero_()
    made = encoder(name, tokens, state)
    side = tokens * recipe.patch
    tile = np.full((1, side, side, 3), 200, np.uint8)
    plain = made.encode_batch(tile)[0]
    torch.testing.assert_close(plain, plain[:, :1, :1].expand_as(plain), rtol=1e-4, atol=1e-4)
    for row, column in ((0, 0), (1, 3), (3, 0), (3, 3)):
        marked = tile.copy()
        rows, columns = (slice(at * recipe.patch, (at + 1) * recipe.patch) for at in (row, column))
        marked[0, rows, columns] = (30, 80, 120)
        changed = (made.encode_batch(marked)[0] - plain).abs().amax(0) > 1e-3
        assert changed.nonzero().tolist() == [[row, column]]


@over_names
def test_pixels_are_normalised_as_the_registry_says(name, monkeypatch):
    one, made = registry.model(name), encoder(name)
    seen = seen_by(made, monkeypatch)
    side = 4 * one.patch
    colour = (250, 120, 10)
    made.encode_batch(np.full((1, side, side, 3), colour, np.uint8))
    expected = [(c / 255 - m) / s for c, m, s in zip(colour, one.mean, one.std, strict=True)]
    assert seen[0].shape == (1, 3, side, side)
    for channel, value in enumerate(expected):
        torch.testing.assert_close(
            seen[0][0, channel], torch.full((side, side), value), rtol=0, atol=1e-5
        )


@pytest.mark.parametrize(("side", "how"), [(128, cv2.INTER_AREA), (48, cv2.INTER_CUBIC)])
def test_patches_are_resized_to_the_networks_input(side, how, monkeypatch):
    made = encoder("uni")
    seen = seen_by(made, monkeypatch)
    tiles = random_tiles(2, side)
    made.encode_batch(tiles)
    one = registry.model("uni")
    mean, std = (torch.tensor(v).view(1, 3, 1, 1) for v in (one.mean, one.std))
    shown = ((seen[0] * std + mean) * 255).permute(0, 2, 3, 1).round().numpy()
    assert shown.shape == (2, 64, 64, 3)
    expected = np.stack([cv2.resize(tile, (64, 64), interpolation=how) for tile in tiles])
    np.testing.assert_array_equal(shown, expected)


def test_a_batch_gives_what_its_patches_give_alone():
    made, tiles = encoder("virchow2"), random_tiles(5, 56)
    together = made.encode_batch(tiles)
    alone = torch.cat([made.encode_batch(tiles[i : i + 1]) for i in range(5)])
    torch.testing.assert_close(together, alone, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("shape", [(64, 64, 3), (1, 64, 32, 3), (1, 64, 64, 4)])
def test_what_are_no_square_rgb_patches_is_refused(shape):
    with pytest.raises(ImageError, match="square RGB"):
        encoder("uni").encode_batch(np.zeros(shape, np.uint8))


@over_names
def test_an_encoder_is_loaded_from_its_file(name, weights):
    path = weights(name)
    made = load_encoder(name, "cpu", path, tokens=4)
    assert (made.name, made.tokens, made.device) == (name, 4, CPU)
    assert len(made.weights_sha256) == 64
    side = 4 * made.patch
    expected = encoder(name).encode_batch(random_tiles(1, side))
    assert torch.equal(made.encode_batch(random_tiles(1, side)), expected)
    assert made.batch == 8


def test_tensors_of_half_precision_are_used_in_full(weights):
    path = weights("uni", lambda state: {key: t.half() for key, t in state.items()})
    made = load_encoder("uni", "cpu", path, tokens=4)
    assert {p.dtype for p in made._network.parameters()} == {torch.float32}
    rounded = {k: t.half().float() for k, t in random_state(small("uni").build(4)).items()}
    tiles = random_tiles(1, 64)
    assert torch.equal(made.encode_batch(tiles), encoder("uni", state=rounded).encode_batch(tiles))


@pytest.mark.parametrize("name", [name for name in FACTS if name != "dinov3_vit_l"])
def test_positions_of_another_grid_are_resampled_as_timm_does(name, weights):
    path = weights(name, tokens=7)
    made = load_encoder(name, "cpu", path, tokens=4)
    recipe = small(name)
    state = random_state(recipe.build(7))
    network = recipe.build(4)
    prefix = 0 if network.no_embed_class else network.num_prefix_tokens
    expected = resample_abs_pos_embed(
        state["pos_embed"], new_size=[4, 4], old_size=[7, 7], num_prefix_tokens=prefix
    )
    torch.testing.assert_close(made._network.pos_embed.data, expected)


def test_rotary_positions_need_no_tensors_of_their_own(weights):
    path = weights("dinov3_vit_l", tokens=7)
    tiles = random_tiles(1, 64)
    found = load_encoder("dinov3_vit_l", "cpu", path, tokens=4).encode_batch(tiles)
    assert torch.equal(found, encoder("dinov3_vit_l").encode_batch(tiles))


def test_a_classifier_in_the_file_is_left_out(weights):
    head = {"head.weight": torch.zeros(10, 48), "head.bias": torch.zeros(10)}
    made = load_encoder("vit_l_16", "cpu", weights("vit_l_16", lambda s: {**s, **head}), tokens=4)
    assert made.dimension == 48


def without(*keys):
    return lambda state: {key: tensor for key, tensor in state.items() if key not in keys}


def with_tensor(key, *shape):
    return lambda state: {**state, key: torch.zeros(shape)}


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (without("norm.weight"), r"lack 'norm\.weight'\.$"),
        (
            lambda state: {k: t for k, t in state.items() if not k.startswith("blocks.1.")},
            r"lack 'blocks\.1\.attn\.proj\.bias', .* and 11 more\.$",
        ),
        (with_tensor("decoder.weight", 3), r"also hold 'decoder\.weight'\.$"),
        (with_tensor("reg_token", 1, 4, 48), r"also hold 'reg_token'\.$"),
        (with_tensor("norm.weight", 96), r"have another shape of 'norm\.weight'\.$"),
        (
            with_tensor("patch_embed.proj.weight", 48, 3, 14, 14),
            r"tokens are 14 px wide, not 16\.$",
        ),
        (with_tensor("pos_embed", 1, 12, 48), "are not those of this encoder"),
        (lambda _: {"weight": torch.zeros(3)}, "lack"),
    ],
)
def test_a_file_of_another_network_is_refused_in_a_sentence(change, words, weights):
    path = weights("uni", change)
    with pytest.raises(WeightsError, match=words) as error:
        load_encoder("uni", "cpu", path, tokens=4)
    assert str(path) in str(error.value)
    assert "'uni'" in str(error.value)


@pytest.mark.parametrize("given", ["virchow2", "dinov3_vit_l", "vit_l_16", "dinov2_vit_l_reg"])
def test_one_encoders_weights_are_not_taken_for_anothers(given, weights):
    path = weights(given)
    path_of_uni = weights("uni", tokens=4).rename(path.with_name("uni"))
    assert load_encoder("uni", "cpu", path_of_uni, tokens=4).dimension == 48
    with pytest.raises(WeightsError, match="not those of this encoder"):
        load_encoder("uni", "cpu", path, tokens=4)


def test_a_file_cut_short_is_refused_in_a_sentence(weights):
    path = weights("uni")
    path.write_bytes(path.read_bytes()[:-1000])
    with pytest.raises(WeightsError) as error:
        load_encoder("uni", "cpu", path, tokens=4)
    assert str(path) in str(error.value)


def test_a_file_that_is_not_there_is_named(tmp_path):
    with pytest.raises(WeightsError, match=r"gone\.bin"):
        load_encoder("uni", "cpu", tmp_path / "gone.bin")


def test_weights_that_were_never_fetched_are_asked_for(monkeypatch, tmp_path):
    for variable in ("NAPARI_SPROUT_MODELS", "HF_HOME", "HF_HUB_CACHE"):
        monkeypatch.setenv(variable, str(tmp_path))
    with pytest.raises(WeightsError, match=r"'virchow2' are not on this computer.*download"):
        load_encoder("virchow2", "cpu")


@pytest.mark.parametrize("name", ["mobile_sam", "unni", "sam"])
def test_only_an_encoder_of_the_registry_is_one(name):
    with pytest.raises(SettingsError, match=f"Unknown encoder '{name}'"):
        load_encoder(name, "cpu")


def test_any_vision_transformer_of_timm_can_be_an_encoder(tmp_path):
    name = "timm:test_vit.r160_in1k"
    network = timm.create_model("test_vit.r160_in1k", pretrained=False)
    path = tmp_path / "weights.safetensors"
    save_file(network.state_dict(), path)
    made = load_encoder(name, "cpu", path, tokens=6)
    assert made.name == name
    assert (made.tokens, made.patch) == (6, network.patch_embed.patch_size[0])
    found = made.encode_batch(random_tiles(2, 50))
    assert found.shape == (2, network.embed_dim, 6, 6)
    recipe = Recipe.of(name)
    assert recipe.mean == tuple(network.pretrained_cfg["mean"])
    assert recipe.std == tuple(network.pretrained_cfg["std"])


def test_timms_encoders_come_without_weights():
    with pytest.raises(WeightsError, match=r"without weights: give the path"):
        load_encoder("timm:test_vit", "cpu")


@pytest.mark.parametrize(
    "name", ["timm:", "timm:vit_nope", "timm:hf-hub:timm/vit", "timm:test_vit.nope", "timm:../x"]
)
def test_what_timm_does_not_know_is_refused(name):
    with pytest.raises(SettingsError, match="timm knows no network"):
        load_encoder(name, "cpu")


@pytest.mark.parametrize("name", ["timm:resnet18", "timm:swin_tiny_patch4_window7_224"])
def test_what_is_no_vision_transformer_is_refused(name):
    with pytest.raises(SettingsError, match="no vision transformer"):
        load_encoder(name, "cpu")


def test_a_network_whose_tables_cannot_be_made_asks_for_a_newer_timm(monkeypatch):
    recipe = small("dinov3_vit_l")
    network = recipe.build(4)
    monkeypatch.delattr(type(network.rope), "init_non_persistent_buffers")
    with pytest.raises(SettingsError, match="newer version of timm"):
        fill(network, random_state(network), "They")


def test_a_network_that_this_timm_does_not_know_yet_asks_for_a_newer_one():
    recipe = dataclasses.replace(small("uni"), architecture="vit_of_tomorrow")
    with pytest.raises(SettingsError, match="newer version of timm"):
        recipe.build(4)


@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA GPU")
@over_names
def test_both_devices_give_the_same_features(name):
    recipe = small(name)
    found = []
    for device in ("cpu", "cuda"):
        network = recipe.build(16)
        fill(network, random_state(network), "They")
        made = TimmEncoder(network, name, "", torch.device(device), recipe.mean, recipe.std)
        found.append(made.encode_batch(random_tiles(8, 128)).cpu())
    torch.testing.assert_close(*found, rtol=2e-2, atol=2e-2)
    assert made.batch == encoders.LARGE_BATCH

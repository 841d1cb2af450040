"""The encoder rewritten for inference against the one that it was made of."""

from __future__ import annotations

import copy

import pytest
import torch
from timm.models import tiny_vit
from torch import nn

from napari_sprout.models import fused, sam
from napari_sprout.models.fused import fuse
from napari_sprout.models.mobile_sam import ImageEncoder, MobileSam
from napari_sprout.models.sam import SamSegmenter

CPU = torch.device("cpu")


@pytest.fixture(scope="module")
def encoder() -> ImageEncoder:
    """Random weights, and norms that do something."""
    torch.manual_seed(1)
    made = ImageEncoder().eval().requires_grad_(False)
    for module in made.modules():
        if isinstance(module, nn.BatchNorm2d):
            module.running_mean.uniform_(-0.2, 0.2)
            module.running_var.uniform_(0.5, 2)
            module.weight.uniform_(0.5, 1.5)
            module.bias.uniform_(-0.2, 0.2)
    return made


@pytest.fixture(scope="module")
def pixels() -> torch.Tensor:
    torch.manual_seed(2)
    return torch.randn(1, 3, 256, 256).contiguous(memory_format=torch.channels_last)


@torch.inference_mode()
@pytest.mark.parametrize("has_fused_products", [True, False])
def test_the_rewritten_encoder_computes_the_same(encoder, pixels, has_fused_products, monkeypatch):
    if not has_fused_products:
        monkeypatch.setattr(fused, "_are_fused_products_right", lambda: False)
    ours = copy.deepcopy(encoder)
    fuse(ours, CPU)
    expected = encoder(pixels)
    error = (ours(pixels) - expected).abs().max()
    assert error < 1e-4 * expected.abs().max()
    assert not any(isinstance(module, nn.BatchNorm2d) for module in ours.modules())
    fuse(ours, CPU)
    assert torch.equal(ours(pixels), ours(pixels))
    assert (ours(pixels) - expected).abs().max() == error


@pytest.mark.skipif(not torch.backends.mkldnn.is_available(), reason="no oneDNN on this machine")
def test_this_version_of_torch_has_the_fused_products(encoder):
    ours = copy.deepcopy(encoder)
    fuse(ours, CPU)
    kinds = tiny_vit.MBConv | tiny_vit.PatchMerging
    found = [module for module in ours.modules() if isinstance(module, kinds)]
    assert found
    assert not any(isinstance(module.act1, nn.GELU) for module in found)


@pytest.mark.parametrize("broken", ["missing", "wrong"])
def test_a_torch_without_them_or_with_others_is_noticed(broken, monkeypatch):
    fused._are_fused_products_right.cache_clear()
    if broken == "missing":
        monkeypatch.setattr(fused._LinearGelu, "forward", lambda self, x: torch.ops.mkldnn.none(x))
    else:
        monkeypatch.setattr(fused._LinearGelu, "forward", lambda self, x: self.linear(x))
    assert not fused._are_fused_products_right()
    fused._are_fused_products_right.cache_clear()


def test_the_encoder_is_rewritten_before_it_is_moved(monkeypatch):
    seen = []
    monkeypatch.setattr(sam, "fuse", lambda encoder, device: seen.append((encoder, device)))
    network = MobileSam().eval()
    moved = []
    monkeypatch.setattr(network, "to", lambda device: moved.append(len(seen)) or network)
    SamSegmenter(network, "mobile_sam", "f" * 64, CPU)
    assert seen == [(network.image_encoder, CPU)]
    assert moved == [1]


def test_a_gpu_keeps_its_own_attention(encoder):
    ours = copy.deepcopy(encoder)
    fuse(ours, torch.device("cuda"))
    attention = [m for m in ours.modules() if isinstance(m, tiny_vit.Attention)]
    assert all(module.fused_attn for module in attention)
    assert not any(isinstance(module, nn.BatchNorm2d) for module in ours.modules())

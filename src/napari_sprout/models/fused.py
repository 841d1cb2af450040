"""The same encoder in fewer passes over memory.

TinyViT spends half of its time not in products but in moving large maps through
memory once more: for each batch norm, each GELU, each check of an attention mask.
In inference a batch norm is part of the convolution before it, and on a CPU
oneDNN applies a GELU while a product's result is still in the cache. The numbers
are the same up to rounding.
"""

from __future__ import annotations

from functools import cache
from typing import Any, Final

import torch
from timm.models import tiny_vit
from torch import Tensor, nn
from torch.nn import functional

_TOLERANCE: Final = 1e-4


def fuse(encoder: nn.Module, device: torch.device) -> None:
    """Rewrite a TinyViT encoder in place for inference on a device.

    Parameters
    ----------
    encoder
        With timm's TinyViT inside, in evaluation mode and on the CPU.
    device
        Where it is to be moved and to run; batch norms are merged for all, the rest is for CPUs.
    """
    _merge_norms(encoder)
    if device.type != "cpu":
        return
    for module in encoder.modules():
        if isinstance(module, tiny_vit.Attention):
            # With a bias torch's own attention reads and checks it in passes of its own.
            module.fused_attn = False
    if not _are_fused_products_right():
        return
    for module in list(encoder.modules()):
        for kinds, product, activation, fused in _PAIRS:
            # What is fused already has no GELU of its own any more.
            if isinstance(module, kinds) and isinstance(getattr(module, activation), nn.GELU):
                setattr(module, product, fused(getattr(module, product)))
                setattr(module, activation, nn.Identity())


def _merge_norms(module: nn.Module) -> None:
    for name, child in module.named_children():
        if isinstance(child, tiny_vit.ConvNorm):
            merged: nn.Conv2d = child.fuse()
            merged = merged.to(memory_format=torch.channels_last)
            setattr(module, name, merged.eval().requires_grad_(False))
        else:
            _merge_norms(child)


class _ConvGelu(nn.Module):
    """A convolution and the GELU after it."""

    def __init__(self, conv: Any) -> None:
        super().__init__()
        self.conv = conv

    def forward(self, x: Tensor) -> Tensor:
        conv = self.conv
        shape = (conv.padding, conv.stride, conv.dilation, conv.groups)
        made: Tensor = torch.ops.mkldnn._convolution_pointwise(
            x, conv.weight, conv.bias, *shape, "gelu", [], "none"
        )
        return made


class _LinearGelu(nn.Module):
    """A linear layer and the GELU after it."""

    def __init__(self, linear: Any) -> None:
        super().__init__()
        self.linear = linear

    def forward(self, x: Tensor) -> Tensor:
        linear = self.linear
        made: Tensor = torch.ops.mkldnn._linear_pointwise(
            x, linear.weight, linear.bias, "gelu", [], "none"
        )
        return made


_BOTTLENECKS: Final = (tiny_vit.MBConv, tiny_vit.PatchMerging)
_PAIRS: Final = (
    (_BOTTLENECKS, "conv1", "act1", _ConvGelu),
    (_BOTTLENECKS, "conv2", "act2", _ConvGelu),
    (tiny_vit.PatchEmbed, "conv1", "act", _ConvGelu),
    (tiny_vit.NormMlp, "fc1", "act", _LinearGelu),
)
"""By kind of module: the product, the activation after it, and what takes their place."""


@cache
def _are_fused_products_right() -> bool:
    """Whether this torch has oneDNN's fused products, and they compute what they should.

    They are what torch.compile uses and no public interface: a version of torch may
    lack them or have changed them.
    """
    conv, linear = nn.Conv2d(8, 8, 3, padding=1, groups=8), nn.Linear(8, 8)
    grid = torch.linspace(-3, 3, 8 * 36).view(1, 8, 6, 6)
    grid = grid.contiguous(memory_format=torch.channels_last)
    rows = torch.linspace(-3, 3, 40).view(5, 8)
    try:
        with torch.inference_mode():
            pairs = [
                (_ConvGelu(conv)(grid), functional.gelu(conv(grid))),
                (_LinearGelu(linear)(rows), functional.gelu(linear(rows))),
            ]
            return all(torch.allclose(one, other, atol=_TOLERANCE) for one, other in pairs)
    except (AttributeError, RuntimeError, TypeError):
        return False

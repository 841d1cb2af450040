"""MobileSAM's image encoder in fewer passes over memory.

TinyViT spends half of its time not in products but in moving large maps through
memory once more: for each batch norm, each GELU, each layer norm. In inference a
batch norm is part of the convolution before it; on a processor OpenVINO sees to the
rest. The numbers are the same up to rounding.
"""

from __future__ import annotations

import logging

import torch
from timm.models import tiny_vit
from torch import nn

from .frame import FromFrame

_LOG = logging.getLogger(__name__)


def fuse(encoder: nn.Module, device: torch.device) -> nn.Module:
    """Rewrite MobileSAM's image encoder for inference on a device.

    Parameters
    ----------
    encoder
        With timm's TinyViT inside, in evaluation mode and on the CPU; used up.
    device
        Where it is to be moved and to run.

    Returns
    -------
    nn.Module
        (n, 1024, 1024, 3) uint8 RGB on that device -> (n, 256, 64, 64).
    """
    _merge_norms(encoder)
    if device.type != "cpu":
        return FromFrame(encoder)
    try:
        # Here, not above: it has no wheels for some processors, and a GPU has no use for it.
        from .openvino_encoder import OpenVinoEncoder

        return OpenVinoEncoder(encoder)
    except Exception as error:
        # The work can be done all the same, more slowly.
        _LOG.warning("OpenVINO does not run the image encoder, torch does: %s", error)
        return FromFrame(encoder)


def _merge_norms(module: nn.Module) -> None:
    for name, child in module.named_children():
        if isinstance(child, tiny_vit.ConvNorm):
            merged: nn.Conv2d = child.fuse()
            merged = merged.to(memory_format=torch.channels_last)
            setattr(module, name, merged.eval().requires_grad_(False))
        else:
            _merge_norms(child)

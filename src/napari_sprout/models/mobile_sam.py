"""MobileSAM, composed of timm's TinyViT and segment-anything's own decoder.

Nothing is re-implemented: the image encoder is timm's ``tiny_vit_5m_224`` run at
1024 x 1024 with its last downsampling undone, the neck, prompt encoder and mask
decoder are segment-anything's. :func:`from_upstream` renames the keys of the
upstream checkpoint ``mobile_sam.pt`` to those modules.

Source: Zhang et al. 2023, "Faster Segment Anything" (MobileSAM); Wu et al. 2022,
"TinyViT"; Kirillov et al. 2023, "Segment Anything".
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any, Final

import timm
import torch
from segment_anything.modeling.common import LayerNorm2d
from timm.models import tiny_vit
from torch import Tensor, nn

from .frame import FEATURES
from .parts import SamNetwork, assemble

UPSTREAM_SHA256: Final = "6dbb90523a35330fedd7f1d3dfc66f995213d81b29a5ca8108dbcdd4e37d6c2f"
"""Of ``mobile_sam.pt``, of which the embedded weights were made."""


class ImageEncoder(nn.Module):
    """TinyViT and SAM's neck: (n, 3, 1024, 1024) normalised pixels -> (n, 256, 64, 64)."""

    def __init__(self) -> None:
        super().__init__()
        trunk: Any = timm.create_model("tiny_vit_5m_224", pretrained=False, num_classes=0)
        trunk.head = nn.Identity()
        # MobileSAM keeps 16 frame pixels a token: the last stage does not halve the grid.
        trunk.stages[3].downsample.conv2.conv.stride = (1, 1)
        self.trunk = trunk
        self.neck = nn.Sequential(
            nn.Conv2d(320, FEATURES, kernel_size=1, bias=False),
            LayerNorm2d(FEATURES),
            nn.Conv2d(FEATURES, FEATURES, kernel_size=3, padding=1, bias=False),
            LayerNorm2d(FEATURES),
        )

    def forward(self, pixels: Tensor) -> Tensor:
        """Encode normalised pixels."""
        trunk: Any = self.trunk
        embedding: Tensor = self.neck(trunk.stages(trunk.patch_embed(pixels)))
        return embedding


class MobileSam(SamNetwork):
    """The three parts of SAM with MobileSAM's image encoder.

    Parameters
    ----------
    image_encoder
        By default a new one.
    """

    def __init__(self, image_encoder: ImageEncoder | None = None) -> None:
        super().__init__(ImageEncoder() if image_encoder is None else image_encoder)


def _renamed(key: str) -> str | None:
    """Return the key's name in :class:`MobileSam`, or None if it is not used."""
    if not key.startswith("image_encoder."):
        return key
    name = key.removeprefix("image_encoder.")
    if name.startswith(("neck.", "trunk.")):
        return key
    if name.startswith(("head.", "norm_head.")):
        return None
    name = name.replace("patch_embed.seq.0.", "patch_embed.conv1.")
    name = name.replace("patch_embed.seq.2.", "patch_embed.conv2.")
    name = name.replace(".c.", ".conv.")

    def stage(match: re.Match[str]) -> str:
        # timm counts a downsampling with the stage it leads to.
        moved = int(match[1]) + (match[2] == "downsample")
        return f"stages.{moved}.{match[2]}"

    name = re.sub(r"^layers\.(\d)\.(downsample|blocks)", stage, name)
    return f"image_encoder.trunk.{name}"


def from_upstream(state: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Rename the upstream checkpoint's tensors to those of :class:`MobileSam`.

    Parameters
    ----------
    state
        The state dict of ``mobile_sam.pt``; tensors that are renamed already stay as they are.

    Returns
    -------
    dict
        Tensors by name, loadable with ``strict=True``. Counters that only
        training uses are dropped.
    """
    renamed: dict[str, Tensor] = {}
    for key, tensor in state.items():
        name = _renamed(key)
        if name is not None and not name.endswith("num_batches_tracked"):
            renamed[name] = tensor
    return renamed


def build(state: Mapping[str, Tensor]) -> MobileSam:
    """Make the network from renamed tensors, in float32 and evaluation mode.

    Raises
    ------
    WeightsError
        If a tensor is missing, unexpected, or has the wrong shape.
    """
    with torch.device("meta"):
        encoder = ImageEncoder()
    # Counters of training, which :func:`from_upstream` drops.
    names = (name for name, _ in encoder.named_buffers(prefix="image_encoder"))
    counters = {name: torch.tensor(0) for name in names if name.endswith("num_batches_tracked")}
    network = assemble(lambda: MobileSam(encoder), counters | dict(state))
    for module in encoder.modules():
        if isinstance(module, tiny_vit.Attention):
            module.attention_bias_idxs = _offsets(*module.resolution)
    return network


def _offsets(height: int, width: int) -> Tensor:
    """Return the table that timm makes of a window, one pair of tokens after the other.

    It says for each pair which bias is theirs: how far apart they are, down and across.
    """
    rows, columns = torch.arange(height), torch.arange(width)
    down, across = (rows[:, None] - rows).abs(), (columns[:, None] - columns).abs()
    table = down[:, None, :, None] * width + across[None, :, None, :]
    return table.reshape(height * width, height * width)

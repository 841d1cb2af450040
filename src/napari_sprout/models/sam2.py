"""SAM 2.1 on single images, composed of timm's Hiera and segment-anything's decoder.

For a single image SAM 2 is a SAM with another image encoder: a Hiera whose four stages
a feature pyramid brings together. Prompt encoder and mask decoder are SAM's, but for a
token that asks whether there is an object at all, and for two maps of higher resolution
that are added while the masks are enlarged. What SAM 2 has for videos (memory, object
pointers) is not used; checkpoints of SAM 2.0 differ in that part alone, so they do as well.

The two maps travel with the embedding, as further channels of its tokens: a token of 16
frame pixels holds 2 x 2 values of the coarser and 4 x 4 of the finer map. So an encoded
tile is one tensor for every SAM, and a window of tokens has its details with it: masks
are decoded in windows exactly as for SAM (see ``windowed``).

Source: Ravi et al. 2024, "SAM 2: Segment Anything in Images and Videos"; Ryali et al.
2023, "Hiera"; Bolya et al. 2023, "Window Attention is Bugged" (positions).
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from types import MappingProxyType
from typing import Any, Final

import timm
import torch
from segment_anything.modeling import MaskDecoder
from torch import Tensor, nn
from torch.nn import functional

from .frame import EMBEDDING, FEATURES
from .parts import SamNetwork, assemble

ARCHITECTURES: Final[Mapping[str, Mapping[str, Any]]] = MappingProxyType(
    {
        "hiera_tiny": {"trunk": "sam2_hiera_tiny"},
        "hiera_small": {"trunk": "sam2_hiera_small"},
        "hiera_base_plus": {"trunk": "sam2_hiera_base_plus"},
        "hiera_large": {"trunk": "sam2_hiera_large"},
    }
)
"""Arguments of the image encoders: timm's names of them."""

COARSE: Final = FEATURES // 4
"""Channels of the map of 2 x 2 values a token."""
FINE: Final = FEATURES // 8
"""Channels of the map of 4 x 4 values a token."""

# Of the video part; and the score of the object's presence, which nobody reads.
_UNUSED: Final = (
    "memory_attention.",
    "memory_encoder.",
    "maskmem_tpos_enc",
    "no_mem_pos_enc",
    "no_obj_ptr",
    "no_obj_embed_spatial",
    "obj_ptr_proj.",
    "obj_ptr_tpos_proj.",
    "mask_downsample.",
    "sam_mask_decoder.pred_obj_score_head.",
)
_RENAMED: Final = (
    (r"^image_encoder\.(trunk\.blocks\.\d+\.mlp)\.layers\.0\.", r"image_encoder.\1.fc1."),
    (r"^image_encoder\.(trunk\.blocks\.\d+\.mlp)\.layers\.1\.", r"image_encoder.\1.fc2."),
    (r"^image_encoder\.neck\.convs\.(\d)\.conv\.", r"image_encoder.laterals.\1."),
    (r"^no_mem_embed$", "image_encoder.no_memory"),
    (r"^sam_mask_decoder\.conv_s0\.", "image_encoder.fine."),
    (r"^sam_mask_decoder\.conv_s1\.", "image_encoder.coarse."),
    (r"^sam_(mask_decoder\.transformer\.layers\.\d\.mlp)\.layers\.0\.", r"\1.lin1."),
    (r"^sam_(mask_decoder\.transformer\.layers\.\d\.mlp)\.layers\.1\.", r"\1.lin2."),
    (r"^sam_(mask_decoder|prompt_encoder)\.", r"\1."),
)


class ImageEncoder(nn.Module):
    """Hiera, its feature pyramid, and the details for the mask decoder.

    (n, 3, 1024, 1024) normalised pixels -> (n, 1024, 64, 64): 256 features, then 2 x 2 x 64
    and 4 x 4 x 32 details, each with rows first, then columns, then channels.

    Parameters
    ----------
    trunk
        timm's name of the Hiera.
    **arguments
        Of the trunk, other than the name says.
    """

    def __init__(self, trunk: str, **arguments: Any) -> None:
        super().__init__()
        made: Any = timm.create_model(trunk, pretrained=False, num_classes=0, **arguments)
        made.head = nn.Identity()
        self.trunk = made
        widths = [stage["num_chs"] for stage in made.feature_info]
        self.laterals = nn.ModuleList(nn.Conv2d(width, FEATURES, 1) for width in widths[::-1])
        self.no_memory = nn.Parameter(torch.zeros(1, 1, FEATURES))
        self.coarse = nn.Conv2d(FEATURES, COARSE, 1)
        self.fine = nn.Conv2d(FEATURES, FINE, 1)

    def forward(self, pixels: Tensor) -> Tensor:
        """Encode normalised pixels."""
        trunk: Any = self.trunk
        stages = trunk.forward_intermediates(pixels, intermediates_only=True)
        # From 32 frame pixels a token to 4.
        top, middle, coarse, fine = (
            lateral(stage) for lateral, stage in zip(self.laterals, stages[::-1], strict=True)
        )
        features = middle + functional.interpolate(top, scale_factor=2.0, mode="nearest")
        # SAM 2 adds this wherever nothing was seen before, as on a single image.
        features = features + self.no_memory.view(1, -1, 1, 1)
        details = [_by_token(self.coarse(coarse)), _by_token(self.fine(fine))]
        return torch.cat([features, *details], dim=1)


def _by_token(grid: Tensor) -> Tensor:
    """Turn a (n, c, 64 k, 64 k) map into (n, k * k * c, 64, 64), for k = 2 and 4.

    A token's values are in the order in which its pixels come about while masks are
    enlarged: the 2 x 2 of the first step, and within each the 2 x 2 of the second.
    """
    n, c, height, _ = grid.shape
    steps = [2] * ((height // EMBEDDING).bit_length() - 1)
    rows = len(steps) + 1
    split = grid.reshape(n, c, EMBEDDING, *steps, EMBEDDING, *steps)
    inner = [axis for step in range(1, rows) for axis in (2 + step, 2 + rows + step)]
    return split.permute(0, *inner, 1, 2, 2 + rows).reshape(n, -1, EMBEDDING, EMBEDDING)


def mask_decoder(**arguments: Any) -> Any:
    """Return SAM's mask decoder with SAM 2's further token, and predicted IoU from 0 to 1."""
    made: Any = MaskDecoder(**arguments)
    made.obj_score_token = nn.Embedding(1, FEATURES)
    made.iou_prediction_head.sigmoid_output = True
    return made


def from_upstream(state: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Rename the tensors of Meta's checkpoint to those of :func:`build`.

    Parameters
    ----------
    state
        What stands under "model" in ``sam2.1_hiera_*.pt``.

    Returns
    -------
    dict
        Tensors by name. Those that only videos need are dropped; unknown ones keep
        their names.
    """
    renamed: dict[str, Tensor] = {}
    for key, tensor in state.items():
        if not key.startswith(_UNUSED):
            name = key
            for pattern, replacement in _RENAMED:
                name = re.sub(pattern, replacement, name)
            renamed[name] = tensor
    return renamed


def build(state: Mapping[str, Tensor], **arguments: Any) -> SamNetwork:
    """Make the network of renamed tensors.

    Parameters
    ----------
    state
        From :func:`from_upstream`.
    **arguments
        Of :class:`ImageEncoder`: one of :data:`ARCHITECTURES`.

    Raises
    ------
    WeightsError
        If a tensor is missing, unexpected, or of another shape.
    """
    return assemble(lambda: SamNetwork(ImageEncoder(**arguments), mask_decoder), state)

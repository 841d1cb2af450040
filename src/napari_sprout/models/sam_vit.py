"""SAM with its own vision transformers, ViT-B, ViT-L and ViT-H: segment-anything's networks.

Only attention is computed in another order. segment-anything holds the scores of all
heads over all 64 x 64 tokens at once, several times: 4 GB for one tile with ViT-H. Here
it is a head or so at a time, in torch's own attention, with the same result up to rounding.

Source: Kirillov et al. 2023, "Segment Anything"; Li et al. 2022, "MViTv2" (decomposed
relative positions).
"""

from __future__ import annotations

from collections.abc import Mapping
from functools import partial
from types import MappingProxyType
from typing import Any, Final

import torch
from segment_anything.modeling import ImageEncoderViT
from segment_anything.modeling.image_encoder import get_rel_pos
from torch import Tensor, nn
from torch.nn import functional

from .frame import FEATURES, FRAME, TOKEN
from .parts import SamNetwork, assemble

_MOST_SCORES: Final = 4096 * 4096
"""Scores held at once, 64 MB: those of one head over a whole tile."""

ARCHITECTURES: Final[Mapping[str, Mapping[str, Any]]] = MappingProxyType(
    {
        "vit_b": {
            "embed_dim": 768,
            "depth": 12,
            "num_heads": 12,
            "global_attn_indexes": (2, 5, 8, 11),
        },
        "vit_l": {
            "embed_dim": 1024,
            "depth": 24,
            "num_heads": 16,
            "global_attn_indexes": (5, 11, 17, 23),
        },
        "vit_h": {
            "embed_dim": 1280,
            "depth": 32,
            "num_heads": 16,
            "global_attn_indexes": (7, 15, 23, 31),
        },
    }
)
"""segment-anything's arguments of its image encoders (``segment_anything.build_sam``)."""


class LeanAttention(nn.Module):
    """segment-anything's attention with relative positions, in little memory.

    Parameters
    ----------
    dim
        Channels of a token.
    num_heads
        Heads, which share the channels.
    side
        Tokens a side of what is attended in: a window or the whole tile.
    """

    def __init__(self, dim: int, num_heads: int, side: int) -> None:
        super().__init__()
        self.num_heads = num_heads
        self.qkv = nn.Linear(dim, 3 * dim)
        self.proj = nn.Linear(dim, dim)
        self.rel_pos_h = nn.Parameter(torch.zeros(2 * side - 1, dim // num_heads))
        self.rel_pos_w = nn.Parameter(torch.zeros(2 * side - 1, dim // num_heads))

    def forward(self, x: Tensor) -> Tensor:
        """Attend among the tokens of each (n, h, w, d) window."""
        n, h, w, _ = x.shape
        count = h * w
        qkv = self.qkv(x).view(n, count, 3, self.num_heads, -1).permute(2, 0, 3, 1, 4)
        parts = qkv.reshape(3, n * self.num_heads, count, -1).unbind()
        rows = get_rel_pos(h, h, self.rel_pos_h)
        columns = get_rel_pos(w, w, self.rel_pos_w)
        found = []
        step = max(1, _MOST_SCORES // count**2)
        for q, k, v in zip(*(part.split(step) for part in parts), strict=True):
            placed = q.view(-1, h, w, q.shape[-1])
            by_row = torch.einsum("bhwc,hkc->bhwk", placed, rows).contiguous()
            by_column = torch.einsum("bhwc,wkc->bhwk", placed, columns).contiguous()
            bias = by_row[..., :, None] + by_column[..., None, :]
            bias = bias.reshape(1, -1, count, count)
            found.append(
                functional.scaled_dot_product_attention(q[None], k[None], v[None], attn_mask=bias)
            )
        heads = torch.cat(found, dim=1).view(n, self.num_heads, h, w, -1)
        out: Tensor = self.proj(heads.permute(0, 2, 3, 1, 4).reshape(n, h, w, -1))
        return out


def image_encoder(
    embed_dim: int, depth: int, num_heads: int, global_attn_indexes: tuple[int, ...]
) -> nn.Module:
    """Return segment-anything's ViT with lean attention; its weights are yet to come."""
    made: Any = ImageEncoderViT(
        depth=depth,
        embed_dim=embed_dim,
        img_size=FRAME,
        mlp_ratio=4,
        norm_layer=partial(nn.LayerNorm, eps=1e-6),
        num_heads=num_heads,
        patch_size=TOKEN,
        qkv_bias=True,
        use_rel_pos=True,
        global_attn_indexes=global_attn_indexes,
        window_size=14,
        out_chans=FEATURES,
    )
    for block in made.blocks:
        side = (len(block.attn.rel_pos_h) + 1) // 2
        block.attn = LeanAttention(embed_dim, num_heads, side)
    encoder: nn.Module = made
    return encoder


def build(state: Mapping[str, Tensor], **arguments: Any) -> SamNetwork:
    """Make the network of a state dict as segment-anything names it.

    Parameters
    ----------
    state
        Tensors by name.
    **arguments
        Of :func:`image_encoder`: one of :data:`ARCHITECTURES`.

    Raises
    ------
    WeightsError
        If a tensor is missing, unexpected, or of another shape.
    """
    return assemble(lambda: SamNetwork(image_encoder(**arguments)), state)

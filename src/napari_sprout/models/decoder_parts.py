"""What is made once of the weights of a SAM prompt encoder and mask decoder."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn


@dataclass(frozen=True, eq=False)
class DecoderParts:
    """The weights of a mask decoder as decoding in windows wants them (see ``windowed``).

    Attributes
    ----------
    decoder
        The mask decoder.
    position
        (4096, 256) positions of a tile's tokens.
    widened
        (256, 256 + k) a token, and beside it what the first layer's attention makes of it:
        keys, values and queries.
    placed
        (4096, 256 + k) what positions and biases add to widened tokens.
    downscaling, lift, lift_bias
        The convolutions of mask prompts; what brings their (16) channels to widened tokens.
    no_mask
        (1, 256 + k) what is added to them without a mask prompt.
    outputs
        (o, 256) tokens that ask for masks, and for how good they are.
    first_mask
        Which of them is the first that asks for a mask; the one before asks how good they are.
    """

    decoder: Any
    position: Tensor
    widened: Tensor
    placed: Tensor
    downscaling: nn.Sequential
    lift: Tensor
    lift_bias: Tensor
    no_mask: Tensor
    outputs: Tensor
    first_mask: int

    @classmethod
    def of(cls, prompt_encoder: Any, mask_decoder: Any) -> DecoderParts:
        """Make them of segment-anything's modules, or SAM 2's, in evaluation mode."""
        position = tokens_of(prompt_encoder.get_dense_pe()[0])
        first = mask_decoder.transformer.layers[0]
        to_image, to_tokens = first.cross_attn_token_to_image, first.cross_attn_image_to_token
        keys, values, queries = to_image.k_proj, to_image.v_proj, to_tokens.q_proj
        projection = torch.cat([part.weight for part in (keys, values, queries)]).T
        widened = torch.cat([torch.eye(len(projection)).to(projection), projection], dim=1)
        placed = (
            torch.zeros_like(position),
            position @ keys.weight.T + keys.bias,
            values.bias.expand(len(position), -1),  # values carry no position
            position @ queries.weight.T + queries.bias,
        )
        *small, lift = prompt_encoder.mask_downscaling
        asked = [mask_decoder.iou_token.weight, mask_decoder.mask_tokens.weight]
        if hasattr(mask_decoder, "obj_score_token"):
            asked.insert(0, mask_decoder.obj_score_token.weight)
        outputs = torch.cat(asked)
        return cls(
            decoder=mask_decoder,
            position=position,
            widened=widened,
            placed=torch.cat(placed, dim=1),
            downscaling=nn.Sequential(*small),
            lift=widened.T @ lift.weight[:, :, 0, 0],
            lift_bias=lift.bias @ widened,
            no_mask=prompt_encoder.no_mask_embed.weight @ widened,
            outputs=outputs,
            first_mask=len(outputs) - len(asked[-1]),
        )


def tokens_of(grid: Tensor) -> Tensor:
    """Turn a (c, h, w) grid into (h * w, c) tokens."""
    return grid.flatten(1).T.contiguous()

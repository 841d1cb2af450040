"""What all SAM variants have in common: prompt encoder, mask decoder, and how weights get in."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, Final, TypeVar

import torch
from segment_anything.modeling import MaskDecoder, PromptEncoder, TwoWayTransformer
from torch import Tensor, nn

from ..errors import WeightsError
from .frame import EMBEDDING, FEATURES, FRAME, TOKEN

_NAMED: Final = 3

Network = TypeVar("Network", bound="SamNetwork")


class SamNetwork(nn.Module):
    """The three parts of a SAM, with segment-anything's own prompt encoder and mask decoder.

    Parameters
    ----------
    image_encoder
        (n, 3, 1024, 1024) normalised pixels -> (n, 256, 64, 64), or more channels where the
        mask decoder wants details of the image beside the features.
    decoder
        Makes the mask decoder of segment-anything's arguments.
    """

    def __init__(self, image_encoder: nn.Module, decoder: Callable[..., Any] = MaskDecoder) -> None:
        super().__init__()
        self.image_encoder: Any = image_encoder
        self.prompt_encoder: Any = PromptEncoder(
            embed_dim=FEATURES,
            image_embedding_size=(EMBEDDING, EMBEDDING),
            input_image_size=(FRAME, FRAME),
            mask_in_chans=TOKEN,
        )
        self.mask_decoder: Any = decoder(
            num_multimask_outputs=3,
            transformer=TwoWayTransformer(
                depth=2, embedding_dim=FEATURES, mlp_dim=2048, num_heads=8
            ),
            transformer_dim=FEATURES,
            iou_head_depth=3,
            iou_head_hidden_dim=256,
        )


def assemble(make: Callable[[], Network], tensors: Mapping[str, Tensor]) -> Network:
    """Make a network of given tensors, in float32 and evaluation mode, without a second copy.

    Parameters
    ----------
    make
        Makes the network; called where tensors take no memory.
    tensors
        Every parameter and every buffer of its state dict. Buffers that are not part of
        a state dict must be put in afterwards.

    Raises
    ------
    WeightsError
        If a tensor is missing, unexpected, or of another shape.
    """
    with torch.device("meta"):
        network = make()
    wanted = network.state_dict()
    common = wanted.keys() & tensors.keys()
    wrong = {
        "missing": wanted.keys() - tensors.keys(),
        "unknown": tensors.keys() - wanted.keys(),
        "of another shape": {name for name in common if tensors[name].shape != wanted[name].shape},
    }
    if any(wrong.values()):
        told = "; ".join(f"{what} {_some(names)}" for what, names in wrong.items() if names)
        raise WeightsError(f"These weights do not fit the network: {told}.")
    network.load_state_dict(own_copies(tensors), strict=True, assign=True)
    return network.eval().requires_grad_(False)


def own_copies(tensors: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Return tensors in float32 (whole numbers as they are) and in memory of their own.

    Those of a file may be read from it as they are used: whoever writes the file anew
    would change a network at work, or end the process.
    """
    return {
        name: tensor.to(torch.float32, copy=True) if tensor.is_floating_point() else tensor.clone()
        for name, tensor in tensors.items()
    }


def _some(names: set[str]) -> str:
    """Name a few of the tensors, and say how many more there are."""
    listed = ", ".join(f"'{name}'" for name in sorted(names)[:_NAMED])
    more = len(names) - _NAMED
    return f"{listed} and {more} more" if more > 0 else listed

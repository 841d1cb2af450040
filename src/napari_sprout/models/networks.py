"""Which SAM a file of weights holds, and the network made of it."""

from __future__ import annotations

import re
from collections.abc import Mapping
from pathlib import Path
from typing import Final

from torch import Tensor

from ..errors import WeightsError, warn
from . import mobile_sam, sam2, sam_vit
from .parts import SamNetwork
from .registry import Model, models

# What training wraps a network in: torch's parallel training, and torch_em.
_WRAPPERS: Final = ("module.", "sam.")
# Constants that some programs save with a SAM.
_CONSTANTS: Final = ("pixel_mean", "pixel_std")
# Parts of torch_em's UNETR, which micro-sam and PathoSAM train beside a SAM.
_FURTHER_HEAD: Final = re.compile(
    r"(decoder|decoder_head|base|deconv[1-4]|deconv_out|out_conv|final_conv)\."
)
_SAM2: Final = "image_encoder.trunk.pos_embed"
# By width and number of blocks.
_HIERAS: Final[Mapping[tuple[int, int], str]] = {
    (96, 12): "hiera_tiny",
    (96, 16): "hiera_small",
    (112, 24): "hiera_base_plus",
    (144, 48): "hiera_large",
}


def network_of(one: Model, tensors: Mapping[str, Tensor], source: Path) -> SamNetwork:
    """Make the network of a model from whatever a file calls its tensors.

    Parameters
    ----------
    one
        A SAM variant of the registry.
    tensors
        By name, with or without what training and other programs wrap them in.
    source
        The file, for what is said of it.

    Raises
    ------
    WeightsError
        If they are those of another network, or damaged.
    """
    bare = {_unwrapped(name): tensor for name, tensor in tensors.items()}
    held = architecture_of(bare)
    if held != one.architecture:
        raise WeightsError(_mismatch(one, held, source))
    try:
        if one.family == "sam2":
            return sam2.build(sam2.from_upstream(bare), **sam2.ARCHITECTURES[held])
        kept = _without_extras(bare, source)
        if held in sam_vit.ARCHITECTURES:
            return sam_vit.build(kept, **sam_vit.ARCHITECTURES[held])
        return mobile_sam.build(mobile_sam.from_upstream(kept))
    except WeightsError as error:
        raise WeightsError(f"'{source}' cannot be used as {one.title}. {error}") from error


def _unwrapped(name: str) -> str:
    for wrapper in _WRAPPERS:
        name = name.removeprefix(wrapper)
    return name


def _without_extras(tensors: Mapping[str, Tensor], source: Path) -> dict[str, Tensor]:
    """Leave out constants, and the head of another method; what else is there stays."""
    further = {name for name in tensors if _FURTHER_HEAD.match(name)}
    if further:
        warn(
            f"'{source}' holds a further head of {len(further)} tensors beside SAM "
            f"('{min(further)}' and others), which is not used here."
        )
    return {
        name: tensor
        for name, tensor in tensors.items()
        if name not in further and name not in _CONSTANTS
    }


def architecture_of(tensors: Mapping[str, Tensor]) -> str:
    """Return the architecture, as in the registry, that tensors seem to belong to.

    Parameters
    ----------
    tensors
        By name, as segment-anything, MobileSAM, Meta's SAM 2 or this package names them.

    Returns
    -------
    str
        "" if it is none that is known.
    """
    if _SAM2 in tensors:
        width = tensors[_SAM2].shape[1]
        depth = len({name.split(".")[3] for name in tensors if ".trunk.blocks." in name})
        return _HIERAS.get((width, depth), "")
    if "image_encoder.pos_embed" in tensors:
        width = tensors["image_encoder.pos_embed"].shape[-1]
        known = sam_vit.ARCHITECTURES.items()
        return next((name for name, one in known if one["embed_dim"] == width), "")
    tiny = ("image_encoder.layers.", "image_encoder.trunk.stages.")
    return "tiny_vit" if any(name.startswith(tiny) for name in tensors) else ""


def _mismatch(one: Model, held: str, source: Path) -> str:
    """Return the sentence about a file that holds something else."""
    other = next((known for known in models().values() if known.architecture == held), None)
    if held and other is not None:
        return (
            f"'{source}' seems to hold {other.title}, not {one.title}: choose '{other.name}', "
            "or give another file."
        )
    return (
        f"'{source}' seems to hold no {one.title}: give a file as its authors publish it, "
        "or one tuned from it in the same format."
    )

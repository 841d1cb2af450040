"""What a run needs of memory, and what is free: a warning before hours of swapping."""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType
from typing import Final

import psutil
import torch

from .download_errors import megabytes
from .registry import Model

_FLOAT: Final = 4
_WEIGHTS: Final = 4e6
"""Bytes a million parameters: whatever the file holds, networks compute in float32."""
_PROGRAM: Final = 1_480_000_000
"""Python with torch and OpenVINO, and MobileSAM at work, its weights apart."""
_PIXEL: Final = 145
"""Bytes a working pixel of all that a session keeps and computes with.

Both as measured from 0.25 to 16 megapixels (docs/performance.md).
"""
_LIVE: Final = 18
"""Values at once for each channel of a token: measured 14 to 16 in timm's, 15 to 18 in SAM's."""
_FRAME_VALUES: Final[Mapping[str, int]] = MappingProxyType(
    {
        # 5 x 5 windows of 14 x 14 tokens; at the first stage of a Hiera 256 x 256 tokens.
        "vit_b": 70 * 70 * 768,
        "vit_l": 70 * 70 * 1024,
        "vit_h": 70 * 70 * 1280,
        "hiera_tiny": 256 * 256 * 96,
        "hiera_small": 256 * 256 * 96,
        "hiera_base_plus": 256 * 256 * 112,
        "hiera_large": 256 * 256 * 144,
    }
)
"""Tokens by channels where a segmenter's image encoder is widest; MobileSAM's was measured."""
_TILE: Final = 170_000_000
"""Bytes of a tile at work in MobileSAM's image encoder as torch runs it, as measured."""
_MOST_TILES: Final[Mapping[str, int]] = MappingProxyType({"cpu": 1, "mps": 4, "cuda": 8})
"""At once: a processor gains nothing by more; between two batches a run can be stopped."""
_DETAILS: Final = 110
"""Bytes a working pixel of SAM 2's details: 768 values a token of 7 px, in 1.8 tiles each."""
_MAP: Final = 8
"""Channels to bytes a working pixel: 4 bytes a token of 8 px, the map and one copy of it."""
_PATCH_TOKENS: Final = 16 * 16
_PATCHES: Final = 8
"""Patches at once that a laptop is reckoned with; fewer are taken where these do not fit."""
_MOST_PATCHES: Final = 64
_SHARE: Final = 0.25
"""Of what is free, for one batch: the rest is for what is computed between and after."""


def needed(encoder: Model | None, segmenter: Model, pixels: int) -> int:
    """Return about how many bytes a whole run takes, the program itself included.

    Parameters
    ----------
    encoder
        The model of the features; None if they are the segmenter's.
    segmenter
        The model that draws the masks.
    pixels
        Working pixels, after the image has been brought to the method's pixel size.
    """
    networks, arrays = _networks(encoder, segmenter), _kept(encoder, segmenter, pixels)
    return _PROGRAM + networks + arrays + _PIXEL * pixels


def _networks(encoder: Model | None, segmenter: Model) -> int:
    """Return the bytes of the weights, and of what is computed with them at once."""
    values = _LIVE * _FRAME_VALUES.get(segmenter.architecture, 0)
    megas = segmenter.parameters
    if encoder is not None:
        patches = _PATCHES * patch_bytes(encoder.dimension, _PATCH_TOKENS)
        return round(_WEIGHTS * (megas + encoder.parameters)) + max(_FLOAT * values, patches)
    return round(_WEIGHTS * megas) + _FLOAT * values


def _kept(encoder: Model | None, segmenter: Model, pixels: int) -> int:
    """Return the bytes of what networks make of an image, beyond what MobileSAM makes of it."""
    each = _DETAILS if segmenter.family == "sam2" else 0
    if encoder is not None:
        each += encoder.dimension // _MAP
    return each * pixels


def patch_bytes(dimension: int, tokens: int) -> int:
    """Return about how many bytes a vision transformer takes for each patch of a batch.

    Parameters
    ----------
    dimension
        Channels of a token.
    tokens
        Of a patch, all in all.
    """
    return _FLOAT * _LIVE * dimension * tokens


def fitting_batch(dimension: int, tokens: int, device: torch.device, most: int = 0) -> int:
    """Return how many patches to encode at once.

    The features do not depend on it beyond the rounding of sums in another order.

    Parameters
    ----------
    dimension, tokens
        As of :func:`patch_bytes`.
    device
        Where they are encoded.
    most
        Never more than this, nor than 64.

    Returns
    -------
    int
        1 to 64: as many as fit into a quarter of what is free.
    """
    room = _SHARE * free(device) / patch_bytes(dimension, tokens)
    return max(1, min(int(room), most or _MOST_PATCHES, _MOST_PATCHES))


def fitting_tiles(architecture: str, device: torch.device) -> int:
    """Return how many tiles a SAM variant should encode at once.

    Parameters
    ----------
    architecture
        Of the variant, as in the registry.
    device
        Where they are encoded.

    Returns
    -------
    int
        1 to 8: as many as fit into a quarter of what is free; 1 on a processor.
    """
    values = _FRAME_VALUES.get(architecture)
    each = _FLOAT * _LIVE * values if values else _TILE
    return max(1, min(int(_SHARE * free(device) / each), _MOST_TILES.get(device.type, 1)))


def free(device: torch.device) -> int:
    """Return how many bytes are free where a device computes.

    A graphics card's own for CUDA; otherwise the computer's, Apple's MPS included, which
    shares it.
    """
    if device.type == "cuda":
        return int(torch.cuda.mem_get_info(device)[0])
    return int(psutil.virtual_memory().available)


def warning(encoder: Model | None, segmenter: Model, pixels: int, device: torch.device) -> str:
    """Return what a person should know before a run; "" if there seems to be room.

    Parameters
    ----------
    encoder, segmenter, pixels
        As of :func:`needed`.
    device
        Where the networks compute. On a graphics card they, and what they make of the
        image, need room there, and all else in the computer.
    """
    whole, there = needed(encoder, segmenter, pixels), free(torch.device("cpu"))
    if device.type == "cuda":
        on_card = _networks(encoder, segmenter) + _kept(encoder, segmenter, pixels)
        card = free(device)
        if on_card > card:
            return _sentence(on_card, card, " on the graphics card")
        whole -= on_card
    # This program is running already.
    whole -= min(_PROGRAM, psutil.Process().memory_info().rss)
    return _sentence(whole, there, "") if whole > there else ""


def _sentence(whole: int, there: int, where: str) -> str:
    return (
        f"This run needs about {megabytes(whole)} of memory{where}, and {megabytes(there)} are "
        "free: close other programs, choose a smaller model, or cut out a region."
    )

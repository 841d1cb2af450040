"""A SAM variant by name: its weights found, checked and loaded. Nothing is fetched."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import torch

from ..errors import SettingsError, WeightsError
from .checksum import file_sha256
from .memory import fitting_tiles
from .registry import model, models
from .state import read_state
from .store import expected_sha256, locate

if TYPE_CHECKING:
    from .sam import SamSegmenter


def segmenters() -> tuple[str, ...]:
    """Return the names of the SAM variants that can be chosen."""
    return tuple(name for name, one in models().items() if one.kind == "segmenter")


def embedded_path() -> Path:
    """Return the path of MobileSAM's weights inside the package."""
    path = model("mobile_sam").embedded_path
    if path is None:
        raise WeightsError("MobileSAM is no longer part of the package: install it again.")
    return path


def resolve_device(name: str = "auto") -> torch.device:
    """Return the device to compute on.

    Parameters
    ----------
    name
        "auto" (CUDA, then Apple's MPS, then the CPU), or a torch device such as
        "cpu", "cuda", "cuda:1" or "mps".

    Raises
    ------
    SettingsError
        If the name is no device, or that device is not there.
    """
    if name == "auto":
        if torch.cuda.is_available():
            return torch.device("cuda")
        return torch.device("mps" if torch.backends.mps.is_available() else "cpu")
    try:
        device = torch.device(name)
        torch.empty(1, device=device)
    except (RuntimeError, AssertionError, NotImplementedError) as error:
        raise SettingsError(
            f"Device '{name}' is not available on this machine: use 'auto' or 'cpu'."
        ) from error
    return device


def weights_sha256(name: str, path: Path | None = None) -> str:
    """Return the SHA-256 of a SAM variant's weights, in hexadecimal, without loading them.

    Parameters
    ----------
    name
        One of :func:`segmenters`.
    path
        A file to use in the place of the usual one.

    Raises
    ------
    SettingsError
        For an unknown name.
    WeightsError
        If the file given cannot be read.
    """
    one = model(name, "segmenter")
    return expected_sha256(one) if path is None else file_sha256(path)


def load_segmenter(
    name: str = "mobile_sam",
    device: str | torch.device = "auto",
    path: Path | None = None,
    half: bool = False,
) -> SamSegmenter:
    """Load a SAM variant, by default the one inside the package.

    Parameters
    ----------
    name
        One of :func:`segmenters`.
    device
        A torch device or a name for :func:`resolve_device`.
    path
        A weights file of that architecture, such as one tuned to a purpose: MedSAM,
        micro-sam or PathoSAM for SAM's own architectures. By default the usual file of
        that name, whose hash is checked.
    half
        Whether the products of the image encoder may be of float16, where torch runs it: on
        a graphics card. Keep such embeddings in a store of their own: they count there as
        the same ones.

    Raises
    ------
    SettingsError
        For an unknown name or device.
    WeightsError
        If the file is missing or damaged, or holds another network.
    """
    # Here, not above: what networks are made of takes seconds to import.
    from .networks import network_of
    from .sam import SamSegmenter

    one = model(name, "segmenter")
    where = device if isinstance(device, torch.device) else resolve_device(device)
    source = embedded_path() if path is None and one.embedded else locate(one, path)
    tensors, sha256 = read_state(source, "" if path is not None else expected_sha256(one))
    network = network_of(one, tensors, source)
    batch = fitting_tiles(one.architecture, where)
    return SamSegmenter(network, name, sha256, where, batch, half)

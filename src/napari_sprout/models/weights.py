"""Weights that ship with the package: found, checked, loaded. No network."""

from __future__ import annotations

import hashlib
from importlib.resources import files
from pathlib import Path

import torch
from safetensors import SafetensorError
from safetensors.torch import load

from ..errors import SettingsError, WeightsError
from . import mobile_sam
from .sam import SamSegmenter

MOBILE_SAM_UPSTREAM_SHA256 = "6dbb90523a35330fedd7f1d3dfc66f995213d81b29a5ca8108dbcdd4e37d6c2f"
MOBILE_SAM_SHA256 = "5837ade9a0832ad83511ad0fd393b01b7777751529927fc8b27b4e66294b96d2"
SEGMENTERS = {"mobile_sam": MOBILE_SAM_SHA256}


def embedded_path() -> Path:
    """Return the path of MobileSAM's weights inside the package."""
    return Path(str(files("napari_sprout.models") / "data" / "mobile_sam_fp16.safetensors"))


def read_checked(path: Path, sha256: str) -> bytes:
    """Read a file whole and return it if its SHA-256 is the expected one.

    Raises
    ------
    WeightsError
        If the file is missing, unreadable, or its contents have changed.
    """
    try:
        data = path.read_bytes()
    except OSError as error:
        raise WeightsError(
            f"The model weights {path} cannot be read ({error.strerror}): "
            "install napari-sprout again."
        ) from error
    found = hashlib.sha256(data).hexdigest()
    if found != sha256:
        raise WeightsError(
            f"The model weights {path} are damaged (SHA-256 {found[:12]}..., expected "
            f"{sha256[:12]}...): install napari-sprout again."
        )
    return data


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


def weights_sha256(name: str) -> str:
    """Return the SHA-256 of a SAM variant's weights.

    Raises
    ------
    SettingsError
        For an unknown name.
    """
    if name not in SEGMENTERS:
        raise SettingsError(f"Unknown segmenter '{name}': use one of {', '.join(SEGMENTERS)}.")
    return SEGMENTERS[name]


def load_segmenter(
    name: str = "mobile_sam", device: str | torch.device = "auto", path: Path | None = None
) -> SamSegmenter:
    """Load a SAM variant, by default the one inside the package.

    Parameters
    ----------
    name
        One of the keys of :data:`SEGMENTERS`.
    device
        A torch device or a name for :func:`resolve_device`.
    path
        Another copy of the embedded file (it must have the same SHA-256).

    Raises
    ------
    SettingsError
        For an unknown name or device.
    WeightsError
        If the file is missing or damaged.
    """
    sha256 = weights_sha256(name)
    where = device if isinstance(device, torch.device) else resolve_device(device)
    source = path or embedded_path()
    data = read_checked(source, sha256)
    try:
        state = load(data)
    except SafetensorError as error:
        raise WeightsError(f"The model weights {source} cannot be read: {error}.") from error
    return SamSegmenter(mobile_sam.build(state), name, sha256, where)

"""Vision transformers as encoders of patches (paper 3.1 and B.5)."""

from __future__ import annotations

from pathlib import Path
from typing import Any, Final

import cv2
import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from ..errors import WeightsError
from .checksum import file_sha256
from .memory import fitting_batch
from .registry import TIMM, TOKENS, Model, model
from .state import read_state
from .store import expected_sha256, locate
from .transfer import frames
from .weights import resolve_device

BATCHES: Final = {"cpu": 8, "mps": 8}
"""Most patches encoded at once by kind of device: between two batches a run can be stopped."""

LARGE_BATCH: Final = 64
"""The same for graphics cards, which are quick."""


class TimmEncoder:
    """One of timm's vision transformers; implements :class:`~.protocols.FeatureEncoder`.

    Parameters
    ----------
    network
        On the CPU, with its tensors.
    name
        Short name, as in the settings.
    weights_sha256
        SHA-256 of the weights file.
    device
        Where to compute.
    mean, std
        What pixels of 0 to 1 are normalised with, R, G, B.

    Attributes
    ----------
    patch
        Side of a token in pixels of the network's input.
    tokens
        Features a side of a patch.
    dimension
        Numbers a feature.
    batch
        How many patches may be encoded at once: as many as what is free has room for. The
        features do not depend on it beyond rounding.
    """

    def __init__(
        self,
        network: Any,
        name: str,
        weights_sha256: str,
        device: torch.device,
        mean: tuple[float, ...],
        std: tuple[float, ...],
    ) -> None:
        self.name = name
        self.weights_sha256 = weights_sha256
        self.device = device
        self._network = network.to(device).eval()
        self.patch = int(network.patch_embed.patch_size[0])
        self.tokens = int(network.patch_embed.grid_size[0])
        self.dimension = int(network.embed_dim)
        self._prefix = int(network.num_prefix_tokens)
        most = BATCHES.get(device.type, LARGE_BATCH)
        tokens = self.tokens**2 + self._prefix
        self.batch = fitting_batch(self.dimension, tokens, device, most)
        self._mean = torch.tensor(mean, device=device).view(1, 3, 1, 1)
        self._std = torch.tensor(std, device=device).view(1, 3, 1, 1)

    @torch.inference_mode()
    def encode_batch(self, tiles: NDArray[np.uint8]) -> Tensor:
        """Encode patches, all at once.

        They are brought to :attr:`tokens` times :attr:`patch` pixels a side: by the mean of
        areas where that is smaller, by cubic interpolation where it is larger.

        Parameters
        ----------
        tiles
            (n, side, side, 3) uint8 RGB.

        Returns
        -------
        Tensor
            (n, d, t, t) float32 on :attr:`device`: the last layer's tokens with timm's norm,
            without class and register tokens.

        Raises
        ------
        ImageError
            If the patches are no square RGB images.
        """
        side = self.tokens * self.patch
        sized = frames(tiles, side, self.device, cv2.INTER_CUBIC, cv2.INTER_AREA)
        pixels = sized.permute(0, 3, 1, 2).float() / 255
        found: Tensor = self._network.forward_features((pixels - self._mean) / self._std)
        grid = found[:, self._prefix :].transpose(1, 2)
        return grid.reshape(len(tiles), self.dimension, self.tokens, self.tokens).contiguous()


def load_encoder(
    name: str,
    device: str | torch.device = "auto",
    path: Path | None = None,
    tokens: int = TOKENS,
) -> TimmEncoder:
    """Load an encoder. Nothing is ever fetched from the network.

    Parameters
    ----------
    name
        One of the registry's encoders, or "timm:" and the name of any other of timm's
        vision transformers.
    device
        A torch device or a name for :func:`.weights.resolve_device`.
    path
        Its weights file; where it was downloaded to by default.
    tokens
        Features a side of a patch.

    Raises
    ------
    SettingsError
        For an unknown name or device.
    WeightsError
        If the weights are missing, damaged, or those of another network.
    """
    # Here, not above: timm takes seconds to import.
    from .recipes import Recipe, fill

    recipe = Recipe.of(name)
    where = device if isinstance(device, torch.device) else resolve_device(device)
    expected = ""
    if path is None:
        one = _listed(name)
        path, expected = locate(one), expected_sha256(one)
    tensors, sha256 = read_state(path, expected)
    network = recipe.build(tokens)
    fill(network, tensors, f"The weights {path}, given for '{name}',")
    return TimmEncoder(network, name, sha256, where, recipe.mean, recipe.std)


def weights_sha256(name: str, path: Path | None = None) -> str:
    """Return the SHA-256 of an encoder's weights, in hexadecimal, without loading them.

    Parameters
    ----------
    name, path
        As of :func:`load_encoder`.

    Raises
    ------
    SettingsError
        For an unknown name.
    WeightsError
        If the file cannot be read, or is not on this computer and nobody knows its hash.
    """
    known = "" if path is not None else expected_sha256(_listed(name))
    return known or file_sha256(find_weights(name, path))


def find_weights(name: str, path: Path | None = None) -> Path:
    """Return the weights file of an encoder, without looking into it.

    Parameters
    ----------
    name, path
        As of :func:`load_encoder`.

    Raises
    ------
    SettingsError
        For an unknown name.
    WeightsError
        If it is not on this computer.
    """
    if path is None:
        return locate(_listed(name))
    if not path.is_file():
        raise WeightsError(f"The model weights '{path}' do not exist: check the path.")
    return path


def _listed(name: str) -> Model:
    """Return the registry's entry of an encoder whose weights are at a known place."""
    if name.startswith(TIMM):
        raise WeightsError(
            f"The encoder '{name}' comes without weights: give the path of its weights file "
            "(in a settings file: features.encoder_weights)."
        )
    return model(name, "encoder")

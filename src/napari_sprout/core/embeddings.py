"""Tile embeddings that outlive a session: what they are known by, and who may keep them.

Encoding is half of a run and depends on little: the working pixels, how they are
cut into tiles, and the encoder. Whoever keeps the embeddings under a key of just
these (on disk, say) saves that half when the same image comes again.
"""

from __future__ import annotations

import dataclasses
import hashlib
import json
from collections.abc import Callable, Mapping
from importlib.metadata import PackageNotFoundError, version
from typing import Final, Protocol

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from .tiles import TileGrid

ENCODING_VERSION: Final = 3
"""To be raised by whoever changes what is fed to the encoder or how its answer is read."""
# Those whose version can change an embedding.
_PACKAGES: Final = (
    "numpy",
    "opencv-python-headless",
    "openvino",
    "segment-anything",
    "timm",
    "torch",
)


class EmbeddingStore(Protocol):
    """Keeps the embeddings of an image's tiles under a key."""

    def load(self, key: str) -> dict[int, Tensor] | None:
        """Return the embeddings kept under `key`, on the CPU, by tile index; None without any."""
        ...

    def save(self, key: str, tiles: Mapping[int, Tensor]) -> None:
        """Keep embeddings, on any device, under `key`, in the place of what is there.

        Not being able to is no failure of a run, so nothing is raised for it.
        """
        ...


def embedding_key(
    rgb: NDArray[np.uint8], grid: TileGrid, weights_sha256: str, device: torch.device
) -> str:
    """Return the hash of all that the embeddings of an image's tiles depend on.

    Parameters
    ----------
    rgb
        (H, W, 3) uint8 working image.
    grid
        How the tiles are cut.
    weights_sha256
        SHA-256 of the encoder's weights.
    device
        Where they are computed. Kinds of device round differently, and so do
        processors of different powers and numbers of threads.

    Returns
    -------
    str
        64 hexadecimal digits.
    """
    facts = {
        "encoding": ENCODING_VERSION,
        "shape": rgb.shape,
        "grid": dataclasses.asdict(grid),
        "weights": weights_sha256,
        "device": [device.type, *(_rounding() if device.type == "cpu" else ())],
        "packages": {name: _version(name) for name in _PACKAGES},
    }
    digest = hashlib.sha256(json.dumps(facts, sort_keys=True).encode())
    digest.update(np.ascontiguousarray(rgb).data)
    return digest.hexdigest()


def _version(package: str) -> str:
    """Return a package's version; "" for one that some machines do without."""
    try:
        return version(package)
    except PackageNotFoundError:
        return ""


def _rounding() -> tuple[str, int]:
    """Return what decides in which order a processor sums, and so the last digits."""
    return torch.backends.cpu.get_cpu_capability(), torch.get_num_threads()


class TileMemory:
    """The encoded tiles of a session, and their way to and from a store.

    Parameters
    ----------
    store
        Where embeddings are kept between sessions; None if nowhere.

    Attributes
    ----------
    tiles
        Embeddings by tile index; whoever encodes a tile adds it.
    """

    def __init__(self, store: EmbeddingStore | None = None) -> None:
        self.tiles: dict[int, Tensor] = {}
        self._store = store
        self._owner = ""
        self._kept: set[int] | None = None

    def belong_to(self, owner: str) -> None:
        """Forget the tiles if they were cut from other pixels, or in another way, than `owner`."""
        if self._owner != owner:
            self._owner, self.tiles, self._kept = owner, {}, None

    def recall(self, key: Callable[[], str], device: Callable[[], torch.device]) -> None:
        """Add what the store has, once, on the device where the model computes."""
        if self._store is None or self._kept is not None:
            return
        found = self._store.load(key()) or {}
        self._kept = set(found)
        for index, embedding in found.items():
            self.tiles.setdefault(index, embedding.to(device()))

    def keep(self, key: Callable[[], str]) -> None:
        """Hand all tiles to the store if it lacks some."""
        if self._store is not None and not self.tiles.keys() <= (self._kept or set()):
            self._store.save(key(), self.tiles)
            self._kept = set(self.tiles)

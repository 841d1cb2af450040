"""Encoded tiles on disk, so that an image seen before need not be encoded again."""

from __future__ import annotations

import hashlib
import os
import re
import time
from collections.abc import Callable, Mapping
from contextlib import suppress
from pathlib import Path
from typing import Final

from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file
from torch import Tensor

from ..errors import OutputError, warn
from .atomic import replacing, writable_folder

DEFAULT_LIMIT: Final = 20_000_000_000
_SUFFIX: Final = ".safetensors"
_OURS: Final = re.compile(r"[0-9a-f]{64}\.safetensors")
_DRAFT: Final = re.compile(r"\.sprout-[0-9a-f]+\.safetensors")
# No file takes longer to write; one that is older was left behind by a killed process.
_ABANDONED_SECONDS: Final = 3600.0


class EmbeddingCache:
    """A folder of encoded tiles; implements :class:`~..core.embeddings.EmbeddingStore`.

    One file a key, written whole or not at all, with a checksum: a file that is
    damaged, or not ours, counts as absent and is replaced. Any number of processes
    may use a folder at the same time. Nothing here ever fails a run: what cannot be
    kept is encoded again next time.

    Parameters
    ----------
    folder
        Where the files lie; made when first needed.
    limit_bytes
        When the files take more than this, those used longest ago are deleted.
    largest_bytes
        An image whose tiles take more than this is not kept; by default the limit.
    tell
        Called with a sentence when embeddings cannot be written, once; by default
        that is a SproutWarning.
    """

    def __init__(
        self,
        folder: str | Path,
        limit_bytes: int = DEFAULT_LIMIT,
        largest_bytes: int | None = None,
        tell: Callable[[str], None] = warn,
    ) -> None:
        self.folder = Path(folder)
        self.limit_bytes = limit_bytes
        self._largest_bytes = limit_bytes if largest_bytes is None else largest_bytes
        self._tell: Callable[[str], None] | None = tell

    def load(self, key: str) -> dict[int, Tensor] | None:
        """Return the embeddings kept under `key`, on the CPU, by tile index.

        Returns
        -------
        dict or None
            None if there are none, or their file is damaged.
        """
        path = self._path(key)
        try:
            with safe_open(path, framework="pt") as file:
                facts = file.metadata() or {}
                names = file.keys()
                # Copies: the file may be replaced or deleted while they are in use.
                tiles = {int(name): file.get_tensor(name).clone() for name in names}
        except (OSError, SafetensorError, ValueError):
            return None
        if facts.get("key") != key or facts.get("sha256") != _digest(tiles):
            return None
        with suppress(OSError):
            # The time of last use decides what is deleted first.
            os.utime(path)
        return tiles

    def save(self, key: str, tiles: Mapping[int, Tensor]) -> None:
        """Keep embeddings under `key`, in the place of what is there.

        Parameters
        ----------
        key
            64 hexadecimal digits.
        tiles
            Embeddings by tile index, on any device.
        """
        held = {index: tile.detach().cpu().contiguous() for index, tile in tiles.items()}
        size = sum(tile.nbytes for tile in held.values())
        if size > self._largest_bytes:
            return
        named = {str(index): tile for index, tile in held.items()}
        try:
            if not self.folder.is_dir():
                writable_folder(self.folder)
            with replacing(self._path(key)) as temporary:
                save_file(named, temporary, {"key": key, "sha256": _digest(held)})
            self._tidy(key)
        except (OutputError, OSError, SafetensorError) as exc:
            if self._tell is not None:
                self._tell(f"Encoded tiles could not be kept for the next time. {exc}")
                self._tell = None

    def _path(self, key: str) -> Path:
        return self.folder / f"{key}{_SUFFIX}"

    def _tidy(self, newest: str) -> None:
        """Delete what was used longest ago until the rest fits, and what killed processes left."""
        found: list[tuple[float, int, Path]] = []
        for path in self.folder.iterdir():
            with suppress(FileNotFoundError):
                facts = path.stat()
                if _OURS.fullmatch(path.name):
                    found.append((facts.st_mtime, facts.st_size, path))
                elif _DRAFT.fullmatch(path.name) and _old(facts.st_mtime):
                    path.unlink()
        total = sum(size for _, size, _ in found)
        for _, size, path in sorted(found):
            if total <= self.limit_bytes:
                break
            if path.stem != newest:
                # On Windows a file that another process reads cannot go; later, then.
                with suppress(OSError):
                    path.unlink(missing_ok=True)
                    total -= size


def _old(modified: float) -> bool:
    return time.time() - modified > _ABANDONED_SECONDS


def _digest(tiles: Mapping[int, Tensor]) -> str:
    digest = hashlib.sha256()
    for index in sorted(tiles):
        tile = tiles[index]
        digest.update(f"{index} {tuple(tile.shape)} {tile.dtype};".encode())
        digest.update(tile.numpy().data)
    return digest.hexdigest()

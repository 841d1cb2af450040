"""Reading the tensors of a weights file without running anything that lies in it."""

from __future__ import annotations

import pickle
import re
import zipfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Final

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file
from torch import Tensor

from ..errors import WeightsError
from .checksum import file_sha256, unreadable

_NESTS: Final = ("model", "state_dict", "model_state", "teacher")
"""Names under which a checkpoint holds its tensors, beside what training needs."""

_ZIP: Final = b"PK\x03\x04"
_POINTER: Final = b"version https://git-lfs"
_LARGEST_HEADER: Final = 100_000_000
_SHORT: Final = 12
_DEEPEST: Final = 4


def read_state(path: Path, sha256: str = "") -> tuple[dict[str, Tensor], str]:
    """Read the tensors of a weights file.

    The file's hash is computed, and compared, before anything in it is interpreted.
    What it is, is told from its content: its name does not count.

    Parameters
    ----------
    path
        A safetensors file, or a checkpoint of ``torch.save`` that holds tensors alone.
        Tensors nested under "model", "state_dict", "model_state" or "teacher" are unwrapped.
    sha256
        What the file must have, in hexadecimal; "" if nobody knows.

    Returns
    -------
    dict, str
        Tensors by name, on the CPU; the file's SHA-256 in hexadecimal. They may be read
        from the file when first used: it must not be overwritten meanwhile.

    Raises
    ------
    WeightsError
        If the file cannot be read, has another hash, is damaged, is no weights file, or
        holds programs (a TorchScript archive, a full pickle).
    """
    found = file_sha256(path)
    if sha256 and found != sha256.lower():
        raise WeightsError(
            f"The model weights {path} are damaged, or not the expected file (SHA-256 "
            f"{found[:_SHORT]}..., expected {sha256[:_SHORT]}...): fetch them again, or install "
            "napari-sprout again if they are part of it."
        )
    return _tensors(_interpreted(path), path), found


def _interpreted(path: Path) -> Any:
    """Return what is in the file, by the format that its first bytes tell."""
    try:
        with path.open("rb") as file:
            start = file.read(32)
    except OSError as error:
        raise unreadable(path, error) from error
    if start.startswith(_POINTER) or start.lstrip()[:1] == b"<":
        what = "a Git LFS pointer" if start.startswith(_POINTER) else "a web page"
        raise WeightsError(f"'{path}' is {what}, not the weights themselves: download it again.")
    if _is_safetensors(start):
        return _safetensors(path)
    return _checkpoint(path, zipped=start.startswith(_ZIP))


def _is_safetensors(start: bytes) -> bool:
    """Whether a file begins with the length of a JSON header, and the header's brace."""
    return int.from_bytes(start[:8], "little") <= _LARGEST_HEADER and start[8:9] == b"{"


def _safetensors(path: Path) -> Any:
    try:
        return load_file(path)
    except (SafetensorError, OSError, ValueError, RuntimeError) as error:
        raise _damaged(path, error) from error


def _checkpoint(path: Path, *, zipped: bool) -> Any:
    if zipped and _is_script(path):
        raise WeightsError(
            f"'{path}' is a TorchScript archive, a program with its weights, and is not run: "
            "give a file with the weights alone (safetensors, or a state dict of torch.save)."
        )
    try:
        if path.suffix == ".safetensors":
            # torch would believe the name rather than the content.
            with path.open("rb") as file:
                return torch.load(file, map_location="cpu", weights_only=True)
        # Mapped, a file of gigabytes needs no memory beside what is made of it.
        return torch.load(path, map_location="cpu", weights_only=True, mmap=zipped)
    except pickle.UnpicklingError as error:
        refused = re.search(r"GLOBAL ([\w.]+)", str(error))
        if refused is None:
            raise _damaged(path, error) from error
        raise WeightsError(
            f"'{path}' holds more than weights: reading it would run '{refused[1]}', which is "
            "refused; give a file with the weights alone (safetensors, or a state dict of "
            "torch.save)."
        ) from error
    except Exception as error:
        # What a reader stumbles over in a damaged file has no common type.
        raise _damaged(path, error) from error


def _is_script(path: Path) -> bool:
    try:
        with zipfile.ZipFile(path) as archive:
            names = archive.namelist()
    except (zipfile.BadZipFile, OSError, ValueError) as error:
        raise _damaged(path, error) from error
    return any(name.rpartition("/")[2] == "constants.pkl" or "/code/" in name for name in names)


def _damaged(path: Path, error: BaseException) -> WeightsError:
    lines = str(error).strip().splitlines()
    detail = lines[0].strip().rstrip(".:") if lines else type(error).__name__
    return WeightsError(
        f"'{path}' cannot be read as model weights; it is cut short, damaged, or another kind of "
        f"file ({detail[:160]}): download or copy it again."
    )


def _tensors(content: Any, path: Path) -> dict[str, Tensor]:
    """Return the tensors by name, from wherever a checkpoint holds them."""
    for _ in range(_DEEPEST):
        nests = [content[name] for name in _NESTS if name in content] if _is_dict(content) else []
        inner = next((nest for nest in nests if _is_dict(nest)), None)
        if inner is None:
            break
        content = inner
    found: dict[str, Tensor] = {}
    if _is_dict(content):
        named = {str(name): value for name, value in content.items()}
        found = {name: held.detach() for name, held in named.items() if isinstance(held, Tensor)}
    if not found:
        raise WeightsError(f"'{path}' holds no named weights: it is not a model's state dict.")
    return found


def _is_dict(content: Any) -> bool:
    return isinstance(content, Mapping)

"""What belongs to the person and the computer, not to an image: napari's Preferences > SPROUT."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import torch

PLUGIN: Final = "napari-sprout"


@dataclass(frozen=True)
class Preferences:
    """What a person has chosen in napari's preferences.

    Attributes
    ----------
    device
        "auto", or one that is there: "cpu", "cuda:0", "mps".
    projects
        The folder in which work is kept; None for beside each image.
    threads
        How many of the processor's cores compute; 0 for as many as there are.
    tiles
        Whether encoded tiles are kept on disk.
    """

    device: str = "auto"
    projects: Path | None = None
    threads: int = 0
    tiles: bool = True


def preferences() -> Preferences:
    """Return what is chosen now; the defaults where napari has no preferences for plugins.

    It has them since version 0.9.
    """
    try:
        from napari.settings import get_plugin_settings

        chosen: Any = get_plugin_settings(PLUGIN)
        work = chosen.work
        device, projects = _present(work.device), _folder(work.projects)
        return Preferences(device, projects, int(work.threads), bool(work.tiles))
    except (ImportError, KeyError, AttributeError):
        return Preferences()


def use_threads(threads: int) -> None:
    """Let the work that begins from now on use so many cores; 0 changes nothing."""
    if threads > 0:
        torch.set_num_threads(threads)


def _present(device: str) -> str:
    """Return a device that is there: preferences may come from another computer."""
    if device == "cuda" and torch.cuda.is_available():
        return "cuda:0"
    if device == "mps" and torch.backends.mps.is_available():
        return "mps"
    return "cpu" if device == "cpu" else "auto"


def _folder(text: str) -> Path | None:
    """Return a folder; names without a place are in the person's home."""
    name = text.strip()
    return Path.home() / Path(name).expanduser() if name else None

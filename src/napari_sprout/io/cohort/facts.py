"""Which slide, what made its result, and how it was divided: parts of its summary.

What ``to_dict`` gives is ready for JSON. ``from_dict`` reads it, and raises KeyError,
TypeError or ValueError for anything else.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any, Final

from ..._version import __version__
from ...core.presets import PRESETS
from ...core.settings import Settings
from ..pixel_size import checked_mpp, plausible
from ..slides.protocol import Slide

SOFTWARE: Final = f"napari-sprout {__version__}"


@dataclass(frozen=True)
class SlideFacts:
    """Which slide.

    Attributes
    ----------
    name
        As its folder is called, without ``.slide``.
    format, fingerprint
        As of :class:`~..slides.protocol.Slide`.
    mpp
        Pixel size in um that was used, 0.01 to 20.
    shape
        (H, W) of the full resolution, in px.
    """

    name: str
    format: str
    fingerprint: str
    mpp: float
    shape: tuple[int, int]

    @classmethod
    def of(cls, name: str, slide: Slide, mpp: float) -> SlideFacts:
        """Return the facts of an open slide.

        Raises
        ------
        SettingsError
            If `mpp` is out of range.
        """
        shape = slide.levels[0].shape
        return cls(name, slide.format, slide.fingerprint, checked_mpp(mpp), shape)

    def to_dict(self) -> dict[str, Any]:
        """Return plain values."""
        return asdict(self) | {"shape": list(self.shape)}

    @classmethod
    def from_dict(cls, values: Mapping[str, Any]) -> SlideFacts:
        """Read what :meth:`to_dict` gave."""
        height, width = (int(side) for side in values["shape"])
        mpp = plausible(float(values["mpp"]))
        if mpp is None or min(height, width) < 1:
            raise ValueError("A slide must have pixels of some size.")
        name, kind, fingerprint = (str(values[n]) for n in ("name", "format", "fingerprint"))
        return cls(name, kind, fingerprint, mpp, (height, width))


@dataclass(frozen=True)
class Method:
    """What made the result.

    Attributes
    ----------
    software
        The program with its version.
    settings_hash
        :meth:`.Settings.key`: equal for equal settings.
    preset
        The preset that the settings are, or None for others.
    weights
        SHA-256 of each model's weights, by the model's name.
    """

    software: str
    settings_hash: str
    preset: str | None
    weights: Mapping[str, str]

    @classmethod
    def of(cls, settings: Settings, weights: Mapping[str, str]) -> Method:
        """Return the method of this program with some settings and weights."""
        preset = next((name for name in PRESETS if Settings.preset(name) == settings), None)
        return cls(SOFTWARE, settings.key(), preset, dict(weights))

    def to_dict(self) -> dict[str, Any]:
        """Return plain values."""
        return asdict(self)

    @classmethod
    def from_dict(cls, values: Mapping[str, Any]) -> Method:
        """Read what :meth:`to_dict` gave."""
        weights = {str(name): str(sha256) for name, sha256 in values["weights"].items()}
        preset = None if values["preset"] is None else str(values["preset"])
        return cls(str(values["software"]), str(values["settings_hash"]), preset, weights)


@dataclass(frozen=True)
class LeftOutTile:
    """A tile without a result: its extent in full-resolution px, and why, in a sentence."""

    y: int
    x: int
    height: int
    width: int
    reason: str

    @classmethod
    def from_dict(cls, values: Mapping[str, Any]) -> LeftOutTile:
        """Read one of what :meth:`Tiles.to_dict` gave."""
        y, x, height, width = (int(values[side]) for side in ("y", "x", "height", "width"))
        return cls(y, x, height, width, str(values["reason"]))


@dataclass(frozen=True)
class Tiles:
    """How the slide was divided.

    Attributes
    ----------
    total
        Tiles of the whole slide.
    with_tissue
        Those that were to be segmented.
    split
        Those that were done in smaller pieces, since they did not fit in memory.
    left_out
        Those that could not be done.
    """

    total: int
    with_tissue: int
    split: int = 0
    left_out: tuple[LeftOutTile, ...] = ()

    def to_dict(self) -> dict[str, Any]:
        """Return plain values."""
        return asdict(self) | {"left_out": [asdict(tile) for tile in self.left_out]}

    @classmethod
    def from_dict(cls, values: Mapping[str, Any]) -> Tiles:
        """Read what :meth:`to_dict` gave."""
        left_out = tuple(LeftOutTile.from_dict(tile) for tile in values["left_out"])
        total, tissue, split = (int(values[name]) for name in ("total", "with_tissue", "split"))
        return cls(total, tissue, split, left_out)

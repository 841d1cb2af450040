"""The models that can be chosen by name, read from ``registry.toml``. No network, no torch."""

from __future__ import annotations

import tomllib
from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cache
from importlib.resources import files
from pathlib import Path
from types import MappingProxyType
from typing import Any, Final, Literal

from ..errors import SettingsError, nearest

Kind = Literal["encoder", "segmenter"]
Family = Literal["timm", "sam", "sam2"]

TIMM: Final = "timm:"
"""Before the name of an encoder that is not listed here but that timm knows."""

TOKENS: Final = 16
"""Features a side of an encoder's patch, by default."""


@dataclass(frozen=True)
class Model:
    """What is known of a model before its weights are there.

    Attributes
    ----------
    name
        As in the settings.
    kind
        "encoder" gives features; "segmenter" gives features and masks.
    family
        Who builds the network: timm, segment-anything, or both (SAM 2).
    title
        As people call it.
    architecture, arguments
        For whoever builds it.
    parameters
        Millions, in the file.
    dimension
        Numbers a token.
    patch
        Side of a token, px of the network's input.
    licence
        SPDX name where there is one.
    page
        Where the licence is read, and accepted if the model is gated.
    mean, std
        What pixels of 0 to 1 are normalised with, R, G, B; the family's own if empty.
    gated
        Whether the licence must be accepted on `page`, with an account, before a download.
    repository, file, revision
        On Hugging Face; the revision is empty where the first download pins it.
    embedded
        File name inside the package; empty for others.
    bytes, sha256
        Of the weights; 0 and empty where the first download pins them.
    tried
        Whether these very weights have been run with this program.
    """

    name: str
    kind: Kind
    family: Family
    title: str
    architecture: str
    parameters: float
    dimension: int
    patch: int
    licence: str
    page: str
    mean: tuple[float, ...] = ()
    std: tuple[float, ...] = ()
    arguments: Mapping[str, Any] = field(default_factory=dict)
    gated: bool = False
    repository: str = ""
    file: str = ""
    revision: str = ""
    embedded: str = ""
    bytes: int = 0
    sha256: str = ""
    tried: bool = False

    @property
    def embedded_path(self) -> Path | None:
        """Where its weights lie in the package; None for models that are not part of it."""
        if not self.embedded:
            return None
        return Path(str(files("napari_sprout.models") / "data" / self.embedded))

    @property
    def file_name(self) -> str:
        """Name of the weights file, wherever it comes from."""
        return self.embedded or self.file.rpartition("/")[2]

    @property
    def size(self) -> int:
        """Bytes of the weights file; about, where nobody states them."""
        return self.bytes or round(4e6 * self.parameters)


@cache
def models() -> Mapping[str, Model]:
    """Return all models by name, in the registry's order."""
    text = (files("napari_sprout.models") / "registry.toml").read_text(encoding="utf-8")
    found = {}
    for name, facts in tomllib.loads(text).items():
        lists = {key: tuple(value) for key, value in facts.items() if isinstance(value, list)}
        found[name] = Model(name=name, **{**facts, **lists})
    return MappingProxyType(found)


def model(name: str, kind: Kind | None = None) -> Model:
    """Return the model of a name.

    Parameters
    ----------
    name
        As in the registry.
    kind
        Only a model of this kind will do; any by default. A segmenter is no encoder here:
        its features come with its masks.

    Raises
    ------
    SettingsError
        For an unknown name.
    """
    known = {key: one for key, one in models().items() if kind in (None, one.kind)}
    if name in known:
        return known[name]
    raise SettingsError(f"Unknown {kind or 'model'} '{name}'. {nearest(name, list(known))}")

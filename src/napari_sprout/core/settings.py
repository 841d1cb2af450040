"""Every setting of the method, grouped by stage.

A :class:`Settings` object is frozen: a stage's cached output is keyed by the
settings it used, so changing one recomputes from that stage on. The groups stand
in :mod:`.settings_groups`, named choices of all settings in :mod:`.presets`.
"""

from __future__ import annotations

import dataclasses
import hashlib
import json
from dataclasses import dataclass, field
from typing import Any

from ..errors import SettingsError, nearest
from .presets import find_preset
from .settings_fields import build, checked, setting
from .settings_groups import (
    GROUPS,
    SAM,
    ActivationSettings,
    DecodingSettings,
    FeatureSettings,
    ImageSettings,
    PromptSettings,
    PrototypeSettings,
    ReferenceSettings,
    ScanSettings,
    StainSettings,
    SuppressionSettings,
    TissueSettings,
    TransportSettings,
)

__all__ = [
    "GROUPS",
    "SAM",
    "ActivationSettings",
    "DecodingSettings",
    "FeatureSettings",
    "ImageSettings",
    "PromptSettings",
    "PrototypeSettings",
    "ReferenceSettings",
    "ScanSettings",
    "Settings",
    "StainSettings",
    "SuppressionSettings",
    "TissueSettings",
    "TransportSettings",
]


@dataclass(frozen=True)
class Settings:
    """All settings of one run; frozen, comparable, and readable as a plain mapping."""

    image: ImageSettings = field(default_factory=ImageSettings)
    tissue: TissueSettings = field(default_factory=TissueSettings)
    stain: StainSettings = field(default_factory=StainSettings)
    reference: ReferenceSettings = field(default_factory=ReferenceSettings)
    features: FeatureSettings = field(default_factory=FeatureSettings)
    prototypes: PrototypeSettings = field(default_factory=PrototypeSettings)
    transport: TransportSettings = field(default_factory=TransportSettings)
    activation: ActivationSettings = field(default_factory=ActivationSettings)
    scan: ScanSettings = field(default_factory=ScanSettings)
    prompts: PromptSettings = field(default_factory=PromptSettings)
    decoding: DecodingSettings = field(default_factory=DecodingSettings)
    suppression: SuppressionSettings = field(default_factory=SuppressionSettings)
    seed: int = setting(0, "Seed of everything random.", low=0, high=2**31 - 1)

    def __post_init__(self) -> None:
        for name, group in GROUPS.items():
            if not isinstance(getattr(self, name), group):
                raise SettingsError(
                    f"'{name}' must be a {group.__name__}, not {getattr(self, name)!r}."
                )
        seed = next(f for f in dataclasses.fields(self) if f.name == "seed")
        object.__setattr__(self, "seed", checked("seed", self.seed, seed))

    @classmethod
    def from_dict(cls, values: dict[str, Any]) -> Settings:
        """Make settings from nested mappings, as read from TOML.

        Parameters
        ----------
        values
            By group. What is absent is as in the preset named under "preset", and
            default where none is named.

        Raises
        ------
        SettingsError
            For an unknown group, setting or preset (with the nearest valid name)
            or a value outside its range.
        """
        if not isinstance(values, dict):
            raise SettingsError(f"Settings must be a table of groups, not {values!r}.")
        names = [*GROUPS, "seed", "preset"]
        for name in values:
            if name not in names:
                raise SettingsError(f"Unknown setting '{name}'. {nearest(name, names)}")
        base = find_preset(values.get("preset", "default")).values
        made: dict[str, Any] = {
            name: build(group, values.get(name, {}), name, base.get(name, {}))
            for name, group in GROUPS.items()
        }
        if "seed" in values or "seed" in base:
            made["seed"] = values.get("seed", base.get("seed"))
        return cls(**made)

    @classmethod
    def preset(cls, name: str) -> Settings:
        """Return one of the :data:`~.presets.PRESETS`: "default" or "paper".

        Raises
        ------
        SettingsError
            For an unknown name, with the nearest one.
        """
        return cls.from_dict({"preset": name})

    def to_dict(self) -> dict[str, Any]:
        """Return nested plain mappings (tuples become lists), ready for JSON or TOML."""
        return json.loads(json.dumps(dataclasses.asdict(self)))  # type: ignore[no-any-return]

    def with_changes(self, **groups: dict[str, Any]) -> Settings:
        """Return a copy with some settings changed, e.g. ``prompts={"negatives": 2}``."""
        values = self.to_dict()
        for name, changes in groups.items():
            if name == "seed":
                values["seed"] = changes
            elif isinstance(changes, dict):
                values.setdefault(name, {}).update(changes)
            else:
                raise SettingsError(f"'{name}' must be a table of settings, not {changes!r}.")
        return Settings.from_dict(values)

    def key(self) -> str:
        """Return a short hash of every value, stable across runs and machines."""
        text = json.dumps(self.to_dict(), sort_keys=True)
        return hashlib.sha256(text.encode()).hexdigest()[:16]

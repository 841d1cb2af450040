"""The models that settings can name: what the menus say, and whether their weights are there."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Final

from ..core.loaded import weights_file
from ..core.settings import SAM, FeatureSettings
from ..core.settings_groups import encoders
from ..errors import SproutError, WeightsError
from ..models import store
from ..models.in_words import presence_of
from ..models.registry import TIMM, Kind, Model, model, models
from ..models.weights import segmenters

GROUP: Final = "features"
MENUS: Final = {"segmenter": segmenters(), "encoder": encoders()}
"""The settings of that group that name a model, and what they can be."""
FILES: Final = ("segmenter_weights", "encoder_weights")
"""The settings of that group that name a file."""
_ITSELF: Final = "The SAM model itself"


@dataclass(frozen=True)
class Lacking:
    """A chosen model that cannot be used.

    Attributes
    ----------
    name
        As in the settings.
    sentence
        Why, and what to do.
    """

    name: str
    sentence: str


def model_choices(field: str, value: str) -> list[tuple[str, str]]:
    """Return what a menu offers, as texts and values: a value from a file may be one more."""
    return [(_text(name), name) for name in dict.fromkeys([*MENUS[field], value])]


def _text(name: str) -> str:
    if name == SAM:
        return _ITSELF
    one = models().get(name)
    if one is None:
        return name
    return one.title if is_here(one) else f"{one.title} (not on this computer)"


def is_here(one: Model) -> bool:
    """Whether a model's weights are on this computer, as far as can be told."""
    return presence_of(one) in ("built in", "yes")


def chosen_models(chosen: FeatureSettings) -> tuple[Model | None, Model]:
    """Return the separate encoder, None without one or for one of timm's, and the SAM variant.

    Raises
    ------
    SettingsError
        For an unknown name.
    """
    listed = chosen.encoder != SAM and not chosen.encoder.startswith(TIMM)
    encoder = model(chosen.encoder, "encoder") if listed else None
    return encoder, model(chosen.segmenter, "segmenter")


def lacking(chosen: FeatureSettings) -> Lacking | None:
    """Return the first of the chosen models whose weights are not there; None if all are."""
    for name, kind, given in _named(chosen):
        try:
            _look_for(name, kind, given)
        except SproutError as error:
            return Lacking(name, str(error))
    return None


def _named(chosen: FeatureSettings) -> Iterator[tuple[str, Kind, str]]:
    yield chosen.segmenter, "segmenter", chosen.segmenter_weights
    if chosen.encoder != SAM:
        yield chosen.encoder, "encoder", chosen.encoder_weights


def _look_for(name: str, kind: Kind, given: str) -> None:
    """Raise an error if a model's weights are not on this computer."""
    path = weights_file(given)
    if path is not None:
        if not path.is_file():
            raise WeightsError(
                f"The model weights '{path}' do not exist: choose the file again (All settings, "
                "Image features, Advanced)."
            )
    elif name.startswith(TIMM):
        raise WeightsError(
            f"The encoder '{name}' comes without weights: choose their file (All settings, Image "
            "features, Advanced)."
        )
    elif store.downloaded(one := model(name, kind)) is None and not one.embedded:
        raise WeightsError(
            f"The weights of {one.title} are not on this computer: press 'Models…' to fetch them, "
            "or choose another model (All settings, Image features)."
        )

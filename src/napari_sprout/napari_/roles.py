"""What a layer is for: written into the layer itself, never read from its name."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from enum import StrEnum
from typing import Any, Final, NamedTuple

from napari.layers import Layer

TAG: Final = "napari_sprout"


class LayerRole(StrEnum):
    """What a layer shows, from the bottom of the layer list to its top."""

    IMAGE = "image"
    TISSUE = "tissue"
    HAEMATOXYLIN = "haematoxylin"
    EOSIN = "eosin"
    REFERENCE = "reference"
    PROTOTYPE = "prototype"
    ACTIVATION = "activation"
    SUPPRESSED = "suppressed"
    NUCLEI = "nuclei"
    PROMPTS = "prompts"
    DRAWING = "drawing"


class Slot(NamedTuple):
    """A place for one layer of a session; `number` tells prototypes apart, from 0."""

    role: LayerRole
    number: int = 0

    @property
    def rank(self) -> tuple[int, int]:
        """Sorts slots from the bottom of the layer list to its top."""
        return list(LayerRole).index(self.role), self.number


class Tag(NamedTuple):
    """Whose layer it is, and which of theirs."""

    slot: Slot
    session: str


def write_tag(layer: Layer, slot: Slot, session: str) -> None:
    """Mark a layer; what else its metadata holds stays.

    Parameters
    ----------
    layer
        Any layer.
    slot
        What it is for.
    session
        Unique name of the session that it belongs to.
    """
    tag: dict[str, Any] = {"role": str(slot.role), "session": session}
    if slot.role is LayerRole.PROTOTYPE:
        tag["number"] = slot.number
    layer.metadata = {**layer.metadata, TAG: tag}


def read_tag(layer: Layer) -> Tag | None:
    """Return a layer's mark; None if it has none that this version understands."""
    return tag_in(layer.metadata)


def tag_in(metadata: Mapping[str, Any]) -> Tag | None:
    """Return the mark in a layer's metadata; None if there is none."""
    tag = metadata.get(TAG)
    if not isinstance(tag, dict):
        return None
    try:
        slot = Slot(LayerRole(tag["role"]), int(tag.get("number", 0)))
        return Tag(slot, str(tag["session"]))
    except (KeyError, TypeError, ValueError):
        return None


def remove_tag(layer: Layer) -> None:
    """Take a layer's mark away: it becomes a layer like any other."""
    layer.metadata = {key: value for key, value in layer.metadata.items() if key != TAG}


def tagged(layers: Iterable[Layer], session: str) -> dict[Slot, Layer]:
    """Return the layers of one session by what they are for.

    A copy that a person made of a layer carries the same mark: the first counts.
    """
    found: dict[Slot, Layer] = {}
    for layer in layers:
        tag = read_tag(layer)
        if tag is not None and tag.session == session:
            found.setdefault(tag.slot, layer)
    return found

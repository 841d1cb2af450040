"""What a person does to prompts and nuclei, as plain values that can be kept and done again.

All coordinates are full-resolution pixels; masks are crops of the full-resolution
grid. :mod:`.correction` does the edits; here is only what they are, and their form
as JSON (masks run-length encoded, exactly).
"""

from __future__ import annotations

import dataclasses
import hashlib
import json
import math
from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property
from typing import Any, Literal, get_args

import numpy as np

from ..errors import SproutError
from .crops import Mask
from .instances import Box, Prompt, PromptKind

Piece = tuple[int, Box, Mask]
ReferenceSide = Literal["foreground", "background"]


@dataclass(frozen=True)
class AddPrompt:
    """A new point; its id must be new."""

    prompt: Prompt


@dataclass(frozen=True)
class MovePrompt:
    """A point dragged to (y, x)."""

    id: int
    y: float
    x: float


@dataclass(frozen=True)
class DeletePrompts:
    """Points taken away; the nuclei of positive ones go too."""

    ids: tuple[int, ...]


@dataclass(frozen=True, eq=False)
class PaintNucleus:
    """A nucleus's whole mask as drawn by hand, which pins it.

    An empty mask removes the nucleus; a new id makes a new one.
    """

    id: int
    box: Box
    mask: Mask


@dataclass(frozen=True)
class MergeNuclei:
    """Several nuclei that are one: their pixels become those of `into`, one of `ids`."""

    ids: tuple[int, ...]
    into: int


@dataclass(frozen=True, eq=False)
class SplitNucleus:
    """One nucleus that is several: (id, box, mask) of each, the first with the id it had."""

    id: int
    pieces: tuple[Piece, ...]


@dataclass(frozen=True)
class RemoveNuclei:
    """Nuclei that are none: they, and what later runs find in their place, stay away."""

    ids: tuple[int, ...]


@dataclass(frozen=True)
class LockNuclei:
    """Nuclei that nothing changes until they are unlocked, or those to unlock."""

    ids: tuple[int, ...]
    locked: bool


@dataclass(frozen=True)
class RestoreCandidate:
    """A suppressed mask that is a nucleus after all, which pins it."""

    id: int


@dataclass(frozen=True)
class ChooseAnswer:
    """Which of SAM's answers a nucleus takes: 0 the single one, 1 to 3 the three, 4 the mean."""

    id: int
    answer: int


@dataclass(frozen=True)
class ChangeSettings:
    """New settings (all of them, as of ``Settings.to_dict``) for the next run."""

    values: dict[str, Any]


@dataclass(frozen=True, eq=False)
class PaintReference:
    """Surest pixels of nuclei or background, as drawn by hand inside a box, for the next run."""

    which: ReferenceSide
    box: Box
    mask: Mask

    @cached_property
    def key(self) -> str:
        """Hash of the side, the place and the pixels."""
        digest = hashlib.sha256(json.dumps([self.which, _plain("box", self.box)]).encode())
        digest.update(np.packbits(self.mask).tobytes())
        return digest.hexdigest()


@dataclass(frozen=True, eq=False)
class OpenNuclei:
    """Nuclei made elsewhere, (id, box, mask) of each, to take the place of all for the next run.

    A pixel that is in several belongs to the first. The settings change with them:
    the points come from these nuclei.
    """

    pieces: tuple[Piece, ...]


@dataclass(frozen=True)
class RefineNuclei:
    """Nuclei drawn by hand or made elsewhere that SAM is to draw again."""

    ids: tuple[int, ...]


Edit = (
    AddPrompt
    | MovePrompt
    | DeletePrompts
    | PaintNucleus
    | MergeNuclei
    | SplitNucleus
    | RemoveNuclei
    | LockNuclei
    | RestoreCandidate
    | ChooseAnswer
    | ChangeSettings
    | PaintReference
    | OpenNuclei
    | RefineNuclei
)


def edit_to_json(edit: Edit) -> dict[str, Any]:
    """Return an edit as plain JSON values; :func:`edit_from_json` gives it back exactly."""
    made: dict[str, Any] = {"kind": type(edit).__name__}
    for field in dataclasses.fields(edit):
        made[field.name] = _plain(field.name, getattr(edit, field.name))
    return made


def edit_from_json(values: dict[str, Any]) -> Edit:
    """Return the edit that :func:`edit_to_json` was given.

    Raises
    ------
    SproutError
        If the kind is unknown, or a member is missing, unknown or damaged.
    """
    kinds = {cls.__name__: cls for cls in get_args(Edit)}
    kind = values.get("kind") if isinstance(values, dict) else None
    if not isinstance(kind, str) or kind not in kinds:
        raise SproutError(
            f"A change of the kind {kind!r} is not known to this version of napari-sprout: "
            "install the newest one."
        )
    names = [field.name for field in dataclasses.fields(kinds[kind])]
    if set(values) != {"kind", *names}:
        raise SproutError(
            f"A change of the kind {kind} must have the members {', '.join(names)}, not "
            f"{', '.join(sorted(set(values) - {'kind'})) or 'none'}."
        )
    members = {}
    for name in names:
        try:
            members[name] = _READERS[name](values[name])
        except (TypeError, ValueError, KeyError) as exc:
            raise SproutError(f"In a change of the kind {kind}, '{name}' is damaged.") from exc
    if "mask" in members and not _fits(members["box"], members["mask"]):
        raise SproutError(f"In a change of the kind {kind}, 'box' does not fit 'mask'.")
    edit: Edit = kinds[kind](**members)
    return edit


def _plain(name: str, value: Any) -> Any:
    if name == "mask":
        return _runs(value)
    if name == "pieces":
        return [[int(ident), _plain("box", box), _runs(mask)] for ident, box, mask in value]
    if name in ("ids", "box"):
        return [int(v) for v in value]
    if name == "prompt":
        return {f.name: _plain(f.name, getattr(value, f.name)) for f in dataclasses.fields(value)}
    if name in ("id", "into", "answer"):
        return int(value)
    return float(value) if name in ("y", "x") else value


def _runs(mask: Mask) -> dict[str, list[int]]:
    """Return a mask as the lengths of its runs in reading order, False first."""
    flat = np.asarray(mask, dtype=bool).ravel()
    ends = np.append(np.flatnonzero(np.diff(flat)) + 1, flat.size)
    runs = np.diff(ends, prepend=0).tolist()
    if flat.size and flat[0]:
        runs.insert(0, 0)
    return {"shape": [int(side) for side in mask.shape], "runs": runs}


def _read_mask(value: Any) -> Mask:
    height, width = (_whole(v) for v in value["shape"])
    runs = [_whole(v) for v in value["runs"]]
    if min(height, width, *runs, 0) < 0 or sum(runs) != height * width:
        raise ValueError("the runs do not fill the shape")
    values = np.arange(len(runs)) % 2 == 1
    mask: Mask = np.repeat(values, runs).reshape(height, width)
    return mask


def _whole(value: Any) -> int:
    if isinstance(value, bool) or not isinstance(value, int):
        raise TypeError("not a whole number")
    return value


def _number(value: Any) -> float:
    if isinstance(value, bool) or not isinstance(value, int | float) or not math.isfinite(value):
        raise TypeError("not a number")
    return float(value)


def _list(value: Any) -> list[Any]:
    if not isinstance(value, list):
        raise TypeError("not a list")
    return value


def _read_box(value: Any) -> Box:
    y0, x0, y1, x1 = (_whole(v) for v in _list(value))
    return y0, x0, y1, x1


def _fits(box: Box, mask: Mask) -> bool:
    return mask.shape == (box[2] - box[0], box[3] - box[1])


def _read_pieces(value: Any) -> tuple[Piece, ...]:
    pieces = []
    for ident, place, runs in _list(value):
        box, mask = _read_box(place), _read_mask(runs)
        if not _fits(box, mask):
            raise ValueError("the box does not fit the mask")
        pieces.append((_whole(ident), box, mask))
    return tuple(pieces)


def _read_prompt(value: Any) -> Prompt:
    names = {field.name for field in dataclasses.fields(Prompt)}
    if set(value) != names or not isinstance(value["source"], str):
        raise ValueError("not a prompt")
    kind: PromptKind = _one_of(value["kind"], get_args(PromptKind))
    return Prompt(
        _whole(value["id"]), kind, _number(value["y"]), _number(value["x"]), value["source"]
    )


def _one_of(value: Any, allowed: tuple[Any, ...]) -> Any:
    if value not in allowed:
        raise ValueError(f"not one of {allowed}")
    return value


def _of_type(kind: type[Any]) -> Callable[[Any], Any]:
    def read(value: Any) -> Any:
        if not isinstance(value, kind):
            raise TypeError(f"not of the type {kind.__name__}")
        return value

    return read


_READERS: dict[str, Callable[[Any], Any]] = {
    "prompt": _read_prompt,
    "id": _whole,
    "into": _whole,
    "answer": _whole,
    "y": _number,
    "x": _number,
    "ids": lambda value: tuple(_whole(v) for v in _list(value)),
    "box": _read_box,
    "mask": _read_mask,
    "pieces": _read_pieces,
    "locked": _of_type(bool),
    "values": _of_type(dict),
    "which": lambda value: _one_of(value, get_args(ReferenceSide)),
}

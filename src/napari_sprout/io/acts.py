"""Acts of a person: several edits that are one, and undo and redo, as they are written down.

What belongs to an act of several parts, or to one that had to wait, says so in the
journal: ``act`` is the act's name and ``left`` the number of its parts still to come. In
``waiting.jsonl`` an act is ``{"edits": [...]}``, or ``{"move": "undo"}`` or ``"redo"``.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import groupby
from typing import TYPE_CHECKING, Any, Literal

from ..core.edits import Edit, edit_from_json, edit_to_json
from ..errors import ProjectError

if TYPE_CHECKING:
    from .project import Project

Move = Literal["undo", "redo"]


@dataclass(frozen=True)
class Part:
    """One of the parts of an act.

    Attributes
    ----------
    act
        The act's name.
    left
        How many parts follow.
    """

    act: str
    left: int

    def to_json(self) -> dict[str, Any]:
        """Return the members of a journal entry that say so."""
        return {"act": self.act, "left": self.left}


@dataclass(frozen=True)
class LeftOver:
    """An act that waited when the program died, or what had not been done of it.

    Attributes
    ----------
    act
        Its name.
    edits
        Those still to be done; none if it is a move.
    move
        "undo" or "redo"; None if it is edits.
    """

    act: str
    edits: tuple[Edit, ...] = ()
    move: Move | None = None


def waiting_edits(edits: Sequence[Edit]) -> dict[str, Any]:
    """Return what is written down of edits that wait."""
    return {"edits": [edit_to_json(edit) for edit in edits]}


def waiting_move(move: Move) -> dict[str, Any]:
    """Return what is written down of an undo or redo that waits."""
    return {"move": move}


def left_over(project: Project) -> tuple[str, ...]:
    """Return the names of the acts that are still to be done, in order.

    Acts are done in order, so what waited before one that is in the journal is not to be
    done any more: see :func:`come_to_nothing`.
    """
    return _split(project)[1]


def come_to_nothing(project: Project) -> tuple[str, ...]:
    """Return the names of the acts that failed in full or in part, and nobody was told.

    Acts that were done after them are in the journal: done now, they could take back what
    the person did later.
    """
    counts = Counter(str(entry["act"]) for entry in _done_parts(project))
    known = _parts_left(project)
    passed = set(_split(project)[0])
    found = []
    for entry in project.waiting.earlier:
        act, edits = str(entry.get("act")), entry.get("edits")
        whole = len(edits) if isinstance(edits, list) else 1
        if act in passed and (counts[act] < whole or known[act] > 0):
            found.append(act)
    return tuple(found)


def is_begun(project: Project, act: str) -> bool:
    """Tell whether any part of an act is in the journal, and did not come to nothing."""
    return any(entry["act"] == act for entry in _done_parts(project))


def _split(project: Project) -> tuple[tuple[str, ...], tuple[str, ...]]:
    """Return the acts that waited and whose turn is past, and those that are to be done."""
    known = _parts_left(project)
    names = tuple(str(entry.get("act")) for entry in project.waiting.earlier)
    last = max((index for index, name in enumerate(names) if name in known), default=-1)
    first = last if last >= 0 and known[names[last]] > 0 else last + 1
    return names[:first], names[first:]


def read_left_over(project: Project, act: str) -> LeftOver:
    """Return what is left to be done of an act.

    Parameters
    ----------
    project
        Opened after the program died.
    act
        One of :func:`left_over`.

    Raises
    ------
    SproutError
        If it is of a kind that this version does not know.
    """
    entry = next(entry for entry in project.waiting.earlier if entry.get("act") == act)
    move, edits = entry.get("move"), entry.get("edits")
    if move in ("undo", "redo"):
        return LeftOver(act, move=move)
    if not isinstance(edits, list):
        raise ProjectError("It is of a kind that is not known to this version of napari-sprout.")
    left = _parts_left(project).get(act, len(edits))
    return LeftOver(act, tuple(edit_from_json(edit) for edit in edits[len(edits) - left :]))


def _parts_left(project: Project) -> dict[str, int]:
    """Return the acts that are in the journal, and how many parts of each are still to come."""
    return {str(entry["act"]): int(entry.get("left", 0)) for entry in _done_parts(project)}


def _done_parts(project: Project) -> Iterator[Mapping[str, Any]]:
    """Yield the parts of acts that are in the journal and did not come to nothing."""
    entries = project.entries
    failed = _failed(entries)
    for number, entry in enumerate(entries, 1):
        if "act" in entry and number not in failed:
            yield entry


def _failed(entries: Iterable[Mapping[str, Any]]) -> set[Any]:
    """Return the numbers of the entries that came to nothing."""
    return {entry.get("entry") for entry in entries if entry.get("kind") == "failed"}


def count_acts(entries: Iterable[Mapping[str, Any]]) -> tuple[list[int], list[int]]:
    """Return how many edits each act in a journal has, of those done and those undone.

    Parameters
    ----------
    entries
        Everything in the journal, in order.

    Returns
    -------
    tuple of list of int
        Two stacks, the last act at the end: what the next undo takes back together, and
        what the next redo brings back.
    """
    numbered = list(enumerate(entries, 1))
    failed = _failed(entry for _, entry in numbered)
    steps = [
        (entry["kind"], entry.get("act", number))
        for number, entry in numbered
        if entry.get("kind") in ("edit", "undo", "redo") and number not in failed
    ]
    done: list[int] = []
    undone: list[int] = []
    for (kind, _), parts in groupby(steps):
        count = sum(1 for _ in parts)
        if kind == "edit":
            done.append(count)
            undone.clear()
            continue
        source, target = (done, undone) if kind == "undo" else (undone, done)
        whole = source.pop() if source else count
        target.append(count)
        if whole > count:
            # What is left of the act stays one act.
            source.append(whole - count)
    return done, undone

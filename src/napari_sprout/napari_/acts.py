"""The acts of a person, done one after the other: which edits are one act, and which wait."""

from __future__ import annotations

import logging
import threading
import uuid
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Final

from ..core.correction import Change, Correction
from ..core.edits import Edit
from ..errors import OutputError, SproutError, StoppedError
from ..io import history
from ..io.acts import (
    LeftOver,
    Move,
    Part,
    come_to_nothing,
    count_acts,
    is_begun,
    left_over,
    read_left_over,
    waiting_edits,
    waiting_move,
)
from ..io.project import Project

_LOG: Final = logging.getLogger(__name__)
_PASSED: Final = (
    "A change that you made shortly before the program ended came to nothing, and what you did "
    "after it was done without it; look whether you miss it, and make it again."
)


@dataclass(frozen=True, eq=False)
class Failure:
    """An edit that turned out to be impossible, and why."""

    edit: Edit
    error: SproutError

    @property
    def reason(self) -> str:
        """The reason, in a sentence."""
        return str(self.error)


class Acts:
    """Does acts to a correction, keeps them in a project, and knows which edits are one act.

    Parameters
    ----------
    correction
        What is worked on.
    project
        Where everything is written down before it is done; None for nowhere.
    """

    def __init__(self, correction: Correction, project: Project | None) -> None:
        self._correction = correction
        self._project = project
        self._unseen = threading.Event()
        self._done: list[int] = []
        self._undone: list[int] = []

    def hurry(self) -> None:
        """Take note that nobody is there any more to be told anything."""
        self._unseen.set()

    def wait(self, what: Sequence[Edit] | Move) -> str | None:
        """Write down what has to wait, since it may be seen already.

        Parameters
        ----------
        what
            The edits of one act, or "undo" or "redo".

        Returns
        -------
        str or None
            The act's name; None without a project.

        Raises
        ------
        SproutError
            If it cannot be written.
        """
        if self._project is None:
            return None
        entry = waiting_move(what) if isinstance(what, str) else waiting_edits(what)
        return self._project.waiting.add(entry)

    def settle(self, act: str | None, failed: bool = False) -> None:
        """Take note that an act waits no more, if it ever did.

        Parameters
        ----------
        act
            Its name.
        failed
            Whether any of it came to nothing. If nobody could be told, it goes on
            waiting, for when the project is opened again; so does an undo that found
            nothing to undo, since what it was to undo may be waiting, too.
        """
        if self._project is None or act is None:
            return
        in_vain = failed or not is_begun(self._project, act)
        if not (in_vain and self._unseen.is_set()):
            self._project.waiting.settle(act, told=in_vain)

    def apply(self, edits: Sequence[Edit], act: str | None = None) -> Iterator[Change | Failure]:
        """Do the edits of one act; those that are impossible are left out."""
        parts, done = _parts(act, len(edits)), 0
        try:
            for edit, part in zip(edits, parts, strict=True):
                try:
                    change = self._kept(edit, part)
                except SproutError as error:
                    _LOG.warning("A change came to nothing: %s", error)
                    yield Failure(edit, error)
                    continue
                done += 1
                yield change
        finally:
            if done:
                self._done.append(done)
                self._undone.clear()

    def travel(self, move: Move, act: str | None = None) -> Iterator[Change]:
        """Undo the last act, or redo the one undone last."""
        forward = move == "redo"
        source, target = (self._undone, self._done) if forward else (self._done, self._undone)
        known = bool(source)
        count = source.pop() if known else 1
        parts, done = _parts(act, count), 0
        try:
            while done < count:
                change = self._step(forward, parts[done])
                if change is None:
                    count = done
                    break
                done += 1
                yield change
        except SproutError as error:
            _LOG.warning("Nothing could be changed back: %s", error)
            raise
        finally:
            if done:
                target.append(done)
            if known and done < count:
                # What is left of the act stays one act.
                source.append(count - done)

    def bring_back(self) -> Iterator[str]:
        """Do what waited when the program died, in a project that was done again.

        Yields
        ------
        str
            What could not be done, and why, in a sentence.

        Raises
        ------
        OutputError, StoppedError
            If it can be done another time; then it goes on waiting.
        """
        project = self._project
        if project is None:
            return
        left = left_over(project)
        earlier = {str(entry.get("act")) for entry in project.waiting.earlier}
        for act in come_to_nothing(project):
            yield _PASSED
            project.waiting.settle(act, told=True)
        project.waiting.settle(*earlier.difference(left))
        for act in left:
            told = False
            self._done, self._undone = count_acts(project.entries)
            try:
                for failure in self._do(read_left_over(project, act)):
                    told = True
                    yield _too_late(failure.error)
            except (OutputError, StoppedError):
                raise
            except SproutError as error:
                told = True
                yield _too_late(error)
            project.waiting.settle(act, told=told)
        self._done, self._undone = count_acts(project.entries)

    def _do(self, left: LeftOver) -> Iterator[Failure]:
        if left.move is not None:
            deque(self.travel(left.move, left.act), maxlen=0)
        for found in self.apply(left.edits, left.act):
            if isinstance(found, Failure):
                if isinstance(found.error, OutputError | StoppedError):
                    raise found.error
                yield found

    def _kept(self, edit: Edit, part: Part | None) -> Change:
        if self._project is None:
            return self._correction.apply(edit)
        return history.apply(self._project, self._correction, edit, part)

    def _step(self, forward: bool, part: Part | None) -> Change | None:
        if self._project is None:
            return self._correction.redo() if forward else self._correction.undo()
        move: Callable[..., Change | None] = history.redo if forward else history.undo
        return move(self._project, self._correction, part)


def _parts(act: str | None, count: int) -> list[Part | None]:
    """Return what the journal says of each part of an act; nothing of one that is alone."""
    if act is None and count < 2:
        return [None] * count
    name = act or uuid.uuid4().hex
    return [Part(name, left) for left in reversed(range(count))]


def _too_late(error: SproutError) -> str:
    return (
        "A change that waited for other work to end when the program was stopped could not be "
        f"made: {error}"
    )

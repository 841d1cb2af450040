"""What a person did that waits for other work to end: on disk before its turn comes.

``waiting.jsonl`` lies in the project folder while anything waits. Its lines are sealed
as the journal's are; each says what is to be done, and by which act of the person, or
that an act came to nothing and the person knows. What has been done of an act is in the
journal, under the same name: an act is never done twice, whenever the program dies.
"""

from __future__ import annotations

import threading
import uuid
from collections.abc import Callable, Iterable, Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any, Final

from ..errors import ProjectError, SproutError, warn
from .journal import Journal

WAITING_NAME: Final = "waiting.jsonl"
DAMAGED_NAME: Final = "waiting-damaged.jsonl"


class Waiting:
    """The acts of one project that wait to be done; safe to use from any thread.

    The project folder's lock sees to it that it is open for writing only once.

    Parameters
    ----------
    folder
        The project folder.
    identity
        What the project is called by.
    read_only
        Leave the file as it is.
    tell
        Called with a sentence if the file's end was torn by a crash, or if it is
        damaged: then it is put aside, since all that was done is in the journal.

    Raises
    ------
    OutputError
        If a torn last line cannot be repaired.
    """

    def __init__(
        self,
        folder: Path,
        identity: str,
        *,
        read_only: bool = False,
        tell: Callable[[str], None] = warn,
    ) -> None:
        self.path = folder / WAITING_NAME
        self._identity = identity
        self._read_only = read_only
        self._lock = threading.Lock()
        self._closed = False
        self._file = self._opened(tell)
        entries = () if self._file is None else self._file.entries
        self._earlier = _unsettled(entries)
        self._later: set[str] = set()

    @property
    def earlier(self) -> Sequence[Mapping[str, Any]]:
        """What was left over when the project was opened and is not settled yet, in order."""
        with self._lock:
            return tuple(self._earlier.values())

    def add(self, what: Mapping[str, Any]) -> str:
        """Write down what waits; when this returns, it survives any crash.

        Parameters
        ----------
        what
            What is to be done, see :mod:`.acts`.

        Returns
        -------
        str
            The name of the act, for the journal and for :meth:`settle`.

        Raises
        ------
        OutputError
            If it could not be written.
        ProjectError
            If the project is closed or read-only, or the file is not at hand any more.
        """
        with self._lock:
            if self._closed or self._read_only:
                raise ProjectError(
                    f"'{self.path.parent}' is not open for writing; open the project again to "
                    "change it."
                )
            if self._file is None:
                if not self.path.exists():
                    Journal.create(self.path)
                self._file = Journal(self.path, self._identity)
            act = uuid.uuid4().hex
            self._file.append({"act": act, **what})
            self._later.add(act)
            return act

    def settle(self, *acts: str, told: bool = False) -> None:
        """Note that acts wait no more: each is in the journal, or was said to be impossible.

        Parameters
        ----------
        acts
            Their names; the file is emptied when none is left.
        told
            Whether they are not in the journal in full, and the person knows: then that is
            written down. On a full disk they may be found there again after a crash.
        """
        with self._lock:
            settled = [act for act in acts if act in self._earlier or act in self._later]
            for act in settled:
                self._earlier.pop(act, None)
                self._later.discard(act)
            if self._closed or self._file is None:
                return
            with suppress(SproutError):
                if not (self._earlier or self._later):
                    self._file.clear()
                    return
                for act in settled if told else ():
                    self._file.append({"act": act, "told": True})

    def close(self) -> None:
        """Close the file, and take it away if nothing waits; harmless if done already."""
        with self._lock:
            if self._closed or self._file is None:
                self._closed = True
                return
            self._closed = True
            self._file.close()
            if not (self._read_only or self._earlier or self._later):
                with suppress(OSError):
                    self.path.unlink()

    def _opened(self, tell: Callable[[str], None]) -> Journal | None:
        """Open the file if there is one; it must never keep anyone from the work itself."""
        if not self.path.exists():
            return None
        try:
            return Journal(self.path, self._identity, read_only=self._read_only, tell=tell)
        except ProjectError:
            if not self.path.exists():
                # Whoever has the project open has just done it all.
                return None
        aside = self.path.with_name(DAMAGED_NAME)
        tell(
            f"'{self.path}' is damaged, so what was done in this project while a run was under "
            "way and the program was stopped cannot be brought back; all that was done before is "
            f"kept, and the file is put aside as '{aside.name}'."
        )
        if not self._read_only:
            with suppress(OSError):
                self.path.replace(aside)
        return None


def _unsettled(entries: Iterable[Mapping[str, Any]]) -> dict[str, Mapping[str, Any]]:
    """Return the acts that wait or are in the journal, in order."""
    found: dict[str, Mapping[str, Any]] = {}
    for entry in entries:
        act = str(entry.get("act"))
        if entry.get("told"):
            found.pop(act, None)
        else:
            found[act] = entry
    return found

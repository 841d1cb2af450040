"""An append-only journal: what was acknowledged once is there after any crash.

One line an entry, a JSON object whose first member ``n`` counts from 1 and whose
last, ``check``, is the start of the SHA-256 of the line before it and of all that
precedes it in its own line. A changed, lost, doubled or moved line breaks that
chain. The chain starts from the project's identifier, so that a journal cannot
stand in for another project's.
"""

from __future__ import annotations

import hashlib
import json
import os
import threading
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from ..errors import OutputError, ProjectError, warn
from .atomic import fsync_folder, output_error, replacing

_RESERVED: Final = ("n", "check")
_DIGITS: Final = 16
_SEAL: Final = b',"check":"'
_TAIL: Final = len(_SEAL) + _DIGITS + len(b'"}')


@dataclass(frozen=True)
class _Contents:
    """The entries of a journal file, the last line's check, and the bytes that hold them."""

    entries: list[dict[str, Any]]
    check: str
    kept: bytes
    dropped: bytes

    @property
    def whole(self) -> bool:
        """Whether the file needs no repair."""
        return not self.dropped and (not self.kept or self.kept.endswith(b"\n"))


class Journal:
    """The journal file of one project, open for appending.

    Not to be opened twice at a time; the project folder's lock sees to that.
    Appending is safe from any thread.

    Parameters
    ----------
    path
        The journal file; it must exist (see :meth:`create`).
    identity
        What the project is called by; a journal of another project is refused.
    read_only
        Leave the file as it is: nothing is repaired and nothing can be appended.
    tell
        Called with a sentence if the last line was torn by a crash in the middle of
        writing; by default that is a SproutWarning. The line was never acknowledged,
        and it alone is dropped.

    Raises
    ------
    ProjectError
        If the file is missing, unreadable or damaged, naming the line.
    OutputError
        If a torn last line cannot be repaired.
    """

    def __init__(
        self,
        path: str | Path,
        identity: str,
        *,
        read_only: bool = False,
        tell: Callable[[str], None] = warn,
    ) -> None:
        self.path = Path(path)
        self._identity = identity
        contents = _read(self.path, identity)
        if contents.dropped:
            tell(
                f"The last line of '{self.path}' was cut off when the program stopped in the "
                f"middle of writing it; all {len(contents.entries)} entries before it are kept."
            )
        self._entries = contents.entries
        self._check = contents.check
        self._lock = threading.Lock()
        self._descriptor: int | None = None
        self._size = 0
        if not read_only:
            if not contents.whole:
                _repair(self.path, contents)
            self._open()

    @staticmethod
    def create(path: str | Path) -> None:
        """Make an empty journal file, durably, where none exists.

        Raises
        ------
        OutputError
            If it exists or cannot be made.
        """
        path = Path(path)
        try:
            with path.open("xb") as file:
                os.fsync(file.fileno())
        except OSError as exc:
            raise output_error(path, exc) from exc
        fsync_folder(path.parent)

    @property
    def entries(self) -> Sequence[Mapping[str, Any]]:
        """Everything appended so far, in order, without the journal's own members."""
        return tuple(self._entries)

    def __len__(self) -> int:
        return len(self._entries)

    def append(self, entry: Mapping[str, Any]) -> int:
        """Add an entry; when this returns, it survives a crash and a power cut.

        Parameters
        ----------
        entry
            Anything JSON can hold exactly: no NaN, and text as keys. ``n`` and
            ``check`` are the journal's own.

        Returns
        -------
        int
            The entry's number, from 1.

        Raises
        ------
        OutputError
            If it could not be written (a full disk, say). The file is as it was.
        ProjectError
            If `entry` cannot be stored, the journal is closed or read-only, or
            another program has changed, moved or deleted its file.
        """
        with self._lock:
            number = len(self._entries) + 1
            line, check, stored = _seal(self.path, number, entry, self._check)
            self._write(line)
            self._entries.append(stored)
            self._check = check
            return number

    def clear(self) -> None:
        """Take all entries out, for a journal that is kept for a while only.

        It needs no room on the disk.

        Raises
        ------
        OutputError
            If the file could not be emptied; it is as it was.
        ProjectError
            As for :meth:`append`.
        """
        with self._lock:
            descriptor = self._writable()
            try:
                os.ftruncate(descriptor, 0)
                os.fsync(descriptor)
            except OSError as exc:
                raise output_error(self.path, exc) from exc
            self._entries.clear()
            self._check, self._size = self._identity, 0

    def close(self) -> None:
        """Close the file; nothing can be appended from here on."""
        with self._lock:
            if self._descriptor is not None:
                os.close(self._descriptor)
                self._descriptor = None

    def _open(self) -> None:
        flags = os.O_WRONLY | os.O_APPEND | getattr(os, "O_BINARY", 0)
        try:
            self._descriptor = os.open(self.path, flags)
        except OSError as exc:
            raise output_error(self.path, exc) from exc
        self._size = os.fstat(self._descriptor).st_size

    def _write(self, line: bytes) -> None:
        """Write one whole line through to the disk, or leave the file as it was."""
        descriptor = self._writable()
        try:
            rest = memoryview(line)
            while rest:
                rest = rest[os.write(descriptor, rest) :]
            os.fsync(descriptor)
        except BaseException as exc:
            self._take_back(descriptor)
            if isinstance(exc, OSError):
                raise output_error(self.path, exc) from exc
            raise
        self._size += len(line)

    def _writable(self) -> int:
        """Return the open file, if it is still the one that others will read."""
        if self._descriptor is None:
            raise ProjectError(
                f"'{self.path}' is not open for writing; open the project again to change it."
            )
        self._check_untouched(self._descriptor)
        return self._descriptor

    def _check_untouched(self, descriptor: int) -> None:
        """Refuse to write where nobody would find it, or after somebody else's bytes."""
        state = os.fstat(descriptor)
        try:
            there = os.path.samestat(state, self.path.stat())
        except OSError:
            there = False
        if not there:
            raise ProjectError(
                f"'{self.path}' was moved or deleted while it was open, so the last change was "
                "not saved; put the project folder back."
            )
        if state.st_size != self._size:
            raise ProjectError(
                f"'{self.path}' was changed by another program while it was open, so the last "
                "change was not saved; close the project and open it again."
            )

    def _take_back(self, descriptor: int) -> None:
        try:
            os.ftruncate(descriptor, self._size)
            os.fsync(descriptor)
        except OSError as exc:
            # The torn line stays, so nothing may follow it: opening again repairs it.
            os.close(descriptor)
            self._descriptor = None
            raise OutputError(
                f"'{self.path}' could not be written and its last line is incomplete; close the "
                "project, check the disk and open the project again."
            ) from exc


def _digest(previous: str, body: bytes) -> str:
    return hashlib.sha256(previous.encode() + body).hexdigest()[:_DIGITS]


def _seal(
    path: Path, number: int, entry: Mapping[str, Any], previous: str
) -> tuple[bytes, str, dict[str, Any]]:
    """Return the entry's line, its check, and the entry as it will be read back."""
    if reserved := [name for name in _RESERVED if name in entry]:
        raise ProjectError(f"An entry of '{path}' must not have a member '{reserved[0]}'.")
    try:
        text = json.dumps({"n": number, **entry}, allow_nan=False, separators=(",", ":"))
    except (TypeError, ValueError) as exc:
        raise ProjectError(f"This change cannot be saved in '{path}': {exc}.") from exc
    body = text[:-1].encode("ascii")
    check = _digest(previous, body)
    stored: dict[str, Any] = json.loads(text)
    del stored["n"]
    return body + _SEAL + check.encode("ascii") + b'"}\n', check, stored


def _read(path: Path, identity: str) -> _Contents:
    try:
        data = path.read_bytes()
    except FileNotFoundError as exc:
        raise ProjectError(
            f"'{path}' is missing, and the work done in this project with it; restore it from a "
            "backup."
        ) from exc
    except OSError as exc:
        raise ProjectError(
            f"'{path}' cannot be read ({exc.strerror or exc}); ask for permission or copy the "
            "project elsewhere."
        ) from exc
    lines = data.split(b"\n")
    unfinished = lines.pop()
    entries: list[dict[str, Any]] = []
    check, kept = identity, 0
    for number, line in enumerate(lines, 1):
        found = _unseal(line, number, check)
        if found is None:
            # After a power cut the last line can have its full length but no content.
            if number == len(lines) and not unfinished and b"\0" in line:
                return _Contents(entries, check, data[:kept], data[kept:])
            raise _damaged(path, number, len(lines) + bool(unfinished))
        entries.append(found[0])
        check = found[1]
        kept += len(line) + 1
    # Only the final line break may be missing: then nothing is lost.
    last = _unseal(unfinished, len(lines) + 1, check) if unfinished else None
    if last is not None:
        return _Contents([*entries, last[0]], last[1], data, b"")
    return _Contents(entries, check, data[:kept], unfinished)


def _unseal(line: bytes, number: int, previous: str) -> tuple[dict[str, Any], str] | None:
    """Return a line's entry and check; None if it is not what was written there."""
    body, tail = line[:-_TAIL], line[-_TAIL:]
    check = _digest(previous, body)
    if tail != _SEAL + check.encode("ascii") + b'"}':
        return None
    try:
        entry = json.loads(line)
    except ValueError:
        return None
    if entry.pop("n", None) != number:
        return None
    del entry["check"]
    return entry, check


def _damaged(path: Path, number: int, total: int) -> ProjectError:
    return ProjectError(
        f"Line {number} of {total} of '{path}' is damaged, or lines before it are missing; "
        f"restore the file from a backup, or delete line {number} and all after it to go on "
        f"from the {number - 1} entries before."
    )


def _repair(path: Path, contents: _Contents) -> None:
    """Put the whole lines alone in the file's place, in one step."""
    kept = contents.kept
    with replacing(path) as temporary:
        temporary.write_bytes(kept if kept.endswith(b"\n") or not kept else kept + b"\n")

"""One process at a time: a lock that dies with its owner."""

from __future__ import annotations

import errno
import json
import os
import socket
import sys
from contextlib import suppress
from pathlib import Path
from typing import Any, Final

from ..errors import ProjectError
from .atomic import output_error

_TAKEN: Final = (errno.EWOULDBLOCK, errno.EACCES, errno.EDEADLK)
_NO_LOCKS: Final = (errno.ENOLCK, errno.ENOSYS, errno.ENOTSUP, errno.EOPNOTSUPP)
# Windows keeps others from reading locked bytes, so the lock lies beyond the file's text.
_OFFSET: Final = 1 << 30


class FolderLock:
    """A lock file that names its owner's process and computer.

    The operating system holds the lock itself and lets go of it however the
    owner ends, so what a killed process leaves behind is taken over at once. On
    a shared drive that knows no locks, whether the named process lives decides.
    Nothing tells whether a process on another computer lives: its lock file is
    respected, and the error says what to do.

    Parameters
    ----------
    path
        The lock file; made if needed, emptied on release.
    subject
        What its folder holds, for a person.

    Raises
    ------
    ProjectError
        If another process, or another part of this one, holds the lock.
    OutputError
        If the file cannot be written.
    """

    def __init__(self, path: str | Path, subject: str = "project") -> None:
        self.path = Path(path)
        self._named = f"{subject} '{self.path.parent}'"
        try:
            flags = os.O_RDWR | os.O_CREAT | getattr(os, "O_BINARY", 0)
            descriptor = os.open(self.path, flags, 0o666)
        except OSError as exc:
            raise output_error(self.path, exc) from exc
        try:
            self._take(descriptor)
        except BaseException:
            os.close(descriptor)
            raise
        self._descriptor: int | None = descriptor

    def release(self) -> None:
        """Let others in; harmless if done already."""
        if self._descriptor is not None:
            with suppress(OSError):
                os.ftruncate(self._descriptor, 0)
            os.close(self._descriptor)
            self._descriptor = None

    def _take(self, descriptor: int) -> None:
        try:
            locked = _try_lock(descriptor)
            owner = _owner(descriptor)
            free = not _alive(owner.get("pid")) if locked is None else locked
            elsewhere = owner.get("host") not in (None, socket.gethostname())
            if not free or elsewhere:
                raise self._in_use(owner, elsewhere)
            _write(descriptor, {"pid": os.getpid(), "host": socket.gethostname()})
        except OSError as exc:
            raise output_error(self.path, exc) from exc

    def _in_use(self, owner: dict[str, Any], elsewhere: bool) -> ProjectError:
        pid = owner.get("pid", "unknown")
        if elsewhere:
            return ProjectError(
                f"The {self._named} is open on the computer '{owner['host']}' (process "
                f"{pid}); close it there, or, if it is not open there, delete '{self.path}'."
            )
        where = "in this program" if pid == os.getpid() else f"in another program (process {pid})"
        return ProjectError(f"The {self._named} is open already {where}; close it there first.")


def _try_lock(descriptor: int) -> bool | None:
    """Lock the file without waiting; False if somebody has it, None if there are no locks."""
    try:
        if sys.platform == "win32":
            import msvcrt

            os.lseek(descriptor, _OFFSET, os.SEEK_SET)
            msvcrt.locking(descriptor, msvcrt.LK_NBLCK, 1)
        else:
            import fcntl

            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError as exc:
        if exc.errno in _TAKEN:
            return False
        if exc.errno in _NO_LOCKS:
            return None
        raise
    return True


def _alive(pid: object) -> bool:
    """Tell whether a process of this computer lives, as far as that can be told."""
    if not isinstance(pid, int) or pid <= 0:
        return False
    if sys.platform == "win32":
        # There, asking would end it; and drives without locks are hardly met there.
        return True
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    except PermissionError:
        return True
    return True


def _owner(descriptor: int) -> dict[str, Any]:
    """Return what the lock file says of its owner; nothing if that is unreadable."""
    os.lseek(descriptor, 0, os.SEEK_SET)
    try:
        found = json.loads(os.read(descriptor, 4096))
    except ValueError:
        return {}
    return found if isinstance(found, dict) else {}


def _write(descriptor: int, owner: dict[str, Any]) -> None:
    os.ftruncate(descriptor, 0)
    os.lseek(descriptor, 0, os.SEEK_SET)
    os.write(descriptor, json.dumps(owner).encode())
    os.fsync(descriptor)

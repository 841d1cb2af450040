"""Files appear whole or not at all: write beside the target, then rename onto it."""

from __future__ import annotations

import errno
import os
import secrets
import shutil
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from ..errors import OutputError

_REASONS = {
    errno.ENOSPC: "the disk is full; free some space or choose another folder",
    errno.EDQUOT: "your disk quota is used up; free some space or choose another folder",
    errno.EROFS: "the disk is read-only; choose another folder",
    errno.ENAMETOOLONG: "the name is too long; choose a shorter one",
    errno.ENOENT: "its folder does not exist; create it or choose another folder",
    errno.ENOTDIR: "part of its path is a file, not a folder; choose another folder",
    errno.EISDIR: "a folder of that name exists; choose another name",
    errno.EFBIG: "the disk cannot hold a file this large; choose another disk",
}
_NOT_ALLOWED = (
    "permission was denied; close it in other programs, ask for permission or choose another folder"
)


def output_error(path: Path, exc: OSError) -> OutputError:
    """Return the sentence that says why a file could not be written and what to do.

    Parameters
    ----------
    path
        The file or folder that was to be written.
    exc
        What the operating system said.

    Returns
    -------
    OutputError
        To be raised from `exc`; it names `path`.
    """
    if isinstance(exc, PermissionError):
        reason = _NOT_ALLOWED
    else:
        detail = exc.strerror or str(exc) or type(exc).__name__
        other = f"{detail[:1].lower()}{detail[1:]}; choose another folder"
        reason = _REASONS.get(exc.errno or 0, other)
    return OutputError(f"'{path}' could not be written: {reason}.")


def _fsync(path: Path) -> None:
    with path.open("rb+") as file:
        os.fsync(file.fileno())


def fsync_folder(folder: Path) -> None:
    """Make new and renamed files of a folder durable, where a folder can be synced.

    On other systems, Windows among them, nothing is done; no error is raised.

    Parameters
    ----------
    folder
        The folder that holds them. Their content must have been synced before.
    """
    with suppress(OSError):
        descriptor = os.open(folder, os.O_RDONLY)
        try:
            os.fsync(descriptor)
        finally:
            os.close(descriptor)


@contextmanager
def replacing(path: str | Path) -> Iterator[Path]:
    """Give a temporary path to write to, which then replaces `path` in one step.

    The temporary file lies in the same folder, hidden (its name starts with
    "."), with the same suffix. On success it is flushed to disk and renamed
    onto `path`; on any exception, an interruption included, it is removed and
    whatever was at `path` before stays as it was. A symbolic link is followed,
    so that what it points to is replaced.

    Parameters
    ----------
    path
        The final file; its folder must exist.

    Yields
    ------
    Path
        Where the body of the ``with`` statement must create its file.

    Raises
    ------
    OutputError
        If the file cannot be written: disk full, no permission, no such folder.
    """
    path = Path(path)
    target = Path(os.path.realpath(path))
    temporary = target.with_name(f".sprout-{secrets.token_hex(6)}{target.suffix}")
    try:
        _check_target(target)
        try:
            yield temporary
            _fsync(temporary)
            temporary.replace(target)
        except BaseException:
            with suppress(OSError):
                temporary.unlink(missing_ok=True)
            raise
        fsync_folder(target.parent)
    except OSError as exc:
        raise output_error(path, exc) from exc


@contextmanager
def filling(folder: str | Path) -> Iterator[Path]:
    """Give a temporary folder; its files move into `folder` once all are written.

    Files of the same name are replaced, any others in `folder` stay. On an
    exception nothing in `folder` has changed.

    Parameters
    ----------
    folder
        The final folder; made if needed.

    Yields
    ------
    Path
        An empty, hidden folder inside it.

    Raises
    ------
    OutputError
        If files cannot be written there.
    """
    folder = writable_folder(folder)
    draft = folder / f".sprout-{secrets.token_hex(6)}"
    try:
        draft.mkdir()
        yield draft
        for path in sorted(draft.iterdir()):
            path.replace(folder / path.name)
    except OSError as exc:
        raise output_error(folder, exc) from exc
    finally:
        shutil.rmtree(draft, ignore_errors=True)


@contextmanager
def replacing_folder(path: str | Path) -> Iterator[Path]:
    """Give a temporary path for a folder, which then takes the place of `path`.

    A folder that is there is put aside and deleted only when the new one has come; on an
    exception it stays as it was, and the new one is removed.

    Parameters
    ----------
    path
        The final folder; its parent must exist.

    Yields
    ------
    Path
        Hidden, beside it, with the same suffix: where the body of the ``with`` statement
        must create the folder.

    Raises
    ------
    OutputError
        If it cannot be written there.
    """
    path = Path(path)
    draft, aside = (
        path.with_name(f".sprout-{secrets.token_hex(6)}{path.suffix}") for _ in range(2)
    )
    try:
        yield draft
        if path.exists():
            path.rename(aside)
        try:
            draft.rename(path)
        except OSError:
            if aside.exists():
                aside.rename(path)
            raise
        fsync_folder(path.parent)
    except OSError as exc:
        raise output_error(path, exc) from exc
    finally:
        shutil.rmtree(draft, ignore_errors=True)
        if path.exists():
            shutil.rmtree(aside, ignore_errors=True)


def _check_target(target: Path) -> None:
    if target.is_dir():
        raise IsADirectoryError(errno.EISDIR, os.strerror(errno.EISDIR))
    if not target.parent.exists():
        raise FileNotFoundError(errno.ENOENT, os.strerror(errno.ENOENT))
    if not target.parent.is_dir():
        raise NotADirectoryError(errno.ENOTDIR, os.strerror(errno.ENOTDIR))
    # Renaming would quietly win over a file that somebody has write-protected.
    # Asked twice: others may delete or replace it in between.
    if all(not os.access(target, os.W_OK) and target.exists() for _ in range(2)):
        raise PermissionError(errno.EACCES, os.strerror(errno.EACCES))


def writable_folder(path: str | Path) -> Path:
    """Create a folder if needed and prove that files can be written in it.

    Meant for the start of a run, before minutes of computing are spent.

    Parameters
    ----------
    path
        The folder; its parents are created too.

    Returns
    -------
    Path
        The same folder, existing and writable.

    Raises
    ------
    OutputError
        If it cannot be created or written, or is a file.
    """
    folder = Path(path)
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except FileExistsError as exc:
        raise OutputError(
            f"'{folder}' is a file, not a folder; choose another folder for the results."
        ) from exc
    except OSError as exc:
        raise output_error(folder, exc) from exc
    probe = folder / f".sprout-{secrets.token_hex(6)}"
    try:
        # A few kilobytes, flushed: an empty file can still be made on a full disk.
        probe.write_bytes(bytes(4096))
        _fsync(probe)
    except OSError as exc:
        raise output_error(folder, exc) from exc
    finally:
        with suppress(OSError):
            probe.unlink(missing_ok=True)
    return folder

"""One file from Hugging Face: shown as it comes, stopped at once, gone on with later.

``huggingface_hub`` knows where the file is, who asks, through which proxy, and whether
that is allowed. Its own ``hf_hub_download`` is not used: in its versions of today it
starts anew after an interruption, and cannot be stopped within a second.
"""

from __future__ import annotations

import errno
import json
import os
import re
import shutil
import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from importlib import import_module
from io import FileIO
from pathlib import Path
from typing import Any, Final

from .._version import __version__
from ..errors import SproutError, StoppedError, WeightsError
from .checksum import file_sha256
from .download_errors import explain, megabytes, status_of, unwritable
from .registry import Model

_TRIES: Final = 5
_PAUSE: Final = 1.0
"""How often a broken connection is made again without anything new coming; seconds between."""

_LOOK: Final = 0.1
_LINGER: Final = 0.5
_LOCK_WAIT: Final = 15.0
"""Seconds: between looks at `cancelled`; for the thread to end; for another program's download."""

_CHUNK: Final = 1 << 12
_SHA256: Final = re.compile(r"[0-9a-f]{64}")


@dataclass(frozen=True)
class Fetched:
    """A file that has come whole, under a temporary name.

    Attributes
    ----------
    path
        Where it lies.
    commit
        Of the repository.
    sha256
        What its SHA-256 is.
    stated
        What the server says it is; "" if it does not.
    """

    path: Path
    commit: str
    sha256: str
    stated: str


@dataclass(frozen=True)
class _Origin:
    """What a partial file is the beginning of."""

    asked: str
    commit: str
    etag: str
    stated: str
    size: int


def fetch(
    one: Model,
    revision: str,
    target: Path,
    accept: Callable[[Fetched], None],
    progress: Callable[[int, int], None],
    cancelled: Callable[[], bool],
) -> None:
    """Fetch a model's weights.

    Parameters
    ----------
    one
        With a repository and a file.
    revision
        Branch, tag or commit of the repository.
    target
        Where the file is to be; what has come so far lies beside it.
    accept
        Called with the whole file, from another thread; moves it to `target`, or raises an
        error, having removed it if it is of no use.
    progress
        Called with bytes done and in all, from the thread that called this.
    cancelled
        Asked, from the same thread, ten times a second.

    Raises
    ------
    StoppedError
        If `cancelled` said so; what has come stays, to go on with.
    WeightsError
        If it cannot be had; the sentence says why.
    """
    transfer = _Transfer(one, revision, target, accept)
    thread = threading.Thread(target=transfer.run, name=f"fetch {one.name}", daemon=True)
    thread.start()
    try:
        while not transfer.ended.wait(_LOOK):
            progress(transfer.done, transfer.total)
            if cancelled():
                raise StoppedError(
                    f"Fetching '{one.name}' was stopped; fetch it again to go on from there."
                )
    finally:
        # One that waits for a dead connection ends when its time is up.
        transfer.stop.set()
        thread.join(_LINGER)
    if (error := transfer.error) is not None:
        raise explain(error, one, transfer.host, known=transfer.known) from error
    progress(transfer.total, transfer.total)


class _Transfer:
    """What the fetching thread does, and how far it has come."""

    def __init__(
        self, one: Model, revision: str, target: Path, accept: Callable[[Fetched], None]
    ) -> None:
        self.done, self.total = 0, one.size
        self.stop, self.ended = threading.Event(), threading.Event()
        self.error: BaseException | None = None
        self.host, self.known = "Hugging Face", False
        self._one, self._revision, self._accept = one, revision, accept
        self._target = target
        self._part = target.with_name(f"{target.name}.part")
        self._note = target.with_name(f"{target.name}.part.json")
        self._reached = False

    def run(self) -> None:
        try:
            self._run()
        except BaseException as error:
            self.error = error
        finally:
            self.ended.set()

    def _run(self) -> None:
        from huggingface_hub import constants

        self.host = constants.ENDPOINT
        try:
            self._target.parent.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise unwritable(self._target, error) from error
        with _locked(self._target.with_name(".lock"), self._one, self.stop):
            if self._target.exists():
                return  # another program was sooner
            origin = self._receive()
            sha256 = file_sha256(self._part, self.stop.is_set)
            try:
                self._accept(Fetched(self._part, origin.commit, sha256, origin.stated))
            finally:
                if not self._part.exists():
                    self._note.unlink(missing_ok=True)

    def _receive(self) -> _Origin:
        """Fetch the whole file, over as many connections as it takes."""
        failures, most, again = 0, 0, True
        while True:
            broken: Exception | None = None
            try:
                self._stream()
            except SproutError:
                raise
            except Exception as error:
                # Before anything has come, a failure is told at once; but a connection that was
                # kept from an earlier download may merely have been closed meanwhile.
                if 0 < status_of(error) < 500:
                    raise
                if not self._reached:
                    if not again or status_of(error) or "Timeout" in type(error).__name__:
                        raise
                    again = False
                    continue
                broken = error
            origin, have = self._begun()
            if origin is not None and have == origin.size:
                return origin
            failures = 0 if have > most else failures + 1
            most = max(most, have)
            if failures >= _TRIES:
                raise broken or self._cut_short(have)
            if self.stop.wait(_PAUSE):
                raise StoppedError("Stopped.")

    def _stream(self) -> None:
        """Fetch what is missing, over one connection; leaves early if it must begin anew."""
        from huggingface_hub import constants, hf_hub_url

        origin, have = self._begun()
        if origin is not None and have == origin.size:
            return
        one, revision = self._one, origin.commit if origin else self._revision
        url = hf_hub_url(one.repository, one.file, revision=revision)
        headers = self._headers()
        if have:
            headers["Range"] = f"bytes={have}-"
        with _opened(url, headers, constants.HF_HUB_DOWNLOAD_TIMEOUT) as response:
            if have and response.status_code in (404, 416):
                self._discard()  # its commit is gone, or it is not what we think it is
                return
            _hub_utils().hf_raise_for_status(response)
            found = self._origin(response)
            self._reached = True
            if response.status_code != 206:
                have = 0
            elif found.etag != (origin.etag if origin else "") or _first_byte(response) != have:
                self._discard()
                return
            self._write(response, found, have)

    def _headers(self) -> dict[str, str]:
        from huggingface_hub import constants, get_token

        # Compressed, a part of it would be no part of the file.
        headers = {"user-agent": f"napari-sprout/{__version__}", "accept-encoding": "identity"}
        token = None if constants.HF_HUB_DISABLE_IMPLICIT_TOKEN else get_token()
        self.known = token is not None
        if token:
            headers["authorization"] = f"Bearer {token}"
        return headers

    def _origin(self, response: Any) -> _Origin:
        """Read what an answer is; the server of the repository tells before it sends us on."""
        told: dict[str, str] = {}
        for answer in (*response.history, response):
            for name in ("x-repo-commit", "x-linked-etag", "x-linked-size"):
                told[name] = told.get(name) or answer.headers.get(name) or ""
        if not told["x-repo-commit"]:
            raise WeightsError(
                f"What answered for {self.host} is not Hugging Face: a log-in page of the network "
                "or a firewall may stand between, or HF_ENDPOINT names another server."
            )
        stated = told["x-linked-etag"].strip('"').lower()
        etag = told["x-linked-etag"] or response.headers.get("etag") or ""
        size = told["x-linked-size"] or _whole_size(response)
        if not size.isdigit():
            raise WeightsError(f"{self.host} does not say how large '{self._one.file}' is.")
        return _Origin(
            asked=self._revision,
            commit=told["x-repo-commit"],
            etag=etag.removeprefix("W/").strip('"'),
            stated=stated if _SHA256.fullmatch(stated) else "",
            size=int(size),
        )

    def _write(self, response: Any, origin: _Origin, have: int) -> None:
        self.done, self.total = have, origin.size
        # As they come: a large chunk would be waited for, and lost in part at the end.
        newer = hasattr(response, "iter_bytes")
        chunks = response.iter_bytes() if newer else response.iter_content(_CHUNK)
        with self._part_from(origin, have) as file:
            for chunk in chunks:
                if self.stop.is_set():
                    raise StoppedError("Stopped.")
                if self.done + len(chunk) > origin.size:
                    raise WeightsError(f"{self.host} sent more than it said: try again later.")
                self._put(file, chunk)
                self.done += len(chunk)

    @contextmanager
    def _part_from(self, origin: _Origin, have: int) -> Iterator[FileIO]:
        """Open the partial file to write from byte `have` on, and note what it is a part of."""
        try:
            self._check_room(origin.size - have)
            file = FileIO(self._part, "r+" if have else "w")
            if not have:
                self._note.write_text(json.dumps(asdict(origin)), encoding="utf-8")
        except OSError as error:
            raise unwritable(self._target, error) from error
        with file:
            file.seek(have)
            yield file
            try:
                os.fsync(file.fileno())
            except OSError as error:
                raise unwritable(self._target, error) from error

    def _put(self, file: FileIO, chunk: bytes) -> None:
        left = memoryview(chunk)
        try:
            while left:
                left = left[file.write(left) :]
        except OSError as error:
            raise unwritable(self._target, error) from error

    def _check_room(self, needed: int) -> None:
        free = shutil.disk_usage(self._target.parent).free
        if free < needed:
            said = f"{megabytes(needed)} are needed, {megabytes(free)} are free"
            raise OSError(errno.ENOSPC, said)

    def _begun(self) -> tuple[_Origin | None, int]:
        """Return what has come earlier, and how many bytes of it; None and 0 for nothing."""
        try:
            origin = _Origin(**json.loads(self._note.read_text(encoding="utf-8")))
            have = self._part.stat().st_size
        except (OSError, ValueError, TypeError):
            return None, 0
        if origin.asked != self._revision or not 0 < have <= origin.size:
            return None, 0
        return origin, have

    def _discard(self) -> None:
        for path in (self._note, self._part):
            path.unlink(missing_ok=True)

    def _cut_short(self, have: int) -> WeightsError:
        return WeightsError(
            f"Fetching '{self._one.name}' broke off at {megabytes(have)} of "
            f"{megabytes(self.total)} again and again: check the network and fetch it again, which "
            "goes on from there."
        )


def _hub_utils() -> Any:
    """Return the tools that huggingface_hub offers, though it does not declare them exported."""
    return import_module("huggingface_hub.utils")


def _opened(url: str, headers: dict[str, str], timeout: float) -> Any:
    """Ask for a file; to be used in a ``with`` statement."""
    session = _hub_utils().get_session()
    if callable(getattr(session, "stream", None)):
        return session.stream("GET", url, headers=headers, timeout=timeout)
    # Before version 1 it was of requests rather than of httpx.
    return session.get(url, headers=headers, timeout=timeout, stream=True)


def _whole_size(response: Any) -> str:
    """Return how large the whole file is, from an answer that may hold a part of it."""
    if response.status_code == 206:
        return str(response.headers.get("content-range") or "").rpartition("/")[2]
    return str(response.headers.get("content-length") or "")


def _first_byte(response: Any) -> int:
    found = re.match(r"bytes (\d+)-", response.headers.get("content-range") or "")
    return int(found[1]) if found else -1


@contextmanager
def _locked(path: Path, one: Model, stop: threading.Event) -> Iterator[None]:
    """Keep other programs from fetching the same file; the lock dies with its owner."""
    try:
        file = path.open("a+b")
    except OSError as error:
        raise unwritable(path, error) from error
    with file:
        waited = 0.0
        while not _try_lock(file.fileno()):
            if stop.wait(_LOOK):
                raise StoppedError("Stopped.")
            waited += _LOOK
            if waited > _LOCK_WAIT:
                raise WeightsError(
                    f"'{one.name}' is being fetched by another program: wait for it."
                )
        yield


def _try_lock(descriptor: int) -> bool:
    """Lock a file without waiting; on a drive that knows no locks, anybody has them."""
    try:
        if sys.platform == "win32":
            import msvcrt

            msvcrt.locking(descriptor, msvcrt.LK_NBLCK, 1)
        else:
            import fcntl

            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError as error:
        return error.errno not in (errno.EWOULDBLOCK, errno.EACCES, errno.EDEADLK)
    return True

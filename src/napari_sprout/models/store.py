"""Where weights lie on this computer, what they should be, and how they come here.

Nothing here touches the network but :func:`download`.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from ..errors import WeightsError, warn
from .checksum import file_sha256
from .download import Fetched, fetch
from .download_errors import unwritable
from .pins import Pin, models_folder, pin_path, pinned, write_pin
from .registry import Model

_HASH: Final = re.compile(r"[0-9a-f]{64}")
_SHORT: Final = 12


@dataclass(frozen=True)
class Check:
    """What :func:`verify` found.

    Attributes
    ----------
    path
        The file.
    sha256
        What its SHA-256 is.
    expected
        What it should be; "" if nobody states it and the file was not fetched by us.
    """

    path: Path
    sha256: str
    expected: str

    @property
    def is_right(self) -> bool:
        """Whether the file is what it should be, or nobody says what that is."""
        return self.expected in ("", self.sha256)


def own_path(one: Model) -> Path:
    """Return where a model's downloaded weights are kept, whether they are there or not."""
    return models_folder() / one.name / one.file_name


def locate(one: Model, given: Path | None = None) -> Path:
    """Return the file of a model's weights, without touching the network.

    Parameters
    ----------
    one
        The model.
    given
        A file to use in any case.

    Returns
    -------
    Path
        The file given, else the one inside the package, else the one downloaded. Its
        content has not been looked at.

    Raises
    ------
    WeightsError
        If it is not on this computer.
    """
    if given is not None:
        if given.is_file():
            return given
        raise WeightsError(f"The model weights '{given}' do not exist: check the path.")
    found = one.embedded_path or downloaded(one)
    if found is None:
        raise WeightsError(
            f"The weights of '{one.name}' are not on this computer: 'napari-sprout models download "
            f"{one.name}' fetches them, or give the path of the file."
        )
    return found


def expected_sha256(one: Model) -> str:
    """Return what the SHA-256 of a model's weights should be.

    Returns
    -------
    str
        The registry's, else the one pinned at the first download, else "".

    Raises
    ------
    WeightsError
        If the note of what was pinned is damaged.
    """
    if one.sha256:
        return one.sha256
    pin = pinned(one)
    return pin.sha256 if pin else ""


def downloaded(one: Model) -> Path | None:
    """Return a model's file outside the package; None if there is none.

    The one in :func:`models_folder`, else the one that another program left in Hugging
    Face's cache.
    """
    own = own_path(one)
    if own.is_file():
        return own
    return _in_shared_cache(one)


def _in_shared_cache(one: Model) -> Path | None:
    if not one.repository:
        return None
    from huggingface_hub import try_to_load_from_cache

    with suppress(OSError):
        found = try_to_load_from_cache(one.repository, one.file, revision=_revision(one))
        return Path(found) if isinstance(found, str) else None
    return None


def _revision(one: Model) -> str:
    pin = None if one.revision else pinned(one)
    return one.revision or (pin.commit if pin else "") or "main"


def _ignore(done: int, total: int) -> None:
    """Show nothing."""


def download(
    one: Model,
    progress: Callable[[int, int], None] = _ignore,
    cancelled: Callable[[], bool] = lambda: False,
) -> Path:
    """Bring a model's weights to this computer, if they are not there already.

    Parameters
    ----------
    one
        The model. If its licence must be accepted, that must have been done.
    progress
        Called with bytes done and in all.
    cancelled
        Asked several times a second; what has come so far is kept, to go on with.

    Returns
    -------
    Path
        The file, whose SHA-256 is right: the registry's, else that of the first
        download, else the one that Hugging Face states. It is noted, with the commit of
        the repository, and asked for from then on.

    Raises
    ------
    StoppedError
        If `cancelled` said so.
    WeightsError
        If it cannot be had, or what came is not the right file, which is then removed.
    """
    if one.embedded_path is not None:
        return one.embedded_path
    there = downloaded(one)
    if there is not None and _is_kept(one, there, cancelled):
        return there
    if not one.repository:
        raise WeightsError(f"Nobody offers the weights of '{one.name}': give the path of a file.")
    target = own_path(one)

    def accept(fetched: Fetched) -> None:
        _check(one, fetched)
        write_pin(one, Pin(one.repository, one.file, fetched.commit, fetched.sha256))
        try:
            fetched.path.replace(target)
        except OSError as error:
            raise unwritable(target, error) from error

    fetch(one, _revision(one), target, accept, progress, cancelled)
    return target


def _is_kept(one: Model, there: Path, cancelled: Callable[[], bool]) -> bool:
    """Whether a file that is there is the right one; if it is not and is ours, it is set aside."""
    sha256, expected = file_sha256(there, cancelled), expected_sha256(one)
    shared = there != own_path(one)
    stated = there.resolve().name
    # Large files in Hugging Face's cache bear their hash as their name.
    if shared and not expected and _HASH.fullmatch(stated) and stated != sha256:
        return False
    if expected in ("", sha256):
        if shared and not expected:
            # .../snapshots/COMMIT/FILE: another program's copy is noted like one of ours.
            commit = there.parents[one.file.count("/")].name
            write_pin(one, Pin(one.repository, one.file, commit, sha256))
        return True
    if not shared:
        aside = there.with_name(f"{there.name}.other")
        try:
            there.replace(aside)
        except OSError as error:
            raise unwritable(aside, error) from error
        warn(
            f"'{there}' was not what it should be (SHA-256 {sha256[:_SHORT]}...); it is now "
            f"'{aside.name}' beside it: delete it if nobody needs it."
        )
    return False


def _check(one: Model, fetched: Fetched) -> None:
    """Raise an error unless what has come is what it should be."""
    wanted = expected_sha256(one) or fetched.stated
    if wanted not in ("", fetched.sha256):
        _unlink(fetched.path)
        raise WeightsError(
            f"What came for '{one.name}' is not the file it should be (SHA-256 "
            f"{fetched.sha256[:_SHORT]}..., expected {wanted[:_SHORT]}...) and was removed: try "
            f"again; if it happens again, the file at '{one.repository}' has been changed."
        )


def verify(one: Model) -> Check:
    """Compute the SHA-256 of a model's weights and say what it should be.

    Raises
    ------
    WeightsError
        If they are not on this computer, or cannot be read.
    """
    path = locate(one)
    return Check(path, file_sha256(path), expected_sha256(one))


def remove(one: Model, *, forget: bool = False) -> Path:
    """Delete a model's downloaded weights.

    Parameters
    ----------
    one
        The model.
    forget
        Forget too what they were: the next download takes what it then finds.

    Returns
    -------
    Path
        What was deleted.

    Raises
    ------
    WeightsError
        If there is nothing that may be deleted.
    """
    if one.embedded_path is not None:
        raise WeightsError(f"The weights of '{one.name}' are part of the program, and stay.")
    own = own_path(one)
    partial = [own.with_name(f"{own.name}.part"), own.with_name(f"{own.name}.part.json")]
    note = [pin_path(one)] if forget else []
    there = [path for path in (own, *partial, *note) if path.exists()]
    if not there:
        shared = _in_shared_cache(one)
        where = f"; '{shared}' is shared with other programs, see 'hf cache --help'"
        raise WeightsError(
            f"No weights of '{one.name}' have been downloaded by this program"
            f"{where if shared else ''}."
        )
    for path in there:
        _unlink(path)
    with suppress(OSError):
        own.with_name(".lock").unlink(missing_ok=True)
        own.parent.rmdir()  # unless a note stays
    return there[0]


def _unlink(path: Path) -> None:
    try:
        path.unlink(missing_ok=True)
    except OSError as error:
        raise WeightsError(
            f"'{path}' cannot be deleted ({error.strerror or error}): close the programs that use "
            "it, or allow deleting there."
        ) from error

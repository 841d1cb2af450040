"""A project folder: which image, and everything that was done to it.

``NAME.sprout/`` holds ``project.json`` (the image's names and hashes, the pixel
size and the settings at the start; written once), ``journal.jsonl`` (every run
and edit, see :mod:`.journal`), ``lock``, on demand ``labels.tif``, and
``waiting.jsonl`` as long as anything waits to be done (see :mod:`.waiting`). The
image itself stays where it is and is never written to.
"""

from __future__ import annotations

import dataclasses
import threading
import weakref
from collections.abc import Callable, Mapping, Sequence
from contextlib import ExitStack, suppress
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING, Any, Final

from ..core.settings import Settings
from ..errors import ProjectError, SproutError, warn
from .atomic import writable_folder
from .export import export_file, results_of
from .images import LoadedImage
from .journal import Journal
from .lock import FolderLock
from .pixel_size import checked_mpp
from .project_file import ProjectFacts, read_facts, write_facts
from .project_image import image_facts, load_image
from .waiting import Waiting

if TYPE_CHECKING:
    from ..core.correction import Correction

SUFFIX: Final = ".sprout"
FACTS_NAME: Final = "project.json"
JOURNAL_NAME: Final = "journal.jsonl"
LOCK_NAME: Final = "lock"
LABELS_NAME: Final = "labels.tif"


def default_folder(image: str | Path) -> Path:
    """Return the project folder that belongs beside an image: its name with ``.sprout``."""
    image = Path(image)
    return image.with_name(image.stem.removesuffix(".ome") + SUFFIX)


class Project:
    """An open project; use :meth:`create` or :meth:`open`, and close it when done.

    Attributes
    ----------
    folder
        The project folder.
    image
        The image, checked to be the one that the project was made from, with the
        project's pixel size.
    facts
        What ``project.json`` says.
    turn
        Held while something is done and written down, so that both happen in the
        same order.
    waiting
        What is to be done when other work has ended; opening the project leaves it be.
    """

    def __init__(
        self,
        folder: Path,
        facts: ProjectFacts,
        image: LoadedImage,
        journal: Journal,
        waiting: Waiting,
        lock: FolderLock | None,
    ) -> None:
        self.folder = folder
        self.facts = facts
        self.image = image
        self.turn = threading.Lock()
        self.waiting = waiting
        self._journal = journal
        self._lock = lock
        self._owed: list[Mapping[str, Any]] = []
        self._keeping: weakref.WeakSet[Correction] = weakref.WeakSet()
        self._closed = False

    @classmethod
    def create(
        cls,
        folder: str | Path,
        image: LoadedImage,
        settings: Settings | None = None,
        mpp: float | None = None,
    ) -> Project:
        """Make a project folder for an image, and open it.

        Parameters
        ----------
        folder
            A folder that does not exist or is empty, by custom ending in
            ``.sprout``.
        image
            The image as read from its file.
        settings
            The settings to start from; defaults if not given.
        mpp
            Pixel size in um per px, if it is not what `image` says.

        Raises
        ------
        ProjectError
            If the folder holds anything, or the image's file has changed since
            it was read.
        OutputError
            If it cannot be written.
        """
        folder = Path(folder).resolve()
        size = image.mpp if mpp is None else checked_mpp(mpp)
        facts = ProjectFacts.of(image_facts(folder, image), size, settings or Settings())
        existed = folder.exists()
        _check_free(folder)
        writable_folder(folder)
        with ExitStack() as undo:
            if not existed:
                undo.callback(_remove_empty, folder)
            lock = FolderLock(folder / LOCK_NAME)
            undo.callback(lock.release)
            # Again, now that nobody else can be making a project here.
            _check_free(folder)
            undo.callback(_remove, folder / LOCK_NAME)
            journal_path = folder / JOURNAL_NAME
            # Of a project whose making was cut short, before anything was done in it.
            _remove(journal_path)
            Journal.create(journal_path)
            undo.callback(_remove, journal_path)
            journal = Journal(journal_path, facts.identity)
            undo.callback(journal.close)
            waiting = Waiting(folder, facts.identity)
            # Last, so that a folder that has it is whole.
            write_facts(folder / FACTS_NAME, facts)
            undo.pop_all()
        image = dataclasses.replace(image, mpp=facts.mpp)
        return cls(folder, facts, image, journal, waiting, lock)

    @classmethod
    def open(
        cls,
        folder: str | Path,
        image: str | Path | None = None,
        *,
        read_only: bool = False,
        tell: Callable[[str], None] = warn,
    ) -> Project:
        """Open a project folder and the image that it was made from.

        The image is looked for where it was relative to the folder, then where
        it was on the computer, then under the same name beside the folder. It
        counts if its file, or at least every pixel, is the same.

        Parameters
        ----------
        folder
            The project folder, or its ``project.json``.
        image
            Where the image is, if none of these places.
        read_only
            Write nothing at all, so that the project may be open elsewhere or lie
            on a read-only disk.
        tell
            Called with a sentence if the journal's last line was torn by a crash, if
            what waited then is damaged, or if this computer decodes the unchanged image
            file differently; by default that is a SproutWarning.

        Raises
        ------
        ProjectError
            If this is no project, it is damaged or open already, or its image is
            missing or has changed. Nothing is overwritten.
        OutputError
            If it cannot be opened for writing.
        """
        folder = Path(folder).resolve()
        if folder.name == FACTS_NAME and folder.is_file():
            folder = folder.parent
        facts = read_facts(folder / FACTS_NAME)
        with ExitStack() as undo:
            lock = None
            if not read_only:
                lock = FolderLock(folder / LOCK_NAME)
                undo.callback(lock.release)
            loaded = load_image(folder, facts, None if image is None else Path(image), tell)
            # First, as what is done in another window goes from here into the journal.
            waiting = Waiting(folder, facts.identity, read_only=read_only, tell=tell)
            undo.callback(waiting.close)
            journal = Journal(folder / JOURNAL_NAME, facts.identity, read_only=read_only, tell=tell)
            undo.pop_all()
        return cls(folder, facts, loaded, journal, waiting, lock)

    @property
    def name(self) -> str:
        """What the names of exported files begin with: the image's, without its ending."""
        return Path(self.facts.image.name).stem.removesuffix(".ome")

    @property
    def mpp(self) -> float | None:
        """Pixel size in um per px; None if unknown."""
        return self.facts.mpp

    @property
    def settings(self) -> Settings:
        """The settings that the project started from."""
        return self.facts.settings

    @property
    def read_only(self) -> bool:
        """Whether the project was opened for reading alone."""
        return self._lock is None

    @property
    def entries(self) -> Sequence[Mapping[str, Any]]:
        """Everything that was done, in order."""
        return self._journal.entries

    def append(self, entry: Mapping[str, Any]) -> int:
        """Write down something that was done; when this returns, it survives any crash.

        Parameters
        ----------
        entry
            See :mod:`.history` for the kinds there are.

        Returns
        -------
        int
            The entry's number, from 1.

        Raises
        ------
        OutputError
            If it could not be written; the journal is as it was.
        ProjectError
            If the entry cannot be stored, or the journal is not at hand any more.
        """
        self.pay()
        return self._journal.append(entry)

    def owe(self, entry: Mapping[str, Any]) -> None:
        """Write an entry down before the next one, since it could not be written now.

        Parameters
        ----------
        entry
            One that is owed last already is not written down twice.
        """
        if entry not in self._owed[-1:]:
            self._owed.append(entry)

    @property
    def owes(self) -> bool:
        """Whether something that was done is not written down yet."""
        return bool(self._owed)

    def pay(self) -> None:
        """Write down what is owed.

        Raises
        ------
        OutputError
            If it cannot be written yet.
        """
        while self._owed:
            self._journal.append(self._owed[0])
            del self._owed[0]

    def keeps(self, correction: Correction) -> bool:
        """Whether a correction is what everything written down makes: only then may more follow."""
        nothing_done = not (len(self._journal) or self._owed)
        return nothing_done or correction in self._keeping

    def begin_keeping(self, correction: Correction) -> None:
        """Note that everything written down so far was done to a correction, in this order."""
        self._keeping.add(correction)

    def keep_alone(self, correction: Correction) -> None:
        """Note that what is being written down is done to this correction, and no other."""
        self._keeping = weakref.WeakSet((correction,))

    @property
    def origin(self) -> dict[str, Any]:
        """What the metadata of exported labels say of where they come from."""
        return {
            "file": self.image.path.name,
            "file_sha256": self.image.sha256,
            "project": self.facts.identity,
            "entries": len(self._journal),
        }

    def save_labels(self, correction: Correction) -> Path:
        """Write the present labels into the project folder, whole or not at all.

        They are for other programs and for looking at; the journal alone says what
        was done.

        Raises
        ------
        OutputError
            If the file cannot be written.
        SproutError
            If nothing has been run yet.
        """
        path = self.folder / LABELS_NAME
        export_file(path, results_of(correction, self.origin))
        return path

    def close(self) -> None:
        """Let other processes open the project; harmless if done already."""
        with suppress(SproutError):
            self.pay()
        self._closed = True
        self._journal.close()
        self.waiting.close()
        if self._lock is not None:
            self._lock.release()

    def discard(self) -> None:
        """Close, and take the folder away if nothing was ever done in it.

        For a project that was made in vain. Files of others in the folder stay.
        """
        done = len(self._journal) or self._owed or self.waiting.earlier
        empty = not (self._closed or self.read_only or done)
        if empty:
            self._journal.close()
            # First, and under the lock: without it the folder is free to be used.
            for name in (FACTS_NAME, JOURNAL_NAME):
                _remove(self.folder / name)
        self.close()
        if empty:
            _remove(self.folder / LOCK_NAME)
            _remove_empty(self.folder)

    def __enter__(self) -> Project:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self.close()


def _check_free(folder: Path) -> None:
    """Refuse a folder in which there is anything but an unfinished project of ours."""
    if not folder.is_dir():
        return
    if (folder / FACTS_NAME).exists():
        raise ProjectError(f"'{folder}' holds a project already; open it, or choose another name.")
    for path in folder.iterdir():
        journal = path.name == JOURNAL_NAME and path.stat().st_size == 0
        if not (journal or path.name == LOCK_NAME or path.name.startswith(".sprout-")):
            raise ProjectError(
                f"'{folder}' is not empty (it holds '{path.name}'); choose another name for the "
                "project."
            )


def _remove(path: Path) -> None:
    with suppress(OSError):
        path.unlink()


def _remove_empty(folder: Path) -> None:
    with suppress(OSError):
        folder.rmdir()

"""What comes before a session, and what is still to be done after it."""

from __future__ import annotations

import threading
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

from napari.layers import Image

from ..io.project import Project
from ..io.slides.region_results import keep_result
from ..napari_.controller import SessionController
from .workers import ThreadedSubmit, ThreadJob

GIVEN_UP: Final = (
    "Your earlier work was not brought back to its end, so it is closed again; nothing of it is "
    "lost. Press 'Go on with it' to open it."
)


@dataclass(frozen=True, eq=False)
class Ending:
    """A thread that was let go of: what was handed in before is still being done in it.

    Attributes
    ----------
    over
        Set when all of it is done, and its project closed.
    layer
        The image that it is about, if it is known.
    folder
        The project, if it is known.
    """

    over: threading.Event
    layer: Image | None
    folder: Path | None

    def concerns(self, layer: Image | None, folder: Path | None) -> bool:
        """Whether it must be over before work on an image, or in a project, can begin."""
        same_layer = layer is not None and layer is self.layer
        return same_layer or (folder is not None and folder == self.folder)

    @classmethod
    def of(cls, controller: SessionController, submit: ThreadedSubmit) -> Ending:
        """Let go of a closed controller's thread; its project is closed when all is kept."""
        project, correction = controller.project, controller.correction

        def last() -> None:
            if project is not None:
                try:
                    keep_result(project, correction)
                finally:
                    project.close()

        submit.retire(last)
        folder = None if project is None else project.folder
        return cls(submit.ended, controller.image_layer, folder)


@dataclass(eq=False)
class Preparation:
    """Makes or opens a project in the thread of the session to come; it may be called off.

    Attributes
    ----------
    layer
        The image that is to have the session, if it is known already.
    folder
        The project to be opened; None if one is to be made.
    submit
        The thread, for the session to take over.
    """

    layer: Image | None = None
    folder: Path | None = None
    submit: ThreadedSubmit = field(default_factory=ThreadedSubmit)

    def __post_init__(self) -> None:
        self.folder = None if self.folder is None else self.folder.resolve()
        self._job: ThreadJob | None = None
        self._let_go: Callable[[], None] = lambda: None

    def start(
        self,
        work: Callable[[], Any],
        on_done: Callable[[Any], None],
        on_error: Callable[[BaseException], None],
    ) -> None:
        """Begin to make or open the project.

        Parameters
        ----------
        work
            Does so, and hands the project to :meth:`made` or :meth:`opened`.
        on_done, on_error
            Called in the window's thread, unless it is called off.
        """
        self._job = self.submit(
            work, on_progress=lambda _: None, on_done=on_done, on_error=on_error
        )

    def made(self, project: Project) -> Project:
        """Take note of a new project: made in vain it leaves nothing behind."""
        self._let_go = project.discard
        return project

    def opened(self, project: Project) -> Project:
        """Take note of an opened project: in vain it is closed again."""
        self._let_go = project.close
        return project

    def call_off(self) -> Ending:
        """Stop without waiting; nothing is called back any more."""
        if self._job is not None:
            self._job.cancel()
        # In the same thread, and so after the project is there, if it comes to be.
        self.submit.retire(lambda: self._let_go())
        return Ending(self.submit.ended, self.layer, self.folder)


class Preparations:
    """All preparations of one viewer, each of which waits for what it must come after."""

    def __init__(self) -> None:
        self._under_way: set[Preparation] = set()
        self._ending: list[Ending] = []

    def concern(self, layer: Image | None) -> bool:
        """Whether one is under way that is for an image, or may be."""
        return any(one.layer in (None, layer) for one in self._under_way)

    def begin(
        self,
        one: Preparation,
        work: Callable[[], Any],
        on_done: Callable[[Any], None],
        on_error: Callable[[BaseException], None],
    ) -> None:
        """Start a preparation when its image's last session is over, and its project closed."""
        first = [ending for ending in self._ending if ending.concerns(one.layer, one.folder)]

        def wait_and_work() -> Any:
            for ending in first:
                ending.over.wait()
            return work()

        self._under_way.add(one)
        one.start(wait_and_work, on_done, on_error)

    def finish(self, one: Preparation) -> None:
        """Forget a preparation whose session begins now."""
        self._under_way.discard(one)

    def call_off(self, one: Preparation) -> None:
        """Stop one that is under way or has come to nothing, without waiting."""
        self.finish(one)
        self.note(one.call_off())

    def call_off_all(self, layer: Image | None) -> bool:
        """Stop all that are for an image, or may be; returns whether there was any."""
        found = [one for one in self._under_way if one.layer in (None, layer)]
        for one in found:
            self.call_off(one)
        return bool(found)

    def close(self) -> None:
        """Stop all."""
        for one in tuple(self._under_way):
            self.call_off(one)

    def note(self, ending: Ending) -> None:
        """Let later preparations wait for the end of something."""
        self._ending = [one for one in (*self._ending, ending) if not one.over.is_set()]

"""One thread for the heavy work of one image; its results arrive in the window's thread."""

from __future__ import annotations

import sys
import threading
from collections.abc import Callable, Generator
from concurrent.futures import ThreadPoolExecutor
from queue import Empty, SimpleQueue
from typing import Any, Final

from qtpy.QtCore import QCoreApplication, QEvent, QObject, QTimer

from ..errors import StoppedError
from ..napari_.jobs import Work
from .log import explained

NAME: Final = "napari-sprout"
"""What the names of the worker threads begin with."""


_PAUSE: Final = 1
"""Milliseconds between two calls, for what else is due in the window."""


class ThreadJob:
    """A piece of work that was handed in; it can be asked to stop."""

    def __init__(self) -> None:
        self._cancelled = threading.Event()

    def is_cancelled(self) -> bool:
        """Whether it was asked to stop."""
        return self._cancelled.is_set()

    def cancel(self) -> None:
        """Stop before the next unit of work; callable from any thread."""
        self._cancelled.set()


class ThreadedSubmit:
    """Runs work in one thread of its own, one piece after the other.

    A :class:`~napari_sprout.napari_.jobs.Submit`. Everything it calls back is
    called in order in the thread that made it, which must run Qt's event loop.
    """

    def __init__(self) -> None:
        self._mailbox = _Mailbox()
        self._jobs: set[ThreadJob] = set()
        self._closed = False
        self.ended = threading.Event()
        """Set when it was let go of, and all is done."""
        self._thread = ThreadPoolExecutor(max_workers=1, thread_name_prefix=NAME)

    def __call__(
        self,
        work: Work,
        *,
        on_progress: Callable[[Any], None],
        on_done: Callable[[Any], None],
        on_error: Callable[[BaseException], None],
    ) -> ThreadJob:
        """Do `work` when all earlier work is done.

        Parameters
        ----------
        work
            Returns a result, or a generator: then every value it yields is
            progress, between two of them it can be cancelled, and what it
            returns is the result.
        on_progress, on_done, on_error
            Called with each value, with the result, or with a SproutError whose
            message is for a person: a StoppedError after a cancellation. Once
            :meth:`close` or :meth:`retire` has been called, nothing is.
        """
        job = ThreadJob()
        self._jobs.add(job)

        def run() -> None:
            try:
                result = self._do(job, work, on_progress)
            except Exception as error:
                self.post(on_error, explained(error), over=job)
            else:
                self.post(on_done, result, over=job)

        self._thread.submit(run)
        return job

    @property
    def busy(self) -> bool:
        """Whether any work is under way, waiting, or about to be reported."""
        return bool(self._jobs)

    def close(self, last: Callable[[], None] = lambda: None) -> None:
        """Do as :meth:`retire` does, and wait for the end."""
        self.retire(last)
        self._thread.shutdown(wait=True)

    def retire(self, last: Callable[[], None] = lambda: None) -> None:
        """Take on no more, and call nothing back any more, without waiting.

        What was handed in before is done all the same, unless its job was cancelled: a
        person has seen it, and counts on it.

        Parameters
        ----------
        last
            Called in the worker's thread after all of it.
        """
        if self._closed:
            return
        self._closed = True
        self._jobs.clear()

        def end() -> None:
            try:
                last()
            except Exception as error:
                # Nobody is there to be told; this writes it to the log.
                explained(error)
            finally:
                self.ended.set()

        try:
            self._thread.submit(end)
        except RuntimeError:
            # Python itself is ending, and has waited for the thread.
            end()
        self._thread.shutdown(wait=False)

    def _do(self, job: ThreadJob, work: Work, on_progress: Callable[[Any], None]) -> Any:
        if job.is_cancelled():
            raise StoppedError("The work was cancelled before it had begun.")
        units = work()
        if not isinstance(units, Generator):
            return units
        while True:
            try:
                progress = next(units)
            except StopIteration as finished:
                return finished.value
            self.post(on_progress, progress)
            if job.is_cancelled():
                units.close()
                raise StoppedError("The work was cancelled before it had finished.")

    def post(self, call: Callable[[Any], None], value: Any, over: ThreadJob | None = None) -> None:
        """Have a callback called in the window's thread, after all earlier ones.

        Parameters
        ----------
        call, value
            The callback and its argument.
        over
            The job that is over with this call.
        """

        def deliver() -> None:
            if over is not None:
                self._jobs.discard(over)
            if not self._closed:
                call(value)

        self._mailbox.post(deliver)


class _Mailbox(QObject):
    """Calls functions in the thread it was made in, in the order they were posted.

    Between two calls the window paints and answers: what a call has changed is
    seen before the next one changes more.
    """

    def __init__(self) -> None:
        super().__init__()
        self._calls: SimpleQueue[Callable[[], None]] = SimpleQueue()
        # Qt delivers posted events all at once, but one timer's before it paints again.
        self._turn = QTimer(self)
        self._turn.setSingleShot(True)
        self._turn.timeout.connect(self._call_next)

    def post(self, call: Callable[[], None]) -> None:
        """Have `call` called; from any thread, without waiting for it."""
        self._calls.put(call)
        QCoreApplication.postEvent(self, QEvent(QEvent.Type.User))

    def event(self, event: QEvent | None) -> bool:
        """Take a turn as soon as the window has painted."""
        if event is None or event.type() != QEvent.Type.User:
            return super().event(event)
        self._turn.start(0)
        return True

    def _call_next(self) -> None:
        try:
            call = self._calls.get_nowait()
        except Empty:
            return
        self._turn.start(_PAUSE)
        try:
            call()
        except Exception:
            # An exception that leaves a handler of Qt's would end the program.
            sys.excepthook(*sys.exc_info())

"""How work is handed over: the controller asks, whoever owns the threads answers."""

from __future__ import annotations

import logging
from collections.abc import Callable, Generator
from typing import Any, Final, Protocol

from ..errors import SproutError, StoppedError

_LOG: Final = logging.getLogger(__name__)

Work = Callable[[], Any]
"""What to do: a function that returns its result, or a generator function that
yields its progress and returns its result."""


class Job(Protocol):
    """One piece of work under way."""

    def cancel(self) -> None:
        """Ask the work to end at its next step; work that has not begun never does."""


class Submit(Protocol):
    """Runs one piece of work at a time, in the order given.

    The callbacks are called on the thread of the caller's event loop. Each work
    ends with exactly one call of `on_done` or `on_error`; work that was cancelled
    ends with a :class:`~napari_sprout.errors.StoppedError`.
    """

    def __call__(
        self,
        work: Work,
        *,
        on_progress: Callable[[Any], None],
        on_done: Callable[[Any], None],
        on_error: Callable[[BaseException], None],
    ) -> Job:
        """Take the work on.

        Parameters
        ----------
        work
            Called without arguments.
        on_progress
            Given everything that a generator yields, in order.
        on_done
            Given what the work returned.
        on_error
            Given what the work raised, in words for a person.
        """


class InlineJob:
    """Work that is done on the spot, step by step."""

    def __init__(self) -> None:
        self._cancelled = False

    def cancel(self) -> None:
        """End the work after its present step; of use from its own callbacks alone."""
        self._cancelled = True

    def run(self, work: Work, on_progress: Callable[[Any], None]) -> Any:
        """Return what the work returns, or raise what it raises."""
        result = work()
        if not isinstance(result, Generator):
            return result
        while True:
            try:
                step = next(result)
            except StopIteration as finished:
                return finished.value
            on_progress(step)
            if self._cancelled:
                result.close()
                raise StoppedError("The work was stopped before it had finished.")


def run_inline(
    work: Work,
    *,
    on_progress: Callable[[Any], None],
    on_done: Callable[[Any], None],
    on_error: Callable[[BaseException], None],
) -> Job:
    """Do the work before returning: a :class:`Submit` for scripts and tests.

    Whoever writes one has no need of other words than an error's own.
    """
    job = InlineJob()
    try:
        result = job.run(work, on_progress)
    except Exception as error:
        if not isinstance(error, SproutError):
            _LOG.error("Work failed", exc_info=error)
        on_error(error)
    else:
        on_done(result)
    return job

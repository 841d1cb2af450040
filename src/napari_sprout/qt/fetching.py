"""A download away from the window's thread; it can be stopped at any time."""

from __future__ import annotations

import threading
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

from ..models import store
from ..models.registry import Model
from .workers import ThreadedSubmit


class Fetching:
    """One download at a time, each in a thread that ends with it.

    It belongs to no window, so that a window that is gone can still have it stopped.
    """

    def __init__(self) -> None:
        self._submit: ThreadedSubmit | None = None
        self._stop = threading.Event()

    @property
    def under_way(self) -> bool:
        """Whether there is a download, or the end of one is about to be told."""
        return self._submit is not None

    def begin(
        self,
        one: Model,
        on_progress: Callable[[int, int], None],
        on_done: Callable[[Path], None],
        on_error: Callable[[BaseException], None],
    ) -> None:
        """Fetch a model's weights; the only thing in the plugin that uses the network.

        Parameters
        ----------
        one
            The model.
        on_progress, on_done, on_error
            Called in the window's thread: with bytes done and in all, with the file, or
            with a SproutError, which is a StoppedError after :meth:`stop`.
        """
        stop = self._stop = threading.Event()
        submit = self._submit = ThreadedSubmit()

        def progress(done: int, total: int) -> None:
            submit.post(lambda sizes: on_progress(*sizes), (done, total))

        submit(
            lambda: store.download(one, progress, stop.is_set),
            on_progress=lambda _: None,
            on_done=partial(self._end, submit, on_done),
            on_error=partial(self._end, submit, on_error),
        )

    def stop(self) -> None:
        """Stop within a second; that it has ended is told as an error."""
        self._stop.set()

    def close(self) -> None:
        """Stop, and tell nothing any more."""
        self.stop()
        if self._submit is not None:
            self._submit.retire()
            self._submit = None

    def _end(self, submit: ThreadedSubmit, tell: Callable[[Any], None], result: Any) -> None:
        submit.retire()
        self._submit = None
        tell(result)

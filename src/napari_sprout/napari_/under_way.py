"""What was handed in to be done, and has not been heard of to its end."""

from __future__ import annotations

from enum import Enum

from .jobs import Job


class Task(Enum):
    """What a piece of work is for."""

    EDIT = "edit"
    RUN = "run"
    RESTORE = "restore"
    """As a run, it takes long and may be stopped; but what is left then is of no use."""


class UnderWay:
    """Keeps the pieces of work apart by a token of each."""

    def __init__(self) -> None:
        self._tasks: dict[object, Task] = {}
        self._jobs: dict[object, Job] = {}

    def __len__(self) -> int:
        return len(self._tasks)

    @property
    def running(self) -> bool:
        """Whether anything but edits is under way or waiting."""
        return any(task is not Task.EDIT for task in self._tasks.values())

    def begin(self, task: Task) -> object:
        """Take on a piece of work; returns its token."""
        token = object()
        self._tasks[token] = task
        return token

    def accept(self, token: object, job: Job) -> None:
        """Remember how to cancel a piece of work, unless it is over already."""
        if token in self._tasks:
            self._jobs[token] = job

    def end(self, token: object) -> Task | None:
        """Forget a piece of work; returns what it was for."""
        self._jobs.pop(token, None)
        return self._tasks.pop(token, None)

    def cancel(self, edits: bool = False) -> None:
        """Cancel all runs.

        Parameters
        ----------
        edits
            Whether edits are cancelled, too.
        """
        for token, job in list(self._jobs.items()):
            if edits or self._tasks[token] is not Task.EDIT:
                job.cancel()

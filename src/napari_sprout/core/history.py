"""What has been done, to be undone and redone: edits, and the runs that followed them."""

from __future__ import annotations

from dataclasses import dataclass

from .edits import Edit, PaintReference
from .given import GivenNuclei
from .settings import Settings
from .state import State
from .transaction import Delta

RUNS_KEPT = 5
"""Runs that can be undone; each keeps a label image and stain maps in memory."""


@dataclass(frozen=True, eq=False)
class RunStep:
    """A run, which put one state in the place of another."""

    before: State
    after: State


@dataclass(eq=False)
class Step:
    """One edit and what it changed: tables and labels, or what the next run is given.

    Attributes
    ----------
    edit
        The edit.
    delta
        Its changes to the state.
    settings, painted, given
        The session's, before and after.
    run
        From the state before to that after all runs between it and the next edit;
        they are undone with it.
    """

    edit: Edit
    delta: Delta | None = None
    settings: tuple[Settings, Settings] | None = None
    painted: tuple[tuple[PaintReference, ...], tuple[PaintReference, ...]] | None = None
    given: tuple[GivenNuclei | None, GivenNuclei | None] | None = None
    run: RunStep | None = None


class History:
    """Two stacks of steps."""

    def __init__(self) -> None:
        self._done: list[Step] = []
        self._undone: list[Step] = []

    @property
    def can_undo(self) -> bool:
        """Whether there is a step to undo."""
        return bool(self._done)

    @property
    def can_redo(self) -> bool:
        """Whether there is a step to redo."""
        return bool(self._undone)

    def add(self, step: Step) -> None:
        """Add a new step; what was undone can no longer be redone."""
        self._done.append(step)
        self._undone.clear()

    def add_run(self, run: RunStep) -> None:
        """Add a run to the last step; without one, it is where history begins."""
        self._undone.clear()
        if self._done:
            last = self._done[-1]
            last.run = RunStep(last.run.before if last.run else run.before, run.after)
        with_run = [index for index, step in enumerate(self._done) if step.run]
        if len(with_run) > RUNS_KEPT:
            # A step whose run is forgotten cannot be undone, nor can those before it.
            del self._done[: with_run[0] + 1]

    def undo(self) -> Step | None:
        """Move the last step to those undone, and return it."""
        if not self._done:
            return None
        self._undone.append(self._done.pop())
        return self._undone[-1]

    def redo(self) -> Step | None:
        """Move the last step undone back, and return it."""
        if not self._undone:
            return None
        self._done.append(self._undone.pop())
        return self._done[-1]

"""Correcting a segmentation by hand: a person changes a prompt, and only that nucleus changes."""

from __future__ import annotations

import threading
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, replace
from types import MappingProxyType
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ..errors import SproutError, StoppedError
from . import labels as label_images
from .carry import begin
from .crops import slices
from .edits import Edit
from .handlers import HANDLERS
from .history import History, RunStep, Step
from .inputs import input_step, take_inputs
from .instances import Box, Candidate, Nucleus, Prompt
from .resolve import resolve_around
from .session import Progress, Session
from .stages import Stage, needed
from .state import Ground, State
from .suppression import Rejection
from .transaction import Transaction, around

CARRY_SHARE = 0.1
"""Share of a run's progress that goes to hand work."""


@dataclass(frozen=True)
class Change:
    """What an edit, or its undoing, has changed.

    Attributes
    ----------
    edit
        The edit done, undone or redone.
    ids
        Nuclei whose pixels differ.
    box
        (y0, x0, y1, x1) around all label pixels that differ; None if none do.
    prompts_changed
        Whether a prompt came, went or moved.
    rerun_from
        The first stage that is no longer up to date; None if all are.
    """

    edit: Edit
    ids: frozenset[int]
    box: Box | None
    prompts_changed: bool
    rerun_from: Stage | None


class Correction:
    """A session and what a person does to its result.

    Every edit changes the nuclei that it concerns and the neighbours that they
    touch; every other pixel of :attr:`labels` stays as it is. The same runs and
    edits in the same order, undone and redone alike, always give the same labels.
    Calls from several threads wait for each other.

    Parameters
    ----------
    session
        It may or may not have run yet.

    Examples
    --------
    >>> correction = Correction(session)                   # doctest: +SKIP
    >>> for progress in correction.run():                  # doctest: +SKIP
    ...     print(progress.fraction)
    >>> change = correction.apply(MovePrompt(12, 40, 50))  # doctest: +SKIP
    >>> correction.labels[slices(change.box)]              # doctest: +SKIP
    """

    def __init__(self, session: Session) -> None:
        self.session = session
        self.revision = 0
        self._state: State | None = None
        self._history = History()
        self._handed = 0
        self._running = False
        self._lock = threading.RLock()
        # Not the same: nobody who draws must wait for an edit that is being decoded.
        self._numbering = threading.Lock()
        if session.is_current(Stage.NUCLEI):
            for _ in self._adopt():
                pass

    @property
    def ready(self) -> bool:
        """Whether there is a result to correct."""
        return self._state is not None

    @property
    def state(self) -> State:
        """Everything that makes up the present result, for reading alone.

        Raises
        ------
        SproutError
            If no run has finished.
        """
        if self._state is None:
            raise SproutError("There is nothing to correct yet: run the segmentation first.")
        return self._state

    @property
    def labels(self) -> NDArray[np.int32]:
        """(H, W) int32, full resolution; another array after a run. Do not write to it."""
        return self.state.labels

    @property
    def prompts(self) -> Mapping[int, Prompt]:
        """All prompts by id, in full-resolution pixels."""
        return MappingProxyType(self.state.prompts)

    @property
    def candidates(self) -> Mapping[int, Candidate]:
        """All masks by id, suppressed ones too, in full-resolution pixels."""
        return MappingProxyType(self.state.full)

    @property
    def suppressed(self) -> Mapping[int, Rejection]:
        """Why the masks that are no nuclei are none."""
        state = self.state
        covered = state.full.keys() - state.areas.keys() - state.rejected.keys()
        found = {i: Rejection("covered", None, state.scores.get(i, 0.0)) for i in sorted(covered)}
        return MappingProxyType({**state.rejected, **found})

    @property
    def areas(self) -> Mapping[int, int]:
        """The nuclei: ids to visible pixels."""
        return MappingProxyType(self.state.areas)

    @property
    def locked(self) -> frozenset[int]:
        """Nuclei that nothing changes."""
        return frozenset(self.state.locks)

    @property
    def pinned(self) -> frozenset[int]:
        """Nuclei drawn, merged, split or restored by hand, or made elsewhere: runs keep them."""
        return frozenset(self.state.pins)

    @property
    def can_undo(self) -> bool:
        """Whether there is an edit to undo."""
        return self._history.can_undo

    @property
    def can_redo(self) -> bool:
        """Whether there is an undone edit to redo."""
        return self._history.can_redo

    def new_id(self) -> int:
        """Return an id for a new prompt or nucleus, another one at each call."""
        with self._numbering:
            self._handed = max(self._handed + 1, self.state.hand_base)
            given = self.session.given.ids if self.session.given else ()
            while self.state.knows(self._handed) or self._handed in given:
                self._handed += 1
            return self._handed

    def run(self, until: Stage = Stage.NUCLEI) -> Iterator[Progress]:
        """Run what is not up to date, and carry all hand work over to the new result.

        The result changes at the very end, when the iterator is exhausted: a run that
        is stopped or closed before, even at its last step, has changed nothing here.
        Until then nothing can be edited.

        Yields
        ------
        Progress
            As of :meth:`Session.run`.

        Raises
        ------
        SproutError
            If another run is under way.
        StoppedError
            If the run is stopped when the stages are done, but hand work is not in
            their result yet.
        """
        # As for the session, a stop before the first unit must count.
        return self._run(self.session.run(until), until)

    def _run(self, stages: Iterator[Progress], until: Stage) -> Iterator[Progress]:
        share = 1 - CARRY_SHARE if until is Stage.NUCLEI else 1.0
        with self._lock:
            self._check_idle()
            self._running = True
        try:
            for progress in stages:
                yield replace(progress, fraction=progress.fraction * share)
            if until is not Stage.NUCLEI or not self.session.is_current(until):
                return
            for done, whole in self._adopt():
                yield Progress(until, done, whole, share + (1 - share) * done / whole)
                if self.session.stopping:
                    raise StoppedError("The run was stopped before all corrections were in it.")
        finally:
            self._running = False

    def _check_idle(self) -> None:
        """Refuse to do anything during a run: done again one by one, it might come out else."""
        if self._running:
            raise SproutError("A run is under way: wait for its end, or stop it.")

    def _adopt(self) -> Iterator[tuple[int, int]]:
        """Take over the session's result, unless it is the one at hand."""
        old = self._state
        if old is not None and old.ground.result is self.session.result:
            yield 1, 1
            return
        state = yield from begin(Ground.of(self.session.context()), old)
        yield 1, 1
        # Nothing is yielded from here on: whoever stops before it has stopped all of it.
        self._state = state
        self.revision += 1
        if old is not None:
            self._history.add_run(RunStep(old, state))

    def apply(self, edit: Edit) -> Change:
        """Do an edit.

        Raises
        ------
        SproutError
            If it is impossible, or a run is under way; then nothing has changed.
        """
        with self._lock:
            self._check_idle()
            step = self._changed_inputs(edit) or self._edited(edit)
            self._history.add(step)
            return self._done(step, forward=True)

    def undo(self) -> Change | None:
        """Take the last edit back, with any run made since; None if there is none.

        Raises
        ------
        SproutError
            If a run is under way.
        """
        with self._lock:
            self._check_idle()
            step = self._history.undo()
            return None if step is None else self._travelled(step, forward=False)

    def redo(self) -> Change | None:
        """Do the edit undone last again, with any run made after it; None if there is none.

        Raises
        ------
        SproutError
            If a run is under way.
        """
        with self._lock:
            self._check_idle()
            step = self._history.redo()
            return None if step is None else self._travelled(step, forward=True)

    def measure(self, ids: Iterable[int] | None = None) -> tuple[Nucleus, ...]:
        """Measure nuclei as they are now.

        Parameters
        ----------
        ids
            Those to measure, which takes no longer for a large image; all by default.

        Returns
        -------
        tuple of Nucleus
            By id. What SAM thinks of a mask drawn by hand is NaN.
        """
        state = self.state
        drawn = state.pins.keys()
        scores = {i: score for i, score in state.scores.items() if i not in drawn}
        masks = {i: mask for i, mask in state.decoded.items() if i not in drawn}
        amounts = state.ground.full_concentrations
        if ids is None:
            return tuple(label_images.measure(state.labels, amounts, masks, scores))
        rows = []
        for ident in sorted(set(ids) & state.areas.keys()):
            box = state.full[ident].box
            crop = state.labels[slices(box)]
            alone = np.where(crop == ident, crop, np.int32(0))
            found = label_images.measure(alone, amounts[slices(box)], masks, scores)
            rows += [replace(row, y=row.y + box[0], x=row.x + box[1]) for row in found]
        return tuple(rows)

    def why(self, ident: int) -> dict[str, Any]:
        """Say why there is a prompt.

        Returns
        -------
        dict
            "haematoxylin" at the point (0 to 1, 1 being the image's 99th
            percentile) and "prototype", "mass" and "rho" as of
            :meth:`.Explanation.at`; None for these where a person placed the
            point, or the image was not scanned.

        Raises
        ------
        SproutError
            If there is no such prompt.
        """
        state = self.state
        prompt = state.prompts.get(ident)
        if prompt is None:
            raise SproutError(f"There is no point number {ident}: it may have been deleted.")
        ground = state.ground
        y, x = ground.to_working(prompt.y, prompt.x)
        shape = ground.haematoxylin.shape
        row, column = min(int(y + 0.5), shape[0] - 1), min(int(x + 0.5), shape[1] - 1)
        found: dict[str, Any] = {"haematoxylin": float(ground.haematoxylin[row, column])}
        if prompt.source == "hand" or ground.explanation is None:
            return found | dict.fromkeys(("prototype", "mass", "rho"))
        return found | ground.explanation.at(y, x, (shape[0], shape[1]), ground.token)

    def _edited(self, edit: Edit) -> Step:
        """Change prompts, masks and labels."""
        transaction = Transaction(self.state)
        try:
            HANDLERS[type(edit)](transaction, edit)
            resolve_around(transaction)
        except BaseException:
            transaction.roll_back()
            raise
        return Step(edit, delta=transaction.finish())

    def _changed_inputs(self, edit: Edit) -> Step | None:
        """Change what the next run is given; None for an edit of another kind."""
        step = input_step(self.session, edit)
        if step is not None:
            take_inputs(self.session, step, forward=True)
        return step

    def _travelled(self, step: Step, forward: bool) -> Change:
        """Take a step, and the run that belongs to it, in one direction."""
        before = self._state
        if step.run is not None and not forward:
            self._state = step.run.before
        self._take(step, forward)
        if step.run is not None and forward:
            self._state = step.run.after
        if before is self._state or before is None or self._state is None:
            return self._done(step, forward)
        differs = np.flatnonzero(before.labels != self._state.labels)
        found = np.union1d(before.labels.flat[differs], self._state.labels.flat[differs])
        change = self._done(step, forward)
        ids = frozenset(found[found != 0].tolist())
        box = around(differs, self._state.labels.shape[1])
        return replace(change, ids=ids, box=box, prompts_changed=True)

    def _take(self, step: Step, forward: bool) -> None:
        take_inputs(self.session, step, forward)
        if step.delta is not None:
            (step.delta.redo if forward else step.delta.undo)(self.state)

    def _done(self, step: Step, forward: bool) -> Change:
        """Count the change and describe it."""
        self.revision += 1
        rerun_from = self._first_stale()
        if step.delta is None:
            return Change(step.edit, frozenset(), None, False, rerun_from)
        state = self.state
        prompts_changed = any(entry[0] is state.prompts for entry in step.delta.entries)
        box = step.delta.box(state.labels.shape[1])
        return Change(step.edit, step.delta.ids(), box, prompts_changed, rerun_from)

    def _first_stale(self) -> Stage | None:
        session = self.session
        if session.is_current(Stage.NUCLEI):
            return None
        stages = needed(Stage.NUCLEI, session.settings)
        return next(stage for stage in stages if not session.is_current(stage))

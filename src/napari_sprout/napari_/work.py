"""The heavy work of one session, as it is done away from the viewer's thread.

Each piece of work is a generator. What it yields are messages for the viewer's
thread that hold everything to be shown, so that nothing is read from a session
while the next work changes it.
"""

from __future__ import annotations

import threading
import time
from collections import deque
from collections.abc import Callable, Generator, Iterator, Sequence
from contextlib import closing
from dataclasses import dataclass, field
from functools import partial
from typing import Any, TypeVar, cast

from ..core.correction import Change, Correction
from ..core.edits import Edit
from ..core.instances import Prompt
from ..core.outputs import PromptSet
from ..core.session import Progress, Session
from ..core.stages import Stage
from ..errors import SproutError, StoppedError
from ..io import history
from ..io.acts import Move
from ..io.project import Project
from .acts import Acts, Failure
from .roles import LayerRole, Slot
from .stage_layers import LayerSpec, chosen_step, slots_of, stage_specs
from .view import View, take_view


@dataclass(frozen=True, eq=False)
class Picture:
    """A layer to be shown, or one that is soon needed to be made ready.

    A new layer costs napari a good part of what a person notices as a delay, so
    the worker waits until one is there, and a moment more, before the next.
    """

    what: LayerSpec | LayerRole
    shown: threading.Event = field(default_factory=threading.Event)


@dataclass(frozen=True, eq=False)
class StageMade:
    """A stage is up to date; `gone` are the slots that it no longer fills."""

    stage: Stage
    gone: tuple[Slot, ...] = ()


@dataclass(frozen=True, eq=False)
class PromptsMade:
    """The prompts of a run whose masks are not there yet."""

    prompts: tuple[Prompt, ...]


@dataclass(frozen=True, eq=False)
class Shown:
    """A change that is done and kept, and what is to be seen of it, if there is a result."""

    change: Change
    view: View | None
    undone: bool = False


@dataclass(frozen=True, eq=False)
class Whole:
    """The whole result of a run."""

    view: View


@dataclass(frozen=True, eq=False)
class Notice:
    """What a person should know of the work, in a sentence; it goes on all the same."""

    text: str


Message = Progress | Picture | StageMade | PromptsMade | Shown | Whole | Failure | Notice
_PATIENCE = 1.0
"""Seconds after which the worker goes on though a layer is not there yet."""

_BREATH = 0.02
"""Seconds that the window has to itself between two new layers."""

Work = Generator[Message, None, None]
_T = TypeVar("_T")


class Worker:
    """Does one thing after another to a correction, and keeps it in a project.

    Parameters
    ----------
    correction
        What is worked on.
    project
        Where everything is written down before it is done; None for nowhere.
    wanted
        Returns how many new identifiers are to come with the next view.
    warn
        Given a sentence, in the viewer's thread, if what waits is not on disk.
    """

    def __init__(
        self,
        correction: Correction,
        project: Project | None,
        wanted: Callable[[], int],
        warn: Callable[[str], None],
    ) -> None:
        self._correction = correction
        self._project = project
        self._wanted = wanted
        self._warn = warn
        self._pictured: dict[Stage, tuple[Any, int | None]] = {}
        self._slots: dict[Stage, tuple[Slot, ...]] = {}
        self._hurried = threading.Event()
        self._acts = Acts(correction, project)

    def hurry(self) -> None:
        """Wait for nothing any more: nobody looks at the layers."""
        self._hurried.set()
        self._acts.hurry()

    def run(self, until: Stage, present: frozenset[Slot]) -> Work:
        """Run what is not up to date, as far as `until`.

        Parameters
        ----------
        until
            The last stage.
        present
            The slots that have a layer: a picture that is missing is made again.
        """
        correction = self._correction
        told: deque[str] = deque()
        steps = (
            correction.run(until)
            if self._project is None
            else history.run(self._project, correction, until, told.append)
        )
        seen: set[Stage] = set()
        with closing(_noticed(steps, told)) as messages:
            for step in messages:
                yield step
                if isinstance(step, Notice):
                    continue
                stage = step.stage
                through = step.done == step.total and stage not in {*seen, Stage.NUCLEI}
                if through and correction.session.is_current(stage):
                    seen.add(stage)
                    yield from self._pictures(stage, present)
        if not correction.session.is_current(until):
            raise StoppedError(f"The run was stopped before its stage '{until}' was finished.")
        if until is Stage.NUCLEI:
            yield from self._whole()

    def apply(self, edits: Sequence[Edit], *, waits: bool = False) -> Callable[[], Work]:
        """Return the work of one act; of its edits, those that are impossible are left out.

        Parameters
        ----------
        edits
            What the person did; it may be seen already.
        waits
            Whether other work comes first: then it is written down before this returns.
        """
        act = self._written(edits) if waits else None
        return partial(self._apply, edits, act)

    def travel(self, move: Move, *, waits: bool = False) -> Callable[[], Work]:
        """Return the work that undoes the last act, or redoes the one undone last.

        Parameters
        ----------
        move
            "undo" or "redo".
        waits
            As for :meth:`apply`.
        """
        act = self._written(move) if waits else None
        return partial(self._travel, move, act)

    def restore(self) -> Work:
        """Do again everything that is written down in the project."""
        project, correction = self._project, self._correction
        if project is None or not (project.entries or project.waiting.earlier):
            return
        told: deque[str] = deque()
        steps = history.replaying(project, correction, told.append)
        with closing(_noticed(steps, told)) as messages:
            for message in messages:
                if isinstance(message, Notice):
                    yield message
                    continue
                fraction, what = message
                stage = Stage(what) if what in list(Stage) else Stage.NUCLEI
                yield Progress(stage, round(1000 * fraction), 1000, fraction)
        for text in self._acts.bring_back():
            yield Notice(text)
        for stage in Stage:
            if correction.session.is_current(stage):
                yield from self._pictures(stage, frozenset())
        if correction.ready:
            yield from self._whole()

    def _written(self, what: Sequence[Edit] | Move) -> str | None:
        try:
            return self._acts.wait(what)
        except SproutError as error:
            # It is done all the same, and in time unless the program dies before.
            self._warn(f"What you do now is not on disk until it is its turn. {error}")
            return None

    def _apply(self, edits: Sequence[Edit], act: str | None) -> Work:
        failed = False
        for found in self._acts.apply(edits, act):
            if isinstance(found, Failure):
                failed = True
                yield found
            else:
                yield self._shown(found)
        self._acts.settle(act, failed)

    def _travel(self, move: Move, act: str | None) -> Work:
        try:
            for change in self._acts.travel(move, act):
                yield self._shown(change, undone=True)
        except SproutError:
            self._acts.settle(act, failed=True)
            raise
        self._acts.settle(act)

    def _whole(self) -> Iterator[Whole | StageMade]:
        """Yield the whole result; first of all, as the work may be cancelled at each step."""
        yield Whole(take_view(self._correction, fresh=self._wanted()))
        yield StageMade(Stage.NUCLEI)

    def _shown(self, change: Change, undone: bool = False) -> Shown:
        ready = self._correction.ready
        view = take_view(self._correction, change, self._wanted()) if ready else None
        return Shown(change, view, undone)

    def _pictures(
        self, stage: Stage, present: frozenset[Slot]
    ) -> Iterator[Picture | StageMade | PromptsMade]:
        """Yield the layers of a stage, unless they are shown already."""
        session = self._correction.session
        # Prompts and activation say together which step of the scan is to be seen.
        key = Stage.ACTIVATION if stage is Stage.PROMPTS else stage
        source = (_output(session, key), chosen_step(session) if key is Stage.ACTIVATION else 0)
        before = self._pictured.get(key)
        same = before is not None and before[0] is source[0] and before[1] == source[1]
        gone: tuple[Slot, ...] = ()
        if not same or not present.issuperset(self._slots.get(key, ())):
            made = []
            for spec in stage_specs(session, stage):
                made.append(spec.slot)
                yield from self._paced(Picture(spec))
            gone = tuple(slot for slot in slots_of(stage, present) if slot not in made)
            self._pictured[key], self._slots[key] = source, tuple(made)
        if stage is Stage.PROMPTS and not self._correction.ready:
            prompts: PromptSet = session.output(stage)
            yield from self._paced(Picture(LayerRole.PROMPTS))
            yield PromptsMade(prompts.prompts)
            yield from self._paced(Picture(LayerRole.SUPPRESSED))
            yield from self._paced(Picture(LayerRole.NUCLEI))
        yield StageMade(stage, gone)

    def _paced(self, picture: Picture) -> Iterator[Picture]:
        yield picture
        if not picture.shown.is_set():
            # Another thread draws; while it does not, it has better things to do.
            begun = time.monotonic()
            while time.monotonic() - begun < _PATIENCE and not self._hurried.is_set():
                if picture.shown.wait(_BREATH):
                    time.sleep(_BREATH)
                    break


def _noticed(steps: Iterator[_T], told: deque[str]) -> Generator[_T | Notice, None, None]:
    """Yield what `steps` yields, and before it what was `told` while it was made.

    Python's own warnings would not do: they are one for all threads, and nobody
    sees those of a thread that is not the window's.
    """

    def notices() -> Iterator[Notice]:
        while told:
            yield Notice(told.popleft())

    with closing(cast("Generator[_T, None, None]", steps)) as closed:
        try:
            for step in closed:
                yield from notices()
                yield step
        except SproutError:
            yield from notices()
            raise
    yield from notices()


def _output(session: Session, stage: Stage) -> Any:
    try:
        return session.output(stage)
    except KeyError:
        return None

"""Tasks spread over processes; every finished cell comes back at once."""

from __future__ import annotations

import os
import signal
import traceback
from collections import deque
from collections.abc import Generator, Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from multiprocessing import get_context
from multiprocessing.connection import Connection, wait
from multiprocessing.context import SpawnProcess
from pathlib import Path
from typing import Final

import cv2
import torch
from threadpoolctl import threadpool_limits

from ...core.loaded import LoadedModels
from ...errors import SproutError
from ...models import weights
from ..embeddings import DEFAULT_LIMIT, EmbeddingCache
from .measure import Failed, Measured, Measurer
from .plan import Task, Wanted

_MOST_PROCESSES: Final = 8
_DONE: Final = "done"


@dataclass(frozen=True)
class Note:
    """A sentence that a person should know."""

    text: str


Message = Measured | Failed | Note


@dataclass(frozen=True)
class Setup:
    """How every process works.

    Attributes
    ----------
    device
        Where to compute.
    cache
        The folder of encoded tiles; None for none.
    debug
        Show the traceback of every error.
    """

    device: str = "auto"
    cache: Path | None = None
    debug: bool = False


def cores() -> int:
    """Return how many processor cores this program may use."""
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


def usual_processes(device: str) -> int:
    """Return how many processes are made unless told otherwise: one where a GPU computes.

    Raises
    ------
    SettingsError
        If there is no such device.
    """
    on_cpu = weights.resolve_device(device).type == "cpu"
    return min(cores(), _MOST_PROCESSES) if on_cpu else 1


@dataclass(frozen=True)
class _Fault:
    """Why a process could not be set up."""

    text: str


class _Worker:
    """What one process keeps from task to task: loaded models and the cache."""

    def __init__(self, setup: Setup) -> None:
        self._setup = setup
        self._notes: list[str] = []
        store = None
        if setup.cache is not None:
            store = EmbeddingCache(setup.cache, DEFAULT_LIMIT, tell=self._notes.append)
        self._measurer = Measurer(LoadedModels(setup.device), store, debug=setup.debug)

    def run(self, task: Task) -> Iterator[Message]:
        for message in self._measurer.run(task):
            yield message
            while self._notes:
                yield Note(self._notes.pop())


def run_tasks(
    tasks: Sequence[Task], setup: Setup, processes: int = 1
) -> Generator[Message, None, None]:
    """Carry out tasks, in this process or spread over several.

    Closing the generator, or an exception where it is read, ends the processes.

    Parameters
    ----------
    tasks
        What to do.
    setup
        How.
    processes
        How many to start at most; with 1 none is. The cores are shared out among so
        many even if there are fewer tasks: a run that is resumed rounds as before.

    Yields
    ------
    Measured, Failed or Note
        Every cell of every task is in one of the former two.

    Raises
    ------
    SproutError
        If a process cannot be set up.
    """
    threads = max(1, cores() // processes)
    if processes > 1:
        crew = _Crew(setup, threads)
        try:
            yield from crew.run(tasks, processes)
        finally:
            crew.end()
        return
    with _threads(threads):
        worker = _Worker(setup)
        for task in tasks:
            yield from worker.run(task)


@contextmanager
def _threads(number: int) -> Iterator[None]:
    """Let the libraries use so many threads, and afterwards as many as before."""
    before = torch.get_num_threads(), cv2.getNumThreads()
    try:
        torch.set_num_threads(number)
        cv2.setNumThreads(number)
        with threadpool_limits(number):
            yield
    finally:
        torch.set_num_threads(before[0])
        cv2.setNumThreads(before[1])


@dataclass
class _Hand:
    """One process, its task, and the cells of the task that it has not reported yet."""

    process: SpawnProcess
    left: dict[str, Wanted]


class _Crew:
    """Processes that are each given a task at a time."""

    def __init__(self, setup: Setup, threads: int) -> None:
        self._work = setup, threads
        self._hands: dict[Connection, _Hand] = {}

    def run(self, tasks: Sequence[Task], processes: int) -> Iterator[Message]:
        waiting = deque(tasks)
        for _ in range(min(processes, len(waiting))):
            self._start(waiting.popleft())
        while self._hands:
            ready = wait(list(self._hands))
            for connection in [hand for hand in self._hands if hand in ready]:
                yield from self._hear(connection, waiting)

    def _start(self, task: Task) -> None:
        context = get_context("spawn")
        ours, theirs = context.Pipe()
        process = context.Process(target=_serve, args=(theirs, *self._work), daemon=True)
        process.start()
        # With our copy closed, the end of the process is the end of the connection.
        theirs.close()
        self._hands[ours] = _Hand(process, {})
        self._give(ours, task)

    def _give(self, connection: Connection, task: Task) -> None:
        self._hands[connection].left = {wanted.key: wanted for wanted in task.cells}
        with suppress(BrokenPipeError):
            connection.send(task)

    def _hear(self, connection: Connection, waiting: deque[Task]) -> Iterator[Message]:
        """Take one message from a process, and give it the next task when it is done."""
        hand = self._hands[connection]
        try:
            message = connection.recv()
        except (EOFError, ConnectionResetError):
            yield from self._lost(connection)
            if waiting:
                self._start(waiting.popleft())
            return
        if isinstance(message, _Fault):
            # Every other process would end in the same way.
            raise SproutError(message.text)
        if message != _DONE:
            if isinstance(message, Measured):
                hand.left.pop(message.wanted.key, None)
            elif isinstance(message, Failed):
                for wanted in message.cells:
                    hand.left.pop(wanted.key, None)
            yield message
        elif waiting:
            self._give(connection, waiting.popleft())
        else:
            self._dismiss(connection)

    def _lost(self, connection: Connection) -> Iterator[Message]:
        """Account for the cells of a process that has ended in the middle of its task."""
        hand = self._dismiss(connection)
        if hand.left:
            cells = tuple(hand.left.values())
            yield Failed(cells, _ended(cells[0].place.image, hand.process.exitcode))

    def _dismiss(self, connection: Connection) -> _Hand:
        hand = self._hands.pop(connection)
        connection.close()
        hand.process.join()
        return hand

    def end(self) -> None:
        """End all processes; what they were doing is lost."""
        for hand in self._hands.values():
            hand.process.terminate()
        for connection in list(self._hands):
            self._dismiss(connection)


def _ended(image: str, code: int | None) -> str:
    """Return the sentence on a process that has ended without a word."""
    who = f"The process that worked on '{image}'"
    # Python itself ends with nothing else.
    if code in (0, 1):
        return (
            f"{who} stopped by itself (exit code {code}); this is a fault in the program, "
            "'napari-sprout --debug experiment ... --processes 1' shows where."
        )
    return (
        f"{who} was ended from outside (exit code {code}), perhaps for want of memory; give "
        "fewer --processes and run the command again."
    )


def _serve(connection: Connection, setup: Setup, threads: int) -> None:
    """Carry out the tasks that come through a connection, until it is closed."""
    # Ctrl-C reaches every process of a terminal; the one that started this one decides.
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    with _threads(threads), suppress(EOFError, BrokenPipeError, ConnectionResetError):
        try:
            worker = _Worker(setup)
        except Exception as error:
            if setup.debug:
                traceback.print_exception(error)
            connection.send(_Fault(_unready(error)))
            return
        while True:
            for message in worker.run(connection.recv()):
                connection.send(message)
            connection.send(_DONE)


def _unready(error: Exception) -> str:
    """Return the sentence on what went wrong before any image was looked at."""
    if isinstance(error, SproutError):
        return str(error)
    return (
        f"A process could not be set up because of an unexpected {type(error).__name__} "
        f"({error}); this is a fault in the program, 'napari-sprout --debug experiment ...' "
        "shows where."
    )

"""Who does the work on tiles: this process, workers on this computer, or a cluster."""

from __future__ import annotations

import logging
import os
from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager
from typing import Any, Final, Protocol, TypeVar

from ..._version import __version__
from ...errors import SproutError
from ..extras import needed

_LOG_LEVEL: Final = "NAPARI_SPROUT_DASK_LOG"
_DEAF: Final = "import signal\nsignal.signal(signal.SIGINT, signal.SIG_IGN)"

Item = TypeVar("Item")
Result = TypeVar("Result")


class SchedulerError(SproutError):
    """The scheduler of a cluster that cannot be reached or used, or no longer answers."""


class Executor(Protocol):
    """Does many pieces of work, in any order."""

    def run(
        self, work: Callable[[Item], Result], items: Sequence[Item]
    ) -> Iterator[tuple[Item, Result | Exception]]:
        """Yield every item with what its work gave or raised, as they are finished.

        A worker that died over an item, for want of memory most often, counts as a
        MemoryError of that item.

        Raises
        ------
        SchedulerError
            If the workers are lost, or do not have this program.
        """
        ...


class InProcess:
    """One piece after the other, in this process and thread."""

    def run(
        self, work: Callable[[Item], Result], items: Sequence[Item]
    ) -> Iterator[tuple[Item, Result | Exception]]:
        """As of :class:`Executor`."""
        for item in items:
            try:
                found: Result | Exception = work(item)
            except Exception as error:
                found = error
            yield item, found


class OnDask:
    """Workers of dask.

    Parameters
    ----------
    client
        A connected ``distributed.Client``.
    address
        Of the scheduler, for a person.
    """

    def __init__(self, client: Any, address: str) -> None:
        self._client = client
        self._address = address

    def run(
        self, work: Callable[[Item], Result], items: Sequence[Item]
    ) -> Iterator[tuple[Item, Result | Exception]]:
        """As of :class:`Executor`."""
        distributed = needed("distributed")
        lost = (OSError, distributed.CancelledError, distributed.TimeoutError)
        if not items:
            return
        try:
            self._check_workers()
            futures = self._client.map(work, items, pure=False)
            items_of = dict(zip((future.key for future in futures), items, strict=True))
            for future in distributed.as_completed(futures):
                error = future.exception()
                if future.cancelled():
                    raise distributed.CancelledError(future.key)
                if isinstance(error, RuntimeError) and "deserialization of the task" in str(error):
                    raise self._unlike(f"The scheduler at {self._address} has none") from error
                if isinstance(error, distributed.KilledWorker):
                    error = MemoryError("the worker died")
                yield items_of[future.key], future.result() if error is None else error
                future.release()
        except lost as error:
            raise SchedulerError(
                f"The scheduler at {self._address} no longer answers. What is finished is kept: "
                "start the scheduler and run the same command again."
            ) from error

    def _check_workers(self) -> None:
        """Refuse workers without this program: they would end over their first task, unheard."""
        for worker, found in self._client.run(_version, on_error="return").items():
            if found != __version__:
                has = "none" if isinstance(found, BaseException) else f"version {found}"
                raise self._unlike(f"The worker {worker} of {self._address} has {has}")

    @staticmethod
    def _unlike(what: str) -> SchedulerError:
        return SchedulerError(
            f"This is napari-sprout {__version__}. {what}: install it for the scheduler and all "
            "its workers, with the same versions of Python and dask as here."
        )


@contextmanager
def local_workers(count: int, threads: int) -> Iterator[OnDask]:
    """Start workers on this computer, one process each, and end them afterwards.

    Parameters
    ----------
    count
        How many.
    threads
        In which each of them computes.
    """
    distributed = needed("distributed")
    dask = needed("dask")
    _hush()
    numbers = {name: str(threads) for name in ("OMP_NUM_THREADS", "MKL_NUM_THREADS")}
    settings = {
        # A tile that took a worker down twice would do so a third time: it is done in quarters.
        "distributed.scheduler.allowed-failures": 1,
        # Those that only wait at a worker that dies are not to be taken for the cause.
        "distributed.scheduler.worker-saturation": 1.0,
        "distributed.nanny.pre-spawn-environ": numbers | {"OPENBLAS_NUM_THREADS": str(threads)},
        "distributed.admin.tick.limit": "1h",
        # Ctrl+C reaches all processes of a terminal; we are the one to end the workers.
        "distributed.worker.preload": [_DEAF],
    }
    with dask.config.set(settings):
        cluster = distributed.LocalCluster(
            n_workers=count,
            threads_per_worker=1,
            processes=True,
            dashboard_address="127.0.0.1:0",
            silence_logs=os.environ.get(_LOG_LEVEL, "CRITICAL"),
        )
        with cluster, distributed.Client(cluster) as client:
            yield OnDask(client, "this computer")


@contextmanager
def scheduler_at(address: str) -> Iterator[OnDask]:
    """Connect to a scheduler that runs elsewhere; its workers stay when we leave.

    Parameters
    ----------
    address
        Such as ``tcp://host:8786``.

    Raises
    ------
    SchedulerError
        If nothing answers there.
    """
    distributed = needed("distributed")
    _hush()
    try:
        client = distributed.Client(address, timeout="10s")
    except (OSError, ValueError, TimeoutError) as error:
        raise SchedulerError(
            f"No scheduler answers at '{address}' ({error}); check the address, and that "
            "'dask scheduler' runs there."
        ) from error
    with client:
        yield OnDask(client, address)


def executor(workers: int, threads: int, scheduler: str | None) -> AbstractContextManager[Executor]:
    """Return who is to do the work: a scheduler's workers, processes, or this process.

    Parameters
    ----------
    workers
        Processes on this computer; 0 works in this one. Without meaning for a scheduler.
    threads
        In which each computes.
    scheduler
        Address; None for this computer.
    """
    if scheduler is not None:
        return scheduler_at(scheduler)
    return local_workers(workers, threads) if workers else _in_process()


def _version() -> str:
    """Return the version of this program, where it runs."""
    return __version__


def _hush() -> None:
    """Keep dask from printing what we say in a sentence; the environment can ask for more."""
    level = os.environ.get(_LOG_LEVEL, "CRITICAL")
    for name in ("distributed", "distributed.client", "distributed.nanny", "distributed.scheduler"):
        logging.getLogger(name).setLevel(level)


@contextmanager
def _in_process() -> Iterator[InProcess]:
    yield InProcess()

"""Parts of the work on one image done at the same time, in threads.

torch would rather split each product among the processor's cores. The steps here are
small and many, and after each of them torch's threads wait for the slowest, which is
slow on a computer that has other work too. So whole pieces of work are given to threads
in which torch computes alone. What they compute is the same up to rounding.
"""

from __future__ import annotations

import itertools
import os
import threading
from collections import deque
from collections.abc import Callable, Generator, Iterable
from concurrent.futures import Future, ThreadPoolExecutor
from functools import lru_cache
from typing import Final, TypeVar

import torch

MOST_PIXELS: Final = 20_000_000
"""Of all maps of an image that are worked on at once; each takes some 40 bytes a pixel."""

_AHEAD: Final = 2
"""Pieces handed out for each thread: one that it does, and one that it need not wait for."""

Item = TypeVar("Item")
Result = TypeVar("Result")


def threads_for(shape: tuple[int, int]) -> int:
    """Return how many maps of `shape` may be worked on at once: few if they are large."""
    height, width = shape
    return max(1, min(torch.get_num_threads(), MOST_PIXELS // (height * width)))


def in_threads(
    work: Callable[[Item], Result], items: Iterable[Item], at_once: int | None = None
) -> Generator[Result, None, None]:
    """Do pieces of work in as many threads as torch has, and yield the results in order.

    Parameters
    ----------
    work
        It must let go of Python's lock to gain anything, and give the same in any thread.
    items
        What to call it with. They are asked for in the caller's thread, a few ahead.
    at_once
        The most pieces to be under way. What is alone, or one at a time, the caller's thread
        does, in which torch has all its threads.

    Yields
    ------
    Result
        Of each item, in their order. When it is closed early, pieces that nobody has begun
        are dropped and nobody waits for the others.
    """
    most = torch.get_num_threads()
    number = most if at_once is None else min(at_once, most)
    if number <= 1:
        yield from map(work, items)
        return
    rest = iter(items)
    first = list(itertools.islice(rest, 2))
    if len(first) <= 1:
        yield from map(work, first)
        return
    pending: deque[Future[Result]] = deque()
    ahead = _AHEAD * number if number == most else number
    try:
        for item in itertools.chain(first, rest):
            pending.append(_handed_out(work, item, most))
            while pending and (len(pending) >= ahead or pending[0].done()):
                yield pending.popleft().result()
        while pending:
            yield pending.popleft().result()
    finally:
        for future in pending:
            future.cancel()


def prepare() -> None:
    """Make the threads now, while no other thread begins to use torch."""
    if torch.get_num_threads() > 1:
        _pool(torch.get_num_threads())


def _handed_out(work: Callable[[Item], Result], item: Item, number: int) -> Future[Result]:
    try:
        return _pool(number).submit(work, item)
    except RuntimeError:
        # Python is ending and begins no more work in threads; what a person did is done still.
        done: Future[Result] = Future()
        done.set_result(work(item))
        return done


def _pool(number: int) -> ThreadPoolExecutor:
    """Return threads in which torch uses one thread; kept, since they take time to warm up."""
    with _making:
        return _made(number)


@lru_cache(maxsize=2)
def _made(number: int) -> ThreadPoolExecutor:
    # In a new thread: the caller's own number of threads may be another than everybody's.
    made: Future[ThreadPoolExecutor] = Future()

    def make() -> None:
        try:
            made.set_result(_make(number))
        except BaseException as error:
            made.set_exception(error)

    threading.Thread(target=make).start()
    return made.result()


def _make(number: int) -> ThreadPoolExecutor:
    everybodys = torch.get_num_threads()
    all_there = threading.Barrier(number)
    pool = ThreadPoolExecutor(number, thread_name_prefix="sprout", initializer=_alone)
    try:
        for waiting in [pool.submit(all_there.wait) for _ in range(number)]:
            waiting.result()
    except BaseException:
        all_there.abort()
        pool.shutdown(wait=False)
        raise
    finally:
        # Threads that begin later take on what was set last, wherever that was.
        torch.set_num_threads(everybodys)
    return pool


def _alone() -> None:
    torch.set_num_threads(1)
    # A thread that torch is new to would take on, when it first computes, what was set last.
    torch.get_num_threads()


_making = threading.Lock()
if hasattr(os, "register_at_fork"):
    # The threads stay behind.
    os.register_at_fork(after_in_child=_made.cache_clear)

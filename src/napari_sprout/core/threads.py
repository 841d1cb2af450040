"""Parts of the work on one image done at the same time, in threads.

torch would rather split each product among the processor's cores. The steps here are
small and many, and after each of them torch's threads wait for the slowest: on a
computer that has other work too, a run then takes ten times as long. So whole pieces
of work are given to threads in which torch computes alone. What they compute is the
same, whatever their number.
"""

from __future__ import annotations

import itertools
import threading
from collections import deque
from collections.abc import Callable, Generator, Iterable
from concurrent.futures import Future, ThreadPoolExecutor
from functools import cache
from typing import Final, TypeVar

import torch

MOST_PIXELS: Final = 20_000_000
"""Of all maps that are worked on at once; each takes some 40 bytes a pixel."""

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
        What to call it with. They are asked for in the caller's thread, not long before.
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
    rest = iter(items)
    first = list(itertools.islice(rest, 2))
    if number <= 1 or len(first) <= 1:
        yield from map(work, itertools.chain(first, rest))
        return
    pool = _pool(most)
    ahead = _AHEAD * number if number == most else number
    pending: deque[Future[Result]] = deque()
    try:
        for item in itertools.chain(first, rest):
            pending.append(pool.submit(work, item))
            if len(pending) >= ahead:
                yield pending.popleft().result()
        while pending:
            yield pending.popleft().result()
    finally:
        for future in pending:
            future.cancel()


@cache
def _pool(number: int) -> ThreadPoolExecutor:
    """Return threads in which torch uses one thread; kept, since they take time to warm up."""
    all_there = threading.Barrier(number)
    pool = ThreadPoolExecutor(number, thread_name_prefix="sprout", initializer=_alone)
    for waiting in [pool.submit(all_there.wait) for _ in range(number)]:
        waiting.result()
    # Threads that begin later take on what was set last, wherever that was.
    torch.set_num_threads(number)
    return pool


def _alone() -> None:
    torch.set_num_threads(1)
    # A thread that torch is new to would take on, when it first computes, what was set last.
    torch.get_num_threads()

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator
from typing import Any

import pytest
import torch
from pytestqt.qtbot import QtBot

from napari_sprout.errors import ImageError, SproutError, StoppedError
from napari_sprout.qt.workers import NAME, ThreadedSubmit


class Heard:
    """What a worker called back, and in which threads."""

    def __init__(self) -> None:
        self.calls: list[tuple[str, Any]] = []
        self.threads: set[threading.Thread] = set()

    def _listener(self, kind: str) -> Callable[[Any], None]:
        def listen(value: Any) -> None:
            self.threads.add(threading.current_thread())
            self.calls.append((kind, value))

        return listen

    @property
    def callbacks(self) -> dict[str, Callable[[Any], None]]:
        names = {"on_progress": "progress", "on_done": "done", "on_error": "error"}
        return {name: self._listener(kind) for name, kind in names.items()}

    def kinds(self) -> list[str]:
        return [kind for kind, _ in self.calls]


@pytest.fixture
def heard() -> Heard:
    return Heard()


@pytest.fixture
def submit(qtbot: QtBot) -> Iterator[ThreadedSubmit]:
    made = ThreadedSubmit()
    yield made
    made.close()


def worker_threads() -> list[threading.Thread]:
    return [thread for thread in threading.enumerate() if thread.name.startswith(NAME)]


def test_results_arrive_in_order_in_the_windows_thread(
    qtbot: QtBot, submit: ThreadedSubmit, heard: Heard
) -> None:
    at_work = []

    def count(n: int) -> Iterator[int]:
        at_work.append(threading.current_thread())
        yield from range(n)
        return n

    for n in (3, 1):
        submit(lambda n=n: count(n), **heard.callbacks)
    submit(lambda: "plain", **heard.callbacks)
    qtbot.waitUntil(lambda: not submit.busy)
    progress = [("progress", i) for i in range(3)]
    rest = [("done", 3), ("progress", 0), ("done", 1), ("done", "plain")]
    assert heard.calls == progress + rest
    assert heard.threads == {threading.main_thread()}
    assert len(set(at_work)) == 1
    assert threading.main_thread() not in at_work


def test_cancelling_stops_within_one_unit_and_spares_later_work(
    qtbot: QtBot, submit: ThreadedSubmit, heard: Heard
) -> None:
    begun, go_on = threading.Event(), threading.Event()
    closed, went_on = [], []

    def long() -> Iterator[int]:
        try:
            yield 0
            begun.set()
            go_on.wait(5)
            yield 1
            went_on.append("the one under way")
        finally:
            closed.append(True)

    job = submit(long, **heard.callbacks)
    waiting = submit(lambda: went_on.append("the one that waited"), **heard.callbacks)
    submit(lambda: "later", **heard.callbacks)
    begun.wait(5)
    job.cancel()
    waiting.cancel()
    go_on.set()
    qtbot.waitUntil(lambda: not submit.busy)
    assert heard.kinds() == ["progress", "progress", "error", "error", "done"]
    assert [type(value) for _, value in heard.calls[2:4]] == [StoppedError, StoppedError]
    assert closed == [True]
    assert went_on == []


@pytest.mark.parametrize(
    ("error", "said"),
    [
        (ImageError("Too small."), "Too small."),
        (RuntimeError("shape mismatch"), "Sorry, something went wrong"),
        (torch.OutOfMemoryError("CUDA out of memory"), "The memory ran out"),
    ],
)
def test_an_exception_becomes_a_sentence_and_the_thread_goes_on(
    qtbot: QtBot, submit: ThreadedSubmit, heard: Heard, error: Exception, said: str
) -> None:
    def fail() -> Iterator[int]:
        yield 0
        raise error

    submit(fail, **heard.callbacks)
    submit(lambda: "after", **heard.callbacks)
    qtbot.waitUntil(lambda: not submit.busy)
    assert heard.kinds() == ["progress", "error", "done"]
    told = heard.calls[1][1]
    assert isinstance(told, SproutError)
    assert str(told).startswith(said)
    assert error in (told, told.__cause__)


def test_retiring_does_not_wait_but_ends_with_the_last_thing_to_do(
    qtbot: QtBot, heard: Heard
) -> None:
    begun, go_on = threading.Event(), threading.Event()
    done: list[str] = []

    def long() -> Iterator[int]:
        begun.set()
        go_on.wait(5)
        yield 1
        done.append("the cancelled one went on")

    submit = ThreadedSubmit()
    job = submit(long, **heard.callbacks)
    submit(lambda: done.append("the first that waited"), **heard.callbacks)
    never = submit(lambda: done.append("the cancelled one began"), **heard.callbacks)
    submit(lambda: done.append("the second that waited"), **heard.callbacks)
    assert begun.wait(5)
    job.cancel()
    never.cancel()
    submit.retire(lambda: done.append("the last"))
    assert done == []
    assert not submit.ended.is_set()
    go_on.set()
    assert submit.ended.wait(5)
    qtbot.wait(20)
    assert done == ["the first that waited", "the second that waited", "the last"]
    assert heard.calls == []


def test_a_last_thing_that_fails_ends_it_all_the_same(qtbot: QtBot) -> None:
    def fail() -> None:
        raise OSError("the disk is gone")

    submit = ThreadedSubmit()
    submit.retire(fail)
    assert submit.ended.wait(5)


def test_closing_mid_run_leaves_no_thread_and_calls_nothing_back(
    qtbot: QtBot, heard: Heard
) -> None:
    before = worker_threads()
    begun = threading.Event()
    done: list[str] = []

    def endless() -> Iterator[int]:
        while True:
            begun.set()
            time.sleep(0.01)
            yield 1

    submit = ThreadedSubmit()
    run = submit(endless, **heard.callbacks)
    submit(lambda: done.append("an edit"), **heard.callbacks)
    assert begun.wait(5)
    run.cancel()
    submit.close(lambda: done.append("the project's end"))
    assert done == ["an edit", "the project's end"]
    calls = list(heard.calls)
    qtbot.wait(50)
    # A thread of a test before may have ended meanwhile.
    assert set(worker_threads()) <= set(before)
    assert heard.calls == calls
    assert not submit.busy


def test_a_fault_in_a_callback_does_not_stop_the_next_one(
    qtbot: QtBot, submit: ThreadedSubmit, heard: Heard
) -> None:
    def faulty(_: Any) -> None:
        raise ValueError("fault")

    with qtbot.captureExceptions() as caught:
        submit(lambda: 1, **(heard.callbacks | {"on_done": faulty}))
        submit(lambda: 2, **heard.callbacks)
        qtbot.waitUntil(lambda: not submit.busy)
    assert [str(error) for _, error, _ in caught] == ["fault"]
    assert heard.calls == [("done", 2)]

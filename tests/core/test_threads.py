from __future__ import annotations

import os
import subprocess
import sys
import threading
import time
from collections.abc import Iterator

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from napari_sprout.core import threads
from napari_sprout.core.threads import in_threads, threads_for


@pytest.fixture(autouse=True)
def three_threads() -> Iterator[None]:
    before = torch.get_num_threads()
    torch.set_num_threads(3)
    yield
    torch.set_num_threads(before)


@given(st.lists(st.integers(), max_size=40), st.sampled_from([None, 1, 2, 3, 9]))
def test_results_come_in_order(items, at_once):
    assert list(in_threads(lambda item: 2 * item, items, at_once)) == [2 * item for item in items]


def test_torch_computes_alone_in_each_thread_and_as_before_elsewhere():
    found = list(in_threads(lambda _: torch.get_num_threads(), range(8)))
    assert found == [1] * 8
    assert torch.get_num_threads() == 3
    later = []
    thread = threading.Thread(target=lambda: later.append(torch.get_num_threads()))
    thread.start()
    thread.join()
    assert later == [3]


@pytest.mark.parametrize("at_once", [1, 2, 3])
def test_no_more_are_under_way_than_allowed(at_once):
    together = threading.Barrier(at_once)
    lock, now, most = threading.Lock(), [0], [0]

    def work(_):
        with lock:
            now[0] += 1
            most[0] = max(most[0], now[0])
        together.wait(30)
        with lock:
            now[0] -= 1

    list(in_threads(work, range(4 * at_once), at_once))
    assert most[0] <= 3 if at_once == 3 else most[0] == at_once


@pytest.mark.parametrize(("items", "at_once"), [("ab", 1), ("a", None), ("", None)])
def test_the_caller_does_what_is_alone_with_all_of_torchs_threads(items, at_once):
    here = threading.get_ident(), 3
    found = in_threads(lambda _: (threading.get_ident(), torch.get_num_threads()), items, at_once)
    assert list(found) == [here] * len(items)


def test_work_in_threads_can_give_out_more_work():
    def outer(item):
        return list(in_threads(lambda one: one + item, range(3)))

    assert list(in_threads(outer, [10, 20])) == [[10, 11, 12], [20, 21, 22]]


def test_items_are_asked_for_when_they_are_due():
    asked = []

    def items():
        for number in range(100):
            asked.append(number)
            yield number

    results = in_threads(lambda item: item, items())
    next(results)
    assert len(asked) <= 2 * 3
    results.close()


def test_when_it_is_closed_nobody_waits_and_the_rest_is_dropped():
    begun, held = [], threading.Event()

    def work(item):
        begun.append(item)
        if item:
            held.wait(30)
        return item

    results = in_threads(work, range(100))
    assert next(results) == 0
    results.close()
    held.set()
    assert list(in_threads(lambda item: item, range(9))) == list(range(9))
    assert len(begun) <= 2 * 3


def test_what_is_done_is_told_before_more_is_asked_for():
    asked = []

    def items():
        for number in range(20):
            asked.append(number)
            yield number
            time.sleep(0.05)

    results = in_threads(lambda item: item, items())
    next(results)
    assert len(asked) < 2 * 3


def test_threads_that_ask_at_the_same_time_share_one_pool():
    torch.set_num_threads(5)
    begin, made, ask = threading.Barrier(4), [], threads._pool

    def use():
        begin.wait()
        made.append(ask(5))

    users = [threading.Thread(target=use) for _ in range(4)]
    for user in users:
        user.start()
    for user in users:
        user.join()
    assert len({id(pool) for pool in made}) == 1


def test_everybodys_number_of_threads_stays_whatever_the_callers_is():
    """A thread keeps the number that it began with; torch has one more for those to come."""
    torch.set_num_threads(4)
    threads._made.cache_clear()
    began, changed, seen = threading.Event(), threading.Event(), []

    def worker():
        torch.get_num_threads()
        began.set()
        changed.wait(30)
        list(in_threads(lambda item: item, range(8)))
        later = threading.Thread(target=lambda: seen.append(torch.get_num_threads()))
        later.start()
        later.join()

    thread = threading.Thread(target=worker)
    thread.start()
    began.wait(30)
    torch.set_num_threads(2)
    changed.set()
    thread.join()
    assert seen == [2]


def test_a_pool_that_cannot_be_made_leaves_everything_as_it_was(monkeypatch):
    threads._made.cache_clear()
    begin = threading.Thread.start

    def start(thread):
        if thread.name.startswith("sprout"):
            raise RuntimeError("can't start new thread")
        begin(thread)

    monkeypatch.setattr(threading.Thread, "start", start)
    assert list(in_threads(lambda item: 2 * item, range(5))) == [0, 2, 4, 6, 8]
    monkeypatch.undo()
    threads._made.cache_clear()
    assert torch.get_num_threads() == 3
    assert list(in_threads(lambda _: torch.get_num_threads(), range(5))) == [1] * 5


def run(code):
    """Run code in a process of its own."""
    before = (
        "import os, time, torch\n"
        "from concurrent.futures import ThreadPoolExecutor\n"
        "from napari_sprout.core.threads import in_threads\n"
        "torch.set_num_threads(3)\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", before + code], capture_output=True, text=True, timeout=120
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


def test_work_is_done_while_python_ends():
    """A window's worker finishes what a person did after the window has gone."""
    told = run(
        "from concurrent.futures import thread\n"
        "def late():\n"
        "    while not thread._shutdown:\n"
        "        time.sleep(0.01)\n"
        "    print(list(in_threads(lambda item: item, range(12))))\n"
        "ThreadPoolExecutor(1).submit(late)\n"
    )
    assert told == f"{list(range(12))}\n"


@pytest.mark.skipif(not hasattr(os, "fork"), reason="there is no fork here")
def test_a_forked_process_has_threads_of_its_own():
    told = run(
        "list(in_threads(str, range(9)))\n"
        "child = os.fork()\n"
        "if not child:\n"
        "    print(list(in_threads(str, range(3))), flush=True)\n"
        "    os._exit(0)\n"
        "assert os.waitpid(child, 0)[1] == 0\n"
    )
    assert told == "['0', '1', '2']\n"


def test_an_error_reaches_the_caller():
    def work(item):
        if item == 5:
            raise ValueError("the fifth")
        return item

    results = in_threads(work, range(20))
    assert [next(results) for _ in range(5)] == list(range(5))
    with pytest.raises(ValueError, match="the fifth"):
        next(results)


def test_few_large_maps_are_worked_on_at_once():
    assert threads_for((1000, 1000)) == 3
    assert threads_for((4000, 2500)) == 2
    assert threads_for((9000, 9000)) == 1

from __future__ import annotations

import threading
import time
from collections.abc import Iterator

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

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
    lock, now, most = threading.Lock(), [0], [0]

    def work(_):
        with lock:
            now[0] += 1
            most[0] = max(most[0], now[0])
        time.sleep(0.01)
        with lock:
            now[0] -= 1

    list(in_threads(work, range(12), at_once))
    assert most[0] == at_once


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


def test_when_it_is_closed_the_rest_is_dropped():
    begun = []

    def work(item):
        begun.append(item)
        time.sleep(0.02)
        return item

    results = in_threads(work, range(100))
    next(results)
    begin = time.monotonic()
    results.close()
    assert time.monotonic() - begin < 0.02
    time.sleep(0.1)
    assert len(begun) <= 2 * 3


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

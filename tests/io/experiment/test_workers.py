from __future__ import annotations

import multiprocessing
import os
import signal
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from multiprocessing.connection import Connection

import pytest
import torch

from napari_sprout.errors import SproutError
from napari_sprout.io.experiment import workers
from napari_sprout.io.experiment.measure import Failed
from napari_sprout.io.experiment.run import Experiment
from napari_sprout.io.experiment.workers import Note, Setup

ROW = '[[row]]\nname = "a"\n'
forks = pytest.mark.skipif(sys.platform != "linux", reason="forks")


@pytest.fixture
def forked(monkeypatch):
    """A fork of this process knows what is patched here, and is begun soonest."""
    monkeypatch.setattr(workers, "get_context", lambda _: multiprocessing.get_context("fork"))


@pytest.fixture
def run(matrix, images, tmp_path):
    def make(processes: int, number: int = 2) -> list:
        folder = tmp_path / f"out {processes} {number}"
        with Experiment(matrix(ROW), images[:number], folder, device="cpu") as experiment:
            return list(experiment.run(processes))

    return make


class Counting:
    """Tells with how many threads it works."""

    def __init__(self, _: Setup) -> None:
        pass

    def run(self, _: object) -> Iterator[Note]:
        yield Note(str(torch.get_num_threads()))


def test_one_process_works_with_all_cores_and_leaves_the_threads_as_they_were(run, monkeypatch):
    monkeypatch.setattr(workers, "cores", lambda: 3)
    monkeypatch.setattr(workers, "_Worker", Counting)
    before = torch.get_num_threads()
    assert run(1) == [Note("3"), Note("3")]
    assert torch.get_num_threads() == before


@forks
def test_threads_follow_the_processes_asked_for_not_the_tasks_left(run, forked, monkeypatch):
    def serve(connection: Connection, _: Setup, threads: int) -> None:
        connection.send(Note(str(threads)))
        os._exit(0)

    def notes(processes: int, number: int) -> list[str]:
        return [m.text for m in run(processes, number) if isinstance(m, Note)]

    monkeypatch.setattr(workers, "cores", lambda: 8)
    monkeypatch.setattr(workers, "_serve", serve)
    assert notes(4, number=2) == ["2", "2"]
    assert notes(4, number=1) == ["2"]
    assert notes(16, number=1) == ["1"]


@forks
def test_a_process_that_is_killed_is_told_with_a_likely_cause(run, forked, monkeypatch):
    monkeypatch.setattr(workers, "_serve", lambda *_: os.kill(os.getpid(), signal.SIGKILL))
    reasons = [message.reason for message in run(2) if isinstance(message, Failed)]
    assert len(reasons) == 2
    assert all("ended from outside (exit code -9)" in reason for reason in reasons)
    assert all("memory" in reason for reason in reasons)


@forks
@pytest.mark.parametrize("code", [0, 1])
def test_a_process_that_stops_by_itself_is_not_said_to_be_ended_from_outside(
    run, forked, monkeypatch, code
):
    monkeypatch.setattr(workers, "_serve", lambda *_: os._exit(code))
    reasons = [message.reason for message in run(2) if isinstance(message, Failed)]
    assert len(reasons) == 2
    for reason in reasons:
        assert f"stopped by itself (exit code {code})" in reason
        assert "outside" not in reason
        assert "memory" not in reason


@forks
@pytest.mark.parametrize("fault", [PermissionError(13, "no way in"), ValueError("no way in")])
def test_a_fault_in_set_up_is_told_as_it_is_and_ends_the_run(run, forked, monkeypatch, fault):
    def fail(_: Setup) -> None:
        raise fault

    # OpenMP's threads may not be changed in a fork.
    @contextmanager
    def threads(_: int) -> Iterator[None]:
        yield

    monkeypatch.setattr(workers, "_threads", threads)
    monkeypatch.setattr(workers, "_Worker", fail)
    with pytest.raises(SproutError, match=f"{type(fault).__name__}.*no way in"):
        run(2)
    assert not multiprocessing.active_children()

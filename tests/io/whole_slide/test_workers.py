"""Workers in processes of their own, with the real model."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from napari_sprout.core.synthetic import synthetic_he
from napari_sprout.io.cohort.summary import read_summary
from napari_sprout.io.label_pyramid import LabelPyramid
from napari_sprout.io.overlay import write_png
from napari_sprout.io.whole_slide.executors import OnDask, SchedulerError, executor, local_workers
from napari_sprout.io.whole_slide.plan import CSV, LABELS, SUMMARY, WORK
from napari_sprout.io.whole_slide.work import FOUND

COMMAND = [sys.executable, "-c", "from napari_sprout.cli.main import main; main()"]


@pytest.fixture(scope="module")
def slide(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("slide") / "case.png"
    write_png(path, synthetic_he(shape=(512, 1200), n_nuclei=120, seed=5).rgb)
    return path


def command(slide: Path, output: Path, *options: str) -> list[str]:
    arguments = ["slide", str(slide), "-o", str(output), "--mpp", "0.25", "--tile", "128"]
    return [*COMMAND, *arguments, "--device", "cpu", "-q", *options]


def result(output: Path) -> tuple[np.ndarray, bytes]:
    folder = output / "case.slide"
    pyramid = LabelPyramid.open(folder / LABELS)
    height, width = pyramid.shape
    return np.asarray(pyramid.read(0, 0, 0, height, width)), (folder / CSV).read_bytes()


@pytest.fixture(scope="module")
def expected(slide: Path, tmp_path_factory: pytest.TempPathFactory) -> tuple[np.ndarray, bytes]:
    output = tmp_path_factory.mktemp("alone")
    subprocess.run(command(slide, output, "--workers", "0"), check=True, timeout=300)
    found = result(output)
    assert found[0].max() > 50
    return found


def test_one_worker_and_three_give_the_same(
    slide: Path, expected: tuple[np.ndarray, bytes], tmp_path: Path
) -> None:
    subprocess.run(command(slide, tmp_path, "--workers", "3"), check=True, timeout=300)
    labels, table = result(tmp_path)
    assert np.array_equal(labels, expected[0])
    assert table == expected[1]


@pytest.mark.skipif(not hasattr(signal, "SIGKILL"), reason="Windows has no SIGKILL")
def test_a_killed_run_goes_on_and_gives_the_same(
    slide: Path, expected: tuple[np.ndarray, bytes], tmp_path: Path
) -> None:
    work = tmp_path / "case.slide" / WORK
    run = subprocess.Popen(command(slide, tmp_path, "--workers", "0"), start_new_session=True)
    deadline = time.monotonic() + 240
    while not list(work.glob(f"*/{FOUND}/[0-9]*.npz")):
        assert time.monotonic() < deadline
        assert run.poll() is None, "it ended before it could be killed"
        time.sleep(0.02)
    os.killpg(run.pid, signal.SIGKILL)
    run.wait()
    assert not (tmp_path / "case.slide" / SUMMARY).exists()
    subprocess.run(command(slide, tmp_path, "--workers", "0"), check=True, timeout=300)
    labels, table = result(tmp_path)
    assert np.array_equal(labels, expected[0])
    assert table == expected[1]


@pytest.mark.skipif(not hasattr(signal, "SIGKILL"), reason="Windows has no SIGKILL")
def test_a_worker_that_is_killed_is_replaced(
    slide: Path, expected: tuple[np.ndarray, bytes], tmp_path: Path
) -> None:
    import psutil

    work = tmp_path / "case.slide" / WORK
    run = subprocess.Popen(command(slide, tmp_path, "--workers", "2"))
    deadline = time.monotonic() + 240
    while not list(work.glob(f"*/{FOUND}/[0-9]*.npz")):
        assert time.monotonic() < deadline
        assert run.poll() is None
        time.sleep(0.02)
    workers = [
        child
        for child in psutil.Process(run.pid).children(recursive=True)
        if "multiprocessing" in " ".join(child.cmdline()) and child.memory_info().rss > 2e8
    ]
    workers[-1].kill()
    assert run.wait(timeout=300) == 0
    labels, table = result(tmp_path)
    assert np.array_equal(labels, expected[0])
    assert table == expected[1]
    assert not read_summary(tmp_path / "case.slide").tiles.left_out


@pytest.mark.skipif(not hasattr(os, "killpg"), reason="Windows has no groups of processes")
def test_an_interrupted_run_ends_its_workers_and_says_one_line(slide: Path, tmp_path: Path) -> None:
    import psutil

    work = tmp_path / "case.slide" / WORK
    run = subprocess.Popen(
        command(slide, tmp_path, "--workers", "2"),
        start_new_session=True,
        stderr=subprocess.PIPE,
        text=True,
    )
    deadline = time.monotonic() + 240
    while not list(work.glob(f"*/{FOUND}/[0-9]*.npz")):
        assert time.monotonic() < deadline
        assert run.poll() is None, "it ended before it could be interrupted"
        time.sleep(0.02)
    workers = psutil.Process(run.pid).children(recursive=True)
    os.killpg(run.pid, signal.SIGINT)
    _, said = run.communicate(timeout=120)
    assert run.returncode == 130
    assert said.strip().startswith("napari-sprout: error: interrupted; finished tiles are kept")
    assert "Traceback" not in said
    assert not psutil.wait_procs(workers, timeout=20)[1]


def _die_once(path: str) -> int:
    """Take the worker down the first time, as the system does with one that takes all memory."""
    marker = Path(path)
    if not marker.exists():
        marker.touch()
        os.kill(os.getpid(), signal.SIGKILL)
    return 1


def _die_always(_: int) -> int:
    os.kill(os.getpid(), signal.SIGKILL)
    return 0


@pytest.mark.skipif(not hasattr(signal, "SIGKILL"), reason="Windows has no SIGKILL")
def test_work_that_takes_workers_down_is_given_back_as_too_large(tmp_path: Path) -> None:
    with local_workers(1, 1) as workers:
        (outcome,) = workers.run(_die_once, [str(tmp_path / "died")])
        assert outcome[1] == 1
        ((_, failed),) = workers.run(_die_always, [0])
        assert isinstance(failed, MemoryError)


class _Foreign:
    """Work that cannot be read elsewhere, as where the program is not installed."""

    def __call__(self, item: int) -> int:
        return item

    def __reduce__(self) -> tuple:
        return _read_in, ()


def _read_in() -> None:
    raise ModuleNotFoundError("No module named 'napari_sprout'")


def test_a_scheduler_without_the_program_is_told() -> None:
    with (
        local_workers(1, 1) as workers,
        pytest.raises(SchedulerError, match=r"The scheduler at .* has none: install it"),
    ):
        list(workers.run(_Foreign(), [1, 2]))


@pytest.mark.parametrize(
    ("answer", "told"),
    [(ModuleNotFoundError("napari_sprout"), "has none"), ("0.0.1", r"has version 0\.0\.1")],
)
def test_a_worker_without_the_program_is_told(answer: object, told: str) -> None:
    class Client:
        def run(self, function: Callable[[], str], on_error: str) -> dict[str, object]:
            assert on_error == "return"
            return {"tcp://10.0.0.1:1": function(), "tcp://10.0.0.2:2": answer}

    with pytest.raises(SchedulerError, match=rf"worker tcp://10\.0\.0\.2:2 of .* {told}: install"):
        list(OnDask(Client(), "tcp://10.0.0.9:8786").run(len, ["x"]))


def test_no_scheduler_is_told() -> None:
    with (
        pytest.raises(SchedulerError, match=r"No scheduler answers at 'tcp://127\.0\.0\.1:1'"),
        executor(0, 1, "tcp://127.0.0.1:1"),
    ):
        pass


def test_a_scheduler_that_dies_is_told() -> None:
    from distributed import Client, LocalCluster

    with (
        LocalCluster(
            n_workers=1, dashboard_address="127.0.0.1:0", silence_logs="CRITICAL"
        ) as cluster,
        Client(cluster.scheduler_address) as client,
    ):
        workers = OnDask(client, cluster.scheduler_address)
        running = workers.run(time.sleep, [0, 60])
        assert next(running)[0] == 0
        cluster.close()
        with pytest.raises(SchedulerError, match=r"no longer answers.*same command again"):
            list(running)

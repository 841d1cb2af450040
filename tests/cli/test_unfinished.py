from __future__ import annotations

import errno
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray

from napari_sprout.cli import batch
from napari_sprout.cli.jobs import Job, Outcome
from napari_sprout.io.labels import read_labels
from napari_sprout.samples import SAMPLES


def test_a_disk_that_fills_up_ends_the_run_and_leaves_nothing_partial(
    run, blank, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    real, calls = os.fsync, []

    def fsync(descriptor: int) -> None:
        calls.append(descriptor)
        if len(calls) > 2:
            raise OSError(errno.ENOSPC, "No space left on device")
        real(descriptor)

    monkeypatch.setattr(os, "fsync", fsync)
    out = tmp_path / "out"
    result = run("segment", blank("a.png"), blank("b.png"), "-o", out)
    assert result.exit_code == 1
    assert "the disk is full" in result.stderr
    assert "b.png" not in result.stderr, "it would have been computed for nothing"
    assert list(out.iterdir()) == []


@pytest.mark.skipif(os.name == "nt", reason="signals")
@pytest.mark.parametrize(("sent", "code"), [(signal.SIGINT, 130), (signal.SIGTERM, 143)])
def test_an_interruption_keeps_what_is_finished_and_leaves_nothing_else(
    blank: Callable[..., Path], write, tissue: NDArray[np.uint8], tmp_path: Path, sent, code
) -> None:
    out = tmp_path / "out"
    large = write("large.png", np.tile(tissue, (8, 8, 1)))
    # A shell may start background jobs with Ctrl-C ignored.
    program = (
        "import signal; signal.signal(signal.SIGINT, signal.default_int_handler);"
        "from napari_sprout.cli.main import main; main()"
    )
    process = subprocess.Popen(
        [sys.executable, "-c", program, "segment", blank(), large, "-o", out, "--device", "cpu"],
        stderr=subprocess.PIPE,
        stdout=subprocess.DEVNULL,
        text=True,
    )
    deadline = time.monotonic() + 120
    while not (out / "blank_labels.tif").exists() and time.monotonic() < deadline:
        time.sleep(0.05)
    time.sleep(0.5)
    process.send_signal(sent)
    _, stderr = process.communicate(timeout=60)
    assert process.returncode == code, stderr
    assert "Traceback" not in stderr
    assert {path.name for path in out.iterdir()} == {
        "blank_labels.tif",
        "blank_overlay.png",
        "blank_nuclei.csv",
    }
    assert read_labels(out / "blank_labels.tif").labels.shape == (64, 80)


# The demonstration


def test_the_demonstration_does_both_samples_and_tells_what_each_file_is(
    run, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    done: list[Job] = []

    def segment_image(job: Job, *_: object) -> Outcome:
        done.append(job)
        return Outcome(21, (), None)

    monkeypatch.setattr(batch, "segment_image", segment_image)
    result = run("demo", "-o", tmp_path / "demo")
    assert result.exit_code == 0
    assert [job.image for job in done] == [sample.path for sample in SAMPLES]
    assert [job.mpp for job in done] == [sample.mpp for sample in SAMPLES]
    assert "42 nuclei in 2 images" in result.stdout
    for job in done:
        for path in job.results:
            assert str(path) in result.stdout

from __future__ import annotations

import multiprocessing
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest
import skimage.io
from typer.testing import CliRunner

import fakes
from napari_sprout.cli.main import app
from napari_sprout.io.experiment import workers
from napari_sprout.io.labels import write_labels

from .conftest import cells

HERE = Path(__file__).parent


@pytest.mark.skipif(sys.platform == "win32", reason="signals")
@pytest.mark.parametrize("how", [signal.SIGKILL, signal.SIGINT])
def test_a_run_ended_midway_goes_on_and_gives_the_same_cells(
    experiment, matrix, folder, tmp_path, how
):
    words = ["experiment", matrix, folder, "-o", tmp_path / "out", "--processes", "1"]
    command = [sys.executable, HERE / "run_to_kill.py", fakes.__file__, *words]
    process = subprocess.Popen([*map(str, command), "--device", "cpu"], stderr=subprocess.PIPE)
    file = tmp_path / "out" / "cells.jsonl"
    limit = time.monotonic() + 60
    while time.monotonic() < limit and process.poll() is None:
        if file.exists() and file.read_bytes().count(b"\n") >= 3:
            break
        time.sleep(0.02)
    process.send_signal(how)
    _, told = process.communicate(timeout=30)
    assert process.returncode == (130 if how == signal.SIGINT else -signal.SIGKILL)
    assert b"Traceback" not in told
    early = cells(tmp_path / "out")
    assert 3 <= len(early) < 10
    if how == signal.SIGKILL:
        with file.open("ab") as torn:
            torn.write(b'{"format": 1, "key": "to')
    assert not (tmp_path / "out" / "table.md").exists()
    resumed = experiment()
    assert resumed.exit_code == 0
    assert f"[{len(early) + 1:2}/10]" in resumed.stderr
    assert f"[{len(early):2}/10]" not in resumed.stderr
    assert experiment(out="whole").exit_code == 0
    assert cells(tmp_path / "out") == cells(tmp_path / "whole")
    assert early.items() <= cells(tmp_path / "out").items()


@pytest.fixture
def glass(tmp_path):
    """Three images that are measured at once, since nothing is encoded."""
    folder = tmp_path / "glass"
    folder.mkdir()
    for number in range(3):
        image = np.full((64, 64, 3), 240 + number, np.uint8)
        skimage.io.imsave(folder / f"{number}.png", image, check_contrast=False)
        write_labels(folder / f"{number}_labels.tif", np.zeros((64, 64), np.int32))
    return folder


@pytest.fixture
def in_two_processes(tmp_path, glass):
    def run():
        matrix = tmp_path / "m.toml"
        matrix.write_text('[[row]]\nname = "a"\n', encoding="utf-8")
        words = ["experiment", matrix, glass, "-o", tmp_path / "out", "--processes", 2]
        return CliRunner().invoke(app, [str(word) for word in [*words, "--device", "cpu"]])

    return run


def test_several_processes_share_the_work(in_two_processes, glass, tmp_path):
    (glass / "2_labels.tif").write_bytes(b"broken")
    result = in_two_processes()
    assert result.exit_code == 1
    assert result.stderr.count("2_labels.tif") == 1
    assert {image for image, *_ in cells(tmp_path / "out").values()} == {"0", "1"}


@pytest.mark.skipif(sys.platform != "linux", reason="forks")
def test_a_process_that_is_ended_from_outside_is_told_and_the_next_image_begun(
    in_two_processes, tmp_path, monkeypatch
):
    # Each process ends at once, without an answer; a fork of this one is begun soonest.
    monkeypatch.setattr(workers, "_serve", lambda *_: os.kill(os.getpid(), signal.SIGKILL))
    monkeypatch.setattr(workers, "get_context", lambda _: multiprocessing.get_context("fork"))
    result = in_two_processes()
    assert result.exit_code == 1
    for image in "012":
        assert f"that worked on '{image}' was ended" in result.stderr
    assert cells(tmp_path / "out") == {}
    assert "3 of 3 measurements are missing" in (tmp_path / "out" / "table.md").read_text()

from __future__ import annotations

import os
import runpy
import signal
import subprocess
import sys

import numpy as np
import pytest

import fakes
from napari_sprout.core.edits import MovePrompt
from napari_sprout.io.project import Project

CHILD = """
import runpy, sys, time
from napari_sprout.core.edits import ChangeSettings, MovePrompt
from napari_sprout.io import history
from napari_sprout.io.project import Project

def encode():
    print("encode", flush=True)
    time.sleep(0.05)

def decode():
    print("decode", flush=True)
    time.sleep(0.05)

project = Project.open(sys.argv[2])
fake = runpy.run_path(sys.argv[1])["FakeSegmenter"](radius=18.0)
correction = history.replay(project, segmenter=fake)
if sys.argv[3] == "run":
    settings = correction.session.settings.with_changes(features={"overlap": 0.6})
    history.apply(project, correction, ChangeSettings(settings.to_dict()))
    print("edited", flush=True)
    fake.on_encode = encode
    for _ in history.run(project, correction):
        pass
else:
    fake.on_decode = decode
    for y in range(10, 150):
        history.apply(project, correction, MovePrompt(1, float(y), 60.0))
        print("edited", flush=True)
"""


def killed(project: Project, what: str, said: str, times: int) -> int:
    """Do something in another process and kill it when it has said a word; count its edits."""
    project.close()
    command = [sys.executable, "-c", CHILD, fakes.__file__, str(project.folder), what]
    heard: list[str] = []
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        for line in process.stdout:
            heard.append(line.strip())
            if heard.count(said) == times:
                process.send_signal(signal.SIGKILL)
                break
        heard += process.stdout.read().split()
    assert process.returncode == -signal.SIGKILL
    return heard.count("edited")


@pytest.mark.skipif(os.name == "nt", reason="no SIGKILL")
def test_a_process_killed_in_the_middle_of_an_edit_loses_no_finished_one(
    begun, replayed, kinds
) -> None:
    project, correction = begun
    edited = killed(project, "edit", "decode", 6)
    with Project.open(project.folder) as opened:
        again = replayed(opened)
        # What was being done when it died, was written down.
        assert edited <= kinds(opened).count("edit") <= edited + 1
        last = 9 + kinds(opened).count("edit")
        correction.apply(MovePrompt(1, float(last), 60.0))
        assert again.prompts[1].y == last
        assert np.array_equal(again.labels, correction.labels)


@pytest.mark.skipif(os.name == "nt", reason="no SIGKILL")
def test_a_process_killed_in_the_middle_of_a_run_keeps_all_that_was_before(
    begun, finish, replayed, kinds
) -> None:
    project, correction = begun
    assert killed(project, "run", "encode", 2) == 1
    with Project.open(project.folder) as opened:
        assert kinds(opened) == ["run", "edit"]
        again = replayed(opened)
        assert np.array_equal(again.labels, correction.labels)
        assert again.session.settings.features.overlap == 0.6
        finish(opened, again)
        assert kinds(opened) == ["run", "edit", "run"]


def test_the_fake_can_be_loaded_by_another_process() -> None:
    assert runpy.run_path(fakes.__file__)["FakeSegmenter"].name == "fake"

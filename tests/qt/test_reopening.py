from __future__ import annotations

import os
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from qtpy.QtCore import Qt

from fakes import FakeSegmenter
from napari_sprout.core.edits import DeletePrompts, LockNuclei, MovePrompt
from napari_sprout.core.settings import Settings
from napari_sprout.core.synthetic import SyntheticImage
from napari_sprout.errors import SproutWarning
from napari_sprout.io.history import replay
from napari_sprout.io.overlay import write_png
from napari_sprout.io.project import Project
from napari_sprout.napari_.roles import LayerRole

HERE = Path(__file__).parent
CTRL = Qt.KeyboardModifier.ControlModifier


def files(folder: Path) -> dict[str, bytes]:
    """Everything in a folder, apart from the lock, which says who has it open."""
    return {
        str(path.relative_to(folder)): path.read_bytes()
        for path in sorted(folder.rglob("*"))
        if path.is_file() and path.name != "lock"
    }


def go_on(desk: Any) -> None:
    """Press "Go on with it" and wait until all is done."""
    earlier = desk.dock.segment.earlier
    assert earlier.isVisibleTo(desk.dock.segment)
    desk.qtbot.mouseClick(earlier.go_on, Qt.MouseButton.LeftButton)
    desk.wait_until_done()


def correct(desk: Any) -> None:
    """Drag a point, delete another, lock a third, and change a setting."""
    ident = desk.lonely()
    y, x = desk.prompt(ident)
    points = desk.layer(LayerRole.PROMPTS)
    desk.dock.prompts.tools.buttons["Move points"].click()
    desk.drag(points, (y, x), (y + 8, x + 6))
    desk.until(lambda: not desk.control.is_busy and desk.prompt(ident) != (y, x))
    others = [i for i in sorted(desk.control.correction.areas) if i != ident]
    desk.control.apply(DeletePrompts((others[0],)))
    desk.control.apply(LockNuclei((others[1],), True))
    desk.wait_until_done()
    desk.dock.segment.form.groups["suppression"].widgets["sigma"].value = 0.4
    desk.run()


def test_an_image_opened_again_goes_on_where_it_was_left(
    working: Any, desk: Callable[[], Any], tmp_path: Path, sparse: SyntheticImage
) -> None:
    beginning = working.labels
    correct(working)
    before, settings = working.labels, working.control.settings
    prompts, locked = dict(working.control.correction.prompts), working.control.correction.locked
    folder = working.control.project.folder
    working.close()
    kept = files(folder)
    again = desk()
    again.open(tmp_path / "case.png", sparse.rgb)
    segment = again.dock.segment
    assert folder.name in segment.earlier.note.text()
    assert not segment.run_button.isEnabled()
    assert "Choose above first" in segment.run_button.toolTip()
    go_on(again)
    assert again.failures == []
    assert np.array_equal(again.labels, before)
    assert dict(again.control.correction.prompts) == prompts
    assert again.control.correction.locked == locked
    assert again.control.settings == segment.form.value == settings
    assert segment.stages.all_done
    assert not segment.earlier.isVisibleTo(segment)
    assert files(folder) == kept
    # Undo goes back to where it all began, and redo comes back.
    steps = 0
    while again.dock.undo.isEnabled():
        again.dock.undo.click()
        again.until(lambda: not again.control.is_busy)
        steps += 1
    assert steps == 4
    assert np.array_equal(again.labels, beginning)
    for _ in range(steps):
        again.key(Qt.Key.Key_Z, CTRL | Qt.KeyboardModifier.ShiftModifier)
        again.until(lambda: not again.control.is_busy)
    assert np.array_equal(again.labels, before)


def test_starting_anew_keeps_the_earlier_work(
    working: Any, desk: Callable[[], Any], tmp_path: Path, sparse: SyntheticImage
) -> None:
    beginning = working.labels
    correct(working)
    before, folder = working.labels, working.control.project.folder
    working.close()
    kept = files(folder)
    again = desk()
    again.open(tmp_path / "case.png", sparse.rgb)
    again.dock.segment.earlier.anew.click()
    assert not again.dock.segment.earlier.isVisibleTo(again.dock.segment)
    again.run()
    assert np.array_equal(again.labels, beginning)
    assert not np.array_equal(beginning, before)
    assert again.control.project.folder != folder
    assert files(folder) == kept
    again.close()
    # The first project is still there to be gone on with.
    third = desk()
    third.dock.sessions.make_segmenter = again._segmenter
    third.dock.sessions.resume(folder)
    third.wait_until_done()
    assert np.array_equal(third.labels, before)


@pytest.mark.parametrize("where", ["layer", "file"])
def test_an_image_that_changed_since_is_refused_and_nothing_is_overwritten(
    working: Any, desk: Callable[[], Any], tmp_path: Path, sparse: SyntheticImage, where: str
) -> None:
    correct(working)
    folder, path = working.control.project.folder, tmp_path / "case.png"
    working.close()
    kept = files(folder)
    changed = sparse.rgb.copy()
    changed[0, 0] = 255 - changed[0, 0]
    path.unlink()
    write_png(path, changed)
    image = path.read_bytes()
    again = desk()
    # A person may also have had the old image open all the while.
    again.open(path, changed if where == "layer" else sparse.rgb)
    assert again.dock.segment.earlier.asks
    again.dock.segment.earlier.go_on.click()
    again.until(lambda: not again.dock.sessions.is_opening)
    assert len(again.failures) == 1
    assert "case.png" in again.failures[0]
    assert "changed" in again.failures[0] or "differ" in again.failures[0]
    assert again.dock.status.message.text() == again.failures[0]
    assert again.dock.sessions.current is None
    assert again.dock.segment.earlier.asks
    assert files(folder) == kept
    assert path.read_bytes() == image
    again.dock.segment.earlier.anew.click()
    again.run()
    assert again.control.project.folder != folder
    assert files(folder) == kept


def test_work_that_is_open_in_another_window_is_not_opened_twice(
    working: Any, desk: Callable[[], Any], tmp_path: Path, sparse: SyntheticImage
) -> None:
    kept = files(working.control.project.folder)
    second = desk()
    second.open(tmp_path / "case.png", sparse.rgb)
    second.dock.segment.earlier.go_on.click()
    second.until(lambda: not second.dock.sessions.is_opening)
    assert "open" in second.failures[0]
    assert second.dock.sessions.current is None
    assert files(working.control.project.folder) == kept


# Killed


@pytest.fixture
def killed(tmp_path: Path, sparse: SyntheticImage) -> Iterator[Callable[[str], Any]]:
    """Let a window of its own work on the image, and kill it in the middle."""
    if sys.platform != "linux" or not os.environ.get("DISPLAY"):
        pytest.skip("there is no display for a second window")
    path, labels = tmp_path / "case.png", tmp_path / "seen.npy"
    write_png(path, sparse.rgb)
    begun: list[subprocess.Popen[str]] = []

    def work(when: str) -> Any:
        fakes = HERE.parent / "fakes.py"
        command = [sys.executable, HERE / "window_to_kill.py", fakes, path, labels, when]
        process = subprocess.Popen(list(map(str, command)), stdout=subprocess.PIPE, text=True)
        begun.append(process)
        assert process.stdout is not None
        assert any(line == "in the middle\n" for line in process.stdout), "it ended by itself"
        process.send_signal(signal.SIGKILL)
        assert process.wait(20) == -signal.SIGKILL
        return np.load(labels)

    yield work
    for process in begun:
        process.kill()
        process.communicate()


def test_a_window_killed_in_the_middle_of_an_edit_loses_nothing(
    killed: Callable[[str], Any], desk: Callable[[], Any], tmp_path: Path, sparse: SyntheticImage
) -> None:
    before = killed("edit")
    again = desk()
    again.open(tmp_path / "case.png", sparse.rgb)
    go_on(again)
    assert again.failures == []
    edit = again.control.project.entries[-1]["edit"]
    after = again.labels
    # The edit was written down before it was begun: it is done now.
    assert not np.array_equal(after, before)
    y, x = again.prompt(edit["id"])
    assert (y, x) == (edit["y"], edit["x"])
    again.dock.undo.click()
    again.until(lambda: np.array_equal(again.labels, before))
    again.wait_until_done()
    again.control.apply(MovePrompt(edit["id"], y, x))
    again.wait_until_done()
    assert np.array_equal(again.labels, after)


def test_a_window_killed_in_the_middle_of_a_run_opens_with_what_it_showed(
    killed: Callable[[str], Any],
    desk: Callable[[], Any],
    tmp_path: Path,
    sparse: SyntheticImage,
    quick: Settings,
) -> None:
    before = killed("run")
    again = desk()
    again.open(tmp_path / "case.png", sparse.rgb)
    go_on(again)
    assert again.failures == []
    assert np.array_equal(again.labels, before)
    # The changed setting was written down, and the run that it was for can be made now.
    assert again.control.settings == quick.with_changes(features={"tile": 256})
    again.run()
    assert again.failures == []
    assert again.dock.segment.stages.all_done
    again.dock.undo.click()
    again.until(lambda: np.array_equal(again.labels, before))
    again.wait_until_done()
    assert again.control.settings == quick
    again.dock.undo.click()
    again.wait_until_done()
    assert np.array_equal(again.labels[before != 0], before[before != 0])
    assert np.count_nonzero(again.labels) > np.count_nonzero(before)
    assert not again.dock.undo.isEnabled()


def test_what_waited_for_a_run_in_a_window_that_was_killed_is_done(
    killed: Callable[[str], Any],
    desk: Callable[[], Any],
    tmp_path: Path,
    sparse: SyntheticImage,
    quick: Settings,
) -> None:
    before = killed("waiting")
    with (
        Project.open(tmp_path / "case.sprout", read_only=True) as project,
        pytest.warns(SproutWarning, match=r"not in the result \(3 still to do\)"),
    ):
        original = replay(project, segmenter=FakeSegmenter())
    second, third = sorted(original.areas)[:2]
    y, x = original.prompts[second].y + 6, original.prompts[second].x + 5
    again = desk()
    again.open(tmp_path / "case.png", sparse.rgb)
    go_on(again)
    assert again.failures == []
    assert again.prompt(second) == (y, x)
    assert third in again.control.correction.areas
    assert not np.array_equal(again.labels, before)
    assert again.control.settings == quick.with_changes(features={"tile": 256})
    after, folder = again.labels, again.control.project.folder
    assert after[round(y), round(x)] == second
    again.close()
    assert sorted(files(folder)) == ["journal.jsonl", "project.json"]
    third_time = desk()
    third_time.open(tmp_path / "case.png", sparse.rgb)
    go_on(third_time)
    assert np.array_equal(third_time.labels, after)
    third_time.dock.undo.click()
    third_time.until(lambda: np.array_equal(third_time.labels, before))

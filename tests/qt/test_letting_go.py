from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from napari_sprout.core.edits import AddPrompt, DeletePrompts, LockNuclei
from napari_sprout.core.instances import Prompt
from napari_sprout.core.synthetic import SyntheticImage
from napari_sprout.io.project import Project
from napari_sprout.napari_.roles import LayerRole
from napari_sprout.qt import sessions
from napari_sprout.qt.workers import NAME


class Gate:
    """Holds whatever passes it, until it is let go on."""

    def __init__(self) -> None:
        self.reached, self.opened = threading.Event(), threading.Event()

    def __call__(self) -> None:
        if not self.opened.is_set():
            self.reached.set()
            assert self.opened.wait(20)


@pytest.fixture
def gate() -> Iterator[Gate]:
    made = Gate()
    yield made
    made.opened.set()


def kinds(project: Project) -> list[str]:
    return [entry.get("edit", entry)["kind"] for entry in project.entries]


def until_ended(desk: Any) -> None:
    desk.until(lambda: not any(thread.name.startswith(NAME) for thread in threading.enumerate()))


# Edits that wait


LEAVE: dict[str, Callable[[Any], None]] = {
    "window": lambda desk: desk.viewer.close(),
    "dock": lambda desk: desk.viewer.window.remove_dock_widget(desk.dock),
    "image": lambda desk: desk.viewer.layers.remove(desk.dock.sessions.layer),
    "start over": lambda desk: desk.dock.sessions.restart(),
}


@pytest.mark.parametrize("way", LEAVE)
def test_a_point_dropped_during_a_run_is_kept_however_the_image_is_left(
    working: Any,
    desk: Callable[[], Any],
    tmp_path: Path,
    sparse: SyntheticImage,
    gate: Gate,
    way: str,
) -> None:
    project, ident = working.control.project, working.lonely()
    working.fakes[0].on_decode = gate
    working.dock.segment.form.groups["decoding"].widgets["multimask"].value = "best"
    working.dock.segment.run_button.click()
    working.until(gate.reached.is_set)
    points = working.layer(LayerRole.PROMPTS)
    working.dock.prompts.tools.buttons["Move points"].click()
    y, x = working.prompt(ident)
    working.drag(points, (y, x), (y + 8, x + 6))
    dropped = tuple(points.data[list(points.features["id"]).index(ident)])
    assert dropped != (y, x)
    assert kinds(project) == ["run", "ChangeSettings"]
    registry = working.dock.sessions.registry
    LEAVE[way](working)
    working.until(lambda: len(registry) == 0)
    gate.opened.set()
    until_ended(working)
    # The run was not: nobody has seen its result.
    assert kinds(project) == ["run", "ChangeSettings", "MovePrompt"]
    again = desk()
    again.open(tmp_path / "case.png", sparse.rgb)
    again.dock.segment.earlier.go_on.click()
    again.wait_until_done()
    assert again.failures == []
    assert again.prompt(ident) == dropped


def test_an_image_closed_and_opened_at_once_waits_for_the_edits_that_wait(
    working: Any, tmp_path: Path, sparse: SyntheticImage, gate: Gate
) -> None:
    project = working.control.project
    ids = sorted(working.control.correction.areas)
    working.fakes[0].on_decode = gate
    ident = working.lonely()
    working.dock.prompts.tools.buttons["Move points"].click()
    y, x = working.prompt(ident)
    working.drag(working.layer(LayerRole.PROMPTS), (y, x), (y + 8, x + 6))
    working.until(gate.reached.is_set)
    working.control.apply(LockNuclei((ids[0],), True))
    working.viewer.layers.remove(working.dock.sessions.layer)
    working.open(tmp_path / "case.png", sparse.rgb)
    working.dock.segment.earlier.go_on.click()
    threading.Timer(0.3, gate.opened.set).start()
    working.wait_until_done()
    assert working.failures == []
    assert kinds(project) == kinds(working.control.project) == ["run", "MovePrompt", "LockNuclei"]
    assert working.control.correction.locked == {ids[0]}


# Cancelled while it is opened


def test_opening_that_is_cancelled_can_be_begun_again(
    working: Any,
    desk: Callable[[], Any],
    tmp_path: Path,
    sparse: SyntheticImage,
    gate: Gate,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    labels, folder = working.labels, working.control.project.folder
    working.close()
    again = desk()
    again.open(tmp_path / "case.png", sparse.rgb)
    make = Project.open

    def held(*args: Any, **options: Any) -> Any:
        made = make(*args, **options)
        gate()
        return made

    monkeypatch.setattr(Project, "open", held)
    segment = again.dock.segment
    segment.earlier.go_on.click()
    again.until(gate.reached.is_set)
    segment.run_button.click()
    assert again.dock.sessions.current is None
    assert segment.earlier.asks
    segment.earlier.go_on.click()
    assert segment.run_button.text() == "Cancel"
    assert segment.run_button.isEnabled()
    threading.Timer(0.2, gate.opened.set).start()
    again.wait_until_done()
    assert again.failures == []
    assert again.control.project.folder == folder
    assert np.array_equal(again.labels, labels)


@pytest.mark.parametrize("waits", [True, False])
def test_a_first_run_cancelled_before_its_beginning_leaves_nothing_behind(
    waits: bool,
    desk: Callable[[], Any],
    tmp_path: Path,
    sparse: SyntheticImage,
    gate: Gate,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    made = desk()
    made.open(tmp_path / "case.png", sparse.rgb)
    make = sessions.new_project

    def held(*args: Any) -> Any:
        project = make(*args)
        gate()
        return project

    monkeypatch.setattr(sessions, "new_project", held)
    made.dock.segment.run_button.click()
    made.until(gate.reached.is_set)
    assert (tmp_path / "case.sprout").exists()
    made.dock.segment.run_button.click()
    if waits:
        gate.opened.set()
        until_ended(made)
        assert [path.name for path in tmp_path.iterdir()] == ["case.png"]
    else:
        threading.Timer(0.3, gate.opened.set).start()
    made.run()
    assert made.control.project.folder.name == "case.sprout"
    assert made.failures == []


# Brought back in part


@pytest.fixture
def left(working: Any) -> Any:
    """Three points that were added in a window that is closed now."""
    for ident in sorted(working.control.correction.areas)[:3]:
        y, x = working.prompt(ident)
        added = Prompt(working.control.new_id(), "positive", y + 3, x + 3, "hand")
        working.control.apply(AddPrompt(added))
        working.wait_until_done()
    working.seen, working.kept = working.labels, kinds(working.control.project)
    working.folder = working.control.project.folder
    working.close()
    return working


def test_work_whose_replay_is_cancelled_is_offered_again_and_comes_back_whole(
    left: Any,
    desk: Callable[[], Any],
    tmp_path: Path,
    sparse: SyntheticImage,
    gate: Gate,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    # Its tiles are to be encoded, so that the replay can be held there.
    monkeypatch.setattr(sessions, "tile_cache", lambda: None)
    again = desk()
    again.open(tmp_path / "case.png", sparse.rgb)
    make = again.dock.sessions.make_segmenter

    def held(draft: Any, say: Any) -> Any:
        fake = make(draft, say)
        fake.on_encode = gate
        return fake

    again.dock.sessions.make_segmenter = held
    segment = again.dock.segment
    segment.earlier.go_on.click()
    again.until(gate.reached.is_set)
    assert segment.run_button.text() == "Cancel"
    segment.run_button.click()
    gate.opened.set()
    again.until(lambda: again.dock.sessions.current is None)
    assert segment.earlier.asks
    assert segment.earlier.isVisibleTo(segment)
    assert left.folder.name in segment.earlier.note.text()
    assert not segment.run_button.isEnabled()
    assert segment.run_button.text() == "Run"
    assert again.layers_of_ours() == []
    # Nothing here may speak of a run that goes on.
    assert "Go on with it" in again.dock.status.message.text()
    segment.earlier.go_on.click()
    again.wait_until_done()
    assert again.failures == []
    assert np.array_equal(again.labels, left.seen)
    ident = min(again.control.correction.areas)
    again.control.apply(DeletePrompts((ident,)))
    again.wait_until_done()
    assert kinds(again.control.project) == [*left.kept, "DeletePrompts"]
    again.close()
    third = desk()
    third.open(tmp_path / "case.png", sparse.rgb)
    third.dock.segment.earlier.go_on.click()
    third.wait_until_done()
    assert third.failures == []
    assert ident not in third.control.correction.areas


def test_work_whose_replay_fails_is_not_gone_on_with(
    left: Any, desk: Callable[[], Any], tmp_path: Path, sparse: SyntheticImage
) -> None:
    with Project.open(left.folder) as project:
        project.append({"kind": "dance"})
        project.append({"kind": "reviewed"})
        before = project.entries
    again = desk()
    again.open(tmp_path / "case.png", sparse.rgb)
    again.dock.segment.earlier.go_on.click()
    again.until(lambda: bool(again.failures))
    again.until(lambda: again.dock.sessions.current is None)
    assert "Entry 5 of 6" in again.failures[0]
    assert "Entry 5 of 6" in again.dock.status.message.text()
    assert again.dock.segment.earlier.asks
    assert again.layers_of_ours() == []
    until_ended(again)
    with Project.open(left.folder) as project:
        assert project.entries == before
    # Beginning anew is possible, and leaves it where it is.
    again.dock.segment.earlier.anew.click()
    again.run()
    assert again.control.project.folder.name == "case-2.sprout"

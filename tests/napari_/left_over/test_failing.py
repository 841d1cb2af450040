"""What waited when the program was killed, and cannot be done."""

from __future__ import annotations

import errno
import logging
import os
from pathlib import Path
from typing import Any

from comparing import kinds, seen
from napari_sprout.core.edits import DeletePrompts, LockNuclei, MovePrompt
from napari_sprout.errors import OutputError, SproutError
from napari_sprout.io.acts import waiting_edits
from napari_sprout.io.project import JOURNAL_NAME, Project
from napari_sprout.io.waiting import WAITING_NAME
from napari_sprout.napari_.jobs import InlineJob


class Stoppable:
    """A Submit that works on the spot; restoring can be cancelled before it is through."""

    def __init__(self) -> None:
        self.job = InlineJob()
        self.restoring = True

    def __call__(self, work: Any, *, on_progress: Any, on_done: Any, on_error: Any) -> Any:
        job = self.job if self.restoring else InlineJob()
        try:
            result = job.run(work, on_progress)
        except SproutError as error:
            on_error(error)
        else:
            on_done(result)
        return job


def left_behind(project: Project, *edits: Any) -> Path:
    """Close a project as if the program had died with these edits waiting."""
    for edit in edits:
        project.waiting.add(waiting_edits((edit,)))
    project.close()
    return project.folder


def test_what_turns_out_to_be_impossible_is_told_and_the_rest_is_done(
    slow, project, bring_back
) -> None:
    ident = min(slow.control.correction.areas)
    slow.control.close()
    folder = left_behind(project, DeletePrompts((9999,)), LockNuclei((ident,), True))
    back = bring_back(folder)
    back.check()
    assert back.failures == []
    assert len(back.warnings) == 1
    assert "9999" in back.warnings[0]
    assert "could not be made" in back.warnings[0]
    assert back.control.correction.locked == {ident}
    back.control.project.close()
    again = bring_back(folder)
    assert again.warnings == []
    assert seen(again) == seen(back)


def test_what_a_later_version_left_behind_is_told(slow, project, bring_back) -> None:
    slow.control.close()
    project.waiting.add({"dance": "waltz"})
    project.waiting.add({"edits": [{"kind": "Dance"}]})
    project.close()
    back = bring_back(project.folder)
    back.check()
    assert len(back.warnings) == 2
    assert all("version" in text for text in back.warnings)


def test_bringing_back_that_is_cancelled_in_the_middle_can_be_begun_again(
    slow, project, bring_back
) -> None:
    ident = min(slow.control.correction.areas)
    slow.control.close()
    folder = left_behind(project, DeletePrompts((9999,)), LockNuclei((ident,), True))
    half: list[bool] = []
    submit = Stoppable()
    back = bring_back(folder, restore=False, submit=submit)
    before = kinds(back.control.project)

    def hear(_: str) -> None:
        # What is done now may not come before what still waits.
        submit.restoring = False
        back.control.change_settings(changed)
        submit.job.cancel()

    changed = back.control.settings.with_changes(decoding={"multimask": "best"})
    back.control.warned.connect(hear)
    back.control.half_restored.connect(half.append)
    back.control.restore()
    assert half == [True]
    assert len(back.failures) == 1
    assert "open it again" in back.failures[0]
    assert kinds(back.control.project)[: len(before)] == before
    assert "LockNuclei" not in kinds(back.control.project)
    back.control.close()
    back.control.project.close()
    again = bring_back(folder)
    again.check()
    assert again.control.correction.locked == {ident}


def test_a_full_disk_leaves_it_waiting(slow, project, bring_back) -> None:
    ident = min(slow.control.correction.areas)
    slow.control.close()
    folder = left_behind(project, LockNuclei((ident,), True))
    half: list[bool] = []
    back = bring_back(folder, restore=False)
    back.control.half_restored.connect(half.append)

    def full(entry: dict[str, Any]) -> int:
        raise OutputError("The disk is full; make room.")

    back.control.project.append = full
    back.control.restore()
    assert back.failures == ["The disk is full; make room."]
    assert half == [False]
    back.control.close()
    back.control.project.close()
    again = bring_back(folder)
    assert again.control.correction.locked == {ident}


def test_a_disk_too_full_for_what_waits_is_told_and_it_is_done_all_the_same(
    slow, later, project, monkeypatch
) -> None:
    def full(*_: object) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    ident = min(slow.control.correction.areas)
    slow.control.run()
    with monkeypatch.context() as patch:
        patch.setattr(os, "write", full)
        slow.control.apply(LockNuclei((ident,), True))
    assert len(slow.warnings) == 1
    assert "not on disk until it is its turn" in slow.warnings[0]
    assert "disk is full" in slow.warnings[0]
    later.finish()
    assert slow.failures == []
    assert kinds(project)[-1] == "LockNuclei"


def test_what_fails_while_the_window_closes_is_logged_and_tried_again(
    slow, later, project, bring_back, caplog
) -> None:
    ident = min(slow.control.correction.areas)
    y, x = slow.points.data[slow.row(ident)]
    slow.control.run()
    slow.control.apply(MovePrompt(ident, y + 2, x))
    slow.control.undo()
    slow.control.apply(MovePrompt(ident, y + 4, x))
    append = project.append

    def full(entry: dict[str, Any]) -> int:
        raise OutputError("The disk is full; make room.")

    project.append = full
    slow.control.close()
    with caplog.at_level(logging.WARNING, "napari_sprout"):
        later.finish()
    project.append = append
    project.close()
    assert "The disk is full; make room." in caplog.text
    assert b"MovePrompt" not in (project.folder / JOURNAL_NAME).read_bytes()
    back = bring_back(project.folder)
    back.check()
    assert tuple(back.points.data[back.row(ident)]) == (y + 4, x)
    assert kinds(back.control.project) == ["run", "MovePrompt", "undo", "MovePrompt"]


def test_what_turns_out_to_be_impossible_while_the_window_closes_is_told_when_opened_again(
    slow, later, project, bring_back
) -> None:
    ident = min(slow.control.correction.areas)
    slow.control.run()
    slow.control.apply_all((LockNuclei((ident,), True), DeletePrompts((9999,))))
    slow.control.apply(DeletePrompts((8888,)))
    slow.control.close()
    later.finish()
    assert kinds(project)[-2:] == ["DeletePrompts", "failed"]
    project.close()
    back = bring_back(project.folder)
    back.check()
    assert back.failures == []
    assert [("9999" in text, "8888" in text) for text in back.warnings] == [
        (True, False),
        (False, True),
    ]
    assert back.control.correction.locked == {ident}
    back.control.project.close()
    assert not (project.folder / WAITING_NAME).exists()
    again = bring_back(project.folder)
    again.check()
    assert again.warnings == []
    assert seen(again) == seen(back)


def test_what_failed_before_something_that_was_done_is_told_and_not_done_after_it(
    slow, later, project, bring_back
) -> None:
    ident = min(slow.control.correction.areas)
    y, x = slow.points.data[slow.row(ident)]
    slow.control.run()
    slow.control.apply(LockNuclei((ident,), True))
    slow.control.apply(MovePrompt(ident, y + 4, x))
    append = project.append

    def full_for_a_while(entry: dict[str, Any]) -> int:
        if entry.get("edit", entry)["kind"] == "LockNuclei":
            raise OutputError("The disk is full; make room.")
        return append(entry)

    project.append = full_for_a_while
    slow.control.close()
    later.finish()
    project.append = append
    assert kinds(project)[-1] == "MovePrompt"
    project.close()
    back = bring_back(project.folder)
    back.check()
    assert len(back.warnings) == 1
    assert "came to nothing" in back.warnings[0]
    assert back.control.correction.locked == frozenset()
    assert seen(back) == seen(slow)
    back.control.project.close()
    assert not (project.folder / WAITING_NAME).exists()


def test_what_was_told_already_is_neither_told_nor_tried_again(
    slow, later, project, crash, bring_back
) -> None:
    ident = min(slow.control.correction.areas)
    slow.control.run()
    slow.control.apply(DeletePrompts((9999,)))
    slow.control.apply(LockNuclei((ident,), True))
    append, crashes = project.append, []

    def listen(entry: dict[str, Any]) -> int:
        if entry.get("edit", entry)["kind"] == "LockNuclei":
            crashes.append(crash())
        return append(entry)

    project.append = listen
    later.finish()
    project.append = append
    assert len(slow.failures) == len(crashes) == 1
    back = bring_back(crashes[0])
    back.check()
    assert back.failures == back.warnings == []
    assert back.control.correction.locked == {ident}

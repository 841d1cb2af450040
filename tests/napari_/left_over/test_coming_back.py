"""What waits for a run when the program is killed: it is as if a copy of the folder were opened."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Any

from comparing import kinds, seen
from napari_sprout.core.edits import DeletePrompts, LockNuclei
from napari_sprout.io.waiting import WAITING_NAME


def act(opened: Any) -> None:
    """Act in many ways, one after the other, during a run."""
    control = opened.control
    ids = sorted(control.correction.areas)
    moved = opened.points.data.copy()
    for ident in ids[:3]:
        moved[opened.row(ident)] += 3
    opened.points.data = moved
    opened.points.add([69.0, 61.0])
    control.apply(DeletePrompts((ids[4],)))
    control.undo()
    control.undo()
    control.redo()
    control.apply(LockNuclei((ids[5],), True))
    control.undo()
    control.undo()
    control.undo()
    control.redo()
    control.change_settings(control.settings.with_changes(decoding={"multimask": "best"}))


def test_whenever_the_program_dies_all_that_was_done_comes_back_once(
    slow, later, project, crash, bring_back
) -> None:
    control = slow.control
    # Of one act before the run it must be known, too, that it is one.
    ids = sorted(control.correction.areas)
    control.apply_all((LockNuclei((ids[6],), True), LockNuclei((ids[7],), True)))
    later.finish()
    control.change_settings(control.settings.with_changes(features={"tile": 128}))
    later.finish()
    control.run()
    act(slow)
    control.cancel()
    crashes = [crash()]
    append = project.append

    def listen(entry: dict[str, Any]) -> int:
        number = append(entry)
        crashes.append(crash())
        return number

    project.append = listen
    later.finish()
    project.append = append
    slow.check()
    crashes.append(crash())
    last, edits = seen(slow), kinds(project)
    assert len(crashes) > 15
    undone = [last]
    while control.can_undo:
        control.undo()
        later.finish()
        undone.append(seen(slow))
    for number, folder in enumerate(crashes):
        back = bring_back(folder)
        back.check()
        assert back.failures == back.warnings == []
        assert seen(back) == last
        assert kinds(back.control.project) == edits
        if number in (0, 3, len(crashes) - 1):
            for former in undone[1:]:
                back.control.undo()
                assert seen(back) == former
            assert not back.control.can_undo
        back.control.project.close()
        assert not (folder / WAITING_NAME).exists()


def test_a_second_death_while_it_is_brought_back_loses_nothing(
    slow, later, project, crash, bring_back, tmp_path: Path
) -> None:
    slow.control.run()
    act(slow)
    first = crash()
    slow.control.cancel()
    later.finish()
    back = bring_back(first, restore=False)
    append, second = back.control.project.append, []

    def listen(entry: dict[str, Any]) -> int:
        number = append(entry)
        second.append(Path(shutil.copytree(first, tmp_path / f"second-{len(second)}.sprout")))
        (second[-1] / "lock").unlink()
        return number

    back.control.project.append = listen
    back.control.restore()
    assert seen(back) == seen(slow)
    assert len(second) > 10
    for folder in second[::4]:
        again = bring_back(folder)
        assert again.failures == again.warnings == []
        assert seen(again) == seen(slow)
        assert kinds(again.control.project) == kinds(project)


def test_it_is_done_to_the_result_of_a_run_that_ended_before_the_program_died(
    slow, later, project, crash, bring_back
) -> None:
    control = slow.control
    control.change_settings(control.settings.with_changes(decoding={"multimask": "best"}))
    later.finish()
    control.run()
    act(slow)
    for tell in later.do():
        tell()
    assert kinds(project)[-1] == "run"
    folder = crash()
    later.finish()
    assert seen(bring_back(folder)) == seen(slow)


def test_settings_changed_during_the_first_run_come_back(
    open_session, later, project, quick, crash, bring_back
) -> None:
    opened = open_session(run=False, submit=later, project=project)
    opened.control.run()
    changed = quick.with_changes(decoding={"multimask": "best"})
    opened.control.change_settings(changed)
    assert kinds(project) == []
    back = bring_back(crash())
    assert back.control.settings == changed
    assert kinds(back.control.project) == ["ChangeSettings"]
    assert not back.control.correction.ready
    back.control.run()
    back.check()
    back.control.undo()
    assert back.control.settings == quick


def test_what_waits_is_on_disk_before_it_is_done_and_gone_after(slow, later, project) -> None:
    file = project.folder / WAITING_NAME
    slow.control.run()
    assert not file.exists()
    act(slow)
    assert b"MovePrompt" in file.read_bytes()
    slow.control.cancel()
    later.finish()
    assert file.read_bytes() == b""
    slow.control.close()
    project.close()
    assert not file.exists()

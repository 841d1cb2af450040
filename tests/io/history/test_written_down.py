from __future__ import annotations

import threading
import warnings

import pytest

from napari_sprout.core.edits import ChangeSettings, DeletePrompts, LockNuclei, MovePrompt
from napari_sprout.core.stages import Stage
from napari_sprout.errors import ProjectError, SproutError, SproutWarning, StoppedError
from napari_sprout.io import history
from napari_sprout.io.project import Project


def test_an_edit_is_on_disk_before_it_is_done(begun, largest) -> None:
    project, correction = begun
    (nucleus,) = largest(correction)
    seen = []

    def look() -> None:
        seen.append((project.folder / "journal.jsonl").read_text().count('"kind":"MovePrompt"'))

    correction.session.context().segmenter().on_decode = look
    history.apply(project, correction, MovePrompt(nucleus, 80.0, 90.0))
    assert seen
    assert set(seen) == {1}


def test_an_impossible_edit_is_marked_and_not_repeated(
    begun, replayed, everything, kinds, largest
) -> None:
    project, correction = begun
    before = everything(correction)
    with pytest.raises(SproutError, match="9999"):
        history.apply(project, correction, DeletePrompts((9999,)))
    assert kinds(project) == ["run", "edit", "failed"]
    history.apply(project, correction, LockNuclei(tuple(largest(correction)), True))
    assert everything(correction)["labels"] == before["labels"]
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert everything(replayed(project)) == everything(correction)


def test_a_last_edit_that_turns_out_impossible_is_left_out_with_a_warning(
    begun, replayed, everything, kinds, largest
) -> None:
    project, correction = begun
    before = everything(correction)
    # As if the program had died between writing it down and finding it impossible.
    project.append({"kind": "edit", "edit": {"kind": "DeletePrompts", "ids": [9999]}})
    project.close()
    with (
        Project.open(project.folder, read_only=True) as opened,
        pytest.warns(SproutWarning, match="last change in .* was left out"),
    ):
        assert everything(replayed(opened)) == before
    with Project.open(project.folder) as opened:
        with pytest.warns(SproutWarning, match="left out"):
            again = replayed(opened)
        assert everything(again) == before
        history.apply(opened, again, LockNuclei(tuple(largest(again)), True))
        # From here on it is marked, and stands in nobody's way.
        assert kinds(opened) == ["run", "edit", "failed", "edit"]
        with warnings.catch_warnings():
            warnings.simplefilter("error")
            assert everything(replayed(opened)) == everything(again)


def test_nothing_to_undo_leaves_no_trace(begun, kinds) -> None:
    project, correction = begun
    assert history.undo(project, correction) is None
    assert history.redo(project, correction) is None
    assert kinds(project) == ["run"]


def test_runs_that_change_nothing_leave_no_trace(begun, finish, kinds) -> None:
    project, correction = begun
    finish(project, correction)
    finish(project, correction, until=Stage.PROMPTS)
    assert kinds(project) == ["run"]


def test_a_cancelled_run_leaves_no_trace(begun, finish, replayed, everything, kinds) -> None:
    project, correction = begun
    changed = correction.session.settings.with_changes(prompts={"split_depth": 1.0})
    history.apply(project, correction, ChangeSettings(changed.to_dict()))
    before = everything(correction)
    steps = history.run(project, correction)
    next(steps)
    steps.close()
    steps = history.run(project, correction)
    next(steps)
    correction.session.stop()
    with pytest.raises(StoppedError):
        list(steps)
    assert kinds(project) == ["run", "edit"]
    assert everything(correction) == before == everything(replayed(project))
    finish(project, correction)
    assert kinds(project) == ["run", "edit", "run"]
    assert everything(correction)["labels"] != before["labels"]
    assert everything(replayed(project)) == everything(correction)


def test_a_result_made_before_the_project_is_taken_in_by_running(
    make, finish, replayed, everything, kinds, largest
) -> None:
    project, correction = make()
    for _ in correction.run():
        pass
    with pytest.raises(ProjectError, match="does not know the run"):
        history.apply(project, correction, LockNuclei(tuple(largest(correction)), True))
    assert kinds(project) == []
    finish(project, correction)
    history.apply(project, correction, LockNuclei(tuple(largest(correction)), True))
    assert kinds(project) == ["run", "edit"]
    assert everything(replayed(project)) == everything(correction)


def test_corrections_made_before_the_project_are_not_silently_lost(make, finish, largest) -> None:
    project, correction = make()
    for _ in correction.run():
        pass
    correction.apply(DeletePrompts(tuple(largest(correction))))
    with pytest.raises(ProjectError, match="made after corrections that are not in it"):
        finish(project, correction)
    with pytest.raises(ProjectError, match="made after corrections that are not in it"):
        history.apply(project, correction, LockNuclei(tuple(largest(correction)), True))


def test_edits_from_several_threads_are_kept_in_the_order_in_which_they_are_done(
    begun, replayed, everything, kinds, largest
) -> None:
    project, correction = begun
    nuclei = largest(correction, 8)

    def move(nucleus: int) -> None:
        for x in range(60, 80, 5):
            history.apply(project, correction, MovePrompt(nucleus, 90.0, float(x)))

    threads = [threading.Thread(target=move, args=(nucleus,)) for nucleus in nuclei]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert kinds(project) == ["run"] + ["edit"] * 32
    assert everything(replayed(project)) == everything(correction)


def test_edits_during_a_run_are_refused_and_not_repeated(
    begun, replayed, everything, kinds, largest
) -> None:
    project, correction = begun
    changed = correction.session.settings.with_changes(prompts={"split_depth": 0.4})
    history.apply(project, correction, ChangeSettings(changed.to_dict()))
    for number, _ in enumerate(history.run(project, correction)):
        if number == 3:
            with pytest.raises(SproutError, match="run is under way"):
                history.apply(project, correction, DeletePrompts(tuple(largest(correction))))
    assert kinds(project) == ["run", "edit", "edit", "failed", "run"]
    assert everything(replayed(project)) == everything(correction)


def test_a_run_stopped_before_its_first_step_does_nothing(begun, everything) -> None:
    project, correction = begun
    changed = correction.session.settings.with_changes(prompts={"split_depth": 1.0})
    history.apply(project, correction, ChangeSettings(changed.to_dict()))
    before = everything(correction)
    steps = history.run(project, correction)
    correction.session.stop()
    with pytest.raises(StoppedError):
        list(steps)
    assert everything(correction) == before

from __future__ import annotations

import errno
import os

import pytest
import torch

from napari_sprout.core.edits import (
    ChangeSettings,
    DeletePrompts,
    Edit,
    LockNuclei,
    MovePrompt,
)
from napari_sprout.errors import OutputError, ProjectError, SproutError, SproutWarning
from napari_sprout.io import history
from napari_sprout.io.project import Project


def full_disk(patch: pytest.MonkeyPatch) -> None:
    def full(*_: object) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    patch.setattr(os, "write", full)


def test_on_a_full_disk_an_edit_is_refused_and_nothing_changes(
    begun, monkeypatch: pytest.MonkeyPatch, replayed, everything, kinds, largest
) -> None:
    project, correction = begun
    edit = DeletePrompts(tuple(largest(correction)))
    before = everything(correction)
    with monkeypatch.context() as patch:
        full_disk(patch)
        with pytest.raises(OutputError, match="disk is full"):
            history.apply(project, correction, edit)
        with pytest.raises(OutputError, match="disk is full"):
            history.apply(project, correction, edit)
    assert everything(correction) == before
    history.apply(project, correction, edit)
    assert kinds(project) == ["run", "edit"]
    assert everything(replayed(project)) == everything(correction)


def test_a_run_finished_on_a_full_disk_is_written_down_before_the_next_edit(
    make, monkeypatch: pytest.MonkeyPatch, finish, replayed, everything, kinds, largest
) -> None:
    project, correction = make()
    with monkeypatch.context() as patch:
        full_disk(patch)
        with pytest.warns(SproutWarning, match="finished but not saved yet.* disk is full"):
            finish(project, correction)
        edit = LockNuclei(tuple(largest(correction)), True)
        with pytest.raises(OutputError, match="disk is full"):
            history.apply(project, correction, edit)
    assert kinds(project) == []
    history.apply(project, correction, edit)
    assert kinds(project) == ["run", "edit"]
    assert everything(replayed(project)) == everything(correction)


@pytest.mark.filterwarnings("error::napari_sprout.errors.SproutWarning")
def test_a_listener_is_told_in_place_of_a_warning(make, monkeypatch: pytest.MonkeyPatch) -> None:
    project, correction = make()
    told: list[str] = []
    with monkeypatch.context() as patch:
        full_disk(patch)
        for _ in history.run(project, correction, tell=told.append):
            pass
    (text,) = told
    assert "finished but not saved yet" in text


def test_a_run_that_is_owed_is_written_down_on_closing(
    make, monkeypatch: pytest.MonkeyPatch, finish, replayed, everything
) -> None:
    project, correction = make()
    with monkeypatch.context() as patch:
        full_disk(patch)
        with pytest.warns(SproutWarning):
            finish(project, correction)
    project.close()
    with Project.open(project.folder) as opened:
        assert everything(replayed(opened)) == everything(correction)


def test_nothing_follows_a_failed_edit_that_cannot_be_marked(
    begun, monkeypatch: pytest.MonkeyPatch, replayed, everything, largest
) -> None:
    project, correction = begun
    before = everything(correction)
    with monkeypatch.context() as patch:

        def refused(_: Edit) -> None:
            full_disk(patch)
            raise SproutError("impossible")

        patch.setattr(correction, "apply", refused)
        with pytest.raises(OutputError, match="disk is full"):
            history.apply(project, correction, DeletePrompts((9999,)))
    with pytest.raises(ProjectError, match="open the project again"):
        history.apply(project, correction, DeletePrompts(tuple(largest(correction))))
    assert everything(correction) == before
    with Project.open(project.folder) as opened, pytest.warns(SproutWarning, match="left out"):
        assert everything(replayed(opened)) == before


def test_an_unexpected_failure_is_marked_too(
    begun, monkeypatch: pytest.MonkeyPatch, replayed, everything, largest
) -> None:
    project, correction = begun
    before = everything(correction)

    def out_of_memory() -> None:
        raise torch.OutOfMemoryError("CUDA out of memory")

    (nucleus,) = largest(correction)
    correction.session.context().segmenter().on_decode = out_of_memory
    with pytest.raises(torch.OutOfMemoryError):
        history.apply(project, correction, MovePrompt(nucleus, 80.0, 90.0))
    assert everything(correction) == before == everything(replayed(project))


def test_a_run_finished_while_the_project_is_away_is_written_down_before_the_next_edit(
    begun, finish, replayed, everything, kinds, largest
) -> None:
    project, correction = begun
    changed = correction.session.settings.with_changes(prompts={"split_depth": 0.4})
    history.apply(project, correction, ChangeSettings(changed.to_dict()))
    away = project.folder.with_name("unplugged")
    project.folder.rename(away)
    with pytest.warns(SproutWarning, match="finished but not saved yet.* put the project folder"):
        finish(project, correction)
    edit = LockNuclei(tuple(largest(correction)), True)
    before = everything(correction)
    for act in (
        lambda: history.apply(project, correction, edit),
        lambda: history.undo(project, correction),
    ):
        with pytest.raises(ProjectError, match="moved or deleted"):
            act()
        assert everything(correction) == before
    away.rename(project.folder)
    history.apply(project, correction, edit)
    assert kinds(project) == ["run", "edit", "run", "edit"]
    assert everything(replayed(project)) == everything(correction)


def test_a_run_that_is_owed_is_owed_once(
    make, monkeypatch: pytest.MonkeyPatch, finish, kinds, largest
) -> None:
    project, correction = make()
    with monkeypatch.context() as patch:
        full_disk(patch)
        for _ in range(2):
            with pytest.warns(SproutWarning, match="finished but not saved yet"):
                finish(project, correction)
    history.apply(project, correction, LockNuclei(tuple(largest(correction)), True))
    assert kinds(project) == ["run", "edit"]

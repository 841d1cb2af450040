from __future__ import annotations

import errno
import os
from typing import Any

import numpy as np
import pytest
import tifffile

from napari_sprout.errors import OutputError, ProjectError
from napari_sprout.io.history import replay
from napari_sprout.io.images import LoadedImage, read_image
from napari_sprout.io.project import Project


@pytest.fixture
def image(tmp_path, synthetic) -> LoadedImage:
    path = tmp_path / "tissue.tif"
    tifffile.imwrite(path, synthetic.rgb)
    return read_image(path)


@pytest.fixture
def project(tmp_path, image, quick) -> Any:
    made = Project.create(tmp_path / "tissue.sprout", image, quick)
    yield made
    made.close()


def kinds(project: Project) -> list[str]:
    return [str(entry["kind"]) for entry in project.entries]


def work(opened, mouse) -> None:
    """A bit of everything."""
    control = opened.control
    opened.points.add([69.0, 61.0])
    ids = sorted(control.correction.areas)
    opened.points.selected_data = {opened.row(ids[0])}
    opened.points.remove_selected()
    y, x = opened.place(ids[1])
    opened.nuclei.mode = "paint"
    opened.nuclei.selected_label = ids[1]
    mouse.drag(opened.nuclei, (y, x), (y, x + 18))
    control.undo()
    control.redo()
    control.actions.select(frozenset(ids[2:4]))
    control.actions.merge_selected()
    control.change_settings(control.settings.with_changes(decoding={"multimask": "best"}))
    control.run()
    opened.check()


def test_everything_is_written_down_before_it_is_shown(open_session, project) -> None:
    opened = open_session(project=project)
    seen: list[tuple[list[str], bool]] = []
    append = project.append

    def listen(entry: dict[str, Any]) -> int:
        before = np.array_equal(opened.nuclei.data, first)
        number = append(entry)
        seen.append((kinds(project), before))
        return number

    first = opened.nuclei.data.copy()
    project.append = listen
    opened.points.selected_data = {opened.row(min(opened.control.correction.areas))}
    opened.points.remove_selected()
    assert seen == [(["run", "edit"], True)]
    assert not np.array_equal(opened.nuclei.data, first)
    opened.control.undo()
    assert seen[-1] == (["run", "edit", "undo"], False)


def test_a_full_disk_stops_the_edit_and_puts_the_layers_back(open_session, project) -> None:
    opened = open_session(project=project)
    before, places = opened.labels.copy(), opened.points.data.copy()

    def full(entry: dict[str, Any]) -> int:
        raise OutputError("The disk is full; make room.")

    project.append = full
    opened.points.add([69.0, 61.0])
    assert opened.failures == ["The disk is full; make room."]
    opened.check()
    assert np.array_equal(opened.labels, before)
    assert np.array_equal(opened.points.data, places)


@pytest.mark.filterwarnings("error::napari_sprout.errors.SproutWarning")
def test_a_run_that_cannot_be_saved_yet_is_told_each_time(
    open_session, project, monkeypatch
) -> None:
    opened = open_session(run=False, project=project)

    def full(*_: object) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    settings = opened.control.settings.with_changes(decoding={"multimask": "best"})
    with monkeypatch.context() as patch:
        patch.setattr(os, "write", full)
        opened.control.run()
        opened.check()
        opened.control.run()
        first, second = opened.warnings
        assert "finished but not saved yet" in first
        assert "disk is full" in first
        assert first == second
        assert kinds(project) == []
        opened.control.change_settings(settings)
        assert len(opened.failures) == 1
    opened.control.change_settings(settings)
    assert kinds(project)[-1] == "edit"
    assert len(opened.warnings) == 2


@pytest.mark.filterwarnings("error::napari_sprout.errors.SproutWarning")
def test_what_is_doubtful_about_restored_work_is_told(open_session, project, quick) -> None:
    run = {"kind": "run", "settings": quick.to_dict(), "software": "napari-sprout 99.0"}
    project.append(run)
    # As if the program had died between writing it down and finding it impossible.
    project.append({"kind": "edit", "edit": {"kind": "DeletePrompts", "ids": [9999]}})
    opened = open_session(run=False, project=project)
    opened.control.restore()
    opened.check()
    version, left_out = opened.warnings
    assert "made with napari-sprout 99.0" in version
    assert "The last change in" in left_out
    assert kinds(project) == ["run", "edit", "failed"]


def test_work_on_other_nuclei_is_refused_before_any_correction_is_done(
    open_session, project, quick
) -> None:
    other = {"software": "napari-sprout 0.1.9", "outcome": {"prompts": "0", "labels": "0"}}
    project.append({"kind": "run", "settings": quick.to_dict(), **other})
    project.append({"kind": "edit", "edit": {"kind": "DeletePrompts", "ids": [1]}})
    opened = open_session(run=False, project=project)
    half: list[bool] = []
    opened.control.half_restored.connect(half.append)
    opened.control.restore()
    (text,) = opened.failures
    assert "made by napari-sprout 0.1.9" in text
    assert "press Start anew" in text
    assert half == [False]
    assert not opened.control.correction.can_undo
    assert kinds(project) == ["run", "edit"]


def test_a_project_opened_again_shows_the_same_and_goes_on(
    open_session, viewer, synthetic, project, mouse, fake_type, tmp_path
) -> None:
    opened = open_session(project=project)
    work(opened, mouse)
    labels, prompts = opened.labels.copy(), dict(opened.control.correction.prompts)
    locked = project.folder
    opened.control.close()
    project.close()
    with Project.open(locked) as again:
        layer = viewer.add_image(synthetic.rgb, rgb=True)
        back = open_session(layer, run=False, project=again)
        fractions: list[float] = []
        back.control.progress.connect(lambda step: fractions.append(step.fraction))
        back.control.restore()
        back.check()
        assert np.array_equal(back.labels, labels)
        assert dict(back.control.correction.prompts) == prompts
        assert fractions == sorted(fractions)
        assert fractions[-1] == pytest.approx(1)
        back.control.undo()
        back.check()
        back.points.add([72.0, 58.0])
        back.check()
        final = back.labels.copy()
    with Project.open(locked, read_only=True) as later:
        assert np.array_equal(replay(later, segmenter=fake_type()).labels, final)


def test_a_cancelled_run_is_not_written_down(open_session, project) -> None:
    opened = open_session(run=False, project=project)
    opened.control.stage_finished.connect(lambda stage: opened.control.cancel())
    opened.control.run()
    assert len(opened.stages) == 1
    assert kinds(project) == []


def test_a_project_without_work_restores_nothing(open_session, project) -> None:
    opened = open_session(run=False, project=project)
    opened.control.restore()
    assert opened.control.view is None
    assert opened.nuclei is None
    assert not opened.control.is_busy
    opened.control.run()
    opened.check()


def test_a_project_of_another_image_is_refused(open_session, viewer, project, synthetic) -> None:
    other = viewer.add_image(np.ascontiguousarray(synthetic.rgb[::-1]), rgb=True, name="other")
    with pytest.raises(ProjectError, match="'other'"):
        open_session(other, project=project)


@pytest.fixture
def left(open_session, project, mouse) -> Any:
    """A project that was worked on and closed, and the labels that were seen last."""
    opened = open_session(project=project)
    work(opened, mouse)
    opened.control.close()
    project.close()
    return project.folder, opened.labels.copy()


def listen(opened) -> list[str]:
    """Return what is told from here on, in order."""
    told: list[str] = []
    opened.control.failed.connect(lambda text: told.append("failed"))
    opened.control.half_restored.connect(
        lambda cancelled: told.append("cancelled" if cancelled else "given up")
    )
    opened.control.busy.connect(lambda busy: told.append("busy" if busy else "idle"))
    return told


def test_work_that_is_brought_back_in_part_is_told_and_not_gone_on_with(
    open_session, viewer, synthetic, left
) -> None:
    folder, labels = left
    with Project.open(folder) as project:
        before = kinds(project)
        layer = viewer.add_image(synthetic.rgb, rgb=True)
        back = open_session(layer, run=False, project=project)
        told = listen(back)
        back.control.progress.connect(
            lambda step: back.control.cancel() if back.control.correction.can_undo else None
        )
        back.control.restore()
        assert told == ["busy", "idle", "cancelled"]
        back.control.run()
        assert told[3:] == ["busy", "failed", "idle"]
        assert kinds(project) == before
    with Project.open(folder) as project:
        layer = viewer.add_image(synthetic.rgb, rgb=True)
        whole = open_session(layer, run=False, project=project)
        told = listen(whole)
        whole.control.restore()
        whole.check()
        assert told == ["busy", "idle"]
        assert np.array_equal(whole.labels, labels)


def test_an_entry_that_cannot_be_done_again_is_told_before_the_work_is_given_up(
    open_session, viewer, synthetic, left
) -> None:
    folder, _ = left
    with Project.open(folder) as project:
        project.append({"kind": "dance"})
        project.append({"kind": "reviewed"})
        layer = viewer.add_image(synthetic.rgb, rgb=True)
        back = open_session(layer, run=False, project=project)
        told = listen(back)
        back.control.restore()
        assert told == ["busy", "failed", "idle", "given up"]
        assert "cannot be done again" in back.failures[0]


def test_restoring_that_is_cancelled_when_all_is_done_again_is_whole(
    open_session, viewer, synthetic, left
) -> None:
    folder, labels = left
    with Project.open(folder) as project:
        layer = viewer.add_image(synthetic.rgb, rgb=True)
        back = open_session(layer, run=False, project=project)
        told = listen(back)
        # By now only the pictures are missing.
        back.control.stage_finished.connect(lambda stage: back.control.cancel())
        back.control.restore()
        back.check()
        assert told == ["busy", "idle"]
        assert np.array_equal(back.labels, labels)


def test_edits_that_wait_when_a_session_is_closed_are_kept_and_runs_are_not(
    open_session, later, project, quick
) -> None:
    opened = open_session(run=False, project=project, submit=later)
    opened.control.run()
    later.finish()
    before = kinds(project)
    opened.control.change_settings(quick.with_changes(decoding={"multimask": "best"}))
    opened.control.run()
    ident = min(opened.control.correction.areas)
    opened.points.data = opened.points.data + np.where(
        np.arange(len(opened.points.data))[:, None] == opened.row(ident), 3.0, 0.0
    )
    opened.control.undo()
    opened.control.redo()
    shown = opened.points.data[opened.row(ident)]
    opened.control.close()
    later.finish()
    assert kinds(project)[len(before) :] == ["edit", "edit", "undo", "redo"]
    assert project.entries[len(before) + 1]["edit"]["kind"] == "MovePrompt"
    prompt = opened.control.correction.prompts[ident]
    assert np.array_equal(shown, (prompt.y, prompt.x))

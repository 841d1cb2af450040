from __future__ import annotations

import errno
import os
import random
import runpy
import shutil
import signal
import subprocess
import sys
import threading
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import skimage.io
import torch
from numpy.typing import NDArray
from torch import Tensor

from napari_sprout.core.correction import Correction
from napari_sprout.core.edits import (
    AddPrompt,
    ChangeSettings,
    ChooseAnswer,
    DeletePrompts,
    Edit,
    LockNuclei,
    MergeNuclei,
    MovePrompt,
    PaintNucleus,
    PaintReference,
    RemoveNuclei,
    RestoreCandidate,
)
from napari_sprout.core.instances import Prompt
from napari_sprout.core.session import Session
from napari_sprout.core.settings import Settings
from napari_sprout.core.stages import Stage
from napari_sprout.core.synthetic import synthetic_he
from napari_sprout.errors import (
    OutputError,
    ProjectError,
    SproutError,
    SproutWarning,
    StoppedError,
)
from napari_sprout.io import history
from napari_sprout.io.images import read_image
from napari_sprout.io.labels import read_labels
from napari_sprout.io.project import Project
from napari_sprout.models.protocols import MaskBatch, PromptBatch

SETTINGS = Settings().with_changes(
    stain={"method": "fixed"},
    features={"tile": 128, "overlap": 0.5},
    suppression={"threshold": 1.0},
)
TOKENS = 64
CELLS = 4


class FakeSegmenter:
    """Tokens are mean colours, masks are disks whose size depends on their place.

    Before it works it calls `on_work` with "encode" or "decode".
    """

    name = "fake"
    weights_sha256 = "f" * 64
    device = torch.device("cpu")

    def __init__(self, on_work: Callable[[str], None] = lambda _: None) -> None:
        self.on_work = on_work

    def encode(self, tile: NDArray[np.uint8]) -> Tensor:
        self.on_work("encode")
        size = tile.shape[0] // TOKENS
        blocks = tile.reshape(TOKENS, size, TOKENS, size, 3).mean(axis=(1, 3))
        density = -np.log((blocks + 1) / 256)
        return torch.from_numpy(np.moveaxis(density, 2, 0).astype(np.float32))

    def decode(self, embedding: Tensor, prompts: PromptBatch, side: int) -> MaskBatch:
        self.on_work("decode")
        places = prompts.origins[:, :, None] * CELLS + torch.arange(prompts.window * CELLS)
        pixels = (places + 0.5) * side / (TOKENS * CELLS) - 0.5
        apart = pixels - prompts.points[:, 0, :, None]
        distance = torch.hypot(apart[:, 0, :, None], apart[:, 1, None, :])
        place = (0.37 * prompts.points[:, 0, 0] + 0.11 * prompts.points[:, 0, 1]) % 1
        radii = (14 + 8 * place)[:, None] * torch.tensor([1.0, 0.7, 0.9, 1.1])
        iou = 0.7 + 0.1 * place[:, None] + torch.tensor([0.0, 0.05, 0.1, 0.02])
        return MaskBatch(radii[:, :, None, None] - distance[:, None], iou.float())


@pytest.fixture(scope="module")
def image(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("image") / "case.png"
    skimage.io.imsave(path, synthetic_he(shape=(160, 192), n_nuclei=20, seed=11).rgb)
    return path


@pytest.fixture
def make(image: Path, tmp_path: Path) -> Callable[[], tuple[Project, Correction]]:
    """Make a project in which nothing has been done yet."""

    def new() -> tuple[Project, Correction]:
        own = Path(shutil.copy(image, tmp_path))
        project = Project.create(tmp_path / "case.sprout", read_image(own), SETTINGS, 0.25)
        return project, fresh(project)

    return new


@pytest.fixture
def begun(make: Callable[[], tuple[Project, Correction]]) -> tuple[Project, Correction]:
    """A project that has been run."""
    project, correction = make()
    finish(project, correction)
    return project, correction


def fresh(project: Project, segmenter: FakeSegmenter | None = None) -> Correction:
    rgb, mpp, fake = project.image.rgb, project.mpp, segmenter or FakeSegmenter()
    return Correction(Session(rgb, project.settings, mpp=mpp, segmenter=fake))


def finish(project: Project, correction: Correction, until: Stage = Stage.NUCLEI) -> None:
    for _ in history.run(project, correction, until):
        pass


def replayed(project: Project) -> Correction:
    return history.replay(project, segmenter=FakeSegmenter())


def everything(correction: Correction) -> dict[str, Any]:
    return {
        "labels": correction.labels.tobytes(),
        "nuclei": correction.measure(),
        "prompts": dict(correction.prompts),
        "pinned": correction.pinned,
        "locked": correction.locked,
        "settings": correction.session.settings,
        "painted": len(correction.session.painted),
        "undo": (correction.can_undo, correction.can_redo),
    }


def kinds(project: Project) -> list[str]:
    return [entry["kind"] for entry in project.entries]


def largest(correction: Correction, count: int = 1) -> list[int]:
    found: list[int] = sorted(correction.areas, key=lambda i: (-correction.areas[i], i))[:count]
    return found


def some_edit(correction: Correction, rng: random.Random) -> Edit:
    """Return any edit, which may be impossible."""
    nuclei, prompts = sorted(correction.areas), sorted(correction.prompts)
    one, two = rng.sample(nuclei, 2)
    height, width = correction.labels.shape
    y, x = rng.uniform(0, height - 1), rng.uniform(0, width - 1)
    top, left = rng.randrange(height - 20), rng.randrange(width - 20)
    box, mask = (top, left, top + 20, left + 20), np.tri(20, dtype=bool)
    changes = {"prompts": {"negatives": rng.randrange(3)}}
    settings = correction.session.settings.with_changes(**changes).to_dict()
    new = correction.new_id()
    kind = rng.choice(("positive", "negative"))
    choices: list[Edit] = [
        AddPrompt(Prompt(new, kind, y, x, "hand")),  # type: ignore[arg-type]
        MovePrompt(rng.choice(prompts), y, x),
        DeletePrompts((rng.choice(prompts),)),
        PaintNucleus(rng.choice((new, one)), box, mask),
        MergeNuclei((one, two), two),
        RemoveNuclei((one,)),
        LockNuclei((one,), rng.random() < 0.7),
        ChooseAnswer(one, rng.randrange(5)),
        ChangeSettings(settings),
        PaintReference(rng.choice(("foreground", "background")), box, mask),
        RestoreCandidate(rng.choice([*correction.suppressed, 99])),
        MovePrompt(one, -5.0, 1e6),
    ]
    return rng.choice(choices)


# Replay


@pytest.mark.parametrize("seed", range(4))
def test_whatever_was_done_is_done_again_bit_by_bit(begun, seed: int) -> None:
    project, correction = begun
    rng = random.Random(seed)
    refused = 0
    for _ in range(30):
        act = rng.choices(("edit", "undo", "redo", "run"), (20, 5, 3, 2))[0]
        if act == "run":
            finish(project, correction)
        elif act == "edit":
            try:
                history.apply(project, correction, some_edit(correction, rng))
            except SproutError:
                refused += 1
        else:
            (history.undo if act == "undo" else history.redo)(project, correction)
    assert refused
    assert kinds(project).count("edit") > 10
    again = replayed(project)
    assert everything(again) == everything(correction)
    # And both go on alike.
    while correction.can_undo:
        assert history.undo(project, correction) is not None
        assert again.undo() is not None
    assert everything(again) == everything(correction)


def test_a_closed_and_moved_project_gives_the_same_labels(begun, tmp_path: Path) -> None:
    project, correction = begun
    (nucleus,) = largest(correction)
    history.apply(project, correction, MovePrompt(nucleus, 80.0, 90.0))
    project.close()
    moved = tmp_path / "elsewhere" / "mine.sprout"
    shutil.move(project.folder, moved)
    shutil.move(project.image.path, moved.parent)
    with Project.open(moved) as opened:
        assert opened.image.path.parent == moved.parent
        assert everything(replayed(opened)) == everything(correction)


def test_undone_edits_can_be_redone_after_reopening(begun) -> None:
    project, correction = begun
    before = everything(correction)
    history.apply(project, correction, DeletePrompts(tuple(largest(correction, 3))))
    after = everything(correction)
    history.undo(project, correction)
    project.close()
    with Project.open(project.folder) as opened:
        again = replayed(opened)
        assert everything(again)["labels"] == before["labels"]
        assert again.can_redo
        assert history.redo(opened, again) is not None
        assert everything(again) == after
        assert kinds(opened) == ["run", "edit", "undo", "redo"]


def test_progress_rises_to_the_end(begun) -> None:
    project, correction = begun
    for nucleus in largest(correction, 3):
        history.apply(project, correction, LockNuclei((nucleus,), True))
    told: list[float] = []
    again = history.replay(
        project, lambda fraction, what: told.append(fraction), segmenter=FakeSegmenter()
    )
    assert again.locked == correction.locked
    assert told == sorted(told)
    assert told[-1] == 1.0
    assert len(told) > 10


def test_a_project_in_which_nothing_was_done_replays_to_nothing(make) -> None:
    project, _ = make()
    assert not replayed(project).ready


def test_a_replay_can_be_stopped(begun) -> None:
    project, _ = begun
    session = Session(project.image.rgb, project.settings, segmenter=FakeSegmenter())
    correction = Correction(session)

    def stop() -> None:
        for fraction, _ in history.replaying(project, correction):
            if fraction > 0.1:
                session.stop()

    with pytest.raises(StoppedError):
        stop()
    assert not correction.ready
    assert kinds(project) == ["run"]


def test_review_notes_change_nothing(begun) -> None:
    project, correction = begun
    project.append({"kind": "reviewed", "ids": [1, 2], "accepted": True})
    assert everything(replayed(project)) == everything(correction)


@pytest.mark.parametrize(
    ("entry", "reason"),
    [
        ({"kind": "dance"}, "'dance', is not known to this version"),
        ({"kind": "undo"}, "nothing to undo"),
        ({"kind": "redo"}, "nothing to redo"),
        ({"kind": "run"}, "no valid member 'settings'"),
        ({"kind": "run", "settings": {"stain": {"metod": 1}}}, "Did you mean 'method'"),
        ({"kind": "edit", "edit": {"kind": "Dance"}}, "not known to this version"),
        ({"kind": "edit", "edit": {"kind": "MovePrompt", "id": 9999, "y": 1, "x": 1}}, "9999"),
    ],
)
def test_an_entry_that_makes_no_sense_is_named(begun, entry: dict[str, Any], reason: str) -> None:
    project, _ = begun
    project.append(entry)
    project.append({"kind": "reviewed"})
    with pytest.raises(ProjectError, match=r"Entry 2 of 3 of") as caught:
        replayed(project)
    assert reason in str(caught.value)
    assert str(project.folder) in str(caught.value)


def test_labels_of_another_version_are_warned_of(begun) -> None:
    project, correction = begun
    settings = correction.session.settings.to_dict()
    project.append({"kind": "run", "settings": settings, "software": "napari-sprout 99.0"})
    with pytest.warns(SproutWarning, match=r"made with napari-sprout 99\.0"):
        replayed(project)


# What is written down


def test_an_edit_is_on_disk_before_it_is_done(begun) -> None:
    project, correction = begun
    (nucleus,) = largest(correction)
    seen = []

    def look(_: str) -> None:
        seen.append((project.folder / "journal.jsonl").read_text().count('"kind":"MovePrompt"'))

    correction.session._given_segmenter.on_work = look
    history.apply(project, correction, MovePrompt(nucleus, 80.0, 90.0))
    assert seen
    assert set(seen) == {1}


def test_an_impossible_edit_is_marked_and_not_repeated(begun) -> None:
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


def test_a_last_edit_that_turns_out_impossible_is_left_out_with_a_warning(begun) -> None:
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


def test_nothing_to_undo_leaves_no_trace(begun) -> None:
    project, correction = begun
    assert history.undo(project, correction) is None
    assert history.redo(project, correction) is None
    assert kinds(project) == ["run"]


def test_runs_that_change_nothing_leave_no_trace(begun) -> None:
    project, correction = begun
    finish(project, correction)
    finish(project, correction, until=Stage.PROMPTS)
    assert kinds(project) == ["run"]


def test_a_cancelled_run_leaves_no_trace(begun) -> None:
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


def test_a_result_made_before_the_project_is_taken_in_by_running(make) -> None:
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


def test_corrections_made_before_the_project_are_not_silently_lost(make) -> None:
    project, correction = make()
    for _ in correction.run():
        pass
    correction.apply(DeletePrompts(tuple(largest(correction))))
    with pytest.raises(ProjectError, match="made after corrections that are not in it"):
        finish(project, correction)
    with pytest.raises(ProjectError, match="made after corrections that are not in it"):
        history.apply(project, correction, LockNuclei(tuple(largest(correction)), True))


def test_edits_from_several_threads_are_kept_in_the_order_in_which_they_are_done(begun) -> None:
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


def test_edits_during_a_run_are_refused_and_not_repeated(begun) -> None:
    project, correction = begun
    changed = correction.session.settings.with_changes(prompts={"split_depth": 0.4})
    history.apply(project, correction, ChangeSettings(changed.to_dict()))
    for number, _ in enumerate(history.run(project, correction)):
        if number == 3:
            with pytest.raises(SproutError, match="run is under way"):
                history.apply(project, correction, DeletePrompts(tuple(largest(correction))))
    assert kinds(project) == ["run", "edit", "edit", "failed", "run"]
    assert everything(replayed(project)) == everything(correction)


def test_a_run_stopped_before_its_first_step_does_nothing(begun) -> None:
    project, correction = begun
    changed = correction.session.settings.with_changes(prompts={"split_depth": 1.0})
    history.apply(project, correction, ChangeSettings(changed.to_dict()))
    before = everything(correction)
    steps = history.run(project, correction)
    correction.session.stop()
    with pytest.raises(StoppedError):
        list(steps)
    assert everything(correction) == before


# Failures


def full_disk(patch: pytest.MonkeyPatch) -> None:
    def full(*_: object) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    patch.setattr(os, "write", full)


def test_on_a_full_disk_an_edit_is_refused_and_nothing_changes(
    begun, monkeypatch: pytest.MonkeyPatch
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
    make, monkeypatch: pytest.MonkeyPatch
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


def test_a_run_that_is_owed_is_written_down_on_closing(
    make, monkeypatch: pytest.MonkeyPatch
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
    begun, monkeypatch: pytest.MonkeyPatch
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


def test_an_unexpected_failure_is_marked_too(begun, monkeypatch: pytest.MonkeyPatch) -> None:
    project, correction = begun
    before = everything(correction)

    def out_of_memory(_: str) -> None:
        raise torch.OutOfMemoryError("CUDA out of memory")

    (nucleus,) = largest(correction)
    correction.session._given_segmenter.on_work = out_of_memory
    with pytest.raises(torch.OutOfMemoryError):
        history.apply(project, correction, MovePrompt(nucleus, 80.0, 90.0))
    assert everything(correction) == before == everything(replayed(project))


# Killed

CHILD = """
import runpy, sys, time
test = runpy.run_path(sys.argv[1])
history, Project = test["history"], test["Project"]
slow = set()

def work(what):
    if what in slow:
        print(what, flush=True)
        time.sleep(0.05)

project = Project.open(sys.argv[2])
correction = test["fresh"](project, test["FakeSegmenter"](work))
for _ in history.replaying(project, correction):
    pass
if sys.argv[3] == "run":
    settings = correction.session.settings.with_changes(features={"overlap": 0.6})
    history.apply(project, correction, test["ChangeSettings"](settings.to_dict()))
    print("edited", flush=True)
    slow.add("encode")
    for _ in history.run(project, correction):
        pass
else:
    slow.add("decode")
    for y in range(10, 150):
        history.apply(project, correction, test["MovePrompt"](1, float(y), 60.0))
        print("edited", flush=True)
"""


def killed(project: Project, what: str, said: str, times: int) -> int:
    """Do something in another process and kill it when it has said a word; count its edits."""
    project.close()
    command = [sys.executable, "-c", CHILD, __file__, str(project.folder), what]
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
def test_a_process_killed_in_the_middle_of_an_edit_loses_no_finished_one(begun) -> None:
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
def test_a_process_killed_in_the_middle_of_a_run_keeps_all_that_was_before(begun) -> None:
    project, correction = begun
    assert killed(project, "run", "encode", 2) == 1
    with Project.open(project.folder) as opened:
        assert kinds(opened) == ["run", "edit"]
        again = replayed(opened)
        assert np.array_equal(again.labels, correction.labels)
        assert again.session.settings.features.overlap == 0.6
        finish(opened, again)
        assert kinds(opened) == ["run", "edit", "run"]


# Labels


def test_labels_are_saved_at_any_time_with_where_they_come_from(begun) -> None:
    project, correction = begun
    path = project.save_labels(correction)
    assert path == project.folder / "labels.tif"
    assert np.array_equal(read_labels(path).labels, correction.labels)
    history.apply(project, correction, DeletePrompts(tuple(largest(correction))))
    read = read_labels(project.save_labels(correction))
    assert np.array_equal(read.labels, correction.labels)
    assert read.mpp == 0.25
    assert read.metadata["file"] == "case.png"
    assert read.metadata["project"] == project.facts.identity
    assert read.metadata["entries"] == 2
    assert read.metadata["settings"] == SETTINGS.to_dict()
    assert "rho" in read.metadata
    # They are no source of truth: without them all is there.
    path.unlink()
    assert everything(replayed(project)) == everything(correction)


def test_metadata_are_those_of_the_run_that_undoing_went_back_to(begun) -> None:
    project, correction = begun
    changed = correction.session.settings.with_changes(prompts={"split_depth": 1.0})
    history.apply(project, correction, ChangeSettings(changed.to_dict()))
    finish(project, correction)
    metadata = read_labels(project.save_labels(correction)).metadata
    assert metadata["settings"] == changed.to_dict()
    history.undo(project, correction)
    metadata = read_labels(project.save_labels(correction)).metadata
    assert metadata["settings"] == SETTINGS.to_dict()
    assert "rho" not in metadata


def test_there_are_no_labels_before_the_first_run(make) -> None:
    project, correction = make()
    with pytest.raises(SproutError, match="run the segmentation first"):
        project.save_labels(correction)
    assert not (project.folder / "labels.tif").exists()


def test_the_fake_can_be_loaded_by_another_process() -> None:
    assert runpy.run_path(__file__)["FakeSegmenter"].name == "fake"

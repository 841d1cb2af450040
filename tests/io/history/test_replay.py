from __future__ import annotations

import random
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest

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
from napari_sprout.errors import ProjectError, SproutError, SproutWarning, StoppedError
from napari_sprout.io import history
from napari_sprout.io.project import Project


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
        ChooseAnswer(one, rng.randrange(6)),
        ChangeSettings(settings),
        PaintReference(rng.choice(("foreground", "background")), box, mask),
        RestoreCandidate(rng.choice([*correction.suppressed, 99])),
        MovePrompt(one, -5.0, 1e6),
    ]
    return rng.choice(choices)


@pytest.mark.parametrize("seed", range(4))
def test_whatever_was_done_is_done_again_bit_by_bit(
    begun, seed: int, finish, replayed, everything, kinds
) -> None:
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


def test_a_closed_and_moved_project_gives_the_same_labels(
    begun, tmp_path: Path, replayed, everything, largest
) -> None:
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


def test_undone_edits_can_be_redone_after_reopening(
    begun, replayed, everything, kinds, largest
) -> None:
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


def test_progress_rises_to_the_end(begun, new_fake, largest) -> None:
    project, correction = begun
    for nucleus in largest(correction, 3):
        history.apply(project, correction, LockNuclei((nucleus,), True))
    told: list[float] = []
    again = history.replay(
        project, lambda fraction, what: told.append(fraction), segmenter=new_fake()
    )
    assert again.locked == correction.locked
    assert told == sorted(told)
    assert told[-1] == 1.0
    assert len(told) > 10


def test_a_project_in_which_nothing_was_done_replays_to_nothing(make, replayed) -> None:
    project, _ = make()
    assert not replayed(project).ready


def test_a_replay_can_be_stopped(begun, new_fake, kinds) -> None:
    project, _ = begun
    session = Session(project.image.rgb, project.settings, segmenter=new_fake())
    correction = Correction(session)

    def stop() -> None:
        for fraction, _ in history.replaying(project, correction):
            if fraction > 0.1:
                session.stop()

    with pytest.raises(StoppedError):
        stop()
    assert not correction.ready
    assert kinds(project) == ["run"]


def test_review_notes_change_nothing(begun, replayed, everything) -> None:
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
def test_an_entry_that_makes_no_sense_is_named(
    begun, entry: dict[str, Any], reason: str, replayed
) -> None:
    project, _ = begun
    project.append(entry)
    project.append({"kind": "reviewed"})
    with pytest.raises(ProjectError, match=r"Entry 2 of 3 of") as caught:
        replayed(project)
    assert reason in str(caught.value)
    assert str(project.folder) in str(caught.value)


def test_labels_of_another_version_are_warned_of(begun, replayed) -> None:
    project, correction = begun
    settings = correction.session.settings.to_dict()
    project.append({"kind": "run", "settings": settings, "software": "napari-sprout 99.0"})
    with pytest.warns(SproutWarning, match=r"made with napari-sprout 99\.0"):
        replayed(project)


@pytest.mark.filterwarnings("error::napari_sprout.errors.SproutWarning")
def test_a_listener_is_told_in_place_of_warnings(begun, new_fake) -> None:
    project, correction = begun
    settings = correction.session.settings.to_dict()
    project.append({"kind": "run", "settings": settings, "software": "napari-sprout 99.0"})
    project.append({"kind": "edit", "edit": {"kind": "DeletePrompts", "ids": [9999]}})
    again = Correction(Session(project.image.rgb, project.settings, segmenter=new_fake()))
    told: list[str] = []
    for _ in history.replaying(project, again, told.append):
        pass
    version, left_out = told
    assert "made with napari-sprout 99.0" in version
    assert "was left out" in left_out

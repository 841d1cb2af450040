from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from fakes import FakeSegmenter
from napari_sprout import __version__
from napari_sprout.core.edits import ChangeSettings, DeletePrompts, LockNuclei
from napari_sprout.errors import ProjectError, SproutWarning
from napari_sprout.io import history
from napari_sprout.io.journal import Journal
from napari_sprout.io.outcome import outcome_of
from napari_sprout.io.project import JOURNAL_NAME, Project


def rewrite(project: Project, **changes: Any) -> None:
    """Close a project and give its runs other members; None takes one out."""
    project.close()
    path = project.folder / JOURNAL_NAME
    entries = Journal(path, project.facts.identity, read_only=True).entries
    path.unlink()
    Journal.create(path)
    journal = Journal(path, project.facts.identity)
    for entry in entries:
        if entry["kind"] == "run":
            entry = {k: v for k, v in {**entry, **changes}.items() if v is not None}
        journal.append(entry)
    journal.close()


def contents(folder: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in folder.iterdir() if path.name != "lock"}


@pytest.fixture
def corrected(begun, largest) -> Any:
    project, correction = begun
    history.apply(project, correction, DeletePrompts(tuple(largest(correction))))
    history.apply(project, correction, LockNuclei(tuple(largest(correction)), True))
    return project, correction


@pytest.mark.filterwarnings("error::napari_sprout.errors.SproutWarning")
def test_a_run_that_comes_to_the_same_is_followed_by_its_edits(
    corrected, finish, replayed, everything
) -> None:
    project, correction = corrected
    changed = correction.session.settings.with_changes(prompts={"split_depth": 0.4})
    history.apply(project, correction, ChangeSettings(changed.to_dict()))
    finish(project, correction)
    runs = [entry for entry in project.entries if entry["kind"] == "run"]
    assert len(runs) == 2
    assert all(entry["outcome"].keys() == {"prompts", "labels"} for entry in runs)
    assert runs[0]["outcome"] != runs[1]["outcome"]
    rewrite(project, software="napari-sprout 0.1.9")
    with Project.open(project.folder) as opened:
        assert everything(replayed(opened)) == everything(correction)


@pytest.mark.parametrize("part", ["prompts", "labels"])
def test_work_on_nuclei_that_another_version_draws_otherwise_is_refused_untouched(
    corrected, replayed, part: str
) -> None:
    project, _ = corrected
    outcome = {**project.entries[0]["outcome"], part: "0123456789abcdef"}
    rewrite(project, outcome=outcome, software="napari-sprout 0.1.9")
    before = contents(project.folder)
    for read_only in (True, False):
        with Project.open(project.folder, read_only=read_only) as opened:
            with pytest.raises(ProjectError, match="nothing in the folder was changed") as caught:
                replayed(opened)
            text = str(caught.value)
            assert str(project.folder) in text
            assert 'pip install "napari-sprout==0.1.9"' in text
            assert __version__ in text
            assert "Start anew" in text
        assert contents(project.folder) == before


def test_not_one_edit_is_done_to_other_nuclei(corrected, new_fake, monkeypatch) -> None:
    project, correction = corrected
    rewrite(project, outcome={"prompts": "0", "labels": "0"})
    with Project.open(project.folder) as opened:
        again = type(correction)(
            history.Session(opened.image.rgb, opened.settings, mpp=0.25, segmenter=new_fake())
        )
        with pytest.raises(ProjectError, match="made on another computer or by a changed program"):
            list(history.replaying(opened, again))
        assert again.ready
        assert not again.can_undo
        with pytest.raises(ProjectError, match="not all that was done"):
            history.apply(opened, again, LockNuclei((min(again.areas),), True))


def test_a_last_run_that_comes_to_something_else_is_not_left_out(begun, replayed, kinds) -> None:
    project, _ = begun
    rewrite(project, outcome={"prompts": "0", "labels": "0"})
    with Project.open(project.folder) as opened:
        with pytest.raises(ProjectError, match="nothing in the folder was changed"):
            replayed(opened)
        assert kinds(opened) == ["run"]


def test_a_last_run_that_cannot_be_done_again_is_not_left_out(begun, replayed, kinds) -> None:
    project, _ = begun
    rewrite(project, settings={"stain": {"metod": 1}})
    with Project.open(project.folder) as opened:
        with pytest.raises(ProjectError, match="Entry 1 of 1 of"):
            replayed(opened)
        assert kinds(opened) == ["run"]


def test_outlines_that_differ_on_another_computer_are_told(corrected, everything) -> None:
    project, correction = corrected
    project.close()
    again = []
    with Project.open(project.folder) as opened:
        with pytest.warns(SproutWarning, match="outlines .* differ") as told:
            again.append(history.replay(opened, segmenter=FakeSegmenter(radius=17.0)))
        assert len(told) == 1
        assert everything(again[0])["prompts"] == everything(correction)["prompts"]
        assert everything(again[0])["labels"] != everything(correction)["labels"]


def test_what_an_older_version_made_opens_and_is_told_to_be_unchecked(
    corrected, replayed, everything
) -> None:
    project, correction = corrected
    rewrite(project, outcome=None, software="napari-sprout 0.1.0")
    with (
        Project.open(project.folder) as opened,
        pytest.warns(SproutWarning, match=r"made with napari-sprout 0\.1\.0.* cannot be checked"),
    ):
        assert everything(replayed(opened)) == everything(correction)


def test_what_counts_is_numbers_kinds_places_and_labels(begun) -> None:
    _, correction = begun
    before = outcome_of(correction)
    assert before == outcome_of(correction)
    state = correction.state
    ident = min(state.prompts)
    prompt = state.prompts[ident]
    for changes, same in (
        ({"y": prompt.y + 0.01}, False),
        ({"x": prompt.x - 1}, False),
        ({"kind": "negative" if prompt.kind == "positive" else "positive"}, False),
        ({"source": "another"}, True),
    ):
        state.prompts[ident] = dataclasses.replace(prompt, **changes)
        assert (outcome_of(correction) == before) == same
        assert outcome_of(correction)["labels"] == before["labels"]
    state.prompts[ident] = prompt
    state.labels[np.unravel_index(0, state.labels.shape)] += 1
    assert outcome_of(correction)["prompts"] == before["prompts"]
    assert outcome_of(correction)["labels"] != before["labels"]

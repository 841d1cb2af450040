from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from napari_sprout.core.correction import Correction
from napari_sprout.core.edits import DeletePrompts, LockNuclei
from napari_sprout.core.session import Session
from napari_sprout.errors import ProjectError
from napari_sprout.io import history
from napari_sprout.io.project import Project


@pytest.fixture
def worked_on(begun: Any, largest: Callable[..., list[int]]) -> Project:
    """A project with a run, three edits, and another that is undone."""
    project, correction = begun
    for nucleus in largest(correction, 3):
        history.apply(project, correction, LockNuclei((nucleus,), True))
    history.apply(project, correction, DeletePrompts((max(correction.areas),)))
    history.undo(project, correction)
    project.close()
    return project


def fresh(project: Project, new_fake: Callable[[], Any]) -> Correction:
    image = project.image.rgb
    return Correction(Session(image, project.settings, mpp=project.mpp, segmenter=new_fake()))


def replay_in_part(project: Project, correction: Correction) -> None:
    """Do the run again, and the first edit, but no more."""
    for _ in history.replaying(project, correction):
        if correction.can_undo:
            break


ACTS = {
    "apply": lambda project, correction: history.apply(
        project, correction, LockNuclei((min(correction.areas),), True)
    ),
    "undo": history.undo,
    "run": lambda project, correction: list(history.run(project, correction)),
}


@pytest.mark.parametrize("act", ACTS)
def test_nothing_is_added_behind_what_was_not_done_again(
    worked_on: Project, new_fake, kinds, everything, replayed, act: str
) -> None:
    with Project.open(worked_on.folder) as project:
        correction = fresh(project, new_fake)
        replay_in_part(project, correction)
        before, entries = everything(correction), kinds(project)
        with pytest.raises(ProjectError, match=r"not all that was done in .* open it again"):
            ACTS[act](project, correction)
        assert kinds(project) == entries
        assert everything(correction) == before
        whole = replayed(project)
        ACTS[act](project, whole)
        assert everything(replayed(project)) == everything(whole)


def test_nothing_is_added_behind_an_entry_that_cannot_be_done_again(
    worked_on: Project, new_fake, kinds, largest
) -> None:
    with Project.open(worked_on.folder) as project:
        project.append({"kind": "dance"})
        project.append({"kind": "reviewed"})
        correction = fresh(project, new_fake)
        with pytest.raises(ProjectError, match=r"Entry 7 of 8"):
            list(history.replaying(project, correction))
        entries = kinds(project)
        with pytest.raises(ProjectError, match="not all that was done"):
            history.apply(project, correction, LockNuclei(tuple(largest(correction)), True))
        assert kinds(project) == entries


def test_what_was_done_in_part_is_not_done_again_on_top_of_it(worked_on: Project, new_fake) -> None:
    with Project.open(worked_on.folder) as project:
        correction = fresh(project, new_fake)
        replay_in_part(project, correction)
        labels = correction.labels.copy()
        with pytest.raises(ProjectError, match="open it again"):
            list(history.replaying(project, correction))
        assert (correction.labels == labels).all()


def test_of_two_corrections_only_the_one_that_goes_on_is_kept(
    begun, replayed, everything, largest
) -> None:
    project, correction = begun
    second = replayed(project)
    history.apply(project, second, LockNuclei(tuple(largest(second)), True))
    with pytest.raises(ProjectError, match="not all that was done"):
        history.apply(project, correction, LockNuclei(tuple(largest(correction, 2)), True))
    assert everything(replayed(project)) == everything(second)

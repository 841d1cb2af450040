from __future__ import annotations

import pytest

from napari_sprout.core.edits import LockNuclei
from napari_sprout.errors import SproutWarning
from napari_sprout.io import history
from napari_sprout.io.acts import Part, left_over, waiting_edits
from napari_sprout.io.project import Project
from napari_sprout.io.waiting import WAITING_NAME


def test_what_still_waits_is_told_and_left_alone_by_a_replay(
    begun, replayed, everything, largest
) -> None:
    project, correction = begun
    first, second = largest(correction, 2)
    done = project.waiting.add(waiting_edits((LockNuclei((first,), True),)))
    project.waiting.add(waiting_edits((LockNuclei((second,), True),)))
    history.apply(project, correction, LockNuclei((first,), True), Part(done, 0))
    project.close()
    before = (project.folder / WAITING_NAME).read_bytes()
    for read_only in (True, False):
        with Project.open(project.folder, read_only=read_only) as opened:
            with pytest.warns(SproutWarning, match=r"1 still to do") as told:
                again = replayed(opened)
            assert str(project.folder) in str(told[0].message)
            assert everything(again) == everything(correction)
            assert len(left_over(opened)) == 1
        assert (project.folder / WAITING_NAME).read_bytes() == before


def test_a_project_in_which_something_waits_is_never_discarded(make) -> None:
    project, correction = make()
    values = correction.session.settings.to_dict()
    project.waiting.add({"edits": [{"kind": "ChangeSettings", "values": values}]})
    project.close()
    Project.open(project.folder).discard()
    with Project.open(project.folder) as opened:
        assert len(opened.waiting.earlier) == 1

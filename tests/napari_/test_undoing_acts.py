from __future__ import annotations

import numpy as np
import pytest

from napari_sprout.core.edits import DeletePrompts
from napari_sprout.errors import OutputError


@pytest.fixture
def acted(opened):
    """Three nuclei deleted one by one, in one act."""
    ids = sorted(opened.control.correction.areas)[:3]
    opened.control.apply_all(tuple(DeletePrompts((ident,)) for ident in ids))
    return opened


@pytest.mark.parametrize("failing", [1, 2, 3])
@pytest.mark.parametrize("way", ["undo", "redo"])
def test_an_act_that_cannot_be_undone_for_now_stays_one_act(
    acted, monkeypatch: pytest.MonkeyPatch, failing: int, way: str
) -> None:
    control = acted.control
    if way == "redo":
        control.undo()
    before = acted.labels.copy()
    step, steps = getattr(control.correction, way), 0

    def full():
        nonlocal steps
        steps += 1
        if steps == failing:
            raise OutputError("The disk is full; make room.")
        return step()

    with monkeypatch.context() as patch:
        patch.setattr(control.correction, way, full)
        getattr(control, way)()
    assert acted.failures == ["The disk is full; make room."]
    getattr(control, way)()
    acted.check()
    assert not (control.can_undo if way == "undo" else control.can_redo)
    back = control.redo if way == "undo" else control.undo
    # What was done in two parts comes back in two, and what was done at once, at once.
    for _ in range(1 if failing == 1 else 2):
        assert not np.array_equal(acted.labels, before)
        back()
    assert np.array_equal(acted.labels, before)
    acted.check()

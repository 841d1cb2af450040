from __future__ import annotations

import json

import numpy as np
import pytest

from napari_sprout.core import history
from napari_sprout.core.carry import HAND_IDS
from napari_sprout.core.correction import Correction
from napari_sprout.core.edits import (
    ChangeSettings,
    DeletePrompts,
    MovePrompt,
    PaintNucleus,
    edit_from_json,
    edit_to_json,
)
from napari_sprout.core.settings import Settings
from napari_sprout.core.stages import Stage
from napari_sprout.errors import SettingsError

CHANGES = [
    {"suppression": {"sigma": 0.1}},
    {"decoding": {"multimask": "best"}},
    {"prompts": {"negatives": 0}},
    {"prompts": {"min_area": 30.0}},
    {"prompts": {"source": "stain"}},
    {"prompts": {"source": "grid", "grid_spacing": 6.0}},
    {"stain": {"method": "macenko"}},
    {"features": {"overlap": 0.0}},
    {"image": {"mpp": 0.4}},
]


@pytest.mark.parametrize("change", CHANGES, ids=str)
def test_hand_work_survives_a_run_with_other_settings(
    own, everything, change, changed, run, hand_work
):
    work = hand_work(own)
    before = everything(own)
    told = own.apply(changed(own, **change))
    assert told.rerun_from is not None
    assert told.box is None
    assert everything(own)["labels"] == before["labels"]
    handed = own.new_id()
    run(own)
    work.check(own)
    assert everything(own) != before
    assert not own.state.knows(handed)
    assert {work.moved, work.added}.isdisjoint(own.suppressed)
    # Undone together with what made the run necessary, in one step.
    undone = own.undo()
    assert undone.edit == told.edit
    assert everything(own) == before
    redone = own.redo()
    assert redone.rerun_from is None
    work.check(own)


def test_the_run_is_not_needed_to_change_ones_mind(own, everything, changed):
    before = everything(own)
    told = own.apply(changed(own, suppression={"threshold": 0.7}))
    assert told.rerun_from is Stage.NUCLEI
    assert own.apply(changed(own, prompts={"min_area": 50.0})).rerun_from is Stage.PROMPTS
    assert own.undo().rerun_from is Stage.NUCLEI
    assert own.undo().rerun_from is None
    assert everything(own) == before


def test_settings_that_cannot_be_are_refused(own, everything):
    before = everything(own)
    values = own.session.settings.to_dict()
    values["suppression"]["sigma"] = -1
    with pytest.raises(SettingsError, match="sigma"):
        own.apply(ChangeSettings(values))
    assert everything(own) == before
    assert not own.can_undo


def test_until_they_are_run_changed_settings_do_not_show_in_edits(
    make_run, everything, changed, run
):
    plain, changing = Correction(make_run()), Correction(make_run())
    changing.apply(changed(changing, decoding={"multimask": "best"}, prompts={"negatives": 0}))
    changing.apply(changed(changing, image={"mpp": 0.5}))
    for _ in changing.run(Stage.PROMPTS):
        pass
    for correction in (plain, changing):
        correction.apply(MovePrompt(min(correction.areas), 70.0, 80.0))
        correction.apply(DeletePrompts((max(correction.areas),)))
    assert everything(changing)["labels"] == everything(plain)["labels"]
    assert everything(changing)["decoded"] == everything(plain)["decoded"]


def test_a_run_without_hand_work_is_the_sessions_own(own, changed, run):
    own.apply(changed(own, suppression={"threshold": 0.7}))
    run(own)
    np.testing.assert_array_equal(own.labels, own.session.labels)
    own.apply(changed(own, prompts={"source": "grid", "grid_spacing": 4.0}))
    base = own.state.hand_base
    run(own)
    ids = np.array([prompt.id for prompt in own.prompts.values()])
    assert ids.max() > base + HAND_IDS
    assert not ((ids >= base) & (ids < base + HAND_IDS)).any()
    # The same nuclei, though the later ones have other numbers.
    pairs = np.unique(np.stack([own.labels.ravel(), own.session.labels.ravel()]), axis=1)
    assert len(set(pairs[0])) == len(set(pairs[1])) == pairs.shape[1]
    assert sorted(row.area for row in own.measure()) == sorted(
        row.area for row in own.session.nuclei
    )


def test_nuclei_that_hand_work_does_not_touch_are_as_the_run_made_them(own, changed, run):
    own.apply(MovePrompt(min(own.areas), 150.0, 6.0))
    own.apply(changed(own, suppression={"sigma": 0.1}))
    run(own)
    touched = np.zeros(own.labels.shape, bool)
    touched |= own.labels == min(own.prompts)
    touched |= own.session.labels == min(own.prompts)
    far = [i for i in own.areas if i in own.session.labels and i not in own.state.origins]
    same = sum(np.array_equal(own.labels == i, own.session.labels == i) for i in far)
    assert same >= len(far) - 3


def test_running_again_without_a_change_does_nothing(own, everything, run):
    own.apply(MovePrompt(min(own.areas), 70.0, 80.0))
    before, revision, labels = everything(own), own.revision, own.labels
    run(own)
    assert everything(own) == before
    assert own.revision == revision
    assert own.labels is labels


def test_edits_before_and_after_runs_are_undone_one_by_one(own, everything, changed, run):
    states = [everything(own)]
    ident = min(own.areas)

    def then(*edits, rerun=False):
        for edit in edits:
            own.apply(edit)
        if rerun:
            run(own)
        states.append(everything(own))

    then(MovePrompt(ident, 70.0, 80.0))
    then(changed(own, decoding={"multimask": "best"}), rerun=True)
    then(PaintNucleus(ident, (10, 10, 20, 20), np.ones((10, 10), bool)))
    then(changed(own, prompts={"min_area": 30.0}), rerun=True)
    then(changed(own, suppression={"sigma": 0.2}))
    then(MovePrompt(ident, 20.0, 80.0), rerun=True)
    for earlier in reversed(states[:-1]):
        assert own.undo() is not None
        assert everything(own) == earlier
    assert own.undo() is None
    for later in states[1:]:
        assert own.redo() is not None
        assert everything(own) == later
    assert own.redo() is None


def test_a_new_edit_or_run_ends_redoing(own, run):
    own.apply(MovePrompt(min(own.areas), 70.0, 80.0))
    own.undo()
    assert own.can_redo
    own.apply(DeletePrompts((min(own.areas),)))
    assert not own.can_redo
    own.undo()
    own.session.settings = own.session.settings.with_changes(suppression={"sigma": 0.2})
    run(own)
    assert not own.can_redo
    assert own.redo() is None


def test_only_the_last_runs_can_be_undone(own, changed, run):
    for step in range(history.RUNS_KEPT + 3):
        own.apply(changed(own, suppression={"sigma": 0.2 + 0.1 * step}))
        run(own)
    undone = 0
    while own.undo() is not None:
        undone += 1
    assert undone == history.RUNS_KEPT


def test_runs_and_edits_replayed_through_json_give_the_same_labels(
    make_run, everything, changed, run, hand_work
):
    first, again = Correction(make_run()), Correction(make_run())
    work = hand_work(first)
    first.new_id()
    journal = list(work.edits)
    for change in ({"decoding": {"multimask": "best"}}, {"prompts": {"source": "grid"}}):
        edit = changed(first, **change)
        first.apply(edit)
        run(first)
        first.new_id()
        moved = MovePrompt(work.added, 60.0 + len(journal), 100.0)
        first.apply(moved)
        journal += [edit, "run", moved]
    first.undo()
    first.undo()
    first.redo()
    journal += ["undo", "undo", "redo"]
    for entry in journal:
        if entry == "run":
            run(again)
        elif isinstance(entry, str):
            getattr(again, entry)()
        else:
            again.apply(edit_from_json(json.loads(json.dumps(edit_to_json(entry)))))
    assert everything(again) == everything(first)


def test_settings_survive_in_an_edit(own, changed):
    edit = changed(own, suppression={"sigma": 0.25})
    again = edit_from_json(json.loads(json.dumps(edit_to_json(edit))))
    assert isinstance(again, ChangeSettings)
    assert Settings.from_dict(again.values).suppression.sigma == 0.25

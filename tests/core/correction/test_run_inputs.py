from __future__ import annotations

import numpy as np
import pytest

from napari_sprout.core.correction import Correction
from napari_sprout.core.edits import DeletePrompts, MovePrompt, PaintReference
from napari_sprout.core.session import Session
from napari_sprout.core.stages import Stage
from napari_sprout.errors import SproutError, StoppedError


def test_painting_the_sure_nuclei_makes_the_run_start_there(own, everything, run):
    before = everything(own)
    outputs = {stage: own.session.output(stage) for stage in Stage}
    mask = np.ones((40, 50), bool)
    told = own.apply(PaintReference("background", (20, 30, 60, 80), mask))
    assert told.rerun_from is Stage.REFERENCE
    mask[:] = False
    run(own)
    reference = own.session.output(Stage.REFERENCE)
    tissue = own.session.output(Stage.TISSUE)[20:60, 30:80]
    np.testing.assert_array_equal(reference.sure_background[20:60, 30:80], tissue)
    np.testing.assert_array_equal(reference.background[20:60, 30:80], tissue)
    assert not reference.sure_foreground[20:60, 30:80].any()
    assert not reference.foreground[20:60, 30:80].any()
    untouched = outputs[Stage.REFERENCE].sure_foreground.copy()
    untouched[20:60, 30:80] = False
    np.testing.assert_array_equal(reference.sure_foreground, untouched)
    kept = {stage for stage in Stage if own.session.output(stage) is outputs[stage]}
    assert kept == {Stage.IMAGE, Stage.TISSUE, Stage.STAIN, Stage.ENCODING}
    inside = [p for p in own.prompts.values() if 30 < p.y < 50 and 40 < p.x < 70]
    assert all(p.kind == "negative" for p in inside)
    assert own.undo().rerun_from is Stage.REFERENCE
    assert everything(own) == before


def test_erasing_sure_nuclei_leaves_the_stains_own_opinion(own):
    before = own.session.output(Stage.REFERENCE)
    box = (0, 0, *own.labels.shape)
    own.apply(PaintReference("foreground", box, np.zeros(own.labels.shape, bool)))
    own.session.finish(Stage.REFERENCE)
    reference = own.session.output(Stage.REFERENCE)
    assert not reference.sure_foreground.any()
    np.testing.assert_array_equal(reference.foreground, before.foreground)


@pytest.mark.parametrize(
    ("which", "box", "shape"),
    [
        ("sky", (0, 0, 5, 5), (5, 5)),
        ("foreground", (0, 0, 5, 5), (5, 4)),
        ("foreground", (-1, 0, 4, 5), (5, 5)),
        ("background", (0, 190, 5, 195), (5, 5)),
        ("background", (5, 5, 5, 5), (0, 0)),
    ],
)
def test_reference_drawings_that_do_not_fit_are_refused(own, which, box, shape):
    with pytest.raises(SproutError):
        own.apply(PaintReference(which, box, np.ones(shape, bool)))
    assert own.session.painted == ()
    assert not own.can_undo


def test_before_the_first_run_only_settings_and_reference_can_be_changed(
    crowd, settings, heeding_type, changed, run
):
    session = Session(crowd.rgb, settings, segmenter=heeding_type())
    correction = Correction(session)
    assert not correction.ready
    for fails in (
        lambda: correction.apply(MovePrompt(1, 5, 5)),
        correction.new_id,
        lambda: correction.labels,
        correction.measure,
    ):
        with pytest.raises(SproutError, match="run the segmentation"):
            fails()
    correction.apply(changed(correction, suppression={"threshold": 0.3}))
    correction.apply(PaintReference("foreground", (0, 0, 4, 4), np.zeros((4, 4), bool)))
    run(correction)
    assert correction.ready
    labels = correction.labels.copy()
    # There is no earlier result to go back to: the settings alone do.
    assert correction.undo().rerun_from is Stage.REFERENCE
    assert correction.undo().rerun_from is Stage.REFERENCE
    assert correction.undo() is None
    np.testing.assert_array_equal(correction.labels, labels)


@pytest.mark.parametrize("until", [Stage.STAIN, Stage.PROMPTS, Stage.MASKS])
def test_a_run_that_ends_early_leaves_the_result_as_it_was(own, everything, until, changed, run):
    own.apply(changed(own, stain={"method": "macenko"}))
    before = everything(own)
    seen = list(own.run(until))
    assert seen[-1].fraction == pytest.approx(1)
    assert everything(own) == before
    own.apply(MovePrompt(min(own.areas), 70.0, 80.0))


def test_progress_rises_to_one_and_hand_work_is_part_of_it(own, changed, run, hand_work):
    hand_work(own)
    own.apply(changed(own, decoding={"batch": 1}))
    seen = [progress.fraction for progress in own.run()]
    assert seen == sorted(seen)
    assert seen[-1] == pytest.approx(1)
    assert sum(0.9 < fraction < 1 for fraction in seen) >= 3


def test_a_run_stopped_while_hand_work_is_carried_over_keeps_the_old_result(
    own, everything, changed, run, hand_work
):
    work = hand_work(own)
    own.apply(changed(own, decoding={"batch": 1}))
    before = everything(own)

    def stopped() -> None:
        for progress in own.run():
            if progress.fraction > 0.9 and progress.stage is Stage.NUCLEI and progress.total > 1:
                own.session.stop()

    with pytest.raises(StoppedError):
        stopped()
    assert own.session.is_current(Stage.NUCLEI)
    assert everything(own) == before
    run(own)
    work.check(own)


@pytest.mark.parametrize("by_hand", [False, True])
def test_a_run_closed_at_its_very_last_step_has_changed_nothing(
    own, everything, changed, run, hand_work, by_hand
):
    if by_hand:
        hand_work(own)
    own.apply(changed(own, decoding={"multimask": "best"}))
    before, revision = everything(own), own.revision
    progress = own.run()
    while next(progress).fraction < 1:
        pass
    progress.close()
    assert everything(own) == before
    assert own.revision == revision
    run(own)
    assert everything(own) != before


def test_nothing_can_be_edited_while_a_run_goes_on(own, everything, changed, run):
    ident = min(own.areas)
    own.apply(MovePrompt(ident, 70.0, 80.0))
    own.apply(changed(own, decoding={"batch": 1}))
    before = everything(own)
    for progress in own.run():
        if progress.fraction < 1:
            for refused in (lambda: own.apply(DeletePrompts((ident,))), own.undo, own.redo):
                with pytest.raises(SproutError, match="under way"):
                    refused()
            with pytest.raises(SproutError, match="under way"):
                run(own)
            assert everything(own) == before
    own.apply(DeletePrompts((ident,)))
    own.apply(changed(own, decoding={"batch": 2}))
    started = own.run()
    next(started)
    started.close()
    assert own.undo() is not None


def test_a_stop_before_the_first_unit_counts(own, changed, run):
    own.apply(changed(own, decoding={"multimask": "best"}))
    progress = own.run()
    own.session.stop()
    assert len(list(progress)) == 1
    assert not own.session.is_current(Stage.NUCLEI)

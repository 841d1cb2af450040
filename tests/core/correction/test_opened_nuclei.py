from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from napari_sprout.core.correction import Correction
from napari_sprout.core.edits import (
    AddPrompt,
    ChooseAnswer,
    DeletePrompts,
    LockNuclei,
    MovePrompt,
    OpenNuclei,
    PaintNucleus,
    RefineNuclei,
    RemoveNuclei,
    edit_from_json,
    edit_to_json,
)
from napari_sprout.core.given import GivenNuclei
from napari_sprout.core.instances import Prompt
from napari_sprout.core.pieces import pieces_of
from napari_sprout.core.review import review_rows
from napari_sprout.core.session import Session
from napari_sprout.core.stages import Stage
from napari_sprout.errors import SettingsError, SproutError

DISKS = {7: (30, 40), 12: (30, 66), 40: (80, 90), 41: (120, 30), 300: (120, 150)}
RADIUS = 11


def disks(shape=(160, 192), places=None, radius=RADIUS):
    labels = np.zeros(shape, np.int32)
    rows, columns = np.indices(shape)
    for ident, (y, x) in (places or DISKS).items():
        labels[np.hypot(rows - y, columns - x) <= radius] = ident
    return labels


def scribble(seed, shape):
    """Return nuclei as no program would draw them: in pieces, with holes, of every size."""
    rng = np.random.default_rng(seed)
    side = int(rng.choice([1, 3, 9, 24]))
    coarse = rng.integers(0, 9, (shape[0] // side + 1, shape[1] // side + 1))
    labels = np.kron(coarse, np.ones((side, side), int))[: shape[0], : shape[1]]
    labels[rng.random(shape) < rng.choice([0.0, 0.3])] = 0
    factor = int(rng.choice([1, 50, 2000]))
    return (labels * factor).astype(np.int32)


def opened(correction, run, labels):
    change = correction.apply(OpenNuclei(pieces_of(labels)))
    run(correction)
    return change


@pytest.fixture(scope="session", params=[0.25, 0.125, 0.4], ids="{} um".format)
def at_scale(request, make_run):
    return Correction(make_run(mpp=request.param))


@settings(
    deadline=None,
    max_examples=8,
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow],
)
@given(st.integers(0, 2**31))
def test_opened_nuclei_are_shown_as_they_are_bit_by_bit(at_scale, run, seed):
    labels = scribble(seed, at_scale.labels.shape)
    if not labels.any():
        return
    change = opened(at_scale, run, labels)
    np.testing.assert_array_equal(at_scale.labels, labels)
    assert change.rerun_from is Stage.PROMPTS
    ids = set(labels.ravel().tolist()) - {0}
    positive = {i for i, prompt in at_scale.prompts.items() if prompt.kind == "positive"}
    assert at_scale.areas.keys() == ids == positive
    assert at_scale.suppressed == {}
    run(at_scale)
    np.testing.assert_array_equal(at_scale.labels, labels)


def test_opening_is_undone_with_all_that_was_there_before(own, everything, run, hand_work):
    hand_work(own)
    before = everything(own)
    opened(own, run, disks())
    after = everything(own)
    assert own.session.settings.prompts.source == "given"
    own.undo()
    assert own.session.given is None
    assert everything(own) == before
    own.redo()
    assert everything(own) == after


def test_nuclei_can_be_opened_before_any_run(crowd, settings, heeding_type, run):
    session = Session(crowd.rgb, settings, segmenter=heeding_type())
    correction = Correction(session)
    opened(correction, run, disks())
    np.testing.assert_array_equal(correction.labels, disks())
    assert correction.new_id() > max(DISKS)
    made = {stage for stage in Stage if session.is_current(stage)}
    assert made == set(Stage) - {Stage.PROTOTYPES, Stage.ACTIVATION}
    assert session.metadata()["nuclei_given"] == len(DISKS)


def test_the_outcome_says_how_many_nuclei_were_given(own, run, changed):
    assert own.session.metadata()["nuclei_given"] == 0
    opened(own, run, disks())
    assert own.session.metadata()["nuclei_given"] == len(DISKS)
    own.apply(changed(own, prompts={"source": "stain"}))
    run(own)
    assert own.session.metadata()["nuclei_given"] == 0


def test_without_given_nuclei_a_run_that_wants_them_is_refused(own, everything, changed, run):
    before = everything(own)["labels"]
    own.apply(changed(own, prompts={"source": "given"}))
    with pytest.raises(SettingsError, match="no nuclei were opened"):
        run(own)
    assert everything(own)["labels"] == before


def test_what_cannot_be_opened_changes_nothing(own, everything):
    before = everything(own)
    with pytest.raises(SproutError, match="no nuclei"):
        own.apply(OpenNuclei(()))
    assert everything(own) == before
    assert not own.can_undo


def test_opening_anew_takes_the_place_of_what_was_opened_before(own, run):
    opened(own, run, disks())
    own.apply(PaintNucleus(7, (20, 30, 25, 60), np.ones((5, 30), bool)))
    other = disks(places={7: (100, 100), 9: (40, 40)})
    opened(own, run, other)
    np.testing.assert_array_equal(own.labels, other)
    own.undo()
    own.undo()
    np.testing.assert_array_equal(own.labels, disks())


def test_corrected_nuclei_stay_so_in_later_runs_and_the_others_as_they_were_opened(
    own, run, changed, everything
):
    opened(own, run, disks())
    own.apply(PaintNucleus(7, (20, 30, 40, 45), np.ones((20, 15), bool)))
    own.apply(RemoveNuclei((12,)))
    own.apply(DeletePrompts((40,)))
    own.apply(LockNuclei((41,), True))
    own.apply(RefineNuclei((300,)))
    expected = own.labels.copy()
    assert {7, 41} < set(np.unique(expected).tolist())
    assert {12, 40}.isdisjoint(own.areas)
    own.apply(changed(own, suppression={"sigma": 0.1}))
    run(own)
    np.testing.assert_array_equal(own.labels, expected)
    own.apply(changed(own, decoding={"mask_strength": 2.0}))
    run(own)
    np.testing.assert_array_equal(own.labels, expected)
    assert not own.state.as_given(300)


def test_automatic_nuclei_come_back_when_the_source_is_changed(own, run, changed):
    plain = own.labels.copy()
    opened(own, run, disks())
    own.apply(PaintNucleus(7, (20, 30, 40, 45), np.ones((20, 15), bool)))
    own.apply(changed(own, prompts={"source": "activation"}))
    run(own)
    assert own.pinned == {7}
    np.testing.assert_array_equal(own.labels[20:40, 30:45], 7)
    far = np.ones(plain.shape, bool)
    far[:90, :110] = False
    np.testing.assert_array_equal(own.labels[far] > 0, plain[far] > 0)
    # No number stands for an opened nucleus and for another one.
    assert {prompt.id for prompt in own.prompts.values()} & set(DISKS) <= {7}
    own.apply(changed(own, prompts={"source": "given"}))
    run(own)
    expected = disks()
    expected[expected == 7] = 0
    expected[20:40, 30:45] = 7
    np.testing.assert_array_equal(own.labels, expected)


def test_locked_nuclei_stay_and_opened_ones_make_room_for_them(own, run):
    first, second = sorted(own.areas, key=own.areas.get)[-2:]
    own.apply(LockNuclei((first, second), True))
    locked = {ident: own.labels == ident for ident in (first, second)}
    labels = disks()
    # One of the same number elsewhere, and one that is locked already.
    labels[labels == 40] = first
    labels[locked[second]] = 55
    labels[locked[first]] = 0
    opened(own, run, labels)
    for ident, mask in locked.items():
        np.testing.assert_array_equal(own.labels[mask], ident)
    assert own.locked == {first, second}
    assert 55 not in own.areas
    free = ~(locked[first] | locked[second])
    rest = np.where(labels == first, 0, labels)
    shown = np.isin(own.labels, [7, 12, 41, 300])
    np.testing.assert_array_equal(own.labels[free & shown], rest[free & shown])
    elsewhere = own.labels[free & (labels == first)]
    assert len(np.unique(elsewhere)) == 1
    assert elsewhere[0] not in (0, first)


def test_the_region_is_what_sam_refines_while_the_point_stays_in_it(own, run, monkeypatch):
    opened(own, run, disks())
    asked = []
    decoder = own.state.ground.decoder
    decode = decoder.decode

    def watched(prompts):
        asked.append((prompts.ids.tolist(), prompts.region_ids.tolist(), dict(prompts.shapes)))
        return decode(prompts)

    monkeypatch.setattr(decoder, "decode", watched)
    own.apply(ChooseAnswer(12, 1))
    own.apply(MovePrompt(40, 82.0, 93.0))
    own.apply(MovePrompt(41, 140.0, 60.0))
    assert asked[0] == ([12], [12], {})
    assert asked[1] == ([40], [40], {})
    assert asked[2][:2] == ([41], [0])
    assert 41 in asked[2][2]
    assert own.pinned == {7, 300}
    for ident, place in ((40, (82, 93)), (41, (140, 60))):
        assert own.labels[place] == ident
    unchanged = np.isin(disks(), [7, 300])
    np.testing.assert_array_equal(own.labels[unchanged], disks()[unchanged])


def test_negatives_around_opened_nuclei_are_corrected_like_any_others(own, run, changed):
    opened(own, run, disks())
    (near, *_), given = own.state.served[40].negatives, disks()
    before = {i: (own.state.served[i], own.state.decoded[i]) for i in DISKS}
    own.apply(DeletePrompts((near,)))
    assert near not in own.state.served[40].negatives
    own.apply(AddPrompt(Prompt(own.new_id(), "negative", 120.0, 43.0, "hand")))
    negatives = {i for i, p in own.prompts.items() if p.kind == "negative"}
    again = {i for i in DISKS if own.state.decoded[i] is not before[i][1]}
    assert {40, 41} <= again < set(DISKS)
    assert again == {i for i in DISKS if own.state.served[i] != before[i][0]}
    np.testing.assert_array_equal(own.labels, given)
    own.apply(changed(own, transport={"epsilon": 0.1}, suppression={"sigma": 0.1}))
    run(own)
    assert {i for i, p in own.prompts.items() if p.kind == "negative"} == negatives
    np.testing.assert_array_equal(own.labels, given)


def test_no_negative_gets_a_number_that_a_person_may_have_been_given(own, run):
    handed = own.new_id()
    labels = np.where(disks() == 300, handed + 1000, disks())
    opened(own, run, labels)
    assert not own.state.knows(handed)
    taken = {i for i, p in own.prompts.items() if p.kind == "negative"}
    assert taken
    assert all(i < handed or i > handed + 1000 + 50_000 for i in taken)
    np.testing.assert_array_equal(own.labels, labels)


# Refining


def test_refined_nuclei_are_sams_and_undo_brings_theirs_back(own, everything, run):
    opened(own, run, disks())
    before = everything(own)
    change = own.apply(RefineNuclei((40, 41)))
    assert change.ids == {40, 41}
    assert own.pinned == {7, 12, 300}
    for ident in (40, 41):
        full = own.candidates[ident]
        assert own.state.masks[ident] is own.state.decoded[ident]
        y0, x0, y1, x1 = full.box
        np.testing.assert_array_equal(own.labels[y0:y1, x0:x1] == ident, full.mask)
    untouched = ~np.isin(own.labels, [40, 41]) & ~np.isin(disks(), [40, 41])
    np.testing.assert_array_equal(own.labels[untouched], disks()[untouched])
    own.undo()
    assert everything(own) == before


def test_no_nucleus_vanishes_when_all_of_them_are_refined(own, run):
    rng = np.random.default_rng(5)
    places = {i: tuple(rng.integers(8, (152, 184))) for i in range(1, 60)}
    labels = disks(places=places, radius=6)
    opened(own, run, labels)
    own.apply(RefineNuclei(tuple(own.areas)))
    assert own.areas.keys() == set(labels.ravel().tolist()) - {0}
    assert 0 < len(own.pinned) < len(own.areas)


def test_refining_refuses_locked_nuclei_and_those_that_are_sams_already(own, everything, run):
    opened(own, run, disks())
    own.apply(LockNuclei((7,), True))
    own.apply(RefineNuclei((41,)))
    before = everything(own)
    for ids, why in (
        ((7, 40), "locked"),
        ((41,), "already"),
        ((), "chosen"),
        ((99,), "no nucleus"),
    ):
        with pytest.raises(SproutError, match=why):
            own.apply(RefineNuclei(ids))
    assert everything(own) == before


def test_a_nucleus_that_sam_has_no_outline_for_keeps_its_own(own, run, changed):
    own.apply(changed(own, decoding={"max_area": 10.0}))
    opened(own, run, disks())
    assert own.state.decoded == {}
    with pytest.raises(SproutError, match="no other outline"):
        own.apply(RefineNuclei((7, 12)))
    np.testing.assert_array_equal(own.labels, disks())
    rows = {row.id: row for row in review_rows(own)}
    assert all(row.agreement == 0 and row.doubt == 1 for row in rows.values())


def test_a_nucleus_drawn_by_hand_can_be_refined_though_it_had_been_suppressed(own, run):
    ident = next(iter(own.suppressed))
    place = own.prompts[ident]
    y, x = int(place.y), int(place.x)
    box = (max(y - 3, 0), max(x - 3, 0), y + 3, x + 3)
    own.apply(PaintNucleus(ident, box, np.ones((box[2] - box[0], box[3] - box[1]), bool)))
    own.apply(RefineNuclei((ident,)))
    assert ident not in own.pinned
    assert ident in own.areas


# Reviewing


def test_confidence_is_how_well_an_opened_nucleus_and_sams_agree(own, run):
    opened(own, run, disks())
    rows = {row.id: row for row in review_rows(own)}
    for ident, row in rows.items():
        sam = own.state.decoded[ident]
        mask = np.zeros(own.labels.shape, bool)
        mask[sam.box[0] : sam.box[2], sam.box[1] : sam.box[3]] = sam.mask
        theirs = disks() == ident
        assert row.agreement == pytest.approx((mask & theirs).sum() / (mask | theirs).sum())
        assert row.doubt == pytest.approx(1 - row.agreement)
        assert math.isnan(row.predicted_iou)
        assert not row.pinned
    assert 0 < min(row.agreement for row in rows.values()) < 1
    own.apply(PaintNucleus(7, (20, 30, 40, 45), np.ones((20, 15), bool)))
    (row,) = review_rows(own, ids=[7])
    assert row.pinned
    assert row.doubt == 0


# Doing it again


def test_the_same_edits_give_the_same_labels(make_run, run, everything, changed):
    pieces = OpenNuclei(pieces_of(disks()))
    edits = [
        MovePrompt(7, 33.0, 44.0),
        RefineNuclei((12, 40)),
        PaintNucleus(41, (110, 20, 130, 40), np.ones((20, 20), bool)),
    ]
    results = []
    for again in (False, True):
        own = Correction(make_run())
        for edit in (pieces, None, *edits, changed(own, decoding={"batch": 3}), None):
            if edit is None:
                run(own)
            else:
                own.apply(edit_from_json(edit_to_json(edit)) if again else edit)
            if isinstance(edit, RefineNuclei):
                own.undo()
                own.redo()
        results.append(everything(own))
    assert results[0]["labels"] == results[1]["labels"]
    assert results[0]["pins"] == results[1]["pins"]


def test_a_session_that_was_given_nuclei_is_corrected_from_them(crowd, settings, heeding_type):
    session = Session(
        crowd.rgb, settings.with_changes(prompts={"source": "given"}), segmenter=heeding_type()
    )
    session.given = GivenNuclei.of(pieces_of(disks()), crowd.rgb.shape)
    session.finish()
    correction = Correction(session)
    np.testing.assert_array_equal(correction.labels, disks())
    correction.apply(PaintNucleus(7, (20, 30, 40, 45), np.ones((20, 15), bool)))
    session.given = GivenNuclei.of(pieces_of(disks(radius=8)), crowd.rgb.shape)
    assert not session.is_current(Stage.PROMPTS)
    assert session.is_current(Stage.ENCODING)

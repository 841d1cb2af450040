from __future__ import annotations

import math

import numpy as np
import pytest

from napari_sprout.core.correction import Correction
from napari_sprout.core.edits import AddPrompt, ChooseAnswer, LockNuclei, MovePrompt, PaintNucleus
from napari_sprout.core.instances import Prompt
from napari_sprout.core.review import agreement, doubt, lint, review_rows
from napari_sprout.core.stages import Stage
from napari_sprout.errors import SproutError


def kinds(correction, ident):
    return {finding.kind for finding in lint(correction) if finding.ids[0] == ident}


def put(correction, kind, y, x):
    ident = correction.new_id()
    correction.apply(AddPrompt(Prompt(ident, kind, float(y), float(x), "hand")))
    return ident


def test_there_is_a_row_for_each_nucleus_with_what_was_measured(correction):
    rows = review_rows(correction)
    assert [row.id for row in rows] == sorted(correction.areas)
    for row, nucleus in zip(rows, correction.measure(), strict=True):
        assert (row.y, row.x, row.area) == (nucleus.y, nucleus.x, nucleus.area)
        assert row.predicted_iou == nucleus.predicted_iou
        assert row.haematoxylin == nucleus.haematoxylin
        assert 0 <= row.doubt <= 1
        assert (row.locked, row.pinned, row.reviewed) == (False, False, False)


def test_agreement_is_the_iou_of_region_and_mask(finished, correction):
    regions = finished.output(Stage.PROMPTS).regions
    for row in review_rows(correction):
        mask = correction.state.decoded[row.id]
        drawn = np.zeros(regions.shape, bool)
        drawn[mask.box[0] : mask.box[2], mask.box[1] : mask.box[3]] = mask.mask
        proposed = regions == row.id
        expected = (drawn & proposed).sum() / (drawn | proposed).sum()
        assert row.agreement == pytest.approx(expected)
        assert row.doubt == pytest.approx(1 - 0.75 * row.predicted_iou - 0.25 * expected)


def test_a_region_far_larger_than_the_mask_is_counted_whole(correction):
    ident = min(correction.areas)
    state = correction.state
    own = state.ground.prompts.regions
    large = np.zeros_like(own)
    large[5:, 3:] = state.regions[ident]
    object.__setattr__(state.ground.prompts, "regions", large)
    try:
        mask = state.decoded[ident]
        y0, x0, y1, x1 = mask.box
        shared = (mask.mask & (large[y0:y1, x0:x1] > 0)).sum()
        expected = shared / ((large > 0).sum() + mask.area - shared)
        assert agreement(state, ident) == pytest.approx(expected)
    finally:
        object.__setattr__(state.ground.prompts, "regions", own)


def test_what_a_person_did_is_in_no_doubt(correction):
    drawn, locked, seen, moved = sorted(correction.areas)[:4]
    correction.apply(PaintNucleus(drawn, (100, 100, 110, 110), np.ones((10, 10), bool)))
    correction.apply(LockNuclei((locked,), True))
    correction.apply(MovePrompt(moved, 80.0, 20.0))
    rows = {row.id: row for row in review_rows(correction, reviewed={seen})}
    assert rows[drawn].pinned
    assert math.isnan(rows[drawn].predicted_iou)
    assert math.isnan(rows[drawn].agreement)
    assert rows[drawn].doubt == 0
    assert rows[locked].locked
    assert rows[locked].reviewed
    assert rows[locked].doubt == 0
    assert not math.isnan(rows[locked].predicted_iou)
    assert rows[seen].reviewed
    assert math.isnan(rows[moved].agreement)
    assert rows[moved].doubt == pytest.approx(1 - rows[moved].predicted_iou)
    only = review_rows(correction, ids=[locked, 9999])
    assert [row.id for row in only] == [locked]
    assert only[0].area == rows[locked].area


@pytest.mark.parametrize(
    ("iou", "alike", "expected"),
    [(0.8, 0.4, 0.3), (0.4, 0.8, 0.5), (math.nan, 0.8, 0.2), (1.2, math.nan, 0), (-1, 0.5, 1)],
)
def test_doubt_weighs_what_is_known_of_a_mask(iou, alike, expected):
    assert doubt(iou, alike) == pytest.approx(expected)
    assert doubt(iou, alike, locked=True) == 0


def test_the_list_of_oddities_names_each_kind(correction):
    owner = max(correction.areas, key=correction.areas.get)
    prompt = correction.prompts[owner]
    second = put(correction, "positive", prompt.y, prompt.x)
    visible = int(correction.labels[round(prompt.y), round(prompt.x)])
    assert {"two prompts in one nucleus"} <= kinds(correction, visible)
    met = [f for f in lint(correction) if f.kind == "two prompts in one nucleus"]
    assert {second, owner} <= {i for f in met if f.ids[0] == visible for i in f.ids}
    correction.undo()

    correction.apply(LockNuclei((owner,), True))
    negative = put(correction, "negative", prompt.y, prompt.x)
    found = [f for f in lint(correction) if f.kind == "negative prompt in a nucleus"]
    assert (owner, negative) in {f.ids for f in found}
    correction.undo()
    correction.undo()

    correction.apply(PaintNucleus(owner, (0, 0, 12, 12), np.ones((12, 12), bool)))
    assert "prompt outside its nucleus" in kinds(correction, owner)
    correction.undo()

    full = np.ones(correction.labels.shape, bool)
    correction.apply(PaintNucleus(owner, (0, 0, *full.shape), full))
    assert "implausible size" in kinds(correction, owner)
    hidden = put(correction, "positive", 20, 20)
    assert kinds(correction, hidden) == {"prompt without a nucleus"}
    correction.apply(LockNuclei((owner,), True))
    assert "implausible size" not in kinds(correction, owner)


def test_a_nucleus_on_pale_ground_is_odd(crowd, make_run):
    image = np.full((160, 300, 3), 243, np.uint8)
    image[:, :192] = crowd.rgb
    correction = Correction(make_run(image))
    ident = put(correction, "positive", 80, 260)
    assert "nucleus without haematoxylin" in kinds(correction, ident)
    found = next(f for f in lint(correction) if f.ids == (ident,))
    assert (found.y, found.x) == pytest.approx((80, 260), abs=3)


def test_oddities_come_kind_by_kind_and_by_id(correction):
    prompt = correction.prompts[min(correction.areas)]
    put(correction, "positive", prompt.y, prompt.x)
    put(correction, "negative", prompt.y, prompt.x)
    found = lint(correction)
    runs = [f.kind for f in found]
    assert len(set(runs)) == sum(a != b for a, b in zip(runs, ["", *runs], strict=False))
    for kind in set(runs):
        ids = [f.ids for f in found if f.kind == kind]
        assert ids == sorted(ids)


def test_an_automatic_point_can_say_why_it_is_there(finished, correction):
    scan = finished.output(Stage.ACTIVATION)
    made = finished.output(Stage.PROMPTS)
    stain = finished.output(Stage.STAIN).haematoxylin
    for ident, prompt in correction.prompts.items():
        why = correction.why(ident)
        y, x = round(prompt.y), round(prompt.x)
        assert why["haematoxylin"] == pytest.approx(stain[y, x])
        here = scan.assignments[made.step][y // 2, x // 2]
        assert why["prototype"] == here[: scan.n_foreground].argmax()
        assert why["mass"] == pytest.approx(here[: scan.n_foreground].sum())
        active = [s.rho for s in scan.steps if s.foreground[y // 2, x // 2] > s.threshold]
        assert why["rho"] == (min(active) if active else None)
    kinds = {i: p.kind for i, p in correction.prompts.items()}
    rhos = {i: correction.why(i)["rho"] for i in kinds}
    assert any(rho is not None for i, rho in rhos.items() if kinds[i] == "positive")
    assert all(rho is None for i, rho in rhos.items() if kinds[i] == "negative")


def test_a_point_by_hand_has_no_reason_but_its_stain(correction):
    ident = put(correction, "positive", 80, 20)
    why = correction.why(ident)
    assert 0 <= why.pop("haematoxylin") <= 1
    assert why == {"prototype": None, "mass": None, "rho": None}
    with pytest.raises(SproutError, match="9999"):
        correction.why(9999)


def test_an_image_that_was_not_scanned_says_only_its_stain(make_run):
    correction = Correction(make_run(prompts={"source": "stain"}))
    why = correction.why(min(correction.areas))
    assert why["haematoxylin"] > 0
    assert why["rho"] is None


def test_a_chosen_answer_is_what_is_measured(correction):
    ident = max(correction.areas, key=correction.areas.get)
    before = next(row for row in correction.measure([ident]))
    correction.apply(ChooseAnswer(ident, 2))
    after = next(row for row in correction.measure([ident]))
    assert after.predicted_iou == pytest.approx(before.predicted_iou + 0.1)
    assert after.area < before.area

from __future__ import annotations

import numpy as np
import pytest

from napari_sprout.core.correction import Correction
from napari_sprout.core.edits import AddPrompt, ChooseAnswer, DeletePrompts, MovePrompt
from napari_sprout.core.instances import Prompt
from napari_sprout.core.session import Session
from napari_sprout.core.suppression import mask_intersection
from napari_sprout.core.synthetic import synthetic_he


@pytest.fixture(scope="module")
def image():
    return synthetic_he(shape=(256, 256), n_nuclei=24, seed=5)


@pytest.fixture(scope="module")
def session(image):
    session = Session(image.rgb, mpp=image.mpp, device="cpu")
    session.finish()
    return session


def iou(a, b):
    return np.count_nonzero(a & b) / np.count_nonzero(a | b)


def test_a_dragged_prompt_changes_exactly_the_nuclei_it_touches(session, image, everything):
    correction = Correction(session)
    start, before = everything(correction), correction.labels.copy()
    masks = dict(correction.candidates)
    ident = min(correction.areas)
    placed = correction.prompts[ident]
    # To the nucleus that is furthest away, whose own prompt is deleted first.
    y, x = max(image.centres, key=lambda c: np.hypot(c[0] - placed.y, c[1] - placed.x))
    target = int(before[round(y), round(x)])
    assert target
    correction.apply(DeletePrompts((target,)))
    change = correction.apply(MovePrompt(ident, float(y), float(x)))

    old, new = masks[ident], correction.candidates[ident]
    others = {**masks, **correction.candidates}
    touched = {ident, target} | {
        i for i, m in others.items() if mask_intersection(m, old) or mask_intersection(m, new)
    }
    changed = {int(i) for i in np.unique(np.stack([before, correction.labels])) if i} & {
        i for i in others if not np.array_equal(before == i, correction.labels == i)
    }
    assert {ident, target} <= changed <= touched
    assert ident in change.ids
    assert iou(correction.labels == ident, image.labels == image.labels[round(y), round(x)]) > 0.6
    correction.undo()
    correction.undo()
    assert everything(correction) == start


def test_a_point_by_hand_finds_the_nucleus_it_was_set_on(session, image, everything):
    correction = Correction(session)
    found, edits = [], []
    for label, (y, x) in enumerate(image.centres[:8], start=1):
        owner = int(correction.labels[round(y), round(x)])
        if owner:
            edits.append(DeletePrompts((owner,)))
            correction.apply(edits[-1])
        ident = correction.new_id()
        edits.append(AddPrompt(Prompt(ident, "positive", y + 1.0, x - 1.0, "hand")))
        correction.apply(edits[-1])
        found.append(iou(correction.labels == ident, image.labels == label))
    assert np.median(found) > 0.7
    assert min(found) > 0.4

    again = Correction(session)
    for edit in edits:
        again.apply(edit)
    assert everything(again) == everything(correction)


def test_sams_answers_differ_and_their_mean_is_the_runs_own(session):
    correction = Correction(session)
    ident = max(correction.areas, key=correction.areas.get)
    masks = {}
    for answer in range(5):
        correction.apply(ChooseAnswer(ident, answer))
        masks[answer] = correction.candidates[ident]
    assert len({(mask.box, mask.mask.tobytes()) for mask in masks.values()}) >= 3
    mean = masks[4]
    own = Correction(session).candidates[ident]
    assert mean.predicted_iou == pytest.approx(own.predicted_iou, abs=1e-4)
    assert mask_intersection(mean, own) >= 0.98 * max(mean.area, own.area)

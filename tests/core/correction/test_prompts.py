from __future__ import annotations

import numpy as np
import pytest
from scipy import ndimage

from napari_sprout.core.correction import Correction
from napari_sprout.core.edits import (
    AddPrompt,
    ChooseAnswer,
    DeletePrompts,
    LockNuclei,
    MovePrompt,
    PaintNucleus,
)
from napari_sprout.core.instances import Prompt
from napari_sprout.core.suppression import mask_intersection
from napari_sprout.errors import SproutError


def added(correction, y, x, kind="positive") -> int:
    ident = correction.new_id()
    correction.apply(AddPrompt(Prompt(ident, kind, y, x, "hand")))
    return ident


def emptiest(correction) -> tuple[float, float]:
    """The place furthest from all masks."""
    free = np.ones(correction.labels.shape, bool)
    for mask in correction.candidates.values():
        y0, x0, y1, x1 = mask.box
        free[y0:y1, x0:x1] &= ~mask.mask
    padded = np.pad(free, 1)
    apart = ndimage.distance_transform_edt(padded)[1:-1, 1:-1]
    y, x = np.unravel_index(apart.argmax(), apart.shape)
    return float(y), float(x)


def neighbours(correction, ident) -> set[int]:
    mask = correction.candidates[ident]
    others = correction.candidates.items()
    return {i for i, other in others if i != ident and mask_intersection(mask, other)}


def test_the_run_has_nuclei_that_meet_and_masks_that_are_suppressed(correction):
    assert len(correction.areas) >= 10
    assert correction.suppressed
    assert any(neighbours(correction, ident) for ident in correction.areas)
    assert {p.kind for p in correction.prompts.values()} == {"positive", "negative"}


def test_labels_are_the_sessions_own_until_something_is_changed(finished, correction):
    np.testing.assert_array_equal(correction.labels, finished.labels)
    assert not np.shares_memory(correction.labels, finished.labels)
    assert correction.measure() == finished.nuclei
    assert correction.suppressed == dict(finished.result.suppressed.rejected)
    assert set(correction.prompts.values()) == set(finished.output("prompts").prompts)


def test_moving_a_prompt_moves_its_nucleus_and_changes_only_what_it_touches(correction):
    ident = min(correction.areas)
    before, met = correction.labels.copy(), neighbours(correction, ident)
    y, x = emptiest(correction)
    change = correction.apply(MovePrompt(ident, y, x))
    met |= neighbours(correction, ident)
    assert ident in change.ids
    assert change.ids <= met | {ident}
    assert change.prompts_changed
    assert correction.labels[round(y), round(x)] == ident
    for other in set(correction.areas) - met - {ident}:
        np.testing.assert_array_equal(correction.labels == other, before == other)
    assert correction.prompts[ident] == Prompt(ident, "positive", y, x, "hand")


def test_moving_there_and_back_by_hand_leaves_the_point_by_hand(correction):
    ident = min(correction.areas)
    placed = correction.prompts[ident]
    correction.apply(MovePrompt(ident, placed.y + 1, placed.x))
    correction.apply(MovePrompt(ident, placed.y, placed.x))
    assert correction.prompts[ident] == Prompt(ident, "positive", placed.y, placed.x, "hand")


def test_an_edit_decodes_only_the_prompts_it_concerns(finished, correction):
    fake = finished.context().segmenter()
    encoded, decoded = fake.encoded, fake.decoded
    added(correction, *emptiest(correction))
    assert fake.decoded == decoded + 1
    correction.apply(MovePrompt(min(correction.areas), 50.0, 60.0))
    assert fake.decoded == decoded + 2
    correction.undo()
    correction.redo()
    correction.apply(DeletePrompts((min(correction.areas),)))
    assert (fake.encoded, fake.decoded) == (encoded, decoded + 2)


def test_an_added_prompt_grows_a_nucleus_with_its_own_id(correction):
    y, x = emptiest(correction)
    ident = correction.new_id()
    change = correction.apply(AddPrompt(Prompt(ident, "positive", y, x, "anything")))
    assert correction.labels[round(y), round(x)] == ident
    assert correction.areas[ident] == np.count_nonzero(correction.labels == ident)
    assert ident in change.ids
    assert correction.prompts[ident].source == "hand"


def test_a_point_by_hand_is_kept_even_where_better_masks_are(correction):
    other = correction.prompts[max(correction.areas, key=correction.areas.get)]
    ident = added(correction, other.y + 2, other.x + 2)
    assert ident in correction.areas
    assert ident not in correction.suppressed


def test_pasted_points_lie_on_each_other_without_harm(correction, everything):
    start = everything(correction)
    y, x = emptiest(correction)
    first, second, third = (added(correction, y, x) for _ in range(3))
    assert len({first, second, third}) == 3
    # One of three equal masks owns the pixels; the others wait beneath it.
    owner = {ident for ident in (first, second, third) if ident in correction.areas}
    assert len(owner) == 1
    correction.apply(DeletePrompts(tuple(owner)))
    assert len({first, second, third} & set(correction.areas)) == 1
    for _ in range(4):
        correction.undo()
    assert everything(correction) == start


def test_deleting_a_prompt_takes_its_nucleus(correction):
    ident = min(correction.areas)
    change = correction.apply(DeletePrompts((ident, ident)))
    assert ident not in correction.prompts
    assert ident not in correction.candidates
    assert not (correction.labels == ident).any()
    assert ident in change.ids


def test_a_rival_comes_up_when_the_prompt_that_suppressed_it_goes(correction):
    masks = correction.candidates
    ident = next(
        ident
        for ident, why in correction.suppressed.items()
        if why.by is not None and mask_intersection(masks[ident], masks[why.by])
    )
    correction.apply(DeletePrompts(tuple(neighbours(correction, ident) & set(correction.areas))))
    assert ident in correction.areas


def test_a_negative_changes_the_nuclei_it_serves_and_no_others(correction):
    ident = max(correction.areas, key=correction.areas.get)
    prompt = correction.prompts[ident]
    served = dict(correction.state.served)
    before = correction.areas[ident]
    negative = added(correction, prompt.y, prompt.x + 8, "negative")
    concerned = {i for i, s in correction.state.served.items() if negative in s.negatives}
    assert ident in concerned
    assert correction.areas[ident] < before
    assert {i for i, s in correction.state.served.items() if s != served[i]} == concerned
    moved = correction.apply(MovePrompt(negative, *emptiest(correction)))
    assert ident in moved.ids
    assert correction.areas[ident] == before
    correction.apply(DeletePrompts((negative,)))
    assert correction.state.served[ident].negatives == served[ident].negatives


def test_each_positive_is_served_by_its_nearest_negatives_whatever_was_done(correction):
    rng = np.random.default_rng(0)
    for _ in range(30):
        negatives = [i for i, p in correction.prompts.items() if p.kind == "negative"]
        place = (float(rng.uniform(0, 159)), float(rng.uniform(0, 191)))
        kind = rng.integers(3)
        if kind == 0:
            added(correction, *place, "negative")
        elif kind == 1:
            correction.apply(MovePrompt(int(rng.choice(negatives)), *place))
        else:
            correction.apply(DeletePrompts((int(rng.choice(negatives)),)))
    negatives = [p for p in correction.prompts.values() if p.kind == "negative"]
    for ident, served in correction.state.served.items():
        own = correction.prompts[ident]
        apart = sorted(np.hypot(n.y - own.y, n.x - own.x) for n in negatives)
        given = [correction.prompts[n] for n in served.negatives]
        found = [np.hypot(n.y - own.y, n.x - own.x) for n in given]
        assert found == pytest.approx(apart[:2])


def test_without_any_negative_left_nuclei_still_grow(correction):
    negatives = tuple(i for i, p in correction.prompts.items() if p.kind == "negative")
    correction.apply(DeletePrompts(negatives))
    assert correction.areas
    y, x = emptiest(correction)
    assert added(correction, y, x) in correction.areas


@pytest.mark.parametrize(
    ("y", "x"), [(-0.6, 5), (159.5, 5), (5, 191.5), (5, -3), (float("nan"), 5), (5, float("inf"))]
)
def test_points_outside_the_image_are_refused(correction, everything, y, x):
    start = everything(correction)
    with pytest.raises(SproutError, match="outside the image"):
        correction.apply(MovePrompt(min(correction.areas), y, x))
    with pytest.raises(SproutError, match="outside the image"):
        added(correction, y, x)
    assert everything(correction) == start
    assert not correction.can_undo


@pytest.mark.parametrize(("y", "x"), [(-0.5, -0.5), (159.49, 191.49), (0, 191.49)])
def test_points_on_the_edge_are_inside(correction, y, x):
    assert added(correction, y, x) in correction.areas


@pytest.mark.parametrize(
    "edit",
    [
        MovePrompt(9999, 5, 5),
        DeletePrompts((9999,)),
        DeletePrompts(()),
        ChooseAnswer(9999, 1),
        ChooseAnswer(1, 5),
        ChooseAnswer(1, -1),
        AddPrompt(Prompt(1, "positive", 5, 5, "hand")),
        AddPrompt(Prompt(0, "positive", 5, 5, "hand")),
        AddPrompt(Prompt(2**31, "positive", 5, 5, "hand")),
        LockNuclei((9999,), True),
    ],
    ids=str,
)
def test_impossible_edits_change_nothing(correction, everything, edit):
    start, revision = everything(correction), correction.revision
    with pytest.raises(SproutError):
        correction.apply(edit)
    assert everything(correction) == start
    assert correction.revision == revision
    assert not correction.can_undo


def test_of_several_deletions_one_of_which_is_impossible_none_is_done(correction, everything):
    start = everything(correction)
    with pytest.raises(SproutError, match="9999"):
        correction.apply(DeletePrompts((*correction.areas, 9999)))
    assert everything(correction) == start


def test_a_model_that_fails_leaves_everything_as_it_was(finished, correction, everything):
    fake = finished.context().segmenter()
    start = everything(correction)

    def fail() -> None:
        raise RuntimeError("out of memory")

    fake.on_decode = fail
    try:
        with pytest.raises(RuntimeError, match="memory"):
            correction.apply(MovePrompt(min(correction.areas), 50, 60))
    finally:
        fake.on_decode = None
    assert everything(correction) == start
    assert not correction.can_undo
    correction.apply(MovePrompt(min(correction.areas), 50, 60))


def test_a_point_on_glass_encodes_its_tile_when_it_is_first_needed(make_run, crowd):
    image = np.full((160, 520, 3), 243, np.uint8)
    image[:, :192] = crowd.rgb
    session = make_run(image)
    fake = session.context().segmenter()
    correction = Correction(session)
    encoded = fake.encoded
    ident = min(correction.areas)
    correction.apply(MovePrompt(ident, 80, 460))
    assert fake.encoded == encoded + 1
    assert correction.labels[80, 460] == ident
    added(correction, 80, 462)
    assert fake.encoded == encoded + 1


def test_choosing_an_answer_takes_it_and_the_mean_brings_the_old_one_back(correction):
    ident = max(correction.areas, key=correction.areas.get)
    masks = {}
    usual = correction.candidates[ident].area
    for answer in range(5):
        correction.apply(ChooseAnswer(ident, answer))
        masks[answer] = correction.candidates[ident].area
        assert ident in correction.areas
    # The fake's answers have these radii, times the single one's.
    assert masks[1] < masks[2] < masks[0] <= masks[3]
    # The mean of all four is what every other nucleus has.
    assert masks[4] == usual
    correction.apply(ChooseAnswer(ident, 0))
    assert correction.candidates[ident].area == masks[0]


def test_a_chosen_answer_stays_when_the_point_moves(correction):
    ident = min(correction.areas)
    correction.apply(ChooseAnswer(ident, 1))
    y, x = emptiest(correction)
    correction.apply(MovePrompt(ident, y, x))
    moved = correction.candidates[ident]
    correction.apply(ChooseAnswer(ident, 0))
    correction.apply(ChooseAnswer(ident, 1))
    assert correction.candidates[ident].area == moved.area
    correction.apply(ChooseAnswer(ident, 0))
    assert correction.candidates[ident].area > moved.area


def test_dragging_the_point_of_a_drawn_nucleus_asks_sam_again(correction):
    ident = min(correction.areas)
    correction.apply(PaintNucleus(ident, (0, 0, 3, 3), np.ones((3, 3), bool)))
    assert correction.areas[ident] == 9
    y, x = emptiest(correction)
    correction.apply(MovePrompt(ident, y, x))
    assert correction.pinned == frozenset()
    assert correction.areas[ident] > 100


def test_new_ids_are_new_at_each_call_and_never_in_use(correction):
    ids = [correction.new_id() for _ in range(50)]
    assert len(set(ids)) == 50
    assert not set(ids) & (set(correction.prompts) | set(correction.areas))
    correction.apply(AddPrompt(Prompt(ids[-1] + 1, "positive", 50, 50, "hand")))
    assert correction.new_id() == ids[-1] + 2

from __future__ import annotations

import dataclasses
import itertools
import math
import time

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.sparse import coo_array
from scipy.sparse.csgraph import connected_components

from napari_sprout.core.instances import Candidate
from napari_sprout.core.settings import SuppressionSettings
from napari_sprout.core.suppression import (
    Rejection,
    Suppressed,
    mask_intersection,
    overlapping_pairs,
    ranked,
    suppress,
)
from napari_sprout.errors import SproutError

quick = settings(deadline=None, max_examples=80)


def square(ident, y, x, side, sam=0.5, stain=0.5):
    return block(ident, (y, x, y + side, x + side), sam, stain)


def block(ident, box, sam=0.5, stain=0.5):
    y0, x0, y1, x1 = box
    return Candidate(ident, box, np.ones((y1 - y0, x1 - x0), bool), sam, stain)


def chosen(**changes):
    return SuppressionSettings(**changes)


# Quarters make exact ties between scores likely.
quarters = st.sampled_from([0.0, 0.25, 0.5, 0.75, 1.0])
rules = st.builds(
    SuppressionSettings,
    method=st.sampled_from(["none", "hard", "soft", "hard+soft"]),
    decay=st.sampled_from(["linear", "polynomial", "exponential"]),
    sigma=st.sampled_from([0.1, 0.5]),
    overlap_threshold=st.sampled_from([0.0, 0.25, 0.5]),
    score=st.sampled_from(["none", "sam", "haematoxylin", "both"]),
    threshold=st.sampled_from([0.0, 0.3, 0.5]),
    containment=st.booleans(),
    containment_share=st.sampled_from([0.5, 0.8, 1.0]),
)


@st.composite
def crowds(draw, extent=30, largest=14, most=12):
    n = draw(st.integers(0, most))
    ids = draw(st.lists(st.integers(1, 99), min_size=n, max_size=n, unique=True))
    crowd = []
    for ident in ids:
        h, w = draw(st.integers(1, largest)), draw(st.integers(1, largest))
        y, x = draw(st.integers(0, extent)), draw(st.integers(0, extent))
        rng = np.random.default_rng(draw(st.integers(0, 2**32 - 1)))
        mask = rng.random((h, w)) < draw(st.sampled_from([0.3, 0.8, 1.0]))
        mask[[0, -1], rng.integers(w)] = True
        mask[rng.integers(h), [0, -1]] = True
        crowd.append(Candidate(ident, (y, x, y + h, x + w), mask, draw(quarters), draw(quarters)))
    return crowd


def on_canvas(candidate, side=64):
    canvas = np.zeros((side, side), bool)
    y0, x0, y1, x1 = candidate.box
    canvas[y0:y1, x0:x1] = candidate.mask
    return canvas


def box_iou(a, b):
    h = min(a.box[2], b.box[2]) - max(a.box[0], b.box[0])
    w = min(a.box[3], b.box[3]) - max(a.box[1], b.box[1])
    shared = max(h, 0) * max(w, 0)
    return shared / (a.mask.size + b.mask.size - shared)


def algorithm_3(crowd, rule, pinned):
    """The paper's pseudo-code word by word: argmax over all, then every other mask."""
    own = {
        "none": lambda c: 1.0,
        "sam": lambda c: c.predicted_iou,
        "haematoxylin": lambda c: c.haematoxylin,
        "both": lambda c: c.predicted_iou + c.haematoxylin,
    }[rule.score]
    f = {
        "linear": lambda u: 1 - u,
        "polynomial": lambda u: 1 - u * u,
        "exponential": lambda u: math.exp(-u * u / rule.sigma),
    }[rule.decay]
    score = {c.id: own(c) for c in crowd}
    if rule.containment:
        for c in crowd:
            contained = sum(
                np.sum(on_canvas(c) & on_canvas(d)) >= rule.containment_share * d.area
                for d in crowd
                if d.area < c.area
            )
            if contained > 1 and c.id not in pinned:
                score[c.id] *= 1 - math.tanh(rule.containment_scale * contained)
    remaining = [c for c in crowd if c.id in pinned or score[c.id] >= rule.threshold]
    kept = []
    while remaining:
        best = max(remaining, key=lambda c: (c.id in pinned, score[c.id], -c.id))
        remaining.remove(best)
        kept.append((best.id, score[best.id]))
        for c in list(remaining):
            if c.id in pinned:
                continue
            u = box_iou(best, c)
            if "hard" in rule.method and u > rule.overlap_threshold:
                remaining.remove(c)
                continue
            if "soft" in rule.method:
                score[c.id] *= f(u)
            if score[c.id] < rule.threshold:
                remaining.remove(c)
    return tuple(kept), score


@quick
@given(crowds(), rules, st.sets(st.integers(1, 99), max_size=20))
def test_result_is_that_of_algorithm_3_to_the_last_bit(crowd, rule, pinned):
    kept, scores = algorithm_3(crowd, rule, pinned)
    result = suppress(crowd, rule, frozenset(pinned))
    assert result.kept == kept
    assert result.scores == scores


@quick
@given(crowds(), rules, st.sets(st.integers(1, 99), max_size=20), st.randoms())
def test_order_of_the_input_does_not_matter(crowd, rule, pinned, random):
    shuffled = list(crowd)
    random.shuffle(shuffled)
    assert suppress(shuffled, rule, frozenset(pinned)) == suppress(crowd, rule, frozenset(pinned))


@quick
@given(crowds(), rules, st.sets(st.integers(1, 99), max_size=20))
def test_every_candidate_is_either_kept_in_rank_or_rejected_for_a_reason(crowd, rule, pinned):
    result = suppress(crowd, rule, frozenset(pinned))
    kept = dict(result.kept)
    assert kept.keys() | result.rejected.keys() == {c.id for c in crowd}
    assert not kept.keys() & result.rejected.keys()
    assert result.kept == ranked(result.kept, frozenset(pinned))
    assert all(i in pinned or score >= rule.threshold for i, score in kept.items())
    for ident, rejection in result.rejected.items():
        assert rejection.score == result.scores[ident]
        assert (rejection.by is not None) == (rejection.reason == "overlap")
        assert rejection.by is None or rejection.by in kept


def outcome(result: Suppressed, ids):
    return {i: (dict(result.kept).get(i), result.rejected.get(i), result.scores[i]) for i in ids}


@quick
@given(crowds(extent=45, most=14), rules, st.data())
def test_moving_or_adding_a_mask_leaves_all_but_its_component_bit_identical(crowd, rule, data):
    y, x = data.draw(st.integers(0, 45)), data.draw(st.integers(0, 45))
    moved = square(100, y, x, data.draw(st.integers(1, 30)), data.draw(quarters))
    pairs = overlapping_pairs(np.array([c.box for c in [*crowd, moved]]))
    n = len(crowd) + 1
    graph = coo_array((np.ones(len(pairs)), (pairs[:, 0], pairs[:, 1])), shape=(n, n))
    _, component = connected_components(graph, directed=False)
    away = [c.id for c, part in zip(crowd, component, strict=False) if part != component[-1]]
    far = dataclasses.replace(moved, box=(900, 900, 900 + moved.box[2] - y, 900 + moved.box[3] - x))
    without = outcome(suppress(crowd, rule), away)
    assert outcome(suppress([*crowd, moved], rule), away) == without
    everyone = [c.id for c in crowd]
    assert outcome(suppress([*crowd, far], rule), everyone) == outcome(
        suppress(crowd, rule), everyone
    )


@quick
@given(
    st.lists(
        st.tuples(
            st.integers(-60, 60),
            st.integers(-60, 60),
            st.sampled_from([0, 1, 3, 8, 70]),
            st.sampled_from([1, 3, 8, 70]),
        ),
        max_size=30,
    )
)
def test_pairs_are_those_of_comparing_every_box_with_every_other(raw):
    boxes = np.array([(y, x, y + h, x + w) for y, x, h, w in raw], dtype=int).reshape(-1, 4)
    expected = [
        [i, j]
        for i, j in itertools.combinations(range(len(boxes)), 2)
        if min(boxes[i, 2], boxes[j, 2]) > max(boxes[i, 0], boxes[j, 0])
        and min(boxes[i, 3], boxes[j, 3]) > max(boxes[i, 1], boxes[j, 1])
    ]
    pairs = overlapping_pairs(boxes)
    assert pairs.shape == (len(expected), 2)
    assert pairs.tolist() == expected


def test_boxes_that_only_touch_are_no_pair():
    assert overlapping_pairs(np.array([[0, 0, 4, 4], [0, 4, 4, 8], [4, 4, 8, 8]])).size == 0


@quick
@given(crowds())
def test_mask_intersection_counts_the_pixels_both_cover(crowd):
    for a, b in itertools.combinations(crowd, 2):
        expected = np.sum(on_canvas(a) & on_canvas(b))
        assert mask_intersection(a, b) == mask_intersection(b, a) == expected


@pytest.mark.parametrize(("contained", "factor"), [(0, 1.0), (1, 1.0), (2, 1 - math.tanh(1.0))])
def test_only_a_mask_that_contains_more_than_one_smaller_is_punished(contained, factor):
    small = [square(i + 2, 2, 2 + 10 * i, 5) for i in range(contained)]
    result = suppress([square(1, 0, 0, 30), *small], chosen(method="none", threshold=0.0))
    assert result.scores[1] == 1.0 * factor


def test_containment_counts_masks_by_the_share_that_lies_inside():
    big = square(1, 0, 0, 20)
    halves = [block(2, (18, 0, 22, 4)), block(3, (18, 10, 22, 14))]
    inside = chosen(method="none", containment_share=0.5)
    outside = chosen(method="none", containment_share=0.51)
    assert suppress([big, *halves], inside).scores[1] < 1.0
    assert suppress([big, *halves], outside).scores[1] == 1.0


def test_masks_of_equal_size_do_not_contain_each_other():
    result = suppress([square(i, 0, 0, 8) for i in (1, 2, 3)], chosen(method="none"))
    assert set(result.scores.values()) == {1.0}


def test_a_mask_swallowing_two_nuclei_loses_to_them_and_says_why():
    nuclei = [square(2, 1, 1, 8), square(3, 1, 12, 8)]
    swallower = block(1, (0, 0, 10, 21), sam=1.0, stain=0.8)
    without = suppress([swallower, *nuclei], chosen(containment=False))
    assert without.kept[0][0] == 1
    result = suppress([swallower, *nuclei], chosen())
    assert [i for i, _ in result.kept] == [2, 3]
    assert result.rejected[1].reason == "contains several"
    assert result.rejected[1].by is None


def test_overlap_names_the_mask_that_lowered_it_most():
    slight = square(1, 0, 8, 10, sam=1.0)
    severe = square(2, 0, 1, 10, sam=0.9)
    weak = square(3, 0, 0, 10, sam=0.3)
    result = suppress([slight, severe, weak], chosen(score="sam", threshold=0.2))
    assert result.rejected[3].reason == "overlap"
    assert result.rejected[3].by == 2


def test_a_mask_with_a_low_score_of_its_own_is_rejected_for_that_and_harms_nobody():
    low, good = square(1, 0, 0, 10, sam=0.2), square(2, 0, 0, 10, sam=0.9)
    result = suppress([low, good], chosen(score="sam", threshold=0.5))
    assert result.rejected == {1: Rejection("low score", None, 0.2)}
    assert result.kept == ((2, 0.9),)


def test_hard_suppression_discards_above_the_threshold_alone_and_changes_no_score():
    best, at, above = (
        block(1, (0, 0, 10, 10), sam=0.9),
        block(2, (0, 0, 10, 5), sam=0.8),
        block(3, (0, 0, 10, 6), sam=0.7),
    )
    rule = chosen(method="hard", score="sam", overlap_threshold=0.5, containment=False)
    result = suppress([best, at, above], rule)
    assert result.kept == ((1, 0.9), (2, 0.8))
    assert result.rejected == {3: Rejection("overlap", 1, 0.7)}


def test_hard_and_soft_together_discard_strong_overlaps_and_decay_the_rest():
    best, slight, strong = (
        block(1, (0, 0, 10, 10), sam=1.0),
        block(2, (0, 5, 10, 15), sam=0.9),
        block(3, (0, 1, 10, 11), sam=0.8),
    )
    rule = chosen(method="hard+soft", score="sam", threshold=0.0)
    result = suppress([best, slight, strong], rule)
    u = 50 / 150
    assert result.kept == ((1, 1.0), (2, pytest.approx(0.9 * math.exp(-u * u / 0.5))))
    assert result.rejected[3].by == 1


@pytest.mark.parametrize(
    ("decay", "factor"),
    [("linear", 1 - 1 / 3), ("polynomial", 1 - 1 / 9), ("exponential", math.exp(-1 / 9 / 0.5))],
)
def test_each_decay_follows_its_documented_formula(decay, factor):
    pair = [block(1, (0, 0, 10, 10), sam=1.0), block(2, (0, 5, 10, 15), sam=0.9)]
    result = suppress(pair, chosen(decay=decay, score="sam", threshold=0.0))
    assert result.scores[2] == pytest.approx(0.9 * factor)


def test_raw_predictions_of_table_14_keep_every_mask_with_the_same_score():
    crowd = [square(i, i, i, 10, sam=i / 20) for i in range(1, 12)]
    result = suppress(crowd, chosen(method="none", score="none", containment=False))
    assert result.kept == tuple((i, 1.0) for i in range(1, 12))


def test_a_pinned_mask_is_kept_unpunished_and_still_suppresses_a_better_one():
    pinned = square(1, 0, 0, 20, sam=0.01, stain=0.0)
    rivals = [square(2, 0, 0, 19, 1.0, 0.8), square(3, 1, 1, 4), square(4, 8, 8, 4)]
    result = suppress([pinned, *rivals], chosen(), frozenset({1}))
    assert result.kept[0] == (1, 0.01)
    assert result.rejected[2].by in (None, 1)
    assert 2 in dict(suppress([pinned, rivals[0]], chosen()).kept)
    assert suppress([pinned, rivals[0]], chosen(), frozenset({1})).rejected[2].by == 1


def test_pinned_masks_do_not_suppress_each_other():
    both = [square(1, 0, 0, 10), square(2, 0, 0, 10)]
    for method in ("soft", "hard", "hard+soft"):
        result = suppress(both, chosen(method=method), frozenset({1, 2}))
        assert result.kept == ((1, 1.0), (2, 1.0))


def test_a_mask_without_a_usable_score_is_dropped_and_spoils_nothing():
    broken = square(1, 0, 0, 10, sam=math.nan)
    good = [square(2, 0, 0, 10), square(3, 40, 40, 10)]
    result = suppress([broken, *good], chosen())
    assert result.kept == suppress(good, chosen()).kept
    assert result.rejected[1].reason == "low score"


def test_nothing_in_nothing_out():
    assert suppress([], chosen()) == Suppressed((), {}, {})


def test_two_masks_with_one_number_are_refused():
    with pytest.raises(SproutError, match="number 5"):
        suppress([square(5, 0, 0, 3), square(5, 50, 0, 3)], chosen())


def test_ten_thousand_masks_do_not_take_quadratic_time():
    rng = np.random.default_rng(0)
    places = rng.integers(0, 3000, (10_000, 2)).tolist()
    sides = rng.integers(10, 40, 10_000).tolist()
    crowd = [
        square(i + 1, y, x, side, *rng.random(2).tolist())
        for i, ((y, x), side) in enumerate(zip(places, sides, strict=True))
    ]
    start = time.process_time()
    result = suppress(crowd, chosen())
    assert time.process_time() - start < 5.0
    assert 1000 < len(result.kept) < 10_000

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st
from scipy import ndimage
from skimage import measure as skimage_measure

from napari_sprout.core.instances import Candidate
from napari_sprout.core.labels import assemble, measure, to_full_resolution
from napari_sprout.errors import SproutError

quick = settings(deadline=None, max_examples=80)
SHAPE = (32, 40)


def block(ident, box, sam=0.5):
    y0, x0, y1, x1 = box
    return Candidate(ident, box, np.ones((y1 - y0, x1 - x0), bool), sam, 0.5)


def by_id(*candidates):
    return {c.id: c for c in candidates}


@st.composite
def scenes(draw, most=8, solid=False):
    ids = draw(st.lists(st.integers(1, 10_000), max_size=most, unique=True))
    candidates, kept = {}, []
    for ident in ids:
        h, w = draw(st.integers(1, 14)), draw(st.integers(1, 14))
        y, x = draw(st.integers(0, SHAPE[0] - h)), draw(st.integers(0, SHAPE[1] - w))
        rng = np.random.default_rng(draw(st.integers(0, 2**32 - 1)))
        mask = rng.random((h, w)) < (1.0 if solid else draw(st.sampled_from([0.5, 0.8, 1.0])))
        mask[[0, -1], rng.integers(w)] = True
        mask[rng.integers(h), [0, -1]] = True
        candidates[ident] = Candidate(ident, (y, x, y + h, x + w), mask, 0.5, 0.5)
        kept.append((ident, draw(st.sampled_from([0.25, 0.5, 0.75, 1.0]))))
    return candidates, kept


def filled(candidate):
    canvas = np.zeros(SHAPE, bool)
    y0, x0, y1, x1 = candidate.box
    canvas[y0:y1, x0:x1] = ndimage.binary_fill_holes(candidate.mask)
    return canvas


def painted_in_increasing_order(candidates, kept):
    labels = np.zeros(SHAPE, np.int32)
    for ident, _ in sorted(kept, key=lambda item: (item[1], -item[0])):
        labels[filled(candidates[ident])] = ident
    return labels


def pieces(mask):
    return int(skimage_measure.label(mask, connectivity=2).max())


@quick
@given(scenes(most=6, solid=True))
def test_a_pixel_belongs_to_the_highest_scoring_mask_that_covers_it(scene):
    candidates, kept = scene
    expected = painted_in_increasing_order(candidates, kept)
    assume(all(pieces(expected == ident) == 1 for ident in candidates))
    labels, dropped = assemble(candidates, kept, SHAPE)
    np.testing.assert_array_equal(labels, expected)
    assert dropped == []


@quick
@given(scenes(), st.integers(1, 12))
def test_a_pixel_is_lost_to_a_lower_mask_only_by_tidying(scene, min_area):
    candidates, kept = scene
    labels, dropped = assemble(candidates, kept, SHAPE, min_area)
    rank = {i: (-score, i) for i, score in kept}
    for ident in candidates:
        covered = filled(candidates[ident])
        worse = np.isin(labels, [i for i in candidates if rank[i] > rank[ident]])
        mine = labels == ident
        lost = covered & ~mine & (worse | (labels == 0))
        grown = skimage_measure.label(mine | lost, connectivity=2)
        areas = np.bincount(grown.ravel())[1:]
        if ident in dropped:
            assert not mine.any()
            assert areas.max(initial=0) < min_area
        else:
            # Nothing lost touches what it kept, and no lost piece is larger.
            assert np.sum(mine) == areas[grown[mine][0] - 1] == areas.max() >= min_area


@quick
@given(scenes(), st.integers(1, 12))
def test_labels_are_kept_ids_inside_their_masks_in_one_piece_each(scene, min_area):
    candidates, kept = scene
    labels, dropped = assemble(candidates, kept, SHAPE, min_area)
    present = set(np.unique(labels[labels > 0]).tolist())
    assert labels.dtype == np.int32
    assert present | set(dropped) == set(candidates)
    assert present.isdisjoint(dropped)
    for ident in present:
        mine = labels == ident
        assert not (mine & ~filled(candidates[ident])).any()
        assert pieces(mine) == 1


@quick
@given(scenes(), st.randoms())
def test_order_of_masks_and_of_kept_does_not_matter(scene, random):
    candidates, kept = scene
    labels, dropped = assemble(candidates, kept, SHAPE, 3)
    keys, shuffled = list(candidates), list(kept)
    random.shuffle(keys)
    random.shuffle(shuffled)
    again, dropped_again = assemble({i: candidates[i] for i in keys}, shuffled, SHAPE, 3)
    np.testing.assert_array_equal(labels, again)
    assert dropped == dropped_again


@quick
@given(scenes())
def test_a_mask_elsewhere_changes_no_other_pixel(scene):
    candidates, kept = scene
    wide = (SHAPE[0], SHAPE[1] + 10)
    far = block(20_000, (5, SHAPE[1] + 2, 12, SHAPE[1] + 9))
    alone, _ = assemble(candidates, kept, wide)
    labels, _ = assemble({**candidates, 20_000: far}, [*kept, (20_000, 0.6)], wide)
    np.testing.assert_array_equal(np.where(labels == 20_000, 0, labels), alone)
    assert np.sum(labels == 20_000) == 49


def test_only_kept_masks_are_painted():
    masks = by_id(block(1, (0, 0, 4, 4)), block(2, (10, 10, 14, 14)))
    labels, _ = assemble(masks, [(2, 0.5)], SHAPE)
    assert np.unique(labels).tolist() == [0, 2]


def test_a_nucleus_cut_in_two_keeps_its_larger_piece_and_frees_the_other():
    cut, knife = block(1, (4, 0, 8, 20)), block(2, (0, 12, 12, 15))
    labels, _ = assemble(by_id(cut, knife), [(1, 0.5), (2, 0.9)], SHAPE)
    assert np.sum(labels == 1) == 4 * 12
    assert not labels[4:8, 15:20].any()


def test_what_a_cut_nucleus_frees_goes_to_the_next_best_mask_there():
    cut, knife = block(1, (4, 0, 8, 20)), block(2, (0, 12, 12, 15))
    under = block(3, (2, 15, 10, 22))
    kept = [(1, 0.5), (2, 0.9), (3, 0.4)]
    labels, _ = assemble(by_id(cut, knife, under), kept, SHAPE)
    assert np.all(labels[2:10, 15:22] == 3)


def test_pieces_that_touch_at_a_corner_are_one_nucleus():
    mask = np.kron(np.eye(2), np.ones((3, 3))).astype(bool)
    labels, _ = assemble({1: Candidate(1, (0, 0, 6, 6), mask, 0.5, 0.5)}, [(1, 1.0)], SHAPE)
    assert np.sum(labels == 1) == 18


def test_a_hole_in_a_mask_is_filled_unless_a_better_nucleus_lies_there():
    mask = np.ones((9, 9), bool)
    mask[3:6, 3:6] = False
    ring = Candidate(1, (2, 2, 11, 11), mask, 0.5, 0.5)
    core = block(2, (5, 5, 8, 8))
    alone, _ = assemble(by_id(ring), [(1, 0.5)], SHAPE)
    assert np.sum(alone == 1) == 81
    labels, _ = assemble(by_id(ring, core), [(1, 0.5), (2, 0.9)], SHAPE)
    assert np.sum(labels == 1) == 72
    assert np.sum(labels == 2) == 9
    assert not ring.mask[3:6, 3:6].any()


def test_a_nucleus_left_too_small_is_dropped_and_frees_its_pixels():
    top, sliver, under = (
        block(1, (0, 0, 10, 10)),
        block(2, (0, 0, 10, 12)),
        block(3, (0, 5, 10, 20)),
    )
    kept = [(1, 0.9), (2, 0.8), (3, 0.7)]
    labels, dropped = assemble(by_id(top, sliver, under), kept, SHAPE, min_area=21)
    assert dropped == [2]
    assert np.all(labels[0:10, 10:20] == 3)
    labels, dropped = assemble(by_id(top, sliver, under), kept, SHAPE, min_area=20)
    assert dropped == []
    assert np.sum(labels == 2) == 20


def test_a_pinned_nucleus_lies_on_top_however_low_its_score_and_small_its_area():
    pinned, over = block(1, (4, 4, 6, 6)), block(2, (0, 0, 10, 10))
    kept = [(1, 0.01), (2, 0.99)]
    labels, dropped = assemble(by_id(pinned, over), kept, SHAPE, 10, frozenset({1}))
    assert np.sum(labels == 1) == 4
    assert dropped == []
    _, dropped = assemble(by_id(pinned, over), kept, SHAPE, 10)
    assert dropped == [1]


def test_a_fully_hidden_pinned_nucleus_is_reported():
    twins = by_id(block(1, (0, 0, 5, 5)), block(2, (0, 0, 5, 5)))
    _, dropped = assemble(twins, [(1, 0.5), (2, 0.5)], SHAPE, 1, frozenset({1, 2}))
    assert dropped == [2]


def test_equal_shapes_are_passed_through():
    labels = np.arange(12, dtype=np.int32).reshape(3, 4)
    assert to_full_resolution(labels, (3, 4)) is labels


def test_a_doubled_grid_repeats_each_pixel():
    labels = np.arange(12, dtype=np.int32).reshape(3, 4)
    expected = labels.repeat(2, axis=0).repeat(2, axis=1)
    np.testing.assert_array_equal(to_full_resolution(labels, (6, 8)), expected)


@quick
@given(st.tuples(*[st.integers(1, 40)] * 4))
def test_each_original_pixel_takes_the_nearest_working_pixel(sizes):
    h, w, full_h, full_w = sizes
    labels = (np.arange(h)[:, None] * 100 + np.arange(w)).astype(np.int32)
    full = to_full_resolution(labels, (full_h, full_w))
    assert full.shape == (full_h, full_w)
    assert full.dtype == np.int32
    for taken, working, side in (
        (full[:, 0] // 100, h, full_h),
        (full[0] % 100, w, full_w),
    ):
        position = (np.arange(side) + 0.5) * (working / side) - 0.5
        assert np.all(np.abs(taken - position) <= 0.5 + 1e-9)


def scattered(ids, seed=0, shape=(120, 150)):
    rng = np.random.default_rng(seed)
    labels = np.zeros(shape, np.int32)
    for ident in ids:
        y, x = rng.integers(0, shape[0] - 30), rng.integers(0, shape[1] - 30)
        h, w = rng.integers(3, 25, 2)
        yy, xx = np.mgrid[-1 : 1 : h * 1j, -1 : 1 : w * 1j]
        labels[y : y + h, x : x + w][yy**2 + xx**2 <= 1] = ident
    return labels, rng.random((*shape, 2))


def test_measures_are_those_of_skimage_for_ids_with_gaps():
    ids = [2_000_000_000, 7, 900, 41, 12, 70_000]
    labels, stains = scattered(ids)
    candidates = by_id(*(block(i, (0, 0, 2, 2), sam=i % 10 / 10) for i in ids))
    nuclei = measure(labels, stains, candidates, {i: i / 7 for i in ids})
    assert [n.id for n in nuclei] == np.unique(labels[labels > 0]).tolist()
    assert len(nuclei) > 3
    for nucleus in nuclei:
        mask = labels == nucleus.id
        (region,) = skimage_measure.regionprops(mask.astype(np.uint8))
        assert nucleus.area == region.area
        assert (nucleus.y, nucleus.x) == pytest.approx(region.centroid)
        assert nucleus.perimeter == pytest.approx(region.perimeter)
        assert nucleus.eccentricity == pytest.approx(region.eccentricity)
        assert nucleus.haematoxylin == pytest.approx(stains[mask][:, 0].mean())
        assert nucleus.eosin == pytest.approx(stains[mask][:, 1].mean())
        assert nucleus.predicted_iou == nucleus.id % 10 / 10
        assert nucleus.score == nucleus.id / 7


def test_a_label_painted_by_hand_is_measured_without_scores():
    labels = np.zeros((10, 10), np.int32)
    labels[2:5, 2:8] = 3
    (nucleus,) = measure(labels, np.ones((10, 10, 2)), {}, {})
    assert (nucleus.y, nucleus.x, nucleus.area) == (3.0, 4.5, 18)
    assert math.isnan(nucleus.predicted_iou)
    assert math.isnan(nucleus.score)


def test_measures_of_a_nucleus_do_not_depend_on_others():
    labels, stains = scattered(range(1, 12))
    ids = np.unique(labels[labels > 0])
    candidates = by_id(*(block(int(i), (0, 0, 2, 2)) for i in ids))
    scores = dict.fromkeys(ids.tolist(), 0.5)
    together = {n.id: n for n in measure(labels, stains, candidates, scores)}
    for ident in ids.tolist():
        alone = np.where(labels == ident, labels, 0)
        assert measure(alone, stains, candidates, scores) == [together[ident]]


def test_an_empty_label_image_has_no_nuclei():
    assert measure(np.zeros((5, 6), np.int32), np.ones((5, 6, 2)), {}, {}) == []


def test_a_stain_map_of_another_size_is_refused():
    with pytest.raises(SproutError, match="stain map"):
        measure(np.ones((5, 6), np.int32), np.ones((10, 12, 2)), {}, {})

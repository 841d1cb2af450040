from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
import tifffile
from hypothesis import assume, given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp
from numpy.typing import NDArray

from napari_sprout.core.metrics import Scores, evaluate, mean_scores
from napari_sprout.core.synthetic import SyntheticImage
from napari_sprout.errors import SproutError

RATIOS = ("aji", "pq", "dq", "sq", "dice")

shapes = st.tuples(st.integers(1, 9), st.integers(1, 9))


@st.composite
def label_pairs(draw: st.DrawFn) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    shape = draw(shapes)
    image = hnp.arrays(np.int64, shape, elements=st.integers(0, 6))
    return draw(image), draw(image)


def dense_scores(prediction: NDArray[np.int64], truth: NDArray[np.int64]) -> Scores:
    """The definitions of the paper's B.2, spelt out mask by mask."""
    truths = [truth == label for label in np.unique(truth) if label > 0]
    predictions = [prediction == label for label in np.unique(prediction) if label > 0]
    pairs = []
    for i, g in enumerate(truths):
        for j, p in enumerate(predictions):
            intersection, union = int((g & p).sum()), int((g | p).sum())
            if intersection:
                pairs.append((intersection / union, i, j, intersection, union))
    left_truths, left_predictions = dict(enumerate(truths)), dict(enumerate(predictions))
    top = bottom = 0
    ious = []
    for iou, i, j, intersection, union in sorted(pairs, key=lambda pair: -pair[0]):
        if i in left_truths and j in left_predictions:
            del left_truths[i], left_predictions[j]
            top, bottom = top + intersection, bottom + union
            ious += [iou] if iou > 0.5 else []
    bottom += sum(int(mask.sum()) for mask in left_truths.values())
    bottom += sum(int(mask.sum()) for mask in left_predictions.values())
    dq = len(ious) / (0.5 * len(truths) + 0.5 * len(predictions))
    sq = sum(ious) / len(ious) if ious else 0.0
    dice = 2 * ((truth > 0) & (prediction > 0)).sum() / ((truth > 0).sum() + (prediction > 0).sum())
    return Scores(top / bottom, dq * sq, dq, sq, dice, len(truths), len(predictions), len(ious))


def ratios(scores: Scores) -> list[float]:
    return [getattr(scores, name) for name in RATIOS]


@pytest.mark.parametrize("name", ["TCGA-21-5784-01Z-00-DX1", "TCGA-CH-5767-01Z-00-DX1"])
def test_reproduces_the_reference_values(name: str, monuseg_dev: Path, reference_dir: Path) -> None:
    expected = json.loads((reference_dir / "metrics_reference.json").read_text())[name]
    scores = evaluate(
        tifffile.imread(reference_dir / f"{name}_otsu_watershed.tif"),
        tifffile.imread(monuseg_dev / f"{name}_labels.tif"),
    )
    found = {
        "AJI": round(scores.aji, 4),
        "PQ": round(scores.pq, 4),
        "DQ": round(scores.dq, 4),
        "SQ": round(scores.sq, 4),
        "Dice": round(scores.dice, 4),
        "n_gt": scores.n_truth,
        "n_pred": scores.n_prediction,
    }
    assert found == expected


@settings(deadline=None, max_examples=150)
@given(label_pairs())
def test_agrees_with_the_definitions_mask_by_mask(
    pair: tuple[NDArray[np.int64], NDArray[np.int64]],
) -> None:
    prediction, truth = pair
    assume(prediction.any() and truth.any())
    scores, dense = evaluate(prediction, truth), dense_scores(prediction, truth)
    assert ratios(scores) == pytest.approx(ratios(dense), abs=1e-12)
    assert (scores.n_truth, scores.n_prediction, scores.true_positives) == (
        dense.n_truth,
        dense.n_prediction,
        dense.true_positives,
    )


@settings(deadline=None, max_examples=50)
@given(label_pairs())
def test_every_metric_is_a_share(pair: tuple[NDArray[np.int64], NDArray[np.int64]]) -> None:
    scores = evaluate(*pair)
    assert all(0 <= value <= 1 for value in ratios(scores))
    assert scores.true_positives <= min(scores.n_truth, scores.n_prediction)


@settings(deadline=None, max_examples=50)
@given(label_pairs())
def test_pq_and_dice_do_not_depend_on_which_image_is_the_truth(
    pair: tuple[NDArray[np.int64], NDArray[np.int64]],
) -> None:
    forth, back = evaluate(pair[0], pair[1]), evaluate(pair[1], pair[0])
    assert (forth.pq, forth.dice) == pytest.approx((back.pq, back.dice))


def test_a_prediction_equal_to_the_truth_is_perfect_whatever_its_numbers(
    synthetic: SyntheticImage,
) -> None:
    truth = synthetic.labels
    prediction = np.where(truth > 0, 2**40 - 977 * truth.astype(np.int64), 0)
    assert ratios(evaluate(prediction, truth)) == [1.0] * 5


def test_labels_up_to_the_largest_integers_do_not_overflow() -> None:
    top = np.iinfo(np.uint64).max
    truth = np.array([[top, top, top - 1, 0]], dtype=np.uint64)
    prediction = np.array([[top, top - 1, top - 1, 0]], dtype=np.uint64)
    scores = evaluate(prediction, truth)
    assert (scores.n_truth, scores.n_prediction) == (2, 2)
    assert scores.aji == pytest.approx(2 / 4)


def test_one_prediction_over_two_nuclei_is_matched_to_one_of_them_only() -> None:
    truth = np.array([[1, 1, 1, 1, 2, 2, 0, 0]])
    merged = np.array([[9, 9, 9, 9, 9, 9, 9, 9]])
    scores = evaluate(merged, truth)
    # Matched to nucleus 1: 4 of 8 pixels. Nucleus 2 stays unmatched and costs its 2.
    assert scores.aji == pytest.approx(4 / (8 + 2))


def test_the_pair_with_the_highest_iou_is_matched_first() -> None:
    #    IoU of 1 with 5: 4/7; of 2 with 5: 2/7; of 1 with 6: 1/5.
    truth = np.array([[1, 1, 1, 1, 1, 2, 2]])
    prediction = np.array([[6, 5, 5, 5, 5, 5, 5]])
    scores = evaluate(prediction, truth)
    assert scores.true_positives == 1
    assert scores.aji == pytest.approx(4 / (7 + 2 + 1))


def test_an_iou_of_exactly_one_half_is_no_true_positive() -> None:
    scores = evaluate(np.array([[1, 1]]), np.array([[1, 0]]))
    assert (scores.true_positives, scores.sq, scores.pq) == (0, 0.0, 0.0)
    assert scores.aji == 0.5


def test_two_empty_images_agree_perfectly() -> None:
    empty = np.zeros((3, 4), dtype=np.int32)
    assert evaluate(empty, empty) == Scores(1.0, 1.0, 1.0, 1.0, 1.0, 0, 0, 0)


def test_one_empty_image_scores_zero_and_keeps_the_counts() -> None:
    empty, two = np.zeros((1, 4), dtype=np.int32), np.array([[3, 3, 0, 8]])
    assert evaluate(empty, two) == Scores(0.0, 0.0, 0.0, 0.0, 0.0, 2, 0, 0)
    assert evaluate(two, empty) == Scores(0.0, 0.0, 0.0, 0.0, 0.0, 0, 2, 0)


def test_different_shapes_are_refused_with_both_sizes() -> None:
    with pytest.raises(SproutError, match="2 x 3 pixels and the reference 3 x 2"):
        evaluate(np.zeros((2, 3), int), np.zeros((3, 2), int))


@pytest.mark.parametrize("bad", [np.zeros((2, 2)), np.zeros((2, 2), bool), np.full((2, 2), -1)])
def test_arrays_that_hold_no_labels_are_refused(bad: NDArray[np.int64]) -> None:
    good = np.zeros((2, 2), dtype=np.int32)
    with pytest.raises(SproutError, match=r"The prediction (holds|has)"):
        evaluate(bad, good)
    with pytest.raises(SproutError, match=r"The reference (holds|has)"):
        evaluate(good, bad)


def test_the_mean_weighs_images_alike_and_adds_the_counts() -> None:
    one = Scores(0.2, 0.1, 0.4, 0.6, 0.8, 10, 12, 5)
    two = Scores(0.4, 0.3, 0.6, 0.8, 0.6, 1000, 900, 700)
    mean = mean_scores([one, two])
    assert ratios(mean) == pytest.approx([0.3, 0.2, 0.5, 0.7, 0.7])
    assert (mean.n_truth, mean.n_prediction, mean.true_positives) == (1010, 912, 705)


def test_a_mean_over_no_image_is_refused() -> None:
    with pytest.raises(SproutError, match="at least one"):
        mean_scores([])

"""How well a label image agrees with a reference: AJI, PQ, DQ, SQ and Dice (paper B.2).

One greedy one-to-one matching serves every instance metric: of all pairs that
share a pixel, the pair with the highest IoU is matched first, and neither of
its nuclei can be matched again. AJI sums over every matched pair, however
small its IoU; PQ, DQ and SQ count only matched pairs with IoU > 0.5. This AJI
differs from that of Kumar et al. (2017), in which one prediction may serve as
the best match of several reference nuclei.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ..errors import SproutError

MATCH_IOU = 0.5
"""A matched pair is a true positive when its IoU is greater than this."""


@dataclass(frozen=True)
class Scores:
    """Agreement of one prediction with its reference, or the mean over several images.

    Attributes
    ----------
    aji
        Aggregated Jaccard index, 0 to 1.
    pq
        Panoptic quality, ``dq * sq``, 0 to 1.
    dq
        Detection quality: the F1 score of matches with IoU > 0.5, 0 to 1.
    sq
        Segmentation quality: the mean IoU of those matches, 0 or above 0.5 to 1.
    dice
        Overlap of all foreground with all foreground, regardless of instances, 0 to 1.
    n_truth
        Nuclei in the reference.
    n_prediction
        Nuclei in the prediction.
    true_positives
        Matched pairs with IoU > 0.5.
    """

    aji: float
    pq: float
    dq: float
    sq: float
    dice: float
    n_truth: int
    n_prediction: int
    true_positives: int


@dataclass(frozen=True, eq=False)
class _Overlaps:
    """Every pair of nuclei that shares a pixel; positions index the two area arrays."""

    truth_areas: NDArray[np.int64]
    prediction_areas: NDArray[np.int64]
    truth: NDArray[np.int64]
    prediction: NDArray[np.int64]
    intersection: NDArray[np.int64]
    union: NDArray[np.int64]

    def take(self, rows: NDArray[np.intp]) -> _Overlaps:
        """Return the same nuclei with only the given pairs."""
        return _Overlaps(
            self.truth_areas,
            self.prediction_areas,
            self.truth[rows],
            self.prediction[rows],
            self.intersection[rows],
            self.union[rows],
        )

    @property
    def iou(self) -> NDArray[np.float64]:
        """Intersection over union of each pair."""
        return self.intersection / self.union


def evaluate(prediction: NDArray[Any], truth: NDArray[Any]) -> Scores:
    """Score a predicted label image against a reference (paper B.2).

    Two empty images agree perfectly: every metric is 1. If only one is empty,
    every metric is 0. SQ, a mean over matches, is 0 where nothing matched.

    Parameters
    ----------
    prediction, truth
        Integer arrays of the same shape, usually (H, W): 0 is background, and
        every other value one nucleus. Labels need not be contiguous.

    Returns
    -------
    Scores
        Ratios from 0 to 1, and counts.

    Raises
    ------
    SproutError
        If the shapes differ, or an array does not hold whole numbers from 0 up.
    """
    prediction = _checked(prediction, "The prediction")
    truth = _checked(truth, "The reference")
    if prediction.shape != truth.shape:
        raise SproutError(
            f"The prediction is {_size(prediction)} pixels and the reference {_size(truth)}; "
            "give two label images of the same region at the same scale."
        )
    overlaps = _overlaps(prediction, truth)
    n_truth, n_prediction = overlaps.truth_areas.size, overlaps.prediction_areas.size
    if n_truth == 0 and n_prediction == 0:
        return Scores(1.0, 1.0, 1.0, 1.0, 1.0, 0, 0, 0)
    if n_truth == 0 or n_prediction == 0:
        return Scores(0.0, 0.0, 0.0, 0.0, 0.0, n_truth, n_prediction, 0)
    matched = _match(overlaps)
    ious = matched.iou[matched.iou > MATCH_IOU]
    dq = 2 * ious.size / (n_truth + n_prediction)
    sq = float(ious.mean()) if ious.size else 0.0
    return Scores(
        aji=_aji(matched),
        pq=dq * sq,
        dq=dq,
        sq=sq,
        dice=_dice(overlaps),
        n_truth=n_truth,
        n_prediction=n_prediction,
        true_positives=int(ious.size),
    )


def mean_scores(scores: Sequence[Scores]) -> Scores:
    """Average the metrics over images, each image counting the same (paper B.2).

    PQ is averaged too, so the mean PQ is not the product of the mean DQ and
    the mean SQ. The three counts are totals.

    Parameters
    ----------
    scores
        One entry an image.

    Raises
    ------
    SproutError
        If there is no image.
    """
    if not scores:
        raise SproutError("There is no image to average over; evaluate at least one.")

    def mean(name: str) -> float:
        return float(np.mean([getattr(score, name) for score in scores]))

    return Scores(
        aji=mean("aji"),
        pq=mean("pq"),
        dq=mean("dq"),
        sq=mean("sq"),
        dice=mean("dice"),
        n_truth=sum(score.n_truth for score in scores),
        n_prediction=sum(score.n_prediction for score in scores),
        true_positives=sum(score.true_positives for score in scores),
    )


def _checked(labels: NDArray[Any], who: str) -> NDArray[Any]:
    labels = np.asarray(labels)
    if not np.issubdtype(labels.dtype, np.integer):
        raise SproutError(
            f"{who} holds {labels.dtype} values, not whole numbers; "
            "give a label image in which every nucleus has its own number."
        )
    if labels.size and labels.min() < 0:
        raise SproutError(f"{who} has negative labels; background is 0 and nuclei are 1 or more.")
    return labels


def _size(labels: NDArray[Any]) -> str:
    return " x ".join(str(side) for side in labels.shape)


def _overlaps(prediction: NDArray[Any], truth: NDArray[Any]) -> _Overlaps:
    truth_ids, truth_areas = np.unique(truth[truth > 0], return_counts=True)
    prediction_ids, prediction_areas = np.unique(prediction[prediction > 0], return_counts=True)
    # Positions instead of labels, so that the pair codes cannot overflow.
    both = (truth > 0) & (prediction > 0)
    rows = np.searchsorted(truth_ids, truth[both])
    columns = np.searchsorted(prediction_ids, prediction[both])
    width = max(prediction_ids.size, 1)
    codes, intersection = np.unique(rows.astype(np.int64) * width + columns, return_counts=True)
    row, column = np.divmod(codes, width)
    union = truth_areas[row] + prediction_areas[column] - intersection
    return _Overlaps(truth_areas, prediction_areas, row, column, intersection, union)


def _match(overlaps: _Overlaps) -> _Overlaps:
    """Match greedily, highest IoU first; ties go to the lower labels."""
    truth_free = np.ones(overlaps.truth_areas.size, dtype=bool)
    prediction_free = np.ones(overlaps.prediction_areas.size, dtype=bool)
    kept: list[int] = []
    for pair in np.argsort(-overlaps.iou, kind="stable"):
        truth, prediction = overlaps.truth[pair], overlaps.prediction[pair]
        if truth_free[truth] and prediction_free[prediction]:
            truth_free[truth] = prediction_free[prediction] = False
            kept.append(int(pair))
    return overlaps.take(np.array(kept, dtype=np.intp))


def _aji(matched: _Overlaps) -> float:
    truth_left = matched.truth_areas.sum() - matched.truth_areas[matched.truth].sum()
    prediction_left = (
        matched.prediction_areas.sum() - matched.prediction_areas[matched.prediction].sum()
    )
    denominator = matched.union.sum() + truth_left + prediction_left
    return float(matched.intersection.sum() / denominator)


def _dice(overlaps: _Overlaps) -> float:
    foreground = overlaps.truth_areas.sum() + overlaps.prediction_areas.sum()
    return float(2 * overlaps.intersection.sum() / foreground)

from __future__ import annotations

import math
from typing import Any

import numpy as np
import pytest
import torch
from segment_anything.utils.amg import calculate_stability_score
from torch.nn import functional

from fakes import FakeSegmenter
from napari_sprout.core.correction import Correction
from napari_sprout.core.edits import ChooseAnswer, PaintNucleus
from napari_sprout.core.masks import stability
from napari_sprout.core.review import review_rows
from napari_sprout.core.session import Session

RADIUS = FakeSegmenter().radius


def test_it_is_that_of_segment_anything() -> None:
    generator = torch.Generator().manual_seed(0)
    noise = torch.randn(5, 1, 8, 8, generator=generator) * 4
    logits = functional.interpolate(noise, (64, 64), mode="bilinear")[:, 0]
    found = stability(logits)
    assert found.tolist() == pytest.approx(calculate_stability_score(logits, 0.0, 1.0).tolist())
    assert 0 < found.min() < found.max() < 1


def test_an_answer_with_nothing_in_it_has_none() -> None:
    assert math.isnan(stability(torch.full((1, 8, 8), -5.0)).item())


@pytest.fixture
def correction(make_session: Any) -> Correction:
    session: Session = make_session()[0]
    session.finish()
    return Correction(session)


def test_every_nucleus_of_a_run_has_it_and_so_has_its_row(correction: Correction) -> None:
    nuclei = {nucleus.id: nucleus for nucleus in correction.session.nuclei}
    assert len(nuclei) > 3
    # The fake's disks: one logit a pixel from their edge.
    whole = ((RADIUS - 1) / (RADIUS + 1)) ** 2
    values = np.array([nucleus.stability for nucleus in nuclei.values()])
    assert ((values > 0) & (values < 1)).all()
    assert np.median(values) == pytest.approx(whole, abs=0.02)
    rows = review_rows(correction)
    assert {row.id: row.stability for row in rows} == {
        ident: nucleus.stability for ident, nucleus in nuclei.items()
    }


def test_another_answer_has_its_own_and_a_mask_drawn_by_hand_none(correction: Correction) -> None:
    first, second = sorted(correction.areas)[:2]
    (before,) = correction.measure([first])
    correction.apply(ChooseAnswer(first, 1))
    (after,) = correction.measure([first])
    # A smaller disk has more of its pixels near its edge.
    assert after.stability < before.stability - 0.02
    box = correction.candidates[second].box
    mask = np.ones((box[2] - box[0], box[3] - box[1]), bool)
    correction.apply(PaintNucleus(second, box, mask))
    (drawn,) = correction.measure([second])
    assert math.isnan(drawn.stability)
    correction.undo()
    correction.undo()
    assert correction.measure([first]) == (before,)

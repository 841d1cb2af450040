from __future__ import annotations

import cv2
import numpy as np
import pytest

from napari_sprout.core.correction import Correction
from napari_sprout.core.edits import (
    AddPrompt,
    LockNuclei,
    MovePrompt,
    PaintNucleus,
    PaintReference,
    RemoveNuclei,
)
from napari_sprout.core.instances import Prompt
from napari_sprout.core.resolve import resolve_around
from napari_sprout.core.stages import Stage
from napari_sprout.core.transaction import Transaction

SCALES = {0.5: 0.5, 0.125: 2.0, 0.31: 0.8}


@pytest.fixture(scope="module", params=SCALES, ids=lambda mpp: f"{mpp} um")
def session(request, crowd, make_run):
    """The crowd as a microscope of another pixel size would show it."""
    height, width = crowd.rgb.shape[:2]
    factor = SCALES[request.param]
    size = (round(width * factor), round(height * factor))
    image = cv2.resize(crowd.rgb, size, interpolation=cv2.INTER_AREA)
    return make_run(image, mpp=request.param)


@pytest.fixture
def scaled(session):
    return Correction(session)


def test_labels_and_masks_are_on_the_images_own_grid(session, scaled):
    assert scaled.labels.shape == session.image.shape[:2]
    np.testing.assert_array_equal(scaled.labels, session.labels)
    for ident, mask in scaled.candidates.items():
        y0, x0, y1, x1 = mask.box
        inside = np.zeros(scaled.labels.shape, bool)
        inside[y0:y1, x0:x1] = mask.mask
        assert (inside | (scaled.labels != ident)).all()
    for ident in scaled.areas:
        prompt = scaled.prompts[ident]
        y, x = (round(v) for v in (prompt.y, prompt.x))
        y0, x0, y1, x1 = scaled.candidates[ident].box
        assert y0 - 2 <= y < y1 + 2
        assert x0 - 2 <= x < x1 + 2


def test_a_nucleus_follows_its_point_by_the_same_distance(session, scaled):
    ident = max(scaled.areas, key=scaled.areas.get)
    height, width = scaled.labels.shape
    y, x = 0.5 * height, 0.5 * width
    scaled.apply(MovePrompt(ident, y, x))
    y0, x0, y1, x1 = scaled.candidates[ident].box
    margin = 2 + 2 * session.output(Stage.IMAGE).scale.mpp / session.mpp
    assert y0 - margin < y < y1 + margin
    assert x0 - margin < x < x1 + margin
    assert scaled.labels[round(y), round(x)] == ident


def test_drawn_pixels_are_exact_whatever_the_scale_and_survive_a_run(
    make_run, crowd, session, changed, run
):
    own = Correction(make_run(session.image, mpp=session.mpp))
    rng = np.random.default_rng(3)
    mask = rng.random((13, 17)) < 0.6
    ident, single = own.new_id(), own.new_id()
    own.apply(PaintNucleus(ident, (20, 30, 33, 47), mask))
    own.apply(PaintNucleus(single, (3, 3, 4, 4), np.ones((1, 1), bool)))
    locked = next(i for i in own.areas if i not in (ident, single))
    own.apply(LockNuclei((locked,), True))
    held = own.labels == locked
    for change in ({"suppression": {"sigma": 0.1}}, {"image": {"mpp": 0.28}}):
        np.testing.assert_array_equal(own.labels[20:33, 30:47] == ident, mask)
        assert own.areas[ident] == mask.sum()
        assert own.areas[single] == 1
        np.testing.assert_array_equal(own.labels == locked, held)
        own.apply(changed(own, **change))
        run(own)
    np.testing.assert_array_equal(own.labels[20:33, 30:47] == ident, mask)


def test_edits_are_undone_exactly(scaled, everything):
    start = everything(scaled)
    ident = max(scaled.areas, key=scaled.areas.get)
    height, width = scaled.labels.shape
    scaled.apply(MovePrompt(ident, 0.4 * height, 0.6 * width))
    new = scaled.new_id()
    scaled.apply(AddPrompt(Prompt(new, "positive", 0.7 * height, 0.2 * width, "hand")))
    scaled.apply(RemoveNuclei((ident,)))
    while scaled.undo() is not None:
        pass
    assert everything(scaled) == start


def test_settling_anew_what_has_not_changed_changes_nothing(scaled, everything):
    start = everything(scaled)
    for ident in sorted(scaled.state.full):
        edit = Transaction(scaled.state)
        edit.changed[ident] = scaled.state.full[ident]
        resolve_around(edit)
        assert not len(edit.finish().places)
    assert everything(scaled) == start


def test_measurements_are_in_the_images_own_pixels(session, scaled):
    assert scaled.measure() == session.nuclei
    ids = sorted(scaled.areas)[:3]
    for alone, row in zip(scaled.measure(ids), scaled.measure()[:3], strict=True):
        assert alone.id == row.id
        assert alone.area == row.area == scaled.areas[row.id]
        assert (alone.y, alone.x) == pytest.approx((row.y, row.x))
        assert alone.perimeter == pytest.approx(row.perimeter)
        assert alone.haematoxylin == pytest.approx(row.haematoxylin)


def test_a_drawing_of_the_reference_is_brought_to_the_working_grid(make_run, session):
    own = make_run(session.image, mpp=session.mpp)
    height, width = session.image.shape[:2]
    box = (0, 0, height, width // 2)
    mask = np.zeros((height, width // 2), bool)
    Correction(own).apply(PaintReference("foreground", box, mask))
    reference = own.finish(Stage.REFERENCE)
    half = reference.sure_foreground.shape[1] * (width // 2) / width
    assert not reference.sure_foreground[:, : int(half) - 1].any()
    before = session.output(Stage.REFERENCE).sure_foreground
    np.testing.assert_array_equal(
        reference.sure_foreground[:, int(half) + 2 :], before[:, int(half) + 2 :]
    )

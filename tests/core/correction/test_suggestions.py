from __future__ import annotations

import numpy as np
import pytest

from napari_sprout.core.correction import Correction
from napari_sprout.core.edits import AddPrompt, DeletePrompts, MovePrompt
from napari_sprout.core.instances import Prompt
from napari_sprout.core.redecode import suggestion

RADIUS = 12.0
"""Working pixels: 3 um at 0.25 um/px."""


@pytest.fixture
def alone(correction):
    """A correction without any positive point."""
    positive = [i for i, p in correction.prompts.items() if p.kind == "positive"]
    correction.apply(DeletePrompts(tuple(positive)))
    return correction


def put(correction, y, x):
    ident = correction.new_id()
    correction.apply(AddPrompt(Prompt(ident, "positive", y, x, "hand")))
    return ident


def drawn(correction, ident):
    box, mask = suggestion(correction.state, ident)
    image = np.zeros(correction.labels.shape, bool)
    image[box[0] : box[2], box[1] : box[3]] = mask
    return image


def disk(correction, y, x):
    rows, columns = np.indices(correction.labels.shape)
    return np.hypot(rows - y, columns - x) <= RADIUS


def test_a_point_by_hand_suggests_a_disk_around_it(alone):
    ident = put(alone, 80.25, 90.5)
    np.testing.assert_array_equal(drawn(alone, ident), disk(alone, 80.25, 90.5))


@pytest.mark.parametrize(("y", "x"), [(0, 0), (-0.5, 191.4), (159.4, 3), (100, 191)])
def test_the_disk_ends_with_the_image(alone, y, x):
    ident = put(alone, y, x)
    np.testing.assert_array_equal(drawn(alone, ident), disk(alone, y, x))


def test_it_is_cut_halfway_to_other_points(alone):
    first, second = put(alone, 80.0, 90.0), put(alone, 80.0, 100.0)
    put(alone, 80.0, 90.0 + 2 * RADIUS + 1)
    columns = np.indices(alone.labels.shape)[1]
    left, right = drawn(alone, first), drawn(alone, second)
    np.testing.assert_array_equal(left, disk(alone, 80, 90) & (columns <= 95))
    assert right[80, 100]
    assert right[:, :95].sum() == 0
    # Points on each other do not cut each other away.
    twin = put(alone, 80.0, 90.0)
    np.testing.assert_array_equal(drawn(alone, twin), left)


def test_the_region_that_proposed_a_point_is_suggested_until_the_point_is_moved(correction):
    ident = max(correction.areas, key=correction.areas.get)
    prompt = correction.prompts[ident]
    assert suggestion(correction.state, ident) is None
    correction.apply(MovePrompt(ident, prompt.y + 1, prompt.x))
    assert suggestion(correction.state, ident) is not None


def test_no_radius_no_suggestion(make_run):
    correction = Correction(make_run(decoding={"hand_radius": 0.0}))
    assert suggestion(correction.state, put(correction, 80.0, 90.0)) is None


def test_sam_is_shown_what_is_suggested(make_run, monkeypatch):
    session = make_run()
    correction = Correction(session)
    fake = session.context().segmenter()
    asked = []
    decode = fake.decode

    def spy(embedding, prompts, side):
        asked.append(prompts)
        return decode(embedding, prompts, side)

    monkeypatch.setattr(fake, "decode", spy)
    ident = put(correction, 80.0, 90.0)
    (batch,) = asked
    assert batch.masks is not None
    strength = session.settings.decoding.mask_strength
    inside = float((batch.masks[0] > 0).sum()) * (128 / 64 / 4) ** 2
    assert inside == pytest.approx(drawn(correction, ident).sum(), rel=0.1)
    assert float(batch.masks.max()) == pytest.approx(strength)
    assert float(batch.masks.min()) == pytest.approx(-strength)
    negatives = correction.state.served[ident].negatives
    assert batch.points.shape == (1, 1 + len(negatives), 2)
    assert batch.labels.tolist() == [[1, *[0] * len(negatives)]]

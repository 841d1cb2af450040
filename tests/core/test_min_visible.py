from __future__ import annotations

import numpy as np
import pytest

from napari_sprout.core.instances import Candidate
from napari_sprout.core.labels import assemble


@pytest.mark.parametrize(("share", "labels"), [(0.0, {1, 2}), (0.5, {1})])
def test_the_rim_that_a_better_mask_leaves_of_a_nucleus_is_no_nucleus(share, labels):
    inner = Candidate(1, (5, 5, 25, 25), np.ones((20, 20), bool), 0.9, 0.5)
    outer = Candidate(2, (3, 3, 27, 27), np.ones((24, 24), bool), 0.8, 0.5)
    by_id = {1: inner, 2: outer}
    made, dropped = assemble(by_id, [(1, 1.4), (2, 1.3)], (30, 30), min_visible=share)
    assert set(np.unique(made)) - {0} == labels
    assert dropped == sorted({1, 2} - labels)


def test_a_nucleus_that_a_person_chose_stays_however_little_of_it_shows():
    inner = Candidate(1, (5, 5, 25, 25), np.ones((20, 20), bool), 0.9, 0.5)
    outer = Candidate(2, (3, 3, 27, 27), np.ones((24, 24), bool), 0.8, 0.5)
    chosen = frozenset({1, 2})
    made, _ = assemble({1: inner, 2: outer}, [(1, 2.0), (2, 1.0)], (30, 30), 1, chosen, 0.5)
    assert set(np.unique(made)) == {0, 1, 2}

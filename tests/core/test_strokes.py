from __future__ import annotations

import time
from dataclasses import replace
from typing import Any

import numpy as np
import pytest

from napari_sprout.core.edits import PaintReference
from napari_sprout.core.stages import Stage


def stroke(seed: int, side: int = 60) -> PaintReference:
    rng = np.random.default_rng(seed)
    return PaintReference("foreground", (0, 0, side, side), rng.random((side, side)) < 0.05)


def seconds(session: Any, times: int = 1) -> float:
    begin = time.perf_counter()
    for _ in range(times):
        session.is_current(Stage.NUCLEI)
    return time.perf_counter() - begin


def test_many_strokes_cost_time_once_and_not_at_every_look(make_session: Any) -> None:
    session, _ = make_session()
    strokes = tuple(stroke(seed, 120) for seed in range(200))
    session.painted = strokes
    first = seconds(session)
    assert seconds(session, 30) < first
    # One more stroke: those before it are known.
    session.painted = (*strokes, stroke(1000, 120))
    assert seconds(session) < first / 2


@pytest.mark.parametrize(
    "changes",
    [
        {"which": "background"},
        {"box": (1, 0, 61, 60)},
        {"mask": stroke(2).mask},
        {"box": (0, 0, 30, 120), "mask": stroke(1).mask.reshape(30, 120)},
    ],
)
def test_strokes_that_differ_in_anything_outdate_the_reference(
    make_session: Any, changes: dict[str, Any]
) -> None:
    session, _ = make_session()
    session.painted = (stroke(1),)
    session.finish(Stage.REFERENCE)
    assert session.is_current(Stage.REFERENCE)
    session.painted = (replace(stroke(1), **changes),)
    assert not session.is_current(Stage.REFERENCE)
    assert session.is_current(Stage.STAIN)
    session.painted = (stroke(1), stroke(3))
    assert not session.is_current(Stage.REFERENCE)
    # The same stroke drawn again is the same stroke.
    session.painted = (stroke(1),)
    assert session.is_current(Stage.REFERENCE)
    session.painted = ()
    assert not session.is_current(Stage.REFERENCE)

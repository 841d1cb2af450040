from __future__ import annotations

import copy
import json
from typing import get_args

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import array_shapes, arrays

from napari_sprout.core.edits import (
    AddPrompt,
    ChangeSettings,
    ChooseAnswer,
    DeletePrompts,
    Edit,
    LockNuclei,
    MergeNuclei,
    MovePrompt,
    OpenNuclei,
    PaintNucleus,
    PaintReference,
    RefineNuclei,
    RemoveNuclei,
    RestoreCandidate,
    SplitNucleus,
    edit_from_json,
    edit_to_json,
)
from napari_sprout.core.instances import Prompt
from napari_sprout.core.settings import Settings
from napari_sprout.errors import SproutError

MASK = np.array([[0, 1, 1], [1, 0, 1]], bool)
EDITS: list[Edit] = [
    AddPrompt(Prompt(7, "positive", 1 / 3, 2e-17, "hand")),
    AddPrompt(Prompt(8, "negative", -0.5, 4.0, "hand")),
    MovePrompt(3, 0.1 + 0.2, 1e5),
    DeletePrompts((1, 2, 3)),
    PaintNucleus(4, (5, 6, 7, 9), MASK),
    PaintNucleus(4, (0, 0, 0, 0), np.zeros((0, 0), bool)),
    MergeNuclei((2, 5), 5),
    SplitNucleus(2, ((2, (0, 0, 2, 3), MASK), (9, (1, 1, 3, 4), ~MASK))),
    RemoveNuclei((11,)),
    LockNuclei((1, 4), False),
    RestoreCandidate(12),
    ChooseAnswer(3, 2),
    ChangeSettings(Settings().to_dict()),
    PaintReference("background", (0, 0, 2, 3), MASK),
    OpenNuclei(((3, (0, 0, 2, 3), MASK), (2_000_000_000, (4, 4, 6, 7), ~MASK))),
    OpenNuclei(()),
    RefineNuclei((3, 1)),
]


def through_text(edit: Edit) -> Edit:
    return edit_from_json(json.loads(json.dumps(edit_to_json(edit), allow_nan=False)))


def alike(a: object, b: object) -> bool:
    if isinstance(a, np.ndarray):
        return isinstance(b, np.ndarray) and a.dtype == b.dtype and np.array_equal(a, b)
    if isinstance(a, tuple):
        return isinstance(b, tuple) and len(a) == len(b) and all(map(alike, a, b))
    return type(a) is type(b) and a == b


def test_every_kind_of_edit_is_among_the_examples():
    assert {type(edit) for edit in EDITS} == set(get_args(Edit))


@pytest.mark.parametrize("edit", EDITS, ids=lambda edit: type(edit).__name__)
def test_an_edit_survives_being_written_as_json(edit):
    again = through_text(edit)
    assert type(again) is type(edit)
    assert vars(again).keys() == vars(edit).keys()
    assert all(alike(vars(edit)[name], vars(again)[name]) for name in vars(edit))


@settings(deadline=None, max_examples=60)
@given(arrays(bool, array_shapes(min_dims=2, max_dims=2, min_side=0, max_side=12)))
def test_masks_survive_exactly(mask):
    box = (3, 4, 3 + mask.shape[0], 4 + mask.shape[1])
    again = through_text(PaintNucleus(1, box, mask))
    assert isinstance(again, PaintNucleus)
    assert again.box == box
    assert alike(again.mask, mask)


def test_a_large_mask_takes_little_text():
    mask = np.zeros((1000, 1000), bool)
    mask[200:800, 300:700] = True
    assert len(json.dumps(edit_to_json(PaintNucleus(1, (0, 0, 1000, 1000), mask)))) < 10_000


def test_numbers_of_numpy_are_written_as_plain_numbers():
    edit = MovePrompt(np.int64(3), np.float32(0.5), np.float64(2))  # type: ignore[arg-type]
    assert through_text(edit) == MovePrompt(3, 0.5, 2.0)


@st.composite
def damaged(draw: st.DrawFn) -> tuple[str, object]:
    edit = draw(st.sampled_from(EDITS))
    values = copy.deepcopy(edit_to_json(edit))
    name = draw(st.sampled_from(sorted(values)))
    junk = st.sampled_from(
        [None, "x", [], [1], {}, {"shape": [2, 3], "runs": [7]}, -1.5, [[1, [0, 0, 1, 1], {}]]]
    )
    if draw(st.booleans()):
        del values[name]
    else:
        values[name] = draw(junk)
    return name, values


@settings(deadline=None, max_examples=150)
@given(damaged())
def test_a_damaged_edit_is_refused_or_read_whole(case):
    _, values = case
    try:
        edit = edit_from_json(values)
    except SproutError:
        return
    assert edit_to_json(edit) == values


@pytest.mark.parametrize(
    ("values", "word"),
    [
        ({"kind": "Levitate", "id": 1}, "Levitate"),
        ({"id": 1}, "kind"),
        ([1, 2], "kind"),
        ({"kind": "MovePrompt", "id": 1, "y": 1.0}, "x"),
        ({"kind": "MovePrompt", "id": 1, "y": 1.0, "x": 2.0, "z": 3.0}, "z"),
        ({"kind": "MovePrompt", "id": 1, "y": float("nan"), "x": 2.0}, "y"),
        ({"kind": "MovePrompt", "id": True, "y": 1.0, "x": 2.0}, "id"),
        ({"kind": "LockNuclei", "ids": [1], "locked": 1}, "locked"),
        ({"kind": "PaintReference", "which": "sky", "box": [0, 0, 0, 0], "mask": {}}, "which"),
    ],
)
def test_the_sentence_says_what_is_wrong(values, word):
    with pytest.raises(SproutError, match=word):
        edit_from_json(values)


@pytest.mark.parametrize("runs", [[6], [0, 6], [1, 2, 3], [-1, 7], [7], [2, 3], [1.0, 5]])
def test_runs_must_fill_the_shape(runs):
    values = edit_to_json(PaintNucleus(4, (5, 6, 7, 9), MASK))
    values["mask"] = {"shape": [2, 3], "runs": runs}
    if sum(runs) == 6 and all(isinstance(run, int) and run >= 0 for run in runs):
        assert edit_to_json(edit_from_json(values))["mask"]["shape"] == [2, 3]
    else:
        with pytest.raises(SproutError, match="mask"):
            edit_from_json(values)


def test_a_mask_must_fit_its_box():
    values = edit_to_json(PaintNucleus(4, (5, 6, 7, 9), MASK))
    values["box"] = [5, 6, 8, 9]
    with pytest.raises(SproutError, match="box"):
        edit_from_json(values)
    split = edit_to_json(SplitNucleus(2, ((2, (0, 0, 2, 3), MASK), (9, (0, 3, 2, 6), MASK))))
    split["pieces"][1][1] = [0, 3, 2, 7]
    with pytest.raises(SproutError, match="pieces"):
        edit_from_json(split)

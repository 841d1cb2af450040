from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any, get_args

import numpy as np
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from napari_sprout.core.correction import Change, Correction
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
    RefineNuclei,
    RemoveNuclei,
    RestoreCandidate,
    SplitNucleus,
    edit_from_json,
    edit_to_json,
)
from napari_sprout.core.instances import Candidate, Prompt
from napari_sprout.core.pieces import pieces_of
from napari_sprout.errors import SproutError

Rng = np.random.Generator
EVERY = settings(
    deadline=None,
    max_examples=25,
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow],
)


def some(rng: Rng, values: Any, count: int = 1) -> tuple[int, ...]:
    values = sorted(values)
    if not values or rng.random() < 0.05:
        return (987_654,)
    return tuple(int(v) for v in rng.choice(values, min(count, len(values)), replace=False))


def place(rng: Rng, correction: Correction) -> tuple[float, float]:
    height, width = correction.labels.shape
    return float(rng.uniform(-2, height + 1)), float(rng.uniform(-2, width + 1))


def blob(rng: Rng, correction: Correction) -> tuple[tuple[int, int, int, int], Any]:
    height, width = correction.labels.shape
    y, x = int(rng.integers(0, height - 4)), int(rng.integers(0, width - 4))
    h, w = int(rng.integers(1, 24)), int(rng.integers(1, 24))
    box = (y, x, min(y + h, height), min(x + w, width))
    return box, rng.random((box[2] - y, box[3] - x)) < rng.choice([0.0, 0.5, 0.9, 1.0])


def add(rng: Rng, correction: Correction) -> Edit:
    kind = "positive" if rng.random() < 0.6 else "negative"
    ident = correction.new_id() if rng.random() < 0.9 else some(rng, correction.prompts)[0]
    return AddPrompt(Prompt(ident, kind, *place(rng, correction), "hand"))


def paste(rng: Rng, correction: Correction) -> Edit:
    copied = correction.prompts.get(some(rng, correction.prompts)[0])
    if copied is None:
        return add(rng, correction)
    return AddPrompt(Prompt(correction.new_id(), copied.kind, copied.y, copied.x, "hand"))


def drag(rng: Rng, correction: Correction) -> Edit:
    ident = some(rng, correction.prompts)[0]
    prompt = correction.prompts.get(ident)
    if prompt is None or rng.random() < 0.3:
        return MovePrompt(ident, *place(rng, correction))
    return MovePrompt(ident, prompt.y + rng.normal(0, 6), prompt.x + rng.normal(0, 6))


def delete(rng: Rng, correction: Correction) -> Edit:
    return DeletePrompts(some(rng, correction.prompts, int(rng.integers(1, 4))))


def paint(rng: Rng, correction: Correction) -> Edit:
    ident = some(rng, correction.areas)[0] if rng.random() < 0.6 else correction.new_id()
    return PaintNucleus(ident, *blob(rng, correction))


def merge(rng: Rng, correction: Correction) -> Edit:
    ids = some(rng, correction.areas, int(rng.integers(1, 4)))
    return MergeNuclei(ids, ids[-1])


def split(rng: Rng, correction: Correction) -> Edit:
    ident = some(rng, correction.areas)[0]
    rows, columns = np.nonzero(correction.labels == ident)
    if not len(rows):
        return SplitNucleus(ident, ())
    box = (int(rows.min()), int(columns.min()), int(rows.max()) + 1, int(columns.max()) + 1)
    mask = correction.labels[box[0] : box[2], box[1] : box[3]] == ident
    cut = int(rng.integers(0, mask.shape[1] + 1))
    left = mask.copy()
    left[:, cut:] = False
    return SplitNucleus(ident, ((ident, box, left), (correction.new_id(), box, mask & ~left)))


def remove(rng: Rng, correction: Correction) -> Edit:
    return RemoveNuclei(some(rng, correction.areas, int(rng.integers(1, 3))))


def lock(rng: Rng, correction: Correction) -> Edit:
    return LockNuclei(some(rng, correction.areas, 2), bool(rng.random() < 0.7))


def restore(rng: Rng, correction: Correction) -> Edit:
    return RestoreCandidate(some(rng, set(correction.candidates) - set(correction.areas))[0])


def choose(rng: Rng, correction: Correction) -> Edit:
    return ChooseAnswer(some(rng, correction.prompts)[0], int(rng.integers(0, 5)))


def refine(rng: Rng, correction: Correction) -> Edit:
    return RefineNuclei(some(rng, correction.pinned, 3))


MAKERS = (add, paste, drag, delete, paint, merge, split, remove, lock, restore, choose, refine)
Steps = list[tuple[Callable[[Rng, Correction], Edit] | str, int]]
steps = st.lists(
    st.tuples(st.sampled_from([*MAKERS, drag, drag, "undo", "redo"]), st.integers(0, 2**32 - 1)),
    min_size=1,
    max_size=14,
)


def whole(mask: Candidate, shape: tuple[int, ...]) -> np.ndarray:
    image = np.zeros(shape, bool)
    y0, x0, y1, x1 = mask.box
    image[y0:y1, x0:x1] = mask.mask
    return image


def check_consistent(correction: Correction) -> None:
    labels, state = correction.labels, correction.state
    ids, counts = np.unique(labels[labels > 0], return_counts=True)
    assert dict(zip(ids.tolist(), counts.tolist(), strict=True)) == dict(correction.areas)
    assert set(correction.areas) == set(correction.candidates) - set(correction.suppressed)
    assert set(state.masks) == set(state.full) == set(state.scores)
    assert set(state.rejected) <= set(state.masks)
    assert state.served.keys() == {i for i, p in state.prompts.items() if p.kind == "positive"}
    for served in state.served.values():
        assert all(state.prompts[n].kind == "negative" for n in served.negatives)
    for fixed in (state.pins, state.locks):
        for ident, mask in fixed.items():
            if ident in state.locks and fixed is state.pins:
                continue
            np.testing.assert_array_equal(whole(mask, labels.shape), labels == ident)
    for ident in ids:
        assert (whole(state.full[ident], labels.shape) | (labels != ident)).all()


def check_local(
    change: Change, before: np.ndarray, masks: dict[int, Candidate], correction: Correction
) -> None:
    labels = correction.labels
    differs = before != labels
    assert change.ids == set(np.unique(np.stack([before, labels])[:, differs])) - {0}
    if change.box is None:
        assert not differs.any()
    else:
        y0, x0, y1, x1 = change.box
        inside = differs[y0:y1, x0:x1]
        assert inside.sum() == differs.sum()
        assert inside[[0, -1]].any(1).all()
        assert inside[:, [0, -1]].any(0).all()
    touched = np.zeros(labels.shape, bool)
    for ident in masks.keys() | correction.candidates.keys():
        old, new = masks.get(ident), correction.candidates.get(ident)
        if old is not new:
            for mask in (old, new):
                touched |= False if mask is None else whole(mask, labels.shape)
    for ident in change.ids:
        reached = [m for m in (masks.get(ident), correction.candidates.get(ident)) if m]
        assert any((whole(mask, labels.shape) & touched).any() for mask in reached)


def do(correction: Correction, maker: Any, seed: int, everything: Any) -> Edit | str | None:
    """Take one step and check all that must hold; return what can be replayed."""
    full = everything(correction)
    before, masks = correction.labels.copy(), dict(correction.candidates)
    locked = {ident: before == ident for ident in correction.locked}
    if isinstance(maker, str):
        possible = correction.can_undo if maker == "undo" else correction.can_redo
        change = correction.undo() if maker == "undo" else correction.redo()
        assert (change is not None) == possible
        edit: Edit | str | None = maker if possible else None
    else:
        edit = maker(np.random.default_rng(seed), correction)
        revision = correction.revision
        try:
            change = correction.apply(edit)
        except SproutError:
            assert everything(correction) == full
            assert correction.revision == revision
            return None
        assert correction.revision > revision
        for ident, pixels in locked.items():
            np.testing.assert_array_equal(correction.labels == ident, pixels)
    check_consistent(correction)
    if change is not None:
        check_local(change, before, masks, correction)
        assert change.prompts_changed or everything(correction)["prompts"] == full["prompts"]
        assert change.rerun_from is None
    return edit


@EVERY
@given(steps)
def test_edits_are_local_undoable_and_can_be_replayed(
    finished, finished_again, everything, taken: Steps
):
    correction = Correction(finished)
    start = everything(correction)
    journal = [do(correction, maker, seed, everything) for maker, seed in taken]
    end = everything(correction)

    again = Correction(finished_again)
    for entry in journal:
        if isinstance(entry, str):
            assert (again.undo() if entry == "undo" else again.redo()) is not None
        elif entry is not None:
            again.apply(edit_from_json(json.loads(json.dumps(edit_to_json(entry)))))
    assert everything(again) == end

    steps_back = 0
    while correction.undo() is not None:
        steps_back += 1
        check_consistent(correction)
    assert everything(correction) == start
    for _ in range(steps_back):
        correction.redo()
    assert everything(correction) == end


@settings(EVERY, max_examples=12)
@given(steps)
def test_so_are_edits_of_nuclei_made_elsewhere(make_run, everything, taken: Steps):
    correction, again = Correction(make_run()), Correction(make_run())
    rows, columns = np.indices(correction.labels.shape)
    # Blocks that touch each other, in two pieces each.
    labels = np.where((rows // 8) % 3 < 2, 1 + rows // 24 * 6 + columns // 40, 0)
    for one in (correction, again):
        one.apply(OpenNuclei(pieces_of(labels)))
        for _ in one.run():
            pass
    opened = everything(correction)
    for maker, seed in taken:
        entry = do(correction, maker, seed, everything) if callable(maker) else None
        if isinstance(entry, get_args(Edit)):
            again.apply(edit_from_json(json.loads(json.dumps(edit_to_json(entry)))))
    assert everything(again)["labels"] == everything(correction)["labels"]
    shown = correction.labels.copy()
    touched = {ident for ident in correction.areas if not correction.state.as_given(ident)}
    values = correction.session.settings.with_changes(transport={"epsilon": 0.1})
    correction.apply(ChangeSettings(values.to_dict()))
    rerun(correction, 0, everything)
    untouched = ~np.isin(np.stack([shown, correction.labels]), sorted(touched)).any(0)
    np.testing.assert_array_equal(correction.labels[untouched], shown[untouched])
    while everything(correction) != opened:
        assert correction.undo() is not None
    np.testing.assert_array_equal(correction.labels, labels)


RUNS: list[dict[str, dict[str, Any]]] = [
    {"suppression": {"sigma": 0.2}},
    {"decoding": {"multimask": "best"}},
    {"prompts": {"negatives": 1}},
    {"prompts": {"source": "stain"}},
    {"prompts": {"source": "grid", "grid_spacing": 7.0}},
    {"image": {"mpp": 0.3}},
]


def rerun(correction: Correction, number: int, everything: Any) -> None:
    """Run with other settings, and check that nothing a person did is lost."""
    state, before = correction.state, correction.labels.copy()
    values = correction.session.settings.with_changes(**RUNS[number % len(RUNS)])
    correction.apply(ChangeSettings(values.to_dict()))
    start = everything(correction)
    for _ in correction.run():
        pass
    check_consistent(correction)
    for fixed in (state.pins, state.locks):
        for ident in fixed:
            np.testing.assert_array_equal(correction.labels == ident, before == ident)
    by_hand = {i: p for i, p in state.prompts.items() if p.source == "hand"}
    assert by_hand.items() <= dict(correction.prompts).items()
    gone = state.origins.keys() - state.prompts.keys()
    assert gone.isdisjoint(correction.prompts)
    end = everything(correction)
    correction.undo()
    correction.redo()
    assert everything(correction) == end
    assert end["pins"].keys() == start["pins"].keys()


@settings(EVERY, max_examples=8)
@given(st.lists(st.tuples(steps, st.integers(0, 5)), min_size=1, max_size=3))
def test_so_are_edits_with_runs_between_them(make_run, everything, taken: list[tuple[Steps, int]]):
    correction, again = Correction(make_run(mpp=0.25)), Correction(make_run(mpp=0.25))
    start = everything(correction)
    for edits, number in taken:
        for maker, seed in edits:
            # Undo could reach past a run, of which `do` knows nothing.
            entry = None if isinstance(maker, str) else do(correction, maker, seed, everything)
            if entry is not None:
                assert not isinstance(entry, str)
                again.apply(edit_from_json(json.loads(json.dumps(edit_to_json(entry)))))
        rerun(correction, number, everything)
        rerun(again, number, everything)
        assert everything(again)["labels"] == everything(correction)["labels"]
    end = everything(correction)
    back = [everything(correction) for _ in iter(correction.undo, None)]
    assert back[-1] == start
    while correction.redo() is not None:
        pass
    assert everything(correction) == end

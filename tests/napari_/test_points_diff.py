from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from napari_sprout.core.edits import AddPrompt, DeletePrompts, MovePrompt
from napari_sprout.core.instances import Prompt
from napari_sprout.napari_.points_sync import Difference, Rows, diff_points

SEEN = (
    Prompt(1, "positive", 10.0, 20.0, "activation"),
    Prompt(2, "positive", 30.5, 40.25, "activation"),
    Prompt(7, "negative", 50.0, 60.0, "activation"),
)


def rows_of(prompts: tuple[Prompt, ...]) -> Rows:
    return Rows(
        np.array([(p.y, p.x) for p in prompts]).reshape(-1, 2),
        np.array([p.id for p in prompts], dtype=np.int64),
        tuple(p.kind for p in prompts),
    )


def apply(seen: tuple[Prompt, ...], difference: Difference) -> dict[int, tuple[str, float, float]]:
    there = {p.id: (p.kind, p.y, p.x) for p in seen}
    for edit in difference.edits:
        if isinstance(edit, AddPrompt):
            assert edit.prompt.id not in there
            there[edit.prompt.id] = (edit.prompt.kind, edit.prompt.y, edit.prompt.x)
        elif isinstance(edit, MovePrompt):
            there[edit.id] = (there[edit.id][0], edit.y, edit.x)
        else:
            assert isinstance(edit, DeletePrompts)
            for ident in edit.ids:
                del there[ident]
    return there


def test_untouched_points_give_no_edits(new_id: Callable[[], int]) -> None:
    found = diff_points(SEEN, rows_of(SEEN), new_id)
    assert found.edits == ()
    assert found.ids.tolist() == [1, 2, 7]


def test_rows_in_another_order_give_no_edits(new_id: Callable[[], int]) -> None:
    found = diff_points(SEEN, rows_of(SEEN[::-1]), new_id)
    assert found.edits == ()
    assert found.ids.tolist() == [7, 2, 1]


def test_a_moved_point_is_one_move(new_id: Callable[[], int]) -> None:
    rows = rows_of(SEEN)
    rows.data[1] = (31.0, 40.25)
    assert diff_points(SEEN, rows, new_id).edits == (MovePrompt(2, 31.0, 40.25),)


def test_deleted_points_are_one_edit(new_id: Callable[[], int]) -> None:
    assert diff_points(SEEN, rows_of(SEEN[1:2]), new_id).edits == (DeletePrompts((1, 7)),)
    assert diff_points(SEEN, rows_of(()), new_id).edits == (DeletePrompts((1, 2, 7)),)


def test_an_added_point_with_a_cloned_identifier_gets_its_own(new_id: Callable[[], int]) -> None:
    added = Prompt(2, "positive", 5.0, 6.0, "whatever")
    found = diff_points(SEEN, rows_of((*SEEN, added)), new_id)
    assert found.edits == (AddPrompt(Prompt(1000, "positive", 5.0, 6.0, "hand")),)
    assert found.ids.tolist() == [1, 2, 7, 1000]


def test_a_paste_on_the_spot_is_new_points(new_id: Callable[[], int]) -> None:
    found = diff_points(SEEN, rows_of((*SEEN, *SEEN)), new_id)
    assert [type(edit) for edit in found.edits] == [AddPrompt] * 3
    assert found.ids.tolist() == [1, 2, 7, 1000, 1001, 1002]


def test_a_point_without_an_identifier_is_new(new_id: Callable[[], int]) -> None:
    rows = rows_of((*SEEN, Prompt(0, "negative", 1.0, 2.0, "")))
    (edit,) = diff_points(SEEN, rows, new_id).edits
    assert edit == AddPrompt(Prompt(1000, "negative", 1.0, 2.0, "hand"))


def test_another_kind_is_another_prompt(new_id: Callable[[], int]) -> None:
    turned = Prompt(2, "negative", 30.5, 40.25, "activation")
    found = diff_points(SEEN, rows_of((SEEN[0], turned, SEEN[2])), new_id)
    assert found.edits == (
        DeletePrompts((2,)),
        AddPrompt(Prompt(1000, "negative", 30.5, 40.25, "hand")),
    )


@pytest.mark.parametrize("typed", [0, 99, -3])
def test_an_identifier_typed_over_is_put_back(new_id: Callable[[], int], typed: int) -> None:
    rows = rows_of(SEEN)
    rows.ids[1] = typed
    found = diff_points(SEEN, rows, new_id)
    assert found.edits == ()
    assert found.ids.tolist() == [1, 2, 7]


KINDS = st.sampled_from(["positive", "negative"])
POINTS = st.tuples(st.integers(0, 12), KINDS, st.integers(0, 3), st.integers(0, 3))


@given(seen=st.lists(POINTS, max_size=8, unique_by=lambda point: point[0]), now=st.lists(POINTS))
@settings(max_examples=100, deadline=None)
def test_the_edits_turn_what_was_seen_into_what_is_there(seen: list, now: list) -> None:
    numbers = iter(range(100, 200))
    before = tuple(Prompt(1 + i, kind, float(y), float(x), "grid") for i, kind, y, x in seen)
    rows = rows_of(tuple(Prompt(i, kind, float(y), float(x), "") for i, kind, y, x in now))
    found = diff_points(before, rows, lambda: next(numbers))
    expected = {
        ident: (kind, *place)
        for ident, kind, place in zip(
            found.ids.tolist(), rows.kinds, rows.data.tolist(), strict=True
        )
    }
    assert len(expected) == len(now)
    assert apply(before, found) == expected
    again = diff_points(
        tuple(Prompt(i, kind, y, x, "") for i, (kind, y, x) in expected.items()),
        Rows(rows.data, found.ids, rows.kinds),
        lambda: next(numbers),
    )
    assert again.edits == ()

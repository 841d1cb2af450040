from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from napari_sprout.core.instances import Candidate, Prompt
from napari_sprout.core.tables import MaskTable, PromptTable


def mask(ident: int, y: int, x: int, side: int = 3) -> Candidate:
    return Candidate(ident, (y, x, y + side, x + side), np.ones((side, side), bool), 0.5, 0.5)


actions = st.lists(
    st.tuples(st.integers(0, 120), st.one_of(st.none(), st.tuples(*[st.integers(0, 50)] * 2))),
    max_size=250,
)


@settings(deadline=None, max_examples=60)
@given(actions, st.tuples(*[st.integers(0, 50)] * 2), st.integers(1, 20))
def test_a_table_is_a_mapping_that_finds_what_is_near(taken, corner, side):
    table, plain = MaskTable(), {}
    for ident, place in taken:
        if place is not None:
            table[ident] = plain[ident] = mask(ident, *place)
        elif ident in plain:
            del table[ident], plain[ident]
        else:
            with pytest.raises(KeyError):
                del table[ident]
    assert dict(table) == plain
    assert len(table) == len(plain)
    box = (*corner, corner[0] + side, corner[1] + side)
    near = [
        ident
        for ident, found in sorted(plain.items())
        if max(found.box[0], box[0]) < min(found.box[2], box[2])
        and max(found.box[1], box[1]) < min(found.box[3], box[3])
    ]
    assert table.near(box) == near


def test_points_are_told_apart_by_their_kind():
    table = PromptTable()
    assert len(table.points(positive=True)[0]) == 0
    table[4] = Prompt(4, "positive", 1.5, 2.5, "hand")
    table[2] = Prompt(2, "negative", 3.5, 4.5, "hand")
    table[4] = Prompt(4, "positive", 5.5, 6.5, "hand")
    ids, places = table.points(positive=True)
    assert ids.tolist() == [4]
    assert places.tolist() == [[5.5, 6.5]]
    assert table.points(positive=False)[0].tolist() == [2]
    del table[4]
    assert table.points(positive=True)[0].tolist() == []

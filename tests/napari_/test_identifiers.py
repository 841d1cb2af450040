from __future__ import annotations

from collections import Counter

import pytest

from napari_sprout.napari_.identifiers import FreshIdentifiers


@pytest.fixture
def asked() -> Counter[str]:
    return Counter()


@pytest.fixture
def fresh(asked) -> FreshIdentifiers:
    """Draws 5, 6, 7 ... itself."""
    numbers = iter(range(5, 100))

    def more() -> int:
        asked["more"] += 1
        return next(numbers)

    return FreshIdentifiers(more)


def test_what_is_at_hand_is_given_before_more_are_drawn(fresh, asked) -> None:
    fresh.add([40, 41])
    assert [fresh.new() for _ in range(3)] == [40, 41, 5]
    assert asked["more"] == 1


def test_what_was_taken_out_is_never_given_at_hand_or_drawn(fresh) -> None:
    fresh.add([40, 41])
    fresh.take_out([40, 5, 6])
    assert [fresh.new() for _ in range(3)] == [41, 7, 8]

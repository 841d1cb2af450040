from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from napari_sprout.io.cohort.distribution import (
    QUANTILES,
    Bins,
    Distribution,
    DistributionBuilder,
    Histogram,
)

BINS = Bins(0.0, 10.0, 50)
inside = st.floats(0.0, 10.0)
anything = st.floats(-1000.0, 1000.0) | st.just(math.nan)


def built(*batches):
    builder = DistributionBuilder(BINS)
    for batch in batches:
        builder.add(batch)
    return builder.distribution()


@given(st.lists(inside, min_size=1, max_size=60))
def test_quantiles_are_within_a_bin_of_the_value_of_that_rank(values):
    found = built(values)
    for name, share in QUANTILES.items():
        exact = np.quantile(values, share, method="inverted_cdf")
        assert abs(getattr(found, name) - exact) <= BINS.width * (1 + 1e-9)


@given(st.lists(anything, min_size=1, max_size=60), st.randoms(use_true_random=False))
def test_order_and_batches_change_no_digit(values, random):
    shuffled = random.sample(values, len(values))
    cut = random.randint(0, len(values))
    assert built(values) == built(shuffled[:cut], shuffled[cut:])


@given(st.lists(st.floats(-1000.0, 1000.0), min_size=2, max_size=60))
def test_mean_and_deviation_are_those_of_all_values(values):
    found = built(values)
    assert found.mean == pytest.approx(np.mean(values), abs=1e-6)
    assert found.sd == pytest.approx(np.std(values, ddof=1), abs=1e-5)
    assert (found.least, found.greatest) == (min(values), max(values))


@given(st.lists(anything, max_size=40), st.lists(anything, max_size=40))
def test_histograms_of_two_slides_add_up_to_that_of_both(first, second):
    both = built(first, second).histogram
    assert built(first).histogram + built(second).histogram == both


@given(st.lists(anything, max_size=60))
def test_every_value_is_counted_once(values):
    found = built(values)
    assert found.n + found.missing == len(values)
    assert found.histogram.total == found.n


@given(st.lists(anything, max_size=40))
def test_what_is_written_is_read_back(values):
    found = built(values)
    assert Distribution.from_dict(found.to_dict()) == found


@given(st.lists(st.floats(-1000.0, 1000.0), min_size=1, max_size=40))
def test_quantiles_outside_the_bins_stay_among_the_values_and_in_order(values):
    found = built(values)
    quantiles = [getattr(found, name) for name in QUANTILES]
    assert quantiles == sorted(quantiles)
    assert found.least <= quantiles[0]
    assert quantiles[-1] <= found.greatest


def test_no_values_have_no_mean_and_one_has_no_deviation():
    none, one = built([]), built([4.0])
    assert (none.n, none.mean, none.sd, none.median) == (0, None, None, None)
    assert (one.n, one.mean, one.sd) == (1, 4.0, None)
    assert abs(one.median - 4.0) <= BINS.width


def test_the_last_bin_holds_its_upper_edge():
    assert built([10.0]).histogram.counts[-1] == 1
    assert built([10.0001]).histogram.above == 1


def test_histograms_of_other_bins_do_not_add_up():
    with pytest.raises(ValueError, match="other bins"):
        Histogram(Bins(0, 1, 2), (1, 2)) + Histogram(Bins(0, 2, 2), (1, 2))


@pytest.mark.parametrize("damage", [{"n": 7}, {"mean": None}, {"p5": "x"}])
def test_numbers_that_do_not_fit_together_are_refused(damage):
    values = built([1.0, 2.0, 3.0]).to_dict() | damage
    with pytest.raises(ValueError):  # noqa: PT011
        Distribution.from_dict(values)

"""Correlation matrices, beside SciPy's."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy import stats

from greenai_core import correlate

SMALL = st.integers(-6, 6).map(float)


@given(st.lists(st.tuples(SMALL, SMALL), min_size=3, max_size=30))
def test_coefficients_are_those_of_scipy_with_ties(pairs):
    x, y = (list(column) for column in zip(*pairs, strict=True))
    for kind, reference in (("pearson", stats.pearsonr), ("spearman", stats.spearmanr)):
        matrix = correlate({"x": x, "y": y}, kind)
        found = matrix.between("x", "y")
        if len(set(x)) == 1 or len(set(y)) == 1:
            assert found is None
        else:
            assert found.value == pytest.approx(reference(x, y).statistic, abs=1e-12)


def test_the_interval_is_that_of_scipy():
    generator = np.random.default_rng(2)
    x = generator.standard_normal(20)
    y = x + generator.standard_normal(20)
    found = correlate({"x": x, "y": y}, "pearson").between("x", "y")
    reference = stats.pearsonr(x, y).confidence_interval(0.95)
    assert (found.low, found.high) == pytest.approx((reference.low, reference.high))


@pytest.mark.parametrize("kind", ["pearson", "spearman"])
def test_the_intervals_hold_the_truth(kind):
    generator = np.random.default_rng(5)
    r = 0.7
    truth = r if kind == "pearson" else 6 / math.pi * math.asin(r / 2)
    held = 0
    for _ in range(600):
        x = generator.standard_normal(20)
        y = r * x + math.sqrt(1 - r * r) * generator.standard_normal(20)
        found = correlate({"x": x, "y": y}, kind).between("x", "y")
        held += found.low <= truth <= found.high
    assert 0.92 <= held / 600 <= 0.98


def test_what_never_changes_is_in_no_matrix():
    matrix = correlate({"size": [1, 2, 3, 4], "batch_size": [8, 8, 8, 8]}, "pearson")
    assert matrix.names == ("size",)
    assert matrix.between("size", "batch_size") is None


def test_rows_in_which_one_is_not_known_do_not_count():
    matrix = correlate({"x": [1, 2, 3, 4, None], "y": [2, 4, None, 8, 1]}, "spearman")
    found = matrix.between("x", "y")
    assert (found.value, found.n, found.low) == (1.0, 3, None)


@pytest.mark.parametrize("scale", [1e-200, 1e200])
def test_very_small_and_large_numbers(scale):
    x = [1.0, 2.0, 3.0, 4.0, 7.0]
    found = correlate({"x": x, "y": [v * scale for v in x]}, "pearson").between("x", "y")
    assert found.value == pytest.approx(1.0)


def test_another_kind_is_refused():
    with pytest.raises(ValueError, match="pearson, spearman"):
        correlate({}, "kendall")

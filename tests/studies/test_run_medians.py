"""The median of a few runs: how often its intervals hold the truth, by simulation."""

from __future__ import annotations

import math

import numpy as np
import pytest

from greenai_core.medians import RunValue, median_interval, median_of_runs

DRAWS = 1500
LEAST, MOST = 0.93, 0.97
"""3.5 standard errors of 1,500 draws about 0.95."""


@pytest.mark.parametrize("runs", [2, 3, 4, 5, 6, 7, 8, 9, 10, 14])
def test_the_interval_holds_the_truth_as_often_as_it_says(runs):
    draws = np.random.default_rng(runs).normal(100.0, 3.0, (DRAWS, runs))
    ends = [median_interval(list(draw)) for draw in draws]
    assert LEAST <= np.mean([low <= 100.0 <= high for low, high in ends]) <= MOST


@pytest.mark.parametrize("runs", [6, 8, 10])
def test_from_six_runs_on_the_shape_of_the_scatter_does_not_matter(runs):
    draws = np.random.default_rng(runs).lognormal(0.0, 1.0, (DRAWS, runs))
    ends = [median_interval(list(draw)) for draw in draws]
    assert LEAST <= np.mean([low <= 1.0 <= high for low, high in ends]) <= MOST


@pytest.mark.parametrize("runs", [1, 3, 10, 40])
def test_a_common_gain_is_never_divided_by_the_number_of_runs(runs):
    """A sensor that reads 10 % too much does so in every run."""
    value = median_of_runs([RunValue(50.0, (0.1, 0.1), (5.0, 5.0))] * runs)
    assert value.high - value.value == pytest.approx(5.0, rel=0.01)


@pytest.mark.parametrize("runs", [1, 4, 10])
def test_the_total_interval_holds_the_truth(runs):
    generator = np.random.default_rng(runs)
    held = 0
    for _ in range(DRAWS):
        sensor = 1 + 0.056 * generator.standard_normal()
        values = 20.0 * sensor * (1 + 0.01 * generator.standard_normal(runs))
        own = [(0.0196 * v, math.hypot(0.0196, 1.96 * 0.056) * v) for v in values]
        found = median_of_runs(
            [RunValue(v, (r, r), (t, t)) for v, (r, t) in zip(values, own, strict=True)]
        )
        held += found.low <= 20.0 <= found.high
    assert LEAST - 0.01 <= held / DRAWS <= MOST + 0.01


def test_one_run_has_its_own_interval():
    found = median_of_runs([RunValue(7.0, (0.5, 1.0), (2.0, 3.0))])
    assert (found.repeat_low, found.repeat_high) == (6.5, 8.0)
    assert (found.low, found.high) == (5.0, 10.0)


def test_runs_that_agree_by_chance_are_not_taken_for_certain():
    found = median_of_runs([RunValue(7.0, (1.0, 1.0), (1.0, 1.0))] * 4)
    assert found.repeat_high - found.value == pytest.approx(math.sqrt(math.pi / 2) / 2)


def test_what_is_not_known_of_a_run_is_not_made_up():
    found = median_of_runs([RunValue(7.0)])
    assert found.low is found.repeat_low is None
    assert median_of_runs([RunValue(1.0), RunValue(2.0), RunValue(4.0)]).low is None

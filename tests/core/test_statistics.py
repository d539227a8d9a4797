"""The error model: formulas against independent references and simulated truth."""

from __future__ import annotations

import math

import numpy as np
import pytest
import scipy.stats
from hypothesis import example, given, settings
from hypothesis import strategies as st

from greenai_core import statistics as s


def binomial_limits(draws: int, p: float, tail: float = 0.001) -> tuple[float, float]:
    """Shares that a true rate of ``p`` gives in all but 0.2 % of such tests."""
    low, high = scipy.stats.binom.ppf([tail, 1 - tail], draws, p)
    return low / draws, high / draws


@given(p=st.floats(1e-6, 1 - 1e-6), nu=st.floats(0.5, 1e6))
@example(p=0.5000000000000001, nu=1.0)
@settings(max_examples=300, deadline=None)
def test_t_quantile_agrees_with_scipy(p, nu):
    assert s.t_quantile(p, nu) == pytest.approx(scipy.stats.t.ppf(p, nu), rel=1e-6, abs=1e-8)


def test_t_quantile_of_infinite_freedom_is_normal():
    assert s.t_quantile(0.975, math.inf) == pytest.approx(1.959964, abs=1e-6)


@pytest.mark.parametrize(("p", "nu"), [(0.0, 5), (1.0, 5), (0.5, 0), (0.5, -1), (math.nan, 5)])
def test_t_quantile_refuses_what_has_no_quantile(p, nu):
    with pytest.raises(ValueError, match="quantile"):
        s.t_quantile(p, nu)


def latch_draws(before_w, during_w, duration, period, draws, rng):
    """Counted joules of windows on a latched counter whose load starts with the window."""
    phase = rng.uniform(0, period, draws)
    stop_age = (duration + phase) % period
    # The read at the start shows what was latched `phase` ago, the one at the end `stop_age` ago.
    shown_at_end = np.where(
        stop_age <= duration,
        during_w * (duration - stop_age),
        -before_w * (stop_age - duration),
    )
    return shown_at_end + before_w * phase


def test_latch_window_is_unbiased_where_the_power_at_the_ends_is_known():
    """A 0.35 s window on a 0.1 s counter, 70 W -> 400 W: reading plainly is 12 % too low."""
    rng = np.random.default_rng(1)
    counted = latch_draws(70, 400, 0.35, 0.1, 4000, rng)
    truth = 400 * 0.35
    assert np.mean(counted) / truth < 0.90
    estimates = [s.latch_window(c, 0.35, 0.1, 0.0, 70.0, 400.0)[0] for c in counted]
    assert abs(np.mean(estimates) / truth - 1) < 0.005


@pytest.mark.parametrize(("before", "during"), [(0, 100), (70, 400), (100, 100), (150, 100)])
@pytest.mark.parametrize("known", [True, False])
def test_latch_window_covers_the_truth(before, during, known):
    """95 % where the power at the ends is known; at least that where it is not."""
    draws = 2000
    rng = np.random.default_rng(2)
    truth = during * 0.35
    inside = 0
    for counted in latch_draws(before, during, 0.35, 0.1, draws, rng):
        ends = (before, during) if known else (None, None)
        energy, u = s.latch_window(counted, 0.35, 0.1, 0.0, *ends)
        inside += abs(energy - truth) <= s.coverage_factor() * u
    low, _ = binomial_limits(draws, 0.95)
    assert inside / draws >= low


def test_latch_window_allows_for_the_resolution():
    _, u = s.latch_window(1.0, 1.0, 0.0, 0.5)
    assert u == pytest.approx(0.5 / math.sqrt(6))


def test_edges_find_the_instants_at_which_a_counter_moved():
    times = np.arange(0, 1, 0.007)
    joules = np.floor(times / 0.1) * 5.0
    series = s.edges(times, joules, 0.1)
    assert series is not None
    truth = np.round(series.joules / 5.0) * 0.1
    assert np.abs(series.times - truth).max() <= 0.007 / 2 + 1e-9
    assert series.u_times.max() <= 0.007 / math.sqrt(12) + 1e-12


def test_edges_do_not_believe_a_change_older_than_one_period():
    """Reads a second apart on a 1 ms counter: the change is at most 1 ms old."""
    series = s.edges(np.array([0.0, 1.0, 2.0]), np.array([0.0, 10.0, 20.0]), 0.001)
    assert series is not None
    assert series.times == pytest.approx([0.9995, 1.9995])


def test_edges_need_two_changes():
    assert s.edges(np.array([0.0, 1.0]), np.array([0.0, 1.0]), 0.1) is None
    assert s.edges(np.array([0.0, 1.0, 2.0]), np.array([3.0, 3.0, 3.0]), 0.1) is None


def test_edge_series_goes_on_beyond_its_ends():
    series = s.EdgeSeries(np.array([1.0, 2.0]), np.array([10.0, 30.0]), np.array([0.0, 0.0]))
    assert series.at(np.array([0.5, 1.5, 3.0])) == pytest.approx([0.0, 20.0, 50.0])


@pytest.mark.parametrize("phi", [0.0, 0.3, 0.6])
def test_batch_means_cover_the_mean_of_correlated_blocks(phi):
    """Autoregressive blocks: coverage of the 95 % interval within [0.92, 0.97]."""
    draws, n = 1500, 96
    rng = np.random.default_rng(int(phi * 10))
    noise = rng.normal(size=(draws, n + 50))
    series = np.zeros_like(noise)
    for i in range(1, n + 50):
        series[:, i] = phi * series[:, i - 1] + noise[:, i]
    inside = 0
    for row in series[:, 50:]:
        interval = s.batch_means(row)
        inside += abs(interval.mean) <= interval.half
    low, _ = binomial_limits(draws, 0.93)
    _, high = binomial_limits(draws, 0.96)
    assert low <= inside / draws <= high


def test_batch_means_without_the_correlation_term_would_be_too_narrow():
    """A test of the test above: plain standard errors cover far too seldom at φ = 0.6."""
    rng = np.random.default_rng(5)
    hits = 0
    for _ in range(500):
        row = np.zeros(96)
        for i in range(1, 96):
            row[i] = 0.6 * row[i - 1] + rng.normal()
        hits += abs(row.mean()) <= 1.98 * row.std(ddof=1) / math.sqrt(96)
    assert hits / 500 < 0.8


def test_one_block_has_no_interval():
    interval = s.batch_means([3.0])
    assert interval.mean == 3.0
    assert math.isinf(interval.half)
    assert math.isinf(interval.u)


def test_no_blocks_are_refused():
    with pytest.raises(ValueError, match="blocks"):
        s.batch_means([])


def test_equal_blocks_have_no_width():
    assert s.batch_means([2.0] * 64).half == 0.0


def test_looks_begin_at_64_and_grow_by_half():
    assert s.next_look(0) == 64
    assert s.next_look(64) == 96
    assert s.next_look(96) == 144


def test_a_warm_up_is_found_and_cut():
    rng = np.random.default_rng(3)
    blocks = 10 + rng.normal(0, 0.1, 100)
    blocks[:20] += np.linspace(3, 0, 20)
    assert not s.is_steady(blocks, 0.02)
    assert 10 <= s.warm_up_length(blocks) <= 30


def test_noise_without_a_trend_is_steady():
    rng = np.random.default_rng(4)
    steady = sum(s.is_steady(10 + rng.normal(0, 1, 64), 0.02) for _ in range(400))
    low, _ = binomial_limits(400, 0.95)
    assert steady / 400 >= low


def test_a_drift_below_half_the_target_does_not_matter():
    assert s.is_steady(np.linspace(10.0, 10.05, 64), 0.02)
    assert not s.is_steady(np.linspace(10.0, 10.5, 64), 0.02)


def test_gains_of_one_method_add_up_and_of_two_do_not():
    assert s.add_gains([("nvml", 3.0), ("nvml", 4.0)]) == pytest.approx(7.0)
    assert s.add_gains([("nvml", 3.0), ("rapl", 4.0)]) == pytest.approx(5.0)


def test_effective_freedom_of_equal_parts():
    assert s.effective_nu([(1.0, 10.0), (1.0, 10.0)]) == pytest.approx(20.0)
    assert math.isinf(s.effective_nu([(1.0, math.inf), (0.0, 3.0)]))


def test_expanded_uncertainty_of_a_known_gain_is_normal():
    assert s.expanded([(0.0, 5.0), (1.0, math.inf)]) == pytest.approx(1.96, abs=0.01)
    assert s.expanded([(0.0, 5.0)]) == 0.0


def test_idle_bracket_covers_an_idle_that_drifts():
    """Idle falling by 4 W: a baseline taken only before would be off by 2 W every time."""
    rng = np.random.default_rng(6)
    inside = 0
    for _ in range(1000):
        start, end = 60 + rng.normal(0, 1), 56 + rng.normal(0, 1)
        truth = (start + end) / 2
        before, after = start + rng.normal(0, 0.3), end + rng.normal(0, 0.3)
        mean, u = s.idle_bracket(before, after, 0.3, 0.3)
        inside += abs(mean - truth) <= 1.96 * u
    assert inside / 1000 >= 0.93


def test_trapezoid_variance_is_that_of_a_jump_at_an_unknown_instant():
    """Power that jumps once between two samples, at a uniform instant."""
    rng = np.random.default_rng(8)
    at = rng.uniform(0, 0.1, 20000)
    energies = 50 * at + 90 * (0.1 - at)
    assert energies.var() == pytest.approx(s.trapezoid_variance(50, 90, 0.1), rel=0.05)

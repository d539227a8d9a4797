"""Outliers: which blocks are flagged, which are left out, and that the mean stays right."""

from __future__ import annotations

import dataclasses

import numpy as np
import pytest
import scipy.stats
from hypothesis import given
from hypothesis import strategies as st

from greenai_core.blocks import Blocks, Source
from greenai_core.conditions import Conditions, Observer, Series
from greenai_core.derivation import derived
from greenai_core.evaluation import inference_result
from greenai_core.kept_runs import KeptRun
from greenai_core.loop import LoopSettings, run_loop
from greenai_core.outliers import mad_z, outliers, trend, unusual
from greenai_core.profiler import Observation
from greenai_core.raw_files import read_raw, write_raw
from greenai_core.results import ModelSummary
from greenai_core.run_costs import run_costs, sensors_of
from greenai_core.screening import UNEXPLAINED, screened
from greenai_core.statistics import batch_means
from greenai_core.testing import (
    DrivenPower,
    SimulatedCounterProfiler,
    SimulatedWork,
    VirtualClock,
    rapl_counter,
)

CPU = "cpu:0/package"


def normal(n, seed=0, cv=0.01):
    return 1 + cv * np.random.default_rng(seed).standard_normal(n)


def conditions(values, step_s=1.0, quantity="outside_load"):
    """One condition, looked at in the middle of each block of ``step_s``."""
    values = np.asarray(values, dtype=float)
    instants = step_s * (np.arange(len(values)) + 1.0)
    return Conditions((Series("host", quantity, instants, values, np.zeros(len(values))),))


def blocks(values):
    n = len(values)
    ones = np.ones(n)
    joules = {CPU: np.asarray(values, dtype=float)}
    return Blocks(np.arange(n, dtype=float), ones, ones, ones, joules, {})


# Which values lie far from the others


@pytest.mark.parametrize("side", [-1, 1])
def test_a_value_far_on_either_side_is_found(side):
    values = normal(64)
    values[20] += side * 0.08
    assert np.flatnonzero(outliers(values)).tolist() == [20]


def test_normal_values_are_hardly_ever_far():
    far = [outliers(normal(64, seed)).mean() for seed in range(150)]
    assert np.mean(far) < 0.003


def test_a_trend_makes_no_outliers_and_hides_none():
    values = normal(64) + np.linspace(0, 0.5, 64)
    assert not outliers(values).any()
    values[5] += 0.08
    assert np.flatnonzero(outliers(values)).tolist() == [5]


def test_a_tenth_of_neighbours_does_not_turn_the_trend():
    """Outside load lasts: what it disturbs lies together."""
    values = normal(64)
    values[40:46] += 0.2
    assert np.flatnonzero(outliers(values)).tolist() == list(range(40, 46))
    assert np.ptp(trend(values)) < 0.02


def test_values_that_are_mostly_equal_have_a_scale():
    values = np.ones(64)
    values[[3, 30, 50]] = [1.001, 0.999, 1.5]
    assert np.flatnonzero(outliers(values)).tolist() == [50]


@pytest.mark.parametrize("value", [0.0, 1e-12, 3.0, 1e9])
def test_equal_values_have_no_outliers(value):
    assert not outliers(np.full(64, value)).any()
    assert not outliers(value * (1 + 1e-15 * np.arange(64) % 3)).any()


@given(st.lists(st.floats(0, 1e6), min_size=1, max_size=200))
def test_distances_are_numbers_whatever_the_values(values):
    assert np.isfinite(mad_z(np.array(values))).all()


@given(st.floats(0.1, 1e3), st.integers(0, 50))
def test_the_unit_does_not_matter(unit, seed):
    values = normal(64, seed)
    values[9] += 0.1
    np.testing.assert_array_equal(outliers(values * unit), outliers(values))


def test_a_condition_differs_only_if_clearly_and_by_enough():
    steady = np.array([0.1, 0.12, 0.1, 0.08, 0.1, 0.11] * 5)
    assert not unusual(steady, 0.25).any()
    steady[7] = 0.9
    assert np.flatnonzero(unusual(steady, 0.25)).tolist() == [7]
    restless = np.random.default_rng(0).uniform(0, 2, 60)
    assert not unusual(restless, 0.25).any()


# Which blocks are left out


def test_without_a_cause_an_outlier_stays():
    values = normal(64)
    values[20] += 0.2
    left, found = screened(blocks(values), values, conditions(np.zeros(64)), 0.0)
    assert len(left.durations) == 64
    assert found.removed is None
    assert found.flags[20] == UNEXPLAINED
    assert set(found.flags) == {"", UNEXPLAINED}


@pytest.mark.parametrize(
    ("quantity", "usual", "then", "cause"),
    [
        ("outside_load", 0.1, 1.0, "outside load"),
        ("stolen", 0.0, 0.5, "outside load (hypervisor)"),
        ("throttled", 0.0, 3.0, "throttling"),
        ("throttling", 0.0, 1.0, "throttling"),
        ("clock", 3000.0, 2000.0, "clock change"),
    ],
)
def test_with_a_cause_it_is_left_out_and_the_cause_is_told(quantity, usual, then, cause):
    values = normal(64)
    values[20] += 0.2
    seen = np.full(64, usual)
    seen[20] = then
    left, found = screened(blocks(values), values, conditions(seen, 1.0, quantity), 0.0)
    assert len(left.durations) == len(found.flags) == 63
    assert found.causes == (cause,)
    assert found.removed.energies[CPU] == pytest.approx([values[20]])
    (told,) = found.told()
    assert "1 of 64" in told
    assert cause in told


def test_a_disturbance_elsewhere_is_no_cause():
    values = normal(64)
    values[20] += 0.2
    seen = np.zeros(64)
    seen[40] = 1.0
    assert screened(blocks(values), values, conditions(seen), 0.0)[1].removed is None


def test_a_disturbed_block_that_is_no_outlier_stays():
    values = normal(64)
    seen = np.zeros(64)
    seen[10] = 1.0
    left, found = screened(blocks(values), values, conditions(seen), 0.0)
    assert len(left.durations) == 64
    assert found.flags[10] == ""


def test_more_than_a_tenth_is_not_left_out_but_told():
    values, seen = normal(64), np.zeros(64)
    values[10:20] += 0.2
    seen[10:20] = 1.0
    left, found = screened(blocks(values), values, conditions(seen), 0.0)
    assert len(left.durations) == 64
    assert found.disturbed == pytest.approx(10 / 64)
    assert found.flags[12] == "outside load"
    (told,) = found.told()
    assert "disturbed" in told


def test_few_looks_tell_no_cause():
    values = normal(64)
    values[20] += 0.2
    seen = conditions([0.0, 1.0, 0.0, 0.0], 16.0)
    assert screened(blocks(values), values, seen, 0.0)[1].removed is None


# Bias


@pytest.mark.parametrize("phi", [0.0, 0.6])
def test_without_disturbance_mean_and_coverage_are_unaffected(phi):
    """Restless conditions that have nothing to do with the values; skewed, correlated blocks."""
    rng = np.random.default_rng(7)
    draws, inside, shifts, removed = 250, 0, [], 0
    noise = rng.standard_normal((128, draws))
    for index in range(1, 128):
        noise[index] += phi * noise[index - 1]
    for draw in range(draws):
        own = 0.02 * noise[64:, draw] * np.sqrt(1 - phi**2)
        values = 1 + own + 0.005 * (rng.exponential(1, 64) - 1)
        seen = rng.exponential(0.1, 64) + (rng.random(64) < 0.05)
        left, found = screened(blocks(values), values, conditions(seen), 0.0)
        kept = left.energies[CPU]
        shifts.append(kept.mean() - values.mean())
        removed += len(found.causes)
        interval = batch_means(kept)
        inside += abs(interval.mean - 1) <= interval.half
    assert inside >= scipy.stats.binom.ppf(0.001, draws, 0.93 if phi == 0 else 0.90)
    assert removed / (64 * draws) < 1e-3
    assert abs(np.mean(shifts)) < 5e-5  # a hundredth of the interval


@pytest.mark.parametrize("side", [-1, 1])
def test_with_outside_load_in_a_twentieth_of_the_blocks_the_mean_is_right(side):
    rng = np.random.default_rng(3)
    draws, inside, naive, means = 120, 0, 0, []
    for _ in range(draws):
        values = 1 + 0.01 * rng.standard_normal(64)
        seen = rng.uniform(0, 0.1, 64)
        first = rng.integers(0, 61)
        values[first : first + 3] += side * 0.3
        seen[first : first + 3] += 1.0
        left, found = screened(blocks(values), values, conditions(seen), 0.0)
        assert len(found.causes) == 3
        interval = batch_means(left.energies[CPU])
        means.append(interval.mean)
        inside += abs(interval.mean - 1) <= interval.half
        plain = batch_means(values)
        naive += abs(plain.mean - 1) <= 0.002
    assert inside >= scipy.stats.binom.ppf(0.001, draws, 0.93)
    assert np.mean(means) == pytest.approx(1, abs=2e-4)
    assert naive == 0


# In a run


def disturbed_run(share=0.05, seen=True, precision=0.002):
    """A run of 3 J an iteration that another process doubles, for a part of each 4 s."""
    clock, power = VirtualClock(start_s=0.2), DrivenPower(idle_w=30.0)
    counter = rapl_counter(power, gain_uncertainty=0.0)
    profiler = SimulatedCounterProfiler(counters=[counter])
    quiet = SimulatedWork(clock, 0.02, cv=0.02, power=power, busy_w=150.0, seed=1)
    loud = SimulatedWork(clock, 0.02, cv=0.02, power=power, busy_w=300.0, seed=2)

    def disturbed():
        return clock.time % 4.0 > 4.0 * (1 - share)

    def work():
        (loud if disturbed() else quiet)()

    def disturbed_s():
        periods, rest = divmod(clock.time, 4.0)
        return 4.0 * share * periods + max(rest - 4.0 * (1 - share), 0.0)

    last = [clock.time, disturbed_s()]

    def probe():
        now = [clock.time, disturbed_s()]
        load = (now[1] - last[1]) / max(now[0] - last[0], 1e-9)
        last[:] = now
        return [Observation("host", "outside_load", load if seen else 0.0, "CPUs")]

    profiler.open(clock)
    sources = [Source(profiler, profiler.channels)]
    settings = LoopSettings(precision=precision, max_time_s=40.0, min_time_s=6.0)
    observer = Observer([probe], clock, cpus=2)
    run = run_loop(work, sources, [CPU], clock, settings, observer=observer)
    sensors = sensors_of(sources, run.blocks)
    costs = run_costs(run, sensors, [CPU], settings)
    profiler.close()
    return KeptRun(run.readings, sensors, (CPU,), settings), run, costs


def test_in_a_run_outside_load_is_left_out_and_told():
    _, _, costs = disturbed_run()
    assert costs.energy.value == pytest.approx(3.0, rel=0.01)
    assert costs.removed
    assert {one.flag for one in costs.removed} == {"outside load"}
    assert costs.iterations == sum(one.iterations for one in costs.repetitions)
    assert any("were left out: outside load" in text for text in costs.warnings)


def test_in_a_run_what_nobody_saw_stays_and_is_flagged():
    _, _, costs = disturbed_run(seen=False)
    assert not costs.removed
    assert costs.energy.value == pytest.approx(3.0 * 1.05, rel=0.02)
    assert any(one.flag == UNEXPLAINED for one in costs.repetitions)


def test_what_was_left_out_follows_from_the_raw_readings(tmp_path):
    kept, run, costs = disturbed_run()
    model = ModelSummary("net.onnx", "onnx", "cpu", ("x 1x3",), 1)
    result = inference_result(model, None, run, costs, kept.settings)
    assert result.removed
    assert result.self_cost is not None
    again = derived(result, read_raw(tmp_path / "r.npz", write_raw(kept, tmp_path / "r.npz")))
    assert again == dataclasses.replace(result, warnings=())

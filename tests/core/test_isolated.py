"""Fresh processes: their mean, an interval that holds how they differ, and what fails."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from greenai_core import ModelError
from greenai_core.budget import Term
from greenai_core.explanation import budget_problems
from greenai_core.isolated import evaluate_isolated, over_processes, process_interval, spread
from greenai_core.loop import LoopSettings
from greenai_core.repetitions import check_repetitions
from greenai_core.results import Figure
from greenai_core.session import MeasurementInterrupted
from greenai_core.statistics import batch_means
from greenai_core.testing import VirtualClock
from greenai_core.testing.sample_reports import sample_report

TRUTH = 0.5
(SAMPLE,) = sample_report("bench").results


def energy(value, u=0.0025, gain=0.0):
    """A figure of one process: its own repetitions, and the sensor's gain."""
    budget = (Term("repetition", u, 63.0), *([Term("gain", gain, None, False)] * bool(gain)))
    half = 2.0 * u
    total = half + 2.0 * gain
    return Figure(
        value, value - total, value + total, value - half, value + half, "counter", "x", budget
    )


def result(value, u=0.0025, gain=0.0):
    figure = energy(value, u, gain)
    (channel,) = SAMPLE.channels
    return replace(
        SAMPLE,
        energy_per_inference_j=figure,
        energy_per_sample_j=figure,
        channels=(replace(channel, energy_per_inference_j=figure),),
    )


NOTHING_ELSE = {
    "channels": (),
    "energy_per_sample_j": None,
    "power_w": None,
    "idle_power_w": None,
    "net_energy_per_inference_j": None,
}


class Processes:
    """Draws of a machine whose processes differ by 3 %, each taking two seconds."""

    def __init__(self, seed, between=0.03, within=0.005, fails=(), bare=False):
        self.bare = bare
        self.draw = np.random.default_rng(seed)
        self.between, self.within = between, within
        self.clock = VirtualClock()
        self.fails = fails
        self.done = 0
        self.asked = []

    def __call__(self, settings):
        self.asked.append(settings)
        self.clock.sleep(2.0)
        self.done += 1
        if self.done in self.fails:
            raise ModelError(f"no memory in {self.done}")
        value = TRUTH * (1 + self.draw.normal(0, np.hypot(self.between, self.within)))
        found = result(value, self.within * TRUTH)
        return replace(found, **NOTHING_ELSE) if self.bare else found

    def evaluate(self, processes=8, **settings):
        limits = LoopSettings(**{"precision": 0.9, "max_time_s": 60, **settings})
        return evaluate_isolated(self, limits, processes, self.clock)


@pytest.mark.parametrize(("processes", "precision"), [(5, 0.9), (8, 0.9), (8, 0.02)])
def test_the_interval_holds_the_truth_although_processes_differ(processes, precision):
    """3 % from process to process, 500 draws: 93 to 97 %; one process alone hardly ever."""
    draws, held, alone = 500, 0, 0
    for seed in range(draws):
        found = Processes(seed, bare=True).evaluate(processes, precision=precision)
        figure = found.energy_per_inference_j
        held += figure.repeat_low <= TRUTH <= figure.repeat_high
        first = found.processes[0].energy_per_inference_j
        alone += first.repeat_low <= TRUTH <= first.repeat_high
    assert 0.93 <= held / draws <= 0.97
    assert alone < 0.4 * draws


def test_more_processes_follow_until_the_interval_is_narrow_enough():
    measure = Processes(1)
    found = measure.evaluate(8, precision=0.012, max_time_s=600)
    assert found.target_met
    assert len(found.processes) in (12, 18, 27)
    assert measure.asked[0].max_time_s == 600 / 8


def test_no_process_is_begun_that_would_end_after_the_time():
    found = Processes(1).evaluate(8, precision=0.001, max_time_s=21)
    assert len(found.processes) == 10
    assert not found.target_met
    assert "over processes reached" in found.warnings[0]


def test_all_processes_asked_for_run_even_when_loading_takes_longer_than_the_time():
    assert len(Processes(1).evaluate(8, max_time_s=3).processes) == 8


def test_between_and_within_are_told_apart():
    draw = np.random.default_rng(5)
    figures = [energy(TRUTH * (1 + draw.normal(0, 0.03)), 0.01 * TRUTH) for _ in range(400)]
    found = spread(figures)
    assert found.within == pytest.approx(0.01, rel=0.01)
    assert found.between == pytest.approx((0.03**2 - 0.01**2) ** 0.5, rel=0.15)


def test_the_gain_is_common_to_all_processes_and_is_not_averaged_away():
    figures = [energy(TRUTH, gain=0.05) for _ in range(8)]
    mean = over_processes(figures)
    assert mean.repeat_high == pytest.approx(TRUTH)
    assert mean.high - TRUTH == pytest.approx(1.96 * 0.05, rel=1e-3)


def test_gains_in_other_words_are_still_one_gain():
    figures = [
        replace(f, budget=(f.budget[0], replace(f.budget[1], detail=f"at {i} W")))
        for i, f in enumerate(energy(TRUTH, gain=0.05) for _ in range(8))
    ]
    assert over_processes(figures).high - TRUTH == pytest.approx(1.96 * 0.05, rel=1e-3)


def test_the_mean_says_of_how_many_and_its_budget_gives_its_interval():
    found = Processes(3).evaluate(8).energy_per_inference_j
    assert found.provenance.startswith("mean of 8 processes")
    assert found.budget[0].name == "processes"
    assert found.budget[0].nu == 7
    assert budget_problems("x", found) == []


def test_an_interval_over_two_processes_uses_one_degree_of_freedom():
    interval = process_interval([1.0, 3.0])
    assert (interval.mean, interval.nu) == (2.0, 1.0)
    assert interval.half == pytest.approx(12.706, rel=1e-4)


# What fails


def test_processes_that_fail_are_named_and_the_others_count():
    found = Processes(1, fails=(2, 3)).evaluate(8)
    assert len(found.processes) == 6
    (warning,) = [text for text in found.warnings if "process 2 failed: no memory in 2" in text]
    assert "process 3 failed" in warning
    assert "those of 6 processes" in warning


@pytest.mark.parametrize(("fails", "tried"), [((1, 2), 2), ((2, 3, 4, 5, 6, 7), 7)])
def test_it_gives_up_when_too_few_can_finish(fails, tried):
    measure = Processes(1, fails=fails)
    with pytest.raises(ModelError, match="no memory"):
        measure.evaluate(8)
    assert measure.done == tried


def test_ctrl_c_keeps_the_processes_that_had_finished():
    class Stopped(Processes):
        def __call__(self, settings):
            if self.done == 4:
                raise KeyboardInterrupt
            return super().__call__(settings)

    with pytest.raises(MeasurementInterrupted) as caught:
        Stopped(1).evaluate(8)
    kept = caught.value.result
    assert len(kept.processes) == 4
    assert not kept.target_met
    assert "interrupted" in kept.warnings[0]


def test_one_finished_process_is_told_as_one():
    class Stopped(Processes):
        def __call__(self, settings):
            if self.done == 1:
                raise KeyboardInterrupt
            return super().__call__(settings)

    with pytest.raises(MeasurementInterrupted) as caught:
        Stopped(1).evaluate(8)
    assert caught.value.result.energy_per_inference_j.provenance == "x"
    assert caught.value.result.process_spread is None


def test_a_total_that_one_process_lost_is_no_total():
    measure = Processes(1)

    def losing(settings):
        found = measure(settings)
        return replace(found, energy_per_inference_j=None) if measure.done == 2 else found

    found = evaluate_isolated(losing, LoopSettings(precision=0.9), 5, measure.clock)
    assert found.energy_per_inference_j is None
    assert len(found.processes) == 5


# Tracing


def derivable(value):
    """A process whose figures follow from its three repetitions."""
    joules = [value * f * 10 for f in (0.99, 1.0, 1.01)]
    repetitions = tuple(
        replace(r, channels=(replace(r.channels[0], energy_j=j),))
        for r, j in zip(SAMPLE.repetitions, joules, strict=True)
    )

    def figure(values):
        seen = batch_means(values)
        ends = (seen.mean - seen.half, seen.mean + seen.half)
        return Figure(seen.mean, *ends, *ends, "counter", "x")

    per = figure(np.array(joules) * 0.99 / 10)
    return replace(
        result(value),
        energy_per_inference_j=per,
        energy_per_sample_j=per,
        latency_s=figure(np.full(3, 0.099)),
        power_w=figure(np.array(joules)),
        repetitions=repetitions,
        idle_power_w=None,
        net_energy_per_inference_j=None,
        idle=(),
    )


def test_the_figures_follow_from_the_repetitions_of_each_process():
    values = iter([0.5, 0.52, 0.49, 0.51, 0.5])
    found = evaluate_isolated(
        lambda settings: derivable(next(values)), LoopSettings(precision=0.9), 5, VirtualClock()
    )
    assert check_repetitions(found) == []
    edited = replace(found, energy_per_inference_j=energy(0.4))
    assert any("follows from the processes" in text for text in check_repetitions(edited))
    (first, *rest) = found.processes
    other = replace(first, energy_per_inference_j=energy(0.5))
    edited = replace(found, processes=(other, *rest))
    assert any(text.startswith("processes[0]") for text in check_repetitions(edited))

"""Each term of the error model of repeated work is needed: dropped, a check fails that held.

As `test_error_terms.py`, for blocks and when to stop, the figures of a run, processes, and
energy above idle.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
import pytest

from greenai_core.above_idle import idle_costs
from greenai_core.blocks import ChannelReadings, RunReadings
from greenai_core.budget import Term
from greenai_core.channels import Channel, Reading, window_result
from greenai_core.isolated import over_processes
from greenai_core.loop import LoopSettings, judged
from greenai_core.results import Figure
from greenai_core.run_costs import Sensor, run_costs
from greenai_core.statistics import (
    Vector,
    batch_means,
    coverage_factor,
    expanded,
    is_steady,
    next_look,
)

pytestmark = pytest.mark.usefixtures("quick_quantiles")

K = coverage_factor()
TARGET = 0.02


def remembering(rng, memory, shape):
    """Autoregressive series of variance 1, one a row."""
    length = shape[1]
    fresh = rng.normal(size=shape)
    fresh[:, 1:] *= math.sqrt(1 - memory * memory)
    for index in range(1, length):
        fresh[:, index] += memory * fresh[:, index - 1]
    return fresh


def holds_zero(series):
    intervals = [batch_means(row) for row in series]
    return [abs(interval.mean) <= interval.half for interval in intervals]


# Blocks


def correlated_blocks_too_few_to_be_merged():
    return holds_zero(remembering(np.random.default_rng(1), 0.3, (1500, 15)))


def blocks_with_a_slow_part():
    """White noise over a wander so slow that the correlation of neighbours understates it."""
    rng = np.random.default_rng(2)
    slow = remembering(rng, 0.93, (400, 768))
    return holds_zero(math.sqrt(0.4) * slow + math.sqrt(0.6) * rng.normal(size=slow.shape))


def blocks_whose_borders_are_misplaced():
    """What one block has too much its neighbour lacks: width over 1.5 × that of an oracle."""
    rng = np.random.default_rng(3)
    borders = rng.normal(size=(300, 257))
    series = np.diff(borders, axis=1) + 0.7 * rng.normal(size=(300, 256))
    intervals = [batch_means(row) for row in series]
    oracle = K * float(np.std([interval.mean for interval in intervals]))
    return float(np.mean([interval.half for interval in intervals])) / oracle / 1.5


def three_blocks():
    return holds_zero(np.random.default_rng(4).normal(size=(1500, 3)))


def a_run_that_stops_when_its_interval_is_narrow(target, draws):
    """Blocks of 10 % CV that remember: φ = 0.7."""
    series = 1 + 0.1 * remembering(np.random.default_rng(5), 0.7, (draws, 700))
    hits = []
    for row in series:
        count = next_look(0)
        while (interval := batch_means(row[:count])).half > target and count < len(row):
            count = next_look(count)
        hits.append(abs(interval.mean - 1) <= interval.half)
    return hits


# Steady state


@dataclass(frozen=True)
class Shown:
    """Joules of one channel between neighbouring ticks."""

    channel: Channel
    joules: Vector

    def blocks(self, ticks, instants):
        return np.diff(np.concatenate(([0.0], np.cumsum(self.joules)))[ticks])


CPU = Channel("cpu:0/package", "cpu", "counter")
SECONDS = 0.02


def readings(*shown, read_s=0.0, read_w=0.0):
    """A run of one iteration a block; reading the sensors takes ``read_s`` after each."""
    count = len(shown[0][1])
    before = 1.0 + np.arange(count + 1) * (SECONDS + read_s)
    return RunReadings(
        before,
        before + read_s,
        np.array([0] + [1] * count),
        np.array([], np.int64),
        0,
        1,
        tuple(
            ChannelReadings("sim", 0.0, Shown(channel, np.asarray(joules) + read_w * read_s))
            for channel, joules in shown
        ),
    )


def finished(*shown, **options):
    ids = [channel.id for channel, _ in shown]
    run = judged(readings(*shown, **options), ids, LoopSettings(precision=TARGET), False)
    sensors = [Sensor("sim", channel, 0.0) for channel, _ in shown]
    return run, sensors, ids


def work_that_warms_up():
    """10 % more at the beginning: bias over a tenth of the target."""
    rng = np.random.default_rng(6)
    warm = 1 + 0.1 * np.exp(-np.arange(200) / 10)
    means = [
        batch_means(run.blocks.per_iteration(ids)).mean
        for run, _, ids in (finished((CPU, warm * rng.normal(1, 0.01, 200))) for _ in range(60))
    ]
    return abs(float(np.mean(means)) - 1) / (0.1 * TARGET)


def work_that_drifts_to_the_end():
    """4 % from first to last: runs said to have met the target, over one in twenty."""
    rng = np.random.default_rng(7)
    drift = np.linspace(0.98, 1.02, 200)
    met = [finished((CPU, drift * rng.normal(1, 0.005, 200)))[0].target_met for _ in range(60)]
    return float(np.mean(met)) / 0.05


def wander_that_is_no_trend():
    series = 1 + 0.05 * remembering(np.random.default_rng(8), 0.5, (600, 256))
    return [is_steady(row, TARGET) for row in series]


# Figures of a run


def figure_of(*shown, **options):
    run, sensors, ids = finished(*shown, **options)
    return run_costs(run, sensors, ids, LoopSettings(precision=TARGET)).energy


def sensor(id="cpu:0/package", u=0.03):
    return Channel(id, "cpu", "counter", gain_uncertainty=u, gain_source="RAPL" if u else "")


def total_hits(make, truth, draws=120):
    figures = [make() for _ in range(draws)]
    return [figure.low <= truth <= figure.high for figure in figures]


def a_run_on_a_sensor_with_a_gain():
    rng = np.random.default_rng(9)
    return total_hits(
        lambda: figure_of((sensor(), rng.normal(1, 0.03) * rng.normal(1, 0.01, 80))), 1.0
    )


def a_run_on_four_sensors_of_one_gain():
    rng = np.random.default_rng(10)
    channels = [sensor(f"cpu:{n}/package") for n in range(4)]

    def run():
        gain = rng.normal(1, 0.03)
        return figure_of(*((channel, gain * rng.normal(1, 0.001, 80)) for channel in channels))

    return total_hits(run, 4.0, 100)


def a_run_whose_reading_takes_an_unknown_power():
    """2 % of the time, at anything from no power to twice the mean."""
    rng = np.random.default_rng(11)
    exact = sensor(u=0.0)
    return total_hits(
        lambda: figure_of(
            (exact, rng.normal(1, 1e-4, 80)), read_s=4e-4, read_w=rng.uniform(0, 100)
        ),
        1.0,
    )


# Processes


def process_figures(rng, count, between, gain=0.0, u_gain=0.0):
    for value in (1 + gain) * rng.normal(1, between, count):
        budget = (Term("repetition", 0.001, 63.0), Term("gain", u_gain, None, repeats=False))
        half = K * 0.001
        bars = (value - half, value + half) * 2
        yield Figure(value, *bars, "counter", "", budget)


def five_processes():
    rng = np.random.default_rng(12)
    figures = [over_processes(list(process_figures(rng, 5, 0.02))) for _ in range(1500)]
    return [figure.repeat_low <= 1 <= figure.repeat_high for figure in figures]


def processes_on_one_sensor():
    """Its gain is the same in all of them, so that more processes do not tell it better."""
    rng = np.random.default_rng(13)
    figures = [
        over_processes(list(process_figures(rng, 8, 0.01, rng.normal(0, 0.05), 0.05)))
        for _ in range(200)
    ]
    return [figure.low <= 1 <= figure.high for figure in figures]


# Above idle


def above_idle(draws, seed, u_w, drift_w):
    """Hits of 50 W of work on 30 W of idle that is measured around it."""
    rng = np.random.default_rng(seed)
    hits = []
    for _ in range(draws):
        idle = rng.uniform(30.0, 30.0 + drift_w)
        windows = [
            window_result(name, 2.0, [("sim", Reading(CPU, 2 * (w + rng.normal(0, u_w)), 2 * u_w))])
            for name, w in (("idle before", 30.0), ("idle after", 30.0 + drift_w))
        ]
        run, sensors, ids = finished((CPU, (50 + idle) * SECONDS * rng.normal(1, 1e-4, 80)))
        net = idle_costs(run.blocks, windows, sensors, ids, 0.0).net_j
        hits.append(net.low <= 50 * SECONDS <= net.high)
    return hits


def idle_beneath_reading_at_an_unknown_power():
    """As of the figures of a run: 2 % of the time, at up to twice the mean power."""
    rng = np.random.default_rng(18)
    windows = [
        window_result(name, 2.0, [("sim", Reading(CPU, 60.0))])
        for name in ("idle before", "idle after")
    ]
    hits = []
    for read_w in rng.uniform(0, 160, 120):
        joules = 80 * SECONDS * rng.normal(1, 1e-4, 80)
        run, sensors, ids = finished((CPU, joules), read_s=4e-4, read_w=read_w)
        net = idle_costs(run.blocks, windows, sensors, ids, run.self_cost_share).net_j
        hits.append(net.low <= 50 * SECONDS <= net.high)
    return hits


# Several terms together


def few_values_and_a_known_gain():
    """Mean of three, and a gain less uncertain: Student's t for the freedom of both."""
    rng = np.random.default_rng(16)
    hits = []
    for values, gain in zip(rng.normal(0, 1, (600, 3)), rng.normal(0, 0.2, 600), strict=True):
        u = float(values.std(ddof=1)) / math.sqrt(3)
        hits.append(abs(values.mean() + gain) <= expanded([(u, 2.0), (0.2, math.inf)]))
    return hits


T_ALONE = [("statistics:batch_means", "coverage_factor(n - 1)", "coverage_factor()")]

TERMS = [
    (
        "correlation of blocks",
        [("statistics:batch_means", "math.sqrt((1 + r) / ((1 - r) * n))", "math.sqrt(1 / n)")],
        correlated_blocks_too_few_to_be_merged,
    ),
    (
        "merging of correlated blocks",
        [("statistics:MAX_CORRELATION", None, 1.0)],
        blocks_with_a_slow_part,
    ),
    (
        "merging of negatively correlated blocks",
        [
            (
                "statistics:batch_means",
                "abs(_signed_correlation(merged))",
                "_signed_correlation(merged)",
            )
        ],
        blocks_whose_borders_are_misplaced,
    ),
    ("Student's t", T_ALONE, three_blocks),
    (
        "caution",
        [("statistics:CAUTION", None, 0.0)],
        lambda: a_run_that_stops_when_its_interval_is_narrow(0.05, 3000),
    ),
    (
        "first look",
        [("statistics:FIRST_LOOK", None, 10)],
        lambda: a_run_that_stops_when_its_interval_is_narrow(0.06, 1000),
    ),
    (
        "cut of the warm-up",
        [("loop:_judge", "cut = warm_up_length(values)", "cut = 0")],
        work_that_warms_up,
    ),
    (
        "steady state",
        [("loop:_judge", "elif not is_steady(values, settings.precision)", "elif False")],
        work_that_drifts_to_the_end,
    ),
    (
        "correlation of residuals of a trend",
        [("statistics:is_steady", "* (1 + r) / (1 - r)", "")],
        wander_that_is_no_trend,
    ),
    (
        "gain of a run",
        [("run_costs:_energy", "_gains(channels, means)", "()")],
        a_run_on_a_sensor_with_a_gain,
    ),
    (
        "gains of one kind in a run",
        [
            (
                "budget:gains",
                "abs(sum((u for _, u in members)))",
                "sum(u * u for _, u in members) ** 0.5",
            )
        ],
        a_run_on_four_sensors_of_one_gain,
    ),
    (
        "reading of sensors",
        [("run_costs:_figure", "reading * abs(interval.mean) / math.sqrt(3)", "0.0")],
        a_run_whose_reading_takes_an_unknown_power,
    ),
    (
        "Student's t over processes",
        [("isolated:process_interval", "coverage_factor(n - 1)", "coverage_factor()")],
        five_processes,
    ),
    (
        "gain common to processes",
        [("isolated:over_processes", "*_common(figures)", "")],
        processes_on_one_sensor,
    ),
    (
        "gain is not divided by their number",
        [("isolated:_common", "/ len(figures)", "/ len(figures) ** 1.5")],
        processes_on_one_sensor,
    ),
    (
        "idle before and after",
        [("above_idle:_bracket", "term.u / window.duration_s / 2", "0.0")],
        lambda: above_idle(120, 14, 1.0, 0.0),
    ),
    (
        "idle drift",
        [("above_idle:_bracket", "math.sqrt(max((last - first) ** 2 - chance, 0.0) / 12)", "0.0")],
        lambda: above_idle(120, 15, 0.1, 4.0),
    ),
    (
        "reading of sensors, above idle",
        [("above_idle:idle_costs", "reading * abs(float(gross.mean())) / math.sqrt(3)", "0.0")],
        idle_beneath_reading_at_an_unknown_power,
    ),
    (
        "freedom of several terms",
        [("statistics:expanded", "coverage_factor(effective_nu(parts))", "coverage_factor()")],
        few_values_and_a_known_gain,
    ),
]


@pytest.mark.parametrize(
    ("changes", "scenario"), [term[1:] for term in TERMS], ids=[term[0] for term in TERMS]
)
def test_no_term_can_be_dropped(changes, scenario, needed):
    needed(changes, scenario)

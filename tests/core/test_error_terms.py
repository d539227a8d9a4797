"""Each term of the error model of one window is needed: dropped, a check fails that held.

The table names the term, how it is dropped, and a scenario made for it: draws with a
known truth, seeded, measured by production functions. The scenario gives the draws whose
interval held the truth, or an error over what is allowed. `test_error_terms_of_samples.py`,
`_of_runs.py` and `_of_comparisons.py` are the same for all else.
"""

from __future__ import annotations

import math

import numpy as np
import pytest

from greenai_core.channels import Channel, Reading, window_result
from greenai_core.counter_window import told
from greenai_core.edge_window import Reads, window_between_edges
from greenai_core.net import net_energy
from greenai_core.statistics import coverage_factor, latch_window
from greenai_core.testing import Bursts, SquareWave

pytestmark = pytest.mark.usefixtures("quick_quantiles")

K = coverage_factor()
SLOW_S = 0.1
"""Update period of the counters."""

POWER_S = 0.02
"""The power is told anew so often."""

CPU = Channel("cpu:0/package", "cpu", "counter", gain_uncertainty=0.03, gain_source="RAPL")


# Two reads of a counter


def two_reads(power, seconds, draws, seed, known):
    """Windows at random instants: counted joules and both powers go in, hits come out."""
    rng = np.random.default_rng(seed)
    hits = []
    for start in rng.uniform(1.0, 900.0, draws):
        phase, stop = rng.uniform(0, SLOW_S), start + seconds + rng.uniform(0, SLOW_S)
        shown = [phase + math.floor((t - phase) / SLOW_S) * SLOW_S for t in (start, stop)]
        ends = [power.power(t) for t in (start, stop)] if known else (None, None)
        energy, u = latch_window(power.energy(*shown), stop - start, SLOW_S, 0.0, *ends)
        hits.append(abs(energy - power.energy(start, stop)) <= K * u)
    return hits


def steady_load_on_a_slow_counter():
    return two_reads(Bursts(100.0, 100.0, ()), 5.0, 600, 1, known=True)


def bursts_quicker_than_the_counter():
    power = Bursts.at_random(30.0, 300.0, 1000.0, 0.02, 0.02, seed=2)
    return two_reads(power, 3.0, 800, 2, known=True)


def bursts_whose_power_is_not_told():
    return two_reads(SquareWave(0.0, 300.0, 0.27), 1.0, 800, 3, known=False)


def little_power_on_a_coarse_counter():
    """10 J on a counter that tells whole joules."""
    rng = np.random.default_rng(4)
    hits = []
    for offset, joules in zip(rng.uniform(0, 1, 800), rng.uniform(10, 11, 800), strict=True):
        counted = math.floor(offset + joules) - math.floor(offset)
        energy, u = latch_window(counted, 10.0, 1e-3, 1.0)
        hits.append(abs(energy - joules) <= K * u)
    return hits


def reads_that_take_long():
    """Of 20 ms each, at any instant of which the counter was looked at."""
    rng = np.random.default_rng(24)
    hits = []
    for begun, looked, looked_again in rng.uniform(0, 1, (500, 3)):
        at = [begun + 0.02 * looked, begun + 2.0 + 0.02 * looked_again]
        start, stop = (
            (middle - 0.01, middle + 0.01, 100 * t, 0, 100.0, "")
            for middle, t in zip((begun + 0.01, begun + 2.01), at, strict=True)
        )
        reading = told(CPU, 1e-6, start, stop, stop[1])
        hits.append(abs(reading.energy_j - 200.0) <= K * reading.u_j)
    return hits


# A counter that is watched


def reads_of(power, times, phase, powered=True, resolution=1e-6):
    """What a counter that moves every 100 ms shows, its power told anew every 20 ms."""
    times = np.asarray(times)
    shown = phase + np.floor((times - phase) / SLOW_S) * SLOW_S
    joules = np.array([power.energy(0, t) for t in shown])
    told = np.floor(times / POWER_S) * POWER_S
    watts = np.array([power.power(t) for t in told]) if powered else times * math.nan
    return Reads(times, np.floor(joules / resolution) * resolution, watts)


def held(power, reads, start, stop, resolution=1e-6):
    """Whether the interval holds the truth; None without a figure."""
    found = window_between_edges(reads, start, stop, SLOW_S, resolution)
    return (
        None if found is None else abs(found.energy_j - power.energy(start, stop)) <= K * found.u_j
    )


def watched(power, seconds, draws, seed, powered=True, closing=True, resolution=1e-6):
    """Hits of windows at random instants, read every 5 ms from before until after them."""
    rng = np.random.default_rng(seed)
    hits = []
    for start in rng.uniform(2.0, 190.0, draws):
        stop = start + seconds + rng.uniform(0, SLOW_S)
        times = np.append(np.arange(start - 0.4, stop + (0.2 if closing else 0.0), 0.005), stop)
        reads = reads_of(power, np.unique(times), rng.uniform(0, SLOW_S), powered, resolution)
        hits.append(held(power, reads, start, stop, resolution))
    return [hit for hit in hits if hit is not None]


def bursts(mean_s, seed):
    return Bursts.at_random(70.0, 400.0, 200.0, mean_s, mean_s, seed)


def edges_seen_by_seldom_reads(powered):
    """Steady 100 W; around the start reads are 50 ms apart, and it lies between two of them."""
    rng = np.random.default_rng(5)
    power, hits = Bursts(100.0, 100.0, ()), []
    for _ in range(150):
        phase = 0.05 * rng.uniform()  # the counter moves between the reads at 1.0 and 1.05
        start, stop = 1.0 + 0.026, 2.0 + phase + 0.0005
        times = np.concatenate((np.arange(0.5, 1.4, 0.05), np.arange(1.41, 2.31, 0.002)))
        hits.append(held(power, reads_of(power, times, phase, powered), start, stop))
    return hits


JUMPS = "np.diff(watts) ** 2 * ((steps + 2 * lag) ** 2 / 12 + lag ** 2 / 3)"


def powers_that_jump_around_the_edges():
    return watched(bursts(0.15, 6), 0.3, 200, 6)


def both_estimators_in_the_interval():
    """The larger of their distances from the figure, over its half-width."""
    rng = np.random.default_rng(7)
    worst = 0.0
    for index in range(100):
        power = bursts(0.1, index)
        start = rng.uniform(1.0, 1.5)
        stop = start + rng.uniform(0.3, 0.6)
        times = np.arange(start - 0.4, stop + 0.2, 0.005)
        reads = reads_of(power, times, rng.uniform(0, SLOW_S), powered=index % 2 == 0)
        found = window_between_edges(reads, start, stop, SLOW_S, 1e-6)
        if found is not None and found.u_j > 0:
            apart = abs(found.latch_j - found.interpolated_j) / 2
            worst = max(worst, apart / (K * found.u_j))
    return worst


def power_that_swings_with_the_counter():
    """Each update shows the same joules, and what happens in between is not told."""
    rng = np.random.default_rng(8)
    hits = []
    for start in rng.uniform(2.0, 3.0, 200):
        phase = rng.uniform(0, SLOW_S)
        power = SquareWave(50.0, 150.0, SLOW_S, phase_s=rng.uniform(0, SLOW_S))
        stop = start + 0.5 + rng.uniform(0, SLOW_S)
        times = np.arange(start - 0.4, stop + 0.2, 0.005)
        hits.append(held(power, reads_of(power, times, phase, powered=False), start, stop))
    return hits


def bursts_without_powers():
    power = Bursts.at_random(20.0, 400.0, 200.0, 0.05, 0.05, 9)
    return watched(power, 0.5, 250, 9, powered=False)


def a_burst_that_began_after_the_last_power_was_told():
    """No edge after the window is waited for; the power is as old as 20 ms at its end."""
    rng = np.random.default_rng(10)
    hits = []
    for _ in range(200):
        start = 2.0
        stop = 2.4 + rng.uniform(0, SLOW_S)
        late = POWER_S * math.floor(stop / POWER_S) + (stop % POWER_S) * rng.uniform()
        power = Bursts(70.0, 400.0, ((stop - 0.08, stop - 0.04), (late, stop + 1)))
        times = np.unique(np.append(np.arange(1.6, stop, 0.005), stop))
        hits.append(held(power, reads_of(power, times, rng.uniform(0, SLOW_S)), start, stop))
    return hits


def a_watched_counter_of_large_units():
    return watched(Bursts(100.0, 100.0, ()), 0.5, 200, 11, resolution=4.0)


# Gains, sums and idle


def window(joules, seconds, u=0.0, channels=(CPU,)):
    return window_result(
        "w",
        seconds,
        [("sim", Reading(c, j, u)) for c, j in zip(channels, joules, strict=True)],
    )


def a_sensor_with_a_gain():
    rng = np.random.default_rng(17)
    results = [window([100 * gain], 1.0) for gain in rng.normal(1, 0.03, 800)]
    return [r.low_j <= 100 <= r.high_j for r in results]


def four_sensors_with_one_gain():
    rng = np.random.default_rng(18)
    kind = {"gain_uncertainty": 0.03, "gain_source": "NVML"}
    boards = [Channel(f"gpu:{n}", "gpu", "counter", **kind) for n in range(4)]
    results = [window([100 * g] * 4, 1.0, 0.0, boards) for g in rng.normal(1, 0.03, 800)]
    return [r.low_j <= 400 <= r.high_j for r in results]


def channels_that_err_apart():
    """The readings of both count, each with its own uncertainty."""
    rng = np.random.default_rng(19)
    exact = [Channel(id, "cpu", "counter") for id in ("cpu:0/package", "cpu:1/package")]
    results = [window(100 + rng.normal(0, 1, 2), 1.0, 1.0, exact) for _ in range(800)]
    return [r.repeat_low_j <= 200 <= r.repeat_high_j for r in results]


def net_hits(draws, seed, drift_w, u_idle_w, u_run_j, gain=0.0):
    rng = np.random.default_rng(seed)
    channel = Channel("cpu:0/package", "cpu", "counter", gain_uncertainty=gain)
    hits = []
    for _ in range(draws):
        g = 1 + gain * rng.normal()
        first, last = 30.0, 30.0 + drift_w
        idle = rng.uniform(min(first, last), max(first, last))  # during the run
        windows = (
            window([g * (1000 + rng.normal(0, u_run_j))], 10, u_run_j, [channel]),
            window([g * (first + rng.normal(0, u_idle_w)) * 5], 5, u_idle_w * 5, [channel]),
            window([g * (last + rng.normal(0, u_idle_w)) * 5], 5, u_idle_w * 5, [channel]),
        )
        net = net_energy(*windows, [channel]).net_energy_j
        hits.append(net.low <= 1000 - 10 * idle <= net.high)
    return hits


def idle_that_is_not_exactly_known():
    return net_hits(600, 20, 0.0, 1.0, 0.0)


def idle_that_drifts():
    return net_hits(600, 21, 4.0, 0.1, 0.0)


def a_run_that_is_not_exactly_known():
    return net_hits(600, 22, 0.0, 0.1, 10.0)


def net_energy_of_a_sensor_with_a_gain():
    return net_hits(600, 23, 0.0, 0.1, 0.0, gain=0.03)


TERMS = [
    (
        "latch, power known",
        [("statistics:latch_term", "(power_w * period_s) ** 2 / 12", "0.0")],
        steady_load_on_a_slow_counter,
    ),
    (
        "drift of a known power",
        [("statistics:latch_term", "drift ** 2 / 6", "0.0")],
        bursts_quicker_than_the_counter,
    ),
    (
        "latch, power unknown",
        [("statistics:latch_term", "scale * (2 / 3 - 1 / 4)", "0.0")],
        bursts_whose_power_is_not_told,
    ),
    (
        "latch, that the power is unknown",
        [("statistics:latch_term", "2 / 3 - 1 / 4", "1 / 12")],
        bursts_whose_power_is_not_told,
    ),
    (
        "resolution",
        [("statistics:latch_parts", "resolution_j / math.sqrt(6)", "0.0")],
        little_power_on_a_coarse_counter,
    ),
    (
        "clock",
        [("counter_window:_stamped", "energy / duration * latency / math.sqrt(12)", "0.0")],
        reads_that_take_long,
    ),
    (
        "slack of edges, power told",
        [("edge_window:_powered", "((1 - share) * slack) ** 2 + (share * after) ** 2", "0.0")],
        lambda: edges_seen_by_seldom_reads(powered=True),
    ),
    (
        "slack of edges, power not told",
        [("edge_window:_unpowered", "(now_w * float(seen.u_times[last])) ** 2", "0.0")],
        lambda: edges_seen_by_seldom_reads(powered=False),
    ),
    (
        "jumps of the power around edges",
        [("edge_window:_powered", JUMPS, "0 * steps")],
        powers_that_jump_around_the_edges,
    ),
    (
        "disagreement of the estimators",
        [("edge_window:window_between_edges", "(latch - interpolated) ** 2 / 12", "0.0")],
        both_estimators_in_the_interval,
    ),
    (
        "power hidden within a period",
        [("edge_window:_unpowered", "now_w ** 2 / 12", "0.0")],
        power_that_swings_with_the_counter,
    ),
    (
        "powers of neighbouring periods differ",
        [("edge_window:_unpowered", "swing ** 2 / 6", "0.0")],
        bursts_without_powers,
    ),
    (
        "jump that was not seen",
        [("edge_window:_powered", "unseen ** 2 / 3", "0.0")],
        a_burst_that_began_after_the_last_power_was_told,
    ),
    (
        "resolution of a watched counter",
        [("edge_window:window_between_edges", "apart + resolution_j ** 2 / 6", "apart")],
        a_watched_counter_of_large_units,
    ),
    (
        "gain",
        [("channels:half_widths", "math.hypot(repeat, gain)", "repeat")],
        a_sensor_with_a_gain,
    ),
    (
        "gains of one kind add linearly",
        [
            (
                "statistics:add_gains",
                "by_method.get(method, 0.0) + u",
                "math.hypot(by_method.get(method, 0.0), u)",
            )
        ],
        four_sensors_with_one_gain,
    ),
    (
        "readings of all channels",
        [("channels:half_widths", "math.fsum((u * u for _, _, u in terms))", "terms[0][2] ** 2")],
        channels_that_err_apart,
    ),
    (
        "idle before and after",
        [("statistics:idle_bracket", "(u_before_w ** 2 + u_after_w ** 2) / 4", "0.0")],
        idle_that_is_not_exactly_known,
    ),
    (
        "idle drift",
        [("statistics:idle_bracket", "(after_w - before_w) ** 2 / 12", "0.0")],
        idle_that_drifts,
    ),
    (
        "reading of the run above idle",
        [("net:net_energy", "math.hypot(u_gross, duration * u_idle)", "duration * u_idle")],
        a_run_that_is_not_exactly_known,
    ),
    (
        "gain above idle",
        [
            (
                "net:net_energy",
                "g_net = add_gains([(kind, u) for kind, _, u in net_gains])",
                "g_net = 0.0",
            )
        ],
        net_energy_of_a_sensor_with_a_gain,
    ),
]


@pytest.mark.parametrize(
    ("changes", "scenario"), [term[1:] for term in TERMS], ids=[term[0] for term in TERMS]
)
def test_no_term_can_be_dropped(changes, scenario, needed):
    needed(changes, scenario)


def test_a_term_that_is_written_otherwise_is_not_taken_for_dropped(drop):
    with pytest.raises(AssertionError, match="tell the table"):
        drop("statistics:latch_term", "drift ** 2 / 7", "0.0")

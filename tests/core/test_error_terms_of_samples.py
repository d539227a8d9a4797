"""Each term of the error model of sampled power is needed.

As `test_error_terms.py`: dropped, a check fails that held.
"""

from __future__ import annotations

import random

import numpy as np
import pytest

from greenai_core.channels import Channel
from greenai_core.power_series import PowerSeries
from greenai_core.statistics import coverage_factor
from greenai_core.testing import Bursts

pytestmark = pytest.mark.usefixtures("quick_quantiles")

K = coverage_factor()
GPU = Channel("gpu:GPU-1", "gpu", "sampled")


def sampled(power, seconds, draws, seed, noise_w=0.0, aligned=None):
    """Hits of windows of power that is sampled every 50 to 150 ms."""
    draw = random.Random(seed)
    hits = []
    for _ in range(draws):
        start = draw.uniform(2.0, 900.0)
        stop = start + seconds
        truth = Bursts(*aligned, ((start, stop),)) if aligned else power
        series = PowerSeries(GPU, 0.1)
        at = start - 1.0 - draw.random()
        while at < stop:
            series.add(at, truth.power(at) + draw.gauss(0, noise_w))
            at += 0.1 * draw.uniform(0.5, 1.5)
        if stop - series.times[-1] > 0.05:
            series.add(stop, truth.power(stop) + draw.gauss(0, noise_w))
        energy, u = series.energy(start, stop)
        hits.append(abs(energy - truth.energy(start, stop)) <= K * u)
    return hits


def long_bursts_in_a_long_window():
    return sampled(Bursts.at_random(30.0, 300.0, 1000.0, 0.6, 0.6, 12), 8.0, 600, 12)


def a_load_that_begins_and_ends_with_the_window():
    return sampled(None, 3.0, 600, 13, aligned=(30.0, 150.0))


def the_worst_instants_of_samples():
    """Samples just outside of both ends of a load: its error over the half-width, and 3 %."""
    series = PowerSeries(GPU, 0.1)
    load = Bursts(30.0, 150.0, ((1.0, 3.0),))
    for t in (*np.arange(0.0, 1.0, 0.0999), *np.linspace(1.0999, 2.9001, 20), 3.0001):
        series.add(float(t), load.power(float(t)))
    energy, u = series.energy(1.0, 3.0)
    return abs(energy - load.energy(1.0, 3.0)) / (K * u) / 1.03


def steady_power_with_noise():
    return sampled(Bursts(100.0, 100.0, ()), 4.0, 600, 14, noise_w=10.0)


def few_samples_of_noise():
    return sampled(Bursts(100.0, 100.0, ()), 0.7, 800, 15, noise_w=10.0)


def few_samples_of_quick_bursts():
    return sampled(Bursts.at_random(30.0, 300.0, 1000.0, 0.1, 0.1, 16), 0.25, 800, 16)


TERMS = [
    (
        "trapezoids",
        [
            (
                "power_series:PowerSeries.budgeted",
                "inside += trapezoid_variance",
                "inside += 0 * trapezoid_variance",
            )
        ],
        long_bursts_in_a_long_window,
    ),
    (
        "ends of sampled windows",
        [("power_series:END_FACTOR", None, 0.0)],
        a_load_that_begins_and_ends_with_the_window,
    ),
    (
        "both ends err alike",
        [("power_series:END_FACTOR", None, 1.0)],
        the_worst_instants_of_samples,
    ),
    (
        "noise of samples",
        [("power_series:PowerSeries.budgeted", "squares * _noise(watts)", "0.0")],
        steady_power_with_noise,
    ),
    (
        "noise of few samples",
        [
            ("power_series:FEW_SAMPLES", None, 0),
            ("power_series:_noise", "1 + 3 / (len(steps) - 1)", "1"),
        ],
        few_samples_of_noise,
    ),
    (
        "few samples",
        [("power_series:PowerSeries.budgeted", "joules ** 2 / 12", "0.0")],
        few_samples_of_quick_bursts,
    ),
]


@pytest.mark.parametrize(
    ("changes", "scenario"), [term[1:] for term in TERMS], ids=[term[0] for term in TERMS]
)
def test_no_term_can_be_dropped(changes, scenario, needed):
    needed(changes, scenario)

"""Each term of the error model of comparisons and calibrations is needed.

As `test_error_terms.py`: dropped, a check fails that held.
"""

from __future__ import annotations

import math

import numpy as np
import pytest

from greenai_core import ComparisonSettings
from greenai_core.blocks import Source
from greenai_core.calibration import PART, Calibration, Stair, calibrated, fit_line
from greenai_core.channels import Channel
from greenai_core.comparison import Estimate, judge, paired, unpaired
from greenai_core.interleaved import run_quads
from greenai_core.statistics import coverage_factor
from greenai_core.testing import (
    DrivenPower,
    Latch,
    SimulatedCounterProfiler,
    VirtualClock,
    rapl_counter,
)

pytestmark = pytest.mark.usefixtures("quick_quantiles")

K = coverage_factor()
CPU = Channel("cpu:0/package", "cpu", "counter")


# Comparisons


def two_reports_of_few_blocks():
    rng = np.random.default_rng(17)
    hits = []
    for first, other in rng.normal(1, 0.01, (600, 2, 2)):
        estimates = [
            Estimate(float(x.mean()), float(x.std(ddof=1)) / math.sqrt(2), 1.0)
            for x in (first, other)
        ]
        ratio = unpaired(*estimates)
        hits.append(abs(ratio.mean) <= ratio.half(0.05))
    return hits


def four_quads():
    ratios = [paired(row) for row in np.random.default_rng(18).normal(0, 0.01, (1500, 4))]
    return [abs(ratio.mean) <= ratio.half(0.05) for ratio in ratios]


def four_equal_models():
    """None of the three others is to be called different from the first."""
    rng = np.random.default_rng(19)
    return [
        all(r.verdict == "undecided" for r in judge([("", paired(row)) for row in three], 0.0))
        for three in rng.normal(0, 0.01, (500, 3, 12))
    ]


def comparison(seed, trend=0.08):
    """A against itself on a machine that becomes faster."""
    clock, power = VirtualClock(1.0 + seed * 0.37 % 1), DrivenPower(30.0)
    rng = np.random.default_rng(seed)
    profiler = SimulatedCounterProfiler(
        counters=[rapl_counter(power, latch=Latch(1e-3, jitter=0.2, seed=seed))]
    )

    def work():
        warm = 1 + trend * math.exp(-clock.now() / 15.0)
        power.set(clock.now(), 150.0)
        clock.sleep(0.6 * warm * rng.normal(1, 0.001))
        power.set(clock.now(), 30.0)

    profiler.open(clock)
    try:
        settings = ComparisonSettings(quads=6, margin=0.0, seed=seed)
        sources = [Source(profiler, profiler.channels)]
        (ratio,) = run_quads(
            [work, work], sources, (profiler.channels[0].id,), clock, settings
        ).ratios
    finally:
        profiler.close()
    return ratio


def a_machine_that_warms_up():
    ratios = [comparison(seed) for seed in range(60)]
    return [ratio.low <= 1 <= ratio.high for ratio in ratios]


def width_on_a_machine_that_warms_up():
    """Over 1.3 × the width on a machine that does not."""

    def width(trend):
        ratios = [comparison(seed, trend) for seed in range(20)]
        return float(np.mean([ratio.high / ratio.value - 1 for ratio in ratios]))

    return width(0.08) / width(0.0) / 1.3


# Calibration


def stairs(rng, count=8, u=0.3, told=None, bend=0.0, shared=0.0, meter_gain=1.0):
    """A sensor that tells 1/1.05 of what is above 3 W, against a meter."""
    found = []
    for level in np.linspace(0, 1, count):
        sensor_w = 20 + 80 * level
        common, first, other = rng.normal(0, u, 3)
        along, apart = math.sqrt(shared), math.sqrt(1 - shared)
        meter_w = meter_gain * (3 + 1.05 * sensor_w + bend * math.sin(math.pi * level))
        found.append(
            Stair(
                level,
                2.0,
                sensor_w + along * common + apart * first,
                meter_w + along * common + apart * other,
                told or u,
                told or u,
                shared,
            )
        )
    return found


def calibration(found, u_meter=0.0):
    line = fit_line(found)
    return Calibration(
        CPU.id, "sim", "wall:plug", PART, "2026-01-01", line, u_meter, 0.0, tuple(found), "0"
    )


def calibrated_hits(seed, make, draws=500, u_meter=0.0, bend=0.0, at=(20.0, 100.0)):
    """Draws in which a calibrated power of the sensor's range holds the true one."""
    rng = np.random.default_rng(seed)
    hits = []
    for _ in range(draws):
        made = calibration(make(rng), u_meter)
        sensor_w = rng.uniform(*at)
        truth = 3 + 1.05 * sensor_w + bend * math.sin(math.pi * (sensor_w - 20) / 80)
        told = made.watts(sensor_w)
        hits.append(abs(told - truth) <= K * made.relative_u(sensor_w) * told)
    return hits


def the_gain_of_five_stairs():
    """They say that they are ten times as well known as they are."""
    rng = np.random.default_rng(28)
    lines = [fit_line(stairs(rng, 5, told=0.03)) for _ in range(800)]
    return [abs(line.gain - 1.05) <= K * line.u_gain for line in lines]


def calibrated_width(seed, shared):
    """In the middle of the stairs: width of the interval over 1.3 × that of an oracle."""
    rng = np.random.default_rng(seed)
    made = [calibration(stairs(rng, shared=shared)) for _ in range(200)]
    told = [one.watts(60.0) for one in made]
    wide = [one.relative_u(60.0) * watts for one, watts in zip(made, told, strict=True)]
    return float(np.mean(wide) / np.std(told)) / 1.3


def a_meter_with_a_gain():
    return calibrated_hits(
        24, lambda rng: stairs(rng, meter_gain=rng.normal(1, 0.01)), u_meter=0.01
    )


def a_gain_that_depends_on_the_load():
    """2 % of the gain depend on the load, and 3 % more beyond the stairs."""
    rng = np.random.default_rng(26)
    channel = Channel("c", "cpu", "counter", gain_uncertainty=0.04, load_uncertainty=0.02)
    made = calibration(stairs(rng, u=0.01))
    known = calibrated(channel, made, 63.0)
    return [abs(error) <= K * known.gain_uncertainty for error in rng.normal(0, 0.02, 500)]


def a_power_beyond_the_stairs():
    rng = np.random.default_rng(27)
    channel = Channel("c", "cpu", "counter", gain_uncertainty=0.04)
    known = calibrated(channel, calibration(stairs(rng, u=0.01)), 300.0)
    return [abs(error) <= K * known.gain_uncertainty for error in rng.normal(0, 0.04, 500)]


TERMS = [
    (
        "freedom of two reports",
        [("comparison:unpaired", "effective_nu(parts) if u else math.inf", "math.inf")],
        two_reports_of_few_blocks,
    ),
    ("Student's t of quads", [("comparison:paired", "float(n - 1)", "math.inf")], four_quads),
    (
        "several models share the chance of an error",
        [("comparison:holm", "alpha / (len(ps) - rank)", "alpha")],
        four_equal_models,
    ),
    (
        "order of quads",
        [
            ("interleaved:_Comparison._quad", "draw.shuffle(order)", "pass"),
            ("interleaved:_Comparison._quad", "*reversed(order)", "*order"),
        ],
        a_machine_that_warms_up,
    ),
    (
        "opposite order within a quad",
        [("interleaved:_Comparison._quad", "*reversed(order)", "*order")],
        width_on_a_machine_that_warms_up,
    ),
    (
        "gain of a calibration",
        [("calibration:Calibration.relative_u", "(sensor_w * line.u_gain) ** 2", "0.0")],
        lambda: calibrated_hits(20, stairs),
    ),
    (
        "offset of a calibration",
        [("calibration:Calibration.relative_u", "line.u_offset_w ** 2", "0.0")],
        lambda: calibrated_hits(21, stairs),
    ),
    (
        "covariance of gain and offset",
        [("calibration:Calibration.relative_u", "2 * sensor_w * line.covariance_w", "0.0")],
        lambda: calibrated_width(22, 0.0),
    ),
    (
        "correlation of sensor and meter",
        [("calibration:_york", "r * ux * uy", "0 * ux")],
        lambda: calibrated_width(23, 0.8),
    ),
    (
        "gain of the meter",
        [
            (
                "calibration:Calibration.relative_u",
                "math.hypot(self.u_meter, self.u_rest) * watts",
                "0.0",
            )
        ],
        a_meter_with_a_gain,
    ),
    (
        "stairs that differ by more than they say",
        [("calibration:_widened", "max(excess, 1.0)", "1.0")],
        lambda: calibrated_hits(25, lambda rng: stairs(rng, told=0.2)),
    ),
    (
        "few stairs",
        [("calibration:_widened", "coverage_factor(nu) / coverage_factor()", "1.0")],
        the_gain_of_five_stairs,
    ),
    (
        "stairs on no line",
        [("calibration:Calibration.relative_u", "line.lack_w ** 2", "0.0")],
        lambda: calibrated_hits(29, lambda rng: stairs(rng, 12, u=0.05, bend=3.0), bend=3.0),
    ),
    (
        "load that a calibration does not see",
        [("calibration:calibrated", "math.hypot(u, channel.load_uncertainty)", "u")],
        a_gain_that_depends_on_the_load,
    ),
    (
        "powers beyond the stairs",
        [("calibration:calibrated", "max(u, channel.gain_uncertainty)", "u")],
        a_power_beyond_the_stairs,
    ),
]


@pytest.mark.parametrize(
    ("changes", "scenario"), [term[1:] for term in TERMS], ids=[term[0] for term in TERMS]
)
def test_no_term_can_be_dropped(changes, scenario, needed):
    needed(changes, scenario)

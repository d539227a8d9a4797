"""Sampled and delivered power on simulated hardware."""

import itertools
import math
import random

import numpy as np
import pytest

from greenai_core import LifecycleError, Reading, ReadingError, Sample, Session
from greenai_core.statistics import coverage_factor
from greenai_core.testing import (
    Bursts,
    Constant,
    Fails,
    Gives,
    Latch,
    Ramp,
    SimulatedPowerProfiler,
    SimulatedStreamProfiler,
    Sine,
    Slow,
    SquareWave,
    VirtualClock,
    power_gauge,
    vanishes,
)

KINDS = {
    "sampled": SimulatedPowerProfiler,
    "stream": SimulatedStreamProfiler,
}


def opened(kind, *gauges, **options):
    profiler = KINDS[kind](gauges=gauges, **options)
    profiler.open(VirtualClock())
    return profiler, profiler.clock


def window(profiler, seconds) -> list[Reading]:
    begun = profiler.begin()
    profiler.clock.sleep(seconds)
    return list(profiler.end(begun))


@pytest.mark.parametrize("kind", KINDS)
def test_constant_and_linear_power_is_exact(kind):
    ramp = Ramp(50.0, 250.0, 0.0, 100.0)
    profiler, clock = opened(
        kind, power_gauge(Constant(100.0), "wall:a"), power_gauge(ramp, "wall:b")
    )
    clock.sleep(7.0)
    start = clock.now()
    constant, rising = window(profiler, 10.0)
    assert constant.energy_j == pytest.approx(1000.0)
    assert constant.u_j == pytest.approx(0.0, abs=1e-9)
    assert rising.energy_j == pytest.approx(ramp.energy(start, start + 10.0), rel=1e-3)


def test_stream_is_waited_for_but_late_samples_do_not_stretch_the_window():
    profiler, clock = opened("stream", power_gauge(Sine(100.0, 50.0, 2.0)), late_s=0.5)
    clock.sleep(1.0)
    (reading,) = window(profiler, 3.0)
    assert clock.now() > 4.5, "the last samples arrive half a second late"
    truth = Sine(100.0, 50.0, 2.0).energy(1.0, 4.0)
    assert reading.energy_j == pytest.approx(truth, rel=1e-3)


def test_stream_that_ends_is_not_waited_for_without_end():
    profiler, clock = opened("stream", power_gauge(Constant(100.0), faults=(vanishes(1.0),)))
    (reading,) = window(profiler, 3.0)
    assert reading.energy_j is None
    assert "gave no power" in reading.reason
    assert clock.now() < 3.0 + profiler.patience_s + 0.1


@pytest.mark.parametrize("kind", KINDS)
def test_nested_and_overlapping_windows(kind, monkeypatch):
    # Within 3 u one draw in a thousand is not, so the jitter is the same every time.
    jitter = random.Random(11)
    monkeypatch.setattr("greenai_core.sampling.random.Random", lambda: jitter)
    profile = SquareWave(20.0, 180.0, 5.0)
    profiler, clock = opened(kind, power_gauge(profile))
    clock.sleep(1.0)
    outer, outer_start = profiler.begin(), clock.now()
    clock.sleep(8.0)
    inner, inner_start = profiler.begin(), clock.now()
    clock.sleep(9.0)
    outer_end = clock.now()
    (outer_reading,) = profiler.end(outer)
    clock.sleep(6.0)
    inner_end = clock.now()
    (inner_reading,) = profiler.end(inner)
    for reading, start, end in (
        (outer_reading, outer_start, outer_end), (inner_reading, inner_start, inner_end),
    ):  # fmt: skip
        truth = profile.energy(start, end)
        assert abs(reading.energy_j - truth) < 3 * reading.u_j


@pytest.mark.parametrize("kind", KINDS)
def test_a_gap_in_the_samples_is_an_error(kind):
    """Power that nobody saw for long is unknown, not what it was before."""
    profiler, _ = opened(kind, power_gauge(Constant(100.0), faults=(Fails(3.0, 6.0),)))
    (reading,) = window(profiler, 10.0)
    assert reading.energy_j is None
    assert "gave no power for 3" in reading.reason
    (reading,) = window(profiler, 5.0)
    assert reading.energy_j == pytest.approx(500.0), "the next window is complete again"


@pytest.mark.parametrize("kind", KINDS)
def test_one_lost_sample_is_bridged(kind):
    profiler, _ = opened(kind, power_gauge(Constant(100.0), faults=(Fails(3.0, 3.015),)))
    (reading,) = window(profiler, 10.0)
    assert reading.energy_j == pytest.approx(1000.0)


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("value", [math.nan, math.inf, -5.0])
def test_impossible_power_is_no_power(kind, value):
    fault = Gives(2.0, 100.0, value=value)
    profiler, _ = opened(kind, power_gauge(Constant(100.0), faults=(fault,)))
    (reading,) = window(profiler, 10.0)
    assert reading.energy_j is None
    assert "cannot be true" in reading.reason


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("fault", [vanishes(2.0), Gives(2.0, value=math.nan)])
def test_one_failing_channel_leaves_the_others_alone(kind, fault):
    profiler, _ = opened(
        kind,
        power_gauge(Constant(30.0), "wall:bad", faults=(fault,)),
        power_gauge(Constant(100.0), "wall:good"),
    )
    bad, good = window(profiler, 10.0)
    assert bad.energy_j is None
    assert good.energy_j == pytest.approx(1000.0)


def test_samples_of_unknown_channels_are_left_out():
    class Chatty(SimulatedStreamProfiler):
        def deliver(self):
            samples = list(super().deliver())
            return [Sample(s.time, "wall:other", 1e6) for s in samples] + samples

    profiler = Chatty()
    profiler.open(VirtualClock())
    profiler.clock.sleep(1.0)
    (reading,) = window(profiler, 4.0)
    assert reading.energy_j == pytest.approx(400.0)


def test_slow_sampling_is_stamped_with_its_middle():
    ramp = Ramp(0.0, 1000.0, 0.0, 100.0)
    profiler, clock = opened("sampled", power_gauge(ramp, faults=(Slow(seconds=0.08),)))
    clock.sleep(1.0)
    start = clock.now()
    (reading,) = window(profiler, 20.0)
    # The gauge answers at the end of its read: a bias of half a read is what remains.
    assert reading.energy_j == pytest.approx(ramp.energy(start, start + 20.0) + 20 * 0.4, rel=0.01)


def test_a_sensor_that_never_answers_does_not_open():
    profiler = SimulatedPowerProfiler(
        gauges=[power_gauge(Constant(1.0), "wall:dead", faults=(vanishes(0.0),))]
    )
    with pytest.raises(ReadingError, match="wall:dead"):
        profiler.open(VirtualClock())
    assert not profiler.is_open


DRAWS = 300
FEWEST = 268
"""If the interval holds the truth 93 % of the time, fewer hits than this among 300
draws come up once in a hundred times."""


@pytest.mark.parametrize("burst_s", [0.02, 0.5])
@pytest.mark.parametrize("seconds", [2.0, 20.0])
def test_interval_holds_the_truth(seconds, burst_s):
    """Random windows over bursts that 100 ms samples can follow, and that they cannot."""
    draw = random.Random(8)
    profile = Bursts.at_random(60.0, 300.0, 2 * DRAWS * seconds, burst_s, burst_s, seed=9)
    profiler, clock = opened("sampled", power_gauge(profile))
    hits, widths = 0, []
    for _ in range(DRAWS):
        clock.sleep(draw.uniform(0.1, 1.0))
        start = clock.now()
        (reading,) = window(profiler, seconds)
        truth = profile.energy(start, start + seconds)
        half = coverage_factor() * reading.u_j
        widths.append(half / truth)
        hits += abs(reading.energy_j - truth) <= half
    assert hits >= FEWEST
    assert np.mean(widths) < 0.5 / math.sqrt(seconds), "an interval that says nothing is no feat"


def test_jitter_keeps_periodic_work_from_aliasing():
    """Work that repeats every 100 ms, sampled every 100 ms: a fixed rhythm errs by 60 %."""
    profile = SquareWave(20.0, 300.0, 0.1, duty=0.3)
    errors = []
    for phase in np.linspace(0.0, 0.1, 10, endpoint=False):
        shifted = SquareWave(20.0, 300.0, 0.1, duty=0.3, phase_s=float(phase))
        profiler, _ = opened("sampled", power_gauge(shifted))
        (reading,) = window(profiler, 60.0)
        errors.append(reading.energy_j / profile.energy(0.0, 60.0) - 1)
    assert np.sqrt(np.mean(np.square(errors))) < 0.1


@pytest.mark.parametrize("kind", KINDS)
def test_recorded_blocks_are_the_truth(kind):
    profile = Sine(100.0, 60.0, 3.0)
    profiler, clock = opened(kind, power_gauge(profile))
    clock.sleep(1.0)
    recording = profiler.record()
    instants = []
    for _ in range(21):
        instants.append(clock.now())
        recording.tick()
        clock.sleep(0.5)
    ((_, blocks),) = recording.energies(np.arange(21), np.array(instants))
    recording.close()
    truth = [profile.energy(a, b) for a, b in itertools.pairwise(instants)]
    assert np.sum(blocks) == pytest.approx(np.sum(truth), rel=0.01)
    assert np.allclose(blocks, truth, rtol=0.1)


@pytest.mark.parametrize("kind", KINDS)
def test_samples_that_no_window_needs_are_forgotten(kind):
    profiler, _ = opened(kind, power_gauge(Constant(50.0), latch=Latch(0.1)))
    for _ in range(40):
        window(profiler, 20.0)
    assert len(profiler.series[0].times) < 4000


@pytest.mark.parametrize("kind", KINDS)
def test_evaluate_and_lifecycle(kind):
    profiler, clock = opened(kind, power_gauge(Constant(50.0)))
    clock.sleep(1.0)
    seconds, joules, result = profiler.evaluate(lambda: clock.sleep(4.0) or "done")
    assert (seconds, result) == (4.0, "done")
    assert joules == pytest.approx(200.0)
    assert profiler.get_unit() == "J"
    profiler.close()
    with pytest.raises(LifecycleError):
        profiler.begin()
    with pytest.raises(LifecycleError):
        profiler.stop()


@pytest.mark.parametrize("kind", [SimulatedPowerProfiler, SimulatedStreamProfiler])
def test_samples_are_forgotten_while_no_window_is_open(kind):
    clock = VirtualClock()
    with Session([kind()], clock=clock) as session:
        clock.sleep(400.0)
        (source,) = session.sources
        assert all(len(series.times) <= 1200 for series in source.profiler.series)

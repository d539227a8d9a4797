"""Sources that know only start and stop."""

import numpy as np
import pytest

from greenai_core import LifecycleError, ReadingError
from greenai_core.testing import (
    Constant,
    Fails,
    SimulatedWindowProfiler,
    SquareWave,
    VirtualClock,
    nvml_counter,
    vanishes,
)


def opened(*counters):
    profiler = SimulatedWindowProfiler(counters=counters)
    profiler.open(VirtualClock())
    return profiler, profiler.clock


def window(profiler, seconds):
    begun = profiler.begin()
    profiler.clock.sleep(seconds)
    return profiler.end(begun)


def test_windows_in_a_row():
    profile = SquareWave(50.0, 250.0, 4.0)
    profiler, clock = opened(nvml_counter(profile))
    for _ in range(5):
        start = clock.now()
        (reading,) = window(profiler, 3.0)
        truth = profile.energy(start, start + 3.0)
        assert abs(reading.energy_j - truth) <= 3 * reading.u_j


def test_nesting_is_refused_and_the_outer_window_goes_on():
    profiler, clock = opened(nvml_counter(Constant(200.0)))
    begun = profiler.begin()
    clock.sleep(1.0)
    with pytest.raises(LifecycleError, match="cannot nest"):
        profiler.begin()
    clock.sleep(1.0)
    (reading,) = profiler.end(begun)
    assert reading.energy_j == pytest.approx(400.0)


def test_failing_source_has_a_reason():
    profiler, clock = opened(nvml_counter(Constant(200.0), "gpu:GPU-a", faults=(vanishes(1.0),)))
    (reading,) = window(profiler, 2.0)
    assert reading.energy_j is None
    assert "gpu:GPU-a" in reading.reason
    with pytest.raises(ReadingError):
        profiler.evaluate(clock.sleep, 1.0)


def test_one_failing_channel_leaves_the_others_alone():
    profiler, _ = opened(
        nvml_counter(Constant(200.0), "gpu:GPU-a", faults=(vanishes(1.0),)),
        nvml_counter(Constant(100.0), "gpu:GPU-b"),
    )
    bad, good = window(profiler, 2.0)
    assert bad.energy_j is None
    assert "no figure" in bad.reason
    assert good.energy_j == pytest.approx(200.0)


def test_impossible_joules_are_none():
    class Backwards(SimulatedWindowProfiler):
        def stop_window(self):
            return dict.fromkeys(self.counters, -5.0)

    profiler = Backwards()
    profiler.open(VirtualClock())
    (reading,) = window(profiler, 2.0)
    assert reading.energy_j is None
    assert "cannot be true" in reading.reason


def record(profiler, clock, ticks):
    recording = profiler.record()
    instants = []
    for _ in range(ticks):
        instants.append(clock.now())
        recording.tick()
        clock.sleep(0.5)
    return recording, instants


def test_recorded_blocks_are_the_truth():
    profiler, clock = opened(nvml_counter(Constant(200.0)))
    recording, instants = record(profiler, clock, 21)
    ((_, blocks),) = recording.energies(np.arange(0, 21, 2), np.array(instants[::2]))
    recording.close()
    assert np.allclose(blocks, 200.0)


def test_source_that_pauses_in_a_recording_spoils_the_blocks_but_not_the_run():
    """The run goes on, other profilers keep their joules, this one tells why it has none."""
    profiler, clock = opened(nvml_counter(Constant(200.0), faults=(Fails(2.2, 3.2),)))
    recording, instants = record(profiler, clock, 21)
    ((_, blocks),) = recording.energies(np.arange(21), np.array(instants))
    assert isinstance(blocks, str)
    assert "simulated" in blocks
    recording.close()
    (reading,) = window(profiler, 2.0)
    assert reading.energy_j == pytest.approx(400.0)


def test_closing_inside_a_window_is_harmless():
    profiler, clock = opened(nvml_counter(Constant(200.0), faults=(vanishes(1.0),)))
    profiler.begin()
    clock.sleep(2.0)
    profiler.close()
    assert not profiler.is_open
    with pytest.raises(LifecycleError):
        profiler.begin()


def test_evaluate():
    profiler, clock = opened(nvml_counter(Constant(200.0)))
    seconds, joules, result = profiler.evaluate(lambda: clock.sleep(3.0) or 5)
    assert (seconds, joules, result) == (3.0, pytest.approx(600.0), 5)
    assert profiler.get_unit() == "J"

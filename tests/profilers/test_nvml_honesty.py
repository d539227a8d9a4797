"""What NVML tells, and what the profilers believe: the counter beside the power, and
the power of each generation of boards."""

from __future__ import annotations

import re
import time
from collections.abc import Iterator
from contextlib import contextmanager

import pytest

from greenai_core import LifecycleError, Profiler, Session
from greenai_core.run_costs import sensor_notes
from greenai_core.testing import VirtualClock
from greenai_core.testing.c_library import compiler
from greenai_core.testing.nvml import NvmlSimulator
from greenai_core.testing.nvml_board import Pulses, SimulatedBoard
from greenai_plugins.profilers.nvml import (
    GAIN_UNCERTAINTY,
    NvmlPowerProfiler,
    NvmlProfiler,
)
from greenai_plugins.profilers.nvml_check import TOLERANCE, Agreement, agreement

pytest.importorskip("pynvml")
pytestmark = pytest.mark.skipif(
    compiler() is None, reason="the NVML simulator needs a C compiler: sudo apt install gcc"
)

NOT_SUPPORTED, UNKNOWN = 3, 999


@contextmanager
def on(*boards: SimulatedBoard) -> Iterator[tuple[NvmlSimulator, VirtualClock]]:
    """A machine with these boards, on a clock that takes no time."""
    clock = VirtualClock(start_s=1000.0)
    with NvmlSimulator(boards, clock=clock) as simulator, simulator.installed():
        yield simulator, clock


@contextmanager
def opened(profiler: Profiler, clock: VirtualClock) -> Iterator[Profiler]:
    profiler.open(clock)
    try:
        yield profiler
    finally:
        profiler.close()


# The counter beside the power


@pytest.mark.parametrize("period_s", [0.01, 0.1])
@pytest.mark.parametrize("counter_gain", [0.75, 0.95, 1.0, 1.06, 1.25])
def test_the_ratio_of_counter_and_power_is_found(period_s: float, counter_gain: float) -> None:
    board = SimulatedBoard(
        watts=300.0, update_period_s=period_s, power_period_s=0.1, counter_gain=counter_gain
    )
    with on(board) as (_, clock), opened(NvmlProfiler(), clock) as profiler:
        notes = profiler.notes()
        channel = profiler.revised(profiler.channels[0])
        found = re.search(r"shows ([\d.]+) ± ([\d.]+) times", channel.gain_source)
        assert found
        assert float(found[1]) == pytest.approx(counter_gain, abs=1.5 * float(found[2]))
        assert clock.now() < 1002.0
    if abs(counter_gain - 1) <= TOLERANCE:
        assert notes == []
        assert channel.gain_uncertainty == GAIN_UNCERTAINTY
    else:
        assert "GPU 0" in notes[0]
        assert "widened from 5.6%" in notes[0]
        # The interval reaches what the power says, and that one's own gain beyond it.
        reach = 1.96 * (channel.gain_uncertainty - GAIN_UNCERTAINTY)
        assert reach == pytest.approx(abs(1 / counter_gain - 1), abs=0.05)


def test_opening_is_quick_and_a_window_needs_no_verdict() -> None:
    """In real time: the comparison goes on in the background."""
    with NvmlSimulator([SimulatedBoard(update_period_s=0.02)]) as sim, sim.installed():
        profiler = NvmlProfiler()
        began = time.perf_counter()
        with Session([profiler]) as session:
            assert time.perf_counter() - began < 0.5
            with session.window() as window:
                time.sleep(0.3)
            assert window.energy_j == pytest.approx(100.0 * window.duration_s, rel=0.2)
            began = time.perf_counter()
            assert session.notes() == ()
            assert time.perf_counter() - began < 3.0
            told = profiler.revised(profiler.channels[0]).gain_source
            found = re.search(r"shows ([\d.]+) ± ([\d.]+) times", told)
            assert found, told
            ratio, u = map(float, found.groups())
            # In real time, on a machine that may be busy: as near to 1 as it says itself.
            assert abs(ratio - 1) <= 3 * u + 0.01, told


def test_a_disagreement_reaches_the_report_and_widens_its_interval() -> None:
    """Windows and repeated work alike; the figure itself is the counter's."""
    board = SimulatedBoard(watts=200.0, counter_gain=1.5, update_period_s=0.02)
    with on(board) as (_, clock), Session([NvmlProfiler()], clock=clock) as session:
        (note,) = session.notes()
        assert "its energy counter shows 1." in note
        assert sensor_notes(session.sources) == (note,)
        with session.window() as window:
            clock.sleep(5.0)
        result = window.result
    assert result.energy_j == pytest.approx(1500.0, rel=0.01)
    assert result.low_j is not None
    assert result.low_j <= 1020.0, "the power's figure lies inside the interval"
    assert result.repeat_low_j == pytest.approx(1500.0, rel=0.02)


def test_a_verdict_outlives_the_profiler() -> None:
    """The figures of a window may be asked for after its session was closed."""
    board = SimulatedBoard(watts=200.0, counter_gain=1.5, update_period_s=0.02)
    with on(board) as (_, clock):
        with Session([NvmlProfiler()], clock=clock) as session, session.window() as window:
            clock.sleep(5.0)
        assert window.result.low_j is not None
        assert window.result.low_j <= 670.0 * 1.5
        with pytest.raises(LifecycleError):
            session.notes()


def test_boards_are_compared_one_by_one() -> None:
    """One that is lost, or tells no power, hinders no other; nothing is said of it here."""
    boards = (
        SimulatedBoard(watts=200.0, counter_gain=0.6),
        SimulatedBoard(faults={"field:186": UNKNOWN}),
        SimulatedBoard(watts=200.0, instant_power=False),
        SimulatedBoard(watts=200.0),
    )
    with on(*boards) as (simulator, clock), opened(NvmlProfiler(), clock) as profiler:
        simulator.lose(3)
        (note,) = profiler.notes()
        assert "GPU 0" in note
        clean = [profiler.revised(channel) == channel for channel in profiler.channels]
    assert clean == [False, True, True, True]


@pytest.mark.parametrize("period_s", [0.23, 0.57, 1.1])
def test_a_load_that_comes_and_goes_is_no_disagreement(period_s: float) -> None:
    """A sensor that looks part of the time sees more or less of it than there was."""
    board = SimulatedBoard(
        watts=70.0,
        pulses=Pulses(400.0, period_s, duty=0.3),
        power_period_s=0.1,
        power_seen_s=0.025,
    )
    with on(board) as (_, clock), opened(NvmlProfiler(), clock) as profiler:
        clock.sleep(12.0)
        assert profiler.notes() == []


def test_the_comparison_ends() -> None:
    """After its verdict, or ten seconds, the board is left in peace."""
    reads = 0

    class Counting(NvmlProfiler):
        def _look(self, *args):
            nonlocal reads
            reads += 1
            return super()._look(*args)

    with on(SimulatedBoard(watts=200.0)) as (_, clock), opened(Counting(), clock):
        clock.sleep(15.0)
        before = reads
        clock.sleep(30.0)
    assert 30 < before == reads < 600


def test_a_counter_that_hardly_moves_has_no_verdict() -> None:
    assert agreement([0.0, 1.0, 2.0], [0.0, 10.0, 20.0], [10.0] * 3) is None


def test_disagreement_must_be_more_than_chance() -> None:
    assert Agreement(1.2, 0.02, 1.0).disagrees
    assert not Agreement(1.2, 0.15, 1.0).disagrees
    assert not Agreement(1.09, 0.001, 1.0).disagrees


# The power of each generation

PASCAL, VOLTA, TURING, AMPERE, ADA, HOPPER = 4, 5, 6, 7, 8, 9
A100, RTX_3090 = 0x20B0, 0x2204


@pytest.mark.parametrize(
    ("architecture", "device", "mean"),
    [
        (PASCAL, 0x1B38, False),
        (VOLTA, 0x1DB1, False),
        (TURING, 0x1EB8, False),
        (AMPERE, A100, False),
        (AMPERE, 0x20B7, False),
        (AMPERE, RTX_3090, True),
        (ADA, 0x26B9, True),
        (HOPPER, 0x2330, True),
    ],
    ids=["P40", "V100", "T4", "A100", "A30", "RTX 3090", "L40S", "H100"],
)
def test_power_without_the_instant_field(architecture: int, device: int, mean: bool) -> None:
    """From Ampere on, GA100 excepted, it is the mean of a second: no power at the ends."""
    board = SimulatedBoard(
        watts=100.0,
        instant_power=False,
        power_usage="average" if mean else "instant",
        architecture=architecture,
        pci_device=device,
    )
    with on(board) as (simulator, clock):
        with opened(NvmlProfiler(), clock) as profiler:
            simulator.set_power(0, 400.0)
            clock.advance(0.2)
            told = profiler.read_power(profiler.channels[0])
            assert told == (None if mean else 400.0)
        with opened(NvmlPowerProfiler(), clock) as profiler:
            (channel,) = profiler.channels
    assert channel.update_period_s == (1.0 if mean else 0.1)
    assert ("averaged over 1 s" in channel.description) == mean


def test_a_board_that_does_not_tell_its_generation_is_taken_for_a_new_one() -> None:
    for call in ("nvmlDeviceGetArchitecture", "nvmlDeviceGetPciInfo_v3"):
        board = SimulatedBoard(
            instant_power=False, architecture=AMPERE, pci_device=A100, faults={call: NOT_SUPPORTED}
        )
        with on(board) as (_, clock), opened(NvmlProfiler(), clock) as profiler:
            assert profiler.read_power(profiler.channels[0]) is None


@pytest.mark.parametrize(
    ("architecture", "device", "part_time"),
    [
        (AMPERE, A100, True),
        (HOPPER, 0x2330, True),
        (AMPERE, RTX_3090, False),
        (VOLTA, 0x1DB1, False),
    ],
    ids=["A100", "H100", "RTX 3090", "V100"],
)
def test_sensors_that_look_part_of_the_time_say_so(
    architecture: int, device: int, part_time: bool
) -> None:
    """The counter's gain is not affected: it is the sampled power that misses something."""
    board = SimulatedBoard(architecture=architecture, pci_device=device)
    with on(board) as (_, clock):
        with opened(NvmlPowerProfiler(), clock) as profiler:
            (sampled,) = profiler.channels
        with opened(NvmlProfiler(), clock) as profiler:
            (counted,) = profiler.channels
    assert counted.gain_uncertainty == GAIN_UNCERTAINTY
    assert (sampled.gain_uncertainty > GAIN_UNCERTAINTY) == part_time
    assert ("25 of every 100 ms" in sampled.description) == part_time
    assert ("25 of every 100 ms" in sampled.gain_source) == part_time
    assert sampled.gain_kind == counted.gain_kind, "they err alike"


def test_a_part_time_sensor_misses_what_the_simulator_says_it_misses() -> None:
    """Work of 0.1 s that is busy while the sensor looks away: 4 times too little."""
    board = SimulatedBoard(
        watts=70.0,
        pulses=Pulses(400.0, 0.1, duty=0.5),
        power_period_s=0.1,
        power_seen_s=0.025,
        energy_counter=False,
    )
    with on(board) as (simulator, clock), opened(NvmlPowerProfiler(), clock) as profiler:
        start = clock.now()
        begun = profiler.begin()
        clock.advance(5.0)
        (reading,) = profiler.end(begun)
        truth = simulator.energy(0, start, clock.now())
    assert truth == pytest.approx(270.0 * 5.0)
    assert reading.energy_j == pytest.approx(70.0 * 5.0, rel=0.01)

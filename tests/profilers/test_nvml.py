"""Energy, power and channels of the NVML profilers, on simulated boards."""

from __future__ import annotations

import itertools
import time
from collections.abc import Iterator
from contextlib import contextmanager

import numpy as np
import pytest

from greenai_core import (
    Channel,
    PluginUnavailable,
    Profiler,
    Reading,
)
from greenai_core.testing import VirtualClock
from greenai_core.testing.c_library import compiler
from greenai_core.testing.nvml import NvmlSimulator
from greenai_core.testing.nvml_board import Pulses, SimulatedBoard
from greenai_plugins.profilers.nvml import NvmlPowerProfiler, NvmlProfiler

pytest.importorskip("pynvml")
pytestmark = pytest.mark.skipif(
    compiler() is None, reason="the NVML simulator needs a C compiler: sudo apt install gcc"
)

PASCAL, TURING, HOPPER = 4, 6, 9
OLD = SimulatedBoard(
    name="Old board", energy_counter=False, instant_power=False, power_usage="instant",
    architecture=PASCAL,
)  # fmt: skip
MODES = [NvmlProfiler, NvmlPowerProfiler]


@contextmanager
def machine(*boards: SimulatedBoard, **options) -> Iterator[tuple[NvmlSimulator, VirtualClock]]:
    """A machine with these boards, on a clock that takes no time."""
    clock = VirtualClock(start_s=1000.0)
    with NvmlSimulator(boards, clock=clock, **options) as simulator, simulator.installed():
        yield simulator, clock


@contextmanager
def opened(profiler: Profiler, clock: VirtualClock) -> Iterator[Profiler]:
    profiler.open(clock)
    try:
        yield profiler
    finally:
        profiler.close()


def boards_of(profiler: Profiler, simulator: NvmlSimulator) -> list[int]:
    """Which of the simulated boards the channels are."""
    ids = [f"gpu:{simulator.uuid(index)}" for index in range(len(simulator.boards))]
    return [ids.index(channel.id) for channel in profiler.channels]


def holds(reading: Reading, truth: float) -> bool:
    """Whether the truth lies in the 95 % interval of repeatability."""
    assert reading.energy_j is not None, reading.reason
    return abs(reading.energy_j - truth) <= 1.96 * reading.u_j


@pytest.mark.parametrize("period_s", [0.1, 0.01])
def test_a_window_in_real_time_holds_the_truth(period_s: float) -> None:
    """Work that begins with the window, on the machine's own clock.

    The reads lie somewhere within ``begin`` and ``end``, so the truth is known
    between that of the shortest and that of the longest window that it can be.
    """
    busy = SimulatedBoard(watts=10.0, update_period_s=period_s)
    idle = SimulatedBoard(watts=80.0, update_period_s=period_s)
    with NvmlSimulator([busy, idle]) as simulator, simulator.installed():
        profiler = NvmlProfiler()
        profiler.open()
        outer_start = time.perf_counter()
        begun = profiler.begin()
        inner_start = simulator.set_power(0, 400.0)
        time.sleep(0.7)
        inner_end = time.perf_counter()
        readings = profiler.end(begun)
        outer_end = time.perf_counter()
        profiler.close()
    for board, reading in enumerate(readings):
        least = simulator.energy(board, inner_start, inner_end)
        most = simulator.energy(board, outer_start, outer_end)
        assert reading.energy_j is not None
        assert reading.energy_j + 1.96 * reading.u_j >= least
        assert reading.energy_j - 1.96 * reading.u_j <= most
    # Steady power is off by one update at most, whatever the period that was assumed.
    assert least - 80 * period_s <= reading.energy_j <= most + 80 * period_s


def test_windows_that_begin_with_the_work_are_unbiased() -> None:
    """0.35 s from 70 W to 400 W on a 0.1 s counter: the plain difference is 12 % low."""
    errors, naive, held = [], [], []
    generator = np.random.default_rng(5)
    for _ in range(150):
        board = SimulatedBoard(watts=70.0, phase_s=float(generator.uniform(0, 0.1)))
        with machine(board) as (simulator, clock), opened(NvmlProfiler(), clock) as profiler:
            clock.advance(1.0)
            channel = profiler.channels[0]
            first = profiler.read(channel)
            begun = profiler.begin()
            start = simulator.set_power(0, 400.0)
            clock.advance(0.35)
            truth = simulator.energy(0, start, clock.now())
            naive.append((profiler.read(channel) - first) / 1000 / truth - 1)
            (reading,) = profiler.end(begun)
            assert reading.energy_j is not None
            errors.append(reading.energy_j / truth - 1)
            held.append(holds(reading, truth))
    assert abs(np.mean(errors)) < 0.02
    assert np.mean(held) > 0.9, "95 % of 150, less what chance may take away"
    assert np.mean(naive) < -0.09


def test_blocks_of_a_recording_are_the_truth() -> None:
    """Edge to edge inside steady repetition, the 10 ms counter is exact to 1 %."""
    board = SimulatedBoard(watts=120.0, pulses=Pulses(200.0, 0.02), update_period_s=0.01)
    with machine(board) as (simulator, clock), opened(NvmlProfiler(), clock) as profiler:
        recording = profiler.record()
        instants = []
        for _ in range(600):
            instants.append(clock.now())
            recording.tick()
            clock.advance(0.004)
        assert recording.ready()
        borders = np.arange(100, 600, 100)
        ((_, blocks),) = recording.energies(borders, np.array(instants)[borders])
        truth = [
            simulator.energy(0, instants[a], instants[b]) for a, b in itertools.pairwise(borders)
        ]
        assert blocks == pytest.approx(truth, rel=0.01)
        recording.close()


def test_sampled_power_holds_the_truth() -> None:
    with (
        machine(SimulatedBoard(watts=150.0)) as (simulator, clock),
        opened(NvmlPowerProfiler(), clock) as profiler,
    ):
        start = clock.now()
        begun = profiler.begin()
        clock.advance(0.5)
        simulator.set_power(0, 300.0)
        clock.advance(0.5)
        (reading,) = profiler.end(begun)
        assert holds(reading, simulator.energy(0, start, clock.now()))
        assert reading.energy_j == pytest.approx(225.0, rel=0.07)


@pytest.mark.parametrize("mode", MODES)
def test_boards_keep_their_own_joules(mode: type[Profiler]) -> None:
    boards = [SimulatedBoard(watts=100.0 * (i + 1)) for i in range(3)]
    with machine(*boards) as (simulator, clock), opened(mode(), clock) as profiler:
        begun = profiler.begin()
        clock.advance(2.0)
        readings = profiler.end(begun)
        assert boards_of(profiler, simulator) == [0, 1, 2]
        assert [r.energy_j for r in readings] == pytest.approx([200.0, 400.0, 600.0], rel=0.01)


# What the channels say


def test_what_a_counter_says_of_itself() -> None:
    with (
        machine(SimulatedBoard(name="NVIDIA Test")) as (_, clock),
        opened(NvmlProfiler(), clock) as profiler,
    ):
        (channel,) = profiler.channels
    assert (channel.component, channel.method) == ("gpu", "counter")
    assert (channel.resolution_j, channel.wraps_at, channel.update_period_s) == (1e-3, None, 0.1)
    assert channel.gain_uncertainty == 0.056
    assert "NVIDIA Test" in channel.description


def test_the_counter_comes_before_sampling() -> None:
    """Both see the board under one id, and the counter has the higher priority."""
    with (
        machine(SimulatedBoard()) as (_, clock),
        opened(NvmlProfiler(), clock) as counter,
        opened(NvmlPowerProfiler(), clock) as power,
    ):
        assert [c.id for c in counter.channels] == [c.id for c in power.channels]
        assert [c.gain_kind for c in counter.channels] == [c.gain_kind for c in power.channels]
    assert NvmlProfiler.priority > NvmlPowerProfiler.priority


@pytest.mark.parametrize(
    ("board", "watts"),
    [
        (SimulatedBoard(watts=123.0), 123.0),
        (SimulatedBoard(watts=123.0, instant_power=False), None),
        (SimulatedBoard(watts=123.0, instant_power=False, power_usage=""), None),
        (
            SimulatedBoard(
                watts=123.0, instant_power=False, power_usage="instant", architecture=TURING
            ),
            123.0,
        ),
    ],
    ids=["instant field", "1 s average only", "no power", "before Ampere"],
)
def test_power_at_the_ends_is_never_an_average(board: SimulatedBoard, watts: float | None) -> None:
    with machine(board) as (_, clock), opened(NvmlProfiler(), clock) as profiler:
        read = profiler.read_power(profiler.channels[0])
        assert read == (None if watts is None else pytest.approx(watts, abs=0.001))


def test_an_average_says_so() -> None:
    board = SimulatedBoard(energy_counter=False, instant_power=False, architecture=HOPPER)
    with machine(board) as (_, clock), opened(NvmlPowerProfiler(), clock) as profiler:
        (channel,) = profiler.channels
    assert channel.update_period_s == 1.0
    assert "averaged over 1 s" in channel.description


@pytest.mark.parametrize("mode", MODES)
def test_mig_is_said(mode: type[Profiler]) -> None:
    boards = SimulatedBoard(mig_instances=("MIG-1",)), SimulatedBoard()
    with machine(*boards) as (_, clock), opened(mode(), clock) as profiler:
        split, whole = profiler.channels
    assert "MIG is on" in split.description
    assert "MIG" not in whole.description


# Boards without a counter


def test_a_board_without_counter_is_sampled_and_never_zero() -> None:
    with machine(SimulatedBoard(), OLD) as (simulator, clock):
        with opened(NvmlProfiler(), clock) as profiler:
            assert boards_of(profiler, simulator) == [0]
        with opened(NvmlPowerProfiler(), clock) as profiler:
            assert boards_of(profiler, simulator) == [0, 1]
            begun = profiler.begin()
            clock.advance(1.0)
            assert profiler.end(begun)[1].energy_j == pytest.approx(100.0, rel=0.01)


def test_no_counter_at_all_names_the_other_profiler() -> None:
    with machine(OLD) as (simulator, _):
        with pytest.raises(PluginUnavailable, match=r"Old board.*no energy counter") as caught:
            NvmlProfiler().check_available()
        assert "nvml-power" in caught.value.hint
        NvmlPowerProfiler().check_available()
        assert simulator.initialised == 0


def test_asking_for_a_board_without_counter_is_refused() -> None:
    """It was named, so leaving it out would be silent."""
    with machine(SimulatedBoard(), OLD):
        NvmlProfiler(gpus="0").check_available()
        with pytest.raises(PluginUnavailable, match="no energy counter"):
            NvmlProfiler(gpus="0,1").check_available()


def test_a_board_without_any_figure_is_unavailable() -> None:
    board = SimulatedBoard(energy_counter=False, instant_power=False, power_usage="")
    with machine(board), pytest.raises(PluginUnavailable, match="tells no power"):
        NvmlPowerProfiler().check_available()


def test_no_power_is_not_zero_power() -> None:
    """A field that gives 0 W on a board that answers has no figure."""
    with (
        machine(SimulatedBoard(watts=0.0, power_usage="")),
        pytest.raises(PluginUnavailable, match="tells no power"),
    ):
        NvmlPowerProfiler().check_available()


def test_channels_are_plain_facts() -> None:
    """A channel outlives the profiler that told it."""
    with machine(SimulatedBoard()) as (_, clock), opened(NvmlProfiler(), clock) as profiler:
        channel = profiler.channels[0]
    assert isinstance(channel, Channel)
    assert channel.measured

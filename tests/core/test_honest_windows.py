"""What goes wrong around a window: no wrong joule, no zero for unknown, nothing left open."""

from __future__ import annotations

import random
import threading
from dataclasses import replace

import pytest

from greenai_core import LifecycleError, ReadingError, Session, measure
from greenai_core.blocks import Source
from greenai_core.loop import LoopSettings, run_loop
from greenai_core.statistics import batch_means
from greenai_core.testing import (
    Bursts,
    Constant,
    DrivenPower,
    Fails,
    Latch,
    SimulatedCounterProfiler,
    SimulatedPowerProfiler,
    SimulatedStreamProfiler,
    SimulatedWindowProfiler,
    SimulatedWork,
    Slow,
    Sticks,
    VirtualClock,
    nvml_counter,
    power_gauge,
    rapl_counter,
)

PACKAGE = "cpu:0/package"


class SlowTool(SimulatedWindowProfiler):
    """Takes 0.4 s to begin and 0.4 s to end."""

    def start_window(self):
        self.clock.sleep(0.4)
        super().start_window()

    def stop_window(self):
        joules = super().stop_window()
        self.clock.sleep(0.4)
        return joules


def slow_gauge():
    gauge = power_gauge(Constant(100.0), faults=(Slow(seconds=0.3),))
    return SimulatedPowerProfiler(gauges=[gauge], sample_period_s=1.0)


@pytest.mark.parametrize("make", [SlowTool, SimulatedStreamProfiler, slow_gauge])
@pytest.mark.parametrize("first", [True, False])
def test_what_one_profiler_takes_to_begin_and_end_is_in_no_others_window(make, first):
    """A counter read after another sensor's samples were waited for would count too much."""
    clock = VirtualClock(1.0)
    others = [make(), SimulatedCounterProfiler()]
    with Session(others if first else others[::-1], clock=clock) as session:
        with session.window() as window:
            clock.sleep(5.2)
        joules = {channel.id: channel.energy_j for channel in window.channels}
    assert joules[PACKAGE] == pytest.approx(50.0 * window.duration_s, rel=0.002)


def test_a_window_inside_itself_is_refused():
    """Its second beginning would replace the first one, and joules would be missing."""
    clock = VirtualClock()
    with Session([SimulatedCounterProfiler()], clock=clock) as session:
        window = session.window()
        with window:
            clock.sleep(1.0)
            with pytest.raises(LifecycleError, match="open already"), window:
                pass
        assert window.energy_j == pytest.approx(50.0, rel=0.005)


class Faulty(SimulatedCounterProfiler):
    """Raises what no contract names while ``broken``."""

    broken = False

    def read(self, channel):
        if self.broken:
            raise RuntimeError("a fault of the library")
        return super().read(channel)


def test_a_strange_error_of_one_source_leaves_the_others_their_joules():
    clock = VirtualClock()
    faulty = Faulty()
    with Session([faulty, SimulatedPowerProfiler()], clock=clock) as session:
        with session.window() as window:
            clock.sleep(2.0)
            faulty.broken = True
        assert [channel.energy_j for channel in window.channels] == [pytest.approx(200.0)]
        (missing,) = window.missing
    assert "RuntimeError: a fault of the library" in missing.reason


def test_a_strange_error_does_not_end_the_heartbeat():
    """Without the reads in between the wraps of the rest of the window would be missed."""
    clock = VirtualClock()
    counter = rapl_counter(Constant(280.0), wraps_at=65_532_610_987)
    faulty = Faulty(counters=[counter])
    with Session([faulty], clock=clock) as session:
        with session.window() as window:
            faulty.broken = True
            clock.sleep(5.0)
            faulty.broken = False
            clock.sleep(995.0)
        assert window.energy_j == pytest.approx(280_000.0, rel=1e-4)


class FaultyTool(SimulatedWindowProfiler):
    def stop_window(self):
        raise RuntimeError("the tool crashed")


class FaultyStream(SimulatedStreamProfiler):
    def deliver(self):
        raise ValueError("no such frame")


@pytest.mark.parametrize("kind", [FaultyTool, FaultyStream])
def test_a_strange_error_of_any_kind_of_source_is_a_reason(kind):
    clock = VirtualClock()
    with Session([kind(), SimulatedCounterProfiler()], clock=clock) as session:
        with session.window() as window:
            clock.sleep(2.0)
        assert [channel.id for channel in window.channels] == [PACKAGE]
        assert "crashed" in window.missing[0].reason or "frame" in window.missing[0].reason


@pytest.mark.parametrize("pause", ["reads fail", "process stopped"])
def test_a_counter_that_may_have_wrapped_unseen_has_no_figure(pause):
    """280 W wrap 65.5 kJ in 234 s; what was not read for ten minutes is not known."""
    clock = VirtualClock()
    faults = (Fails(5.0, 605.0),) if pause == "reads fail" else ()
    counter = rapl_counter(Constant(280.0), wraps_at=65_532_610_987, faults=faults)
    with Session([SimulatedCounterProfiler(counters=[counter])], clock=clock) as session:
        with session.window() as window:
            clock.sleep(5.0)
            (clock.sleep if faults else clock.lapse)(600.0)
            clock.sleep(5.0)
        assert window.energy_j is None
        assert window.missing
        with session.window() as window:
            clock.sleep(5.0)
        assert window.energy_j == pytest.approx(1400.0, rel=0.005)


KINDS = [
    SimulatedCounterProfiler,
    SimulatedPowerProfiler,
    SimulatedStreamProfiler,
    SimulatedWindowProfiler,
]


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("again", [False, True])
def test_a_session_closed_inside_a_window_leaves_it_without_joules(kind, again):
    """Opened again, a counter begins at 0: the difference would be 0 J."""
    clock = VirtualClock()
    session = Session([kind()], clock=clock).open()
    clock.sleep(3.0)
    with session.window() as window:
        clock.sleep(1.0)
        session.close()
        if again:
            session.open()
        clock.sleep(0.5)
    result = window.result
    session.close()
    assert result.energy_j is None
    assert result.channels == ()
    assert len(result.missing) == 1


def test_a_failing_wait_for_the_accelerator_still_ends_the_window(monkeypatch):
    clock = VirtualClock()
    tool = SimulatedWindowProfiler()
    with Session([tool], clock=clock) as session:
        failing = session.window().__enter__()
        clock.sleep(1.0)
        with monkeypatch.context() as patch:
            patch.setattr("greenai_core.spans.settle", _cuda_error)
            with pytest.raises(RuntimeError, match="CUDA"):
                failing.__exit__(None, None, None)
        assert failing.energy_j == pytest.approx(200.0, rel=0.1)
        with session.window() as window:
            clock.sleep(1.0)
        assert window.energy_j == pytest.approx(200.0, rel=0.1)


def _cuda_error():
    raise RuntimeError("CUDA error: an illegal memory access was encountered")


def test_a_profiler_that_cannot_begin_is_closed_again():
    class Refusing(SimulatedCounterProfiler):
        def begin(self):
            raise ReadingError("not now")

    profiler = Refusing()
    with pytest.raises(ReadingError), profiler:
        pass
    assert not profiler.is_open


def test_measure_tells_why_a_window_did_not_begin():
    class Refusing(SimulatedWindowProfiler):
        def start_window(self):
            raise ReadingError("the tool did not start")

    @measure(profilers=[Refusing()])
    def work():
        return 1

    with pytest.raises(ReadingError, match="did not start"):
        work()
    assert work.last is None


def stuck_tool():
    counter = nvml_counter(Constant(200.0), faults=(Sticks(),))
    return SimulatedWindowProfiler(counters=[counter])


def counter_slower_than_declared():
    counter = nvml_counter(Constant(200.0), latch=Latch(10.0))
    channel = replace(counter.channel, update_period_s=0.1)
    return SimulatedCounterProfiler(counters=[replace(counter, channel=channel)])


@pytest.mark.parametrize(
    "make",
    [
        lambda: SimulatedPowerProfiler(gauges=[power_gauge(Constant(0.0))]),
        lambda: SimulatedStreamProfiler(gauges=[power_gauge(Constant(0.0))]),
        stuck_tool,
        counter_slower_than_declared,
    ],
    ids=["0 W sampled", "0 W delivered", "a tool's 0 J", "a counter that has not moved yet"],
)
def test_zero_is_no_figure(make):
    """Nothing that is on uses no energy."""
    clock = VirtualClock(1.0)
    with Session([make()], clock=clock) as session:
        with session.window() as window:
            clock.sleep(0.9)
        assert window.energy_j is None
        assert window.missing[0].reason


@pytest.mark.parametrize("make", [stuck_tool, lambda: SimulatedPowerProfiler(
    gauges=[power_gauge(Constant(0.0), "cpu:0/x", "cpu")])], ids=["tool", "sampled"])  # fmt: skip
def test_zero_is_no_figure_of_repeated_work_either(make):
    clock, profiler = VirtualClock(), make()
    profiler.open(clock)
    ids = tuple(channel.id for channel in profiler.channels)
    run = run_loop(
        SimulatedWork(clock, 0.02),
        [Source(profiler, profiler.channels)],
        ids,
        clock,
        LoopSettings(max_time_s=20),
    )
    profiler.close()
    assert not run.blocks.energies
    assert not run.target_met
    assert "was lost" in run.why_not


@pytest.mark.parametrize("burst_s", [0.02, 0.1])
def test_a_power_known_at_one_instant_says_little_of_the_period_before(burst_s):
    """Bursts shorter than the counter's 100 ms: the interval still holds the truth."""
    draws, hits, draw = 400, 0, random.Random(3)
    profile = Bursts.at_random(30.0, 300.0, 1000.0, burst_s, burst_s, seed=4)
    clock = VirtualClock(1.0)
    counter = nvml_counter(profile, latch=Latch(0.1, jitter=0.1))
    with Session(
        [SimulatedCounterProfiler(counters=[counter], tells_power=True)], clock=clock
    ) as session:
        for _ in range(draws):
            clock.sleep(draw.uniform(0.1, 1.0))
            start = clock.now()
            with session.window() as window:
                clock.sleep(0.5)
            hits += (
                window.result.low_j <= profile.energy(start, start + 0.5) <= window.result.high_j
            )
    assert hits >= 358, "93 % of 400 draws gives fewer once in a hundred times"


def test_a_load_that_ends_with_the_window_is_inside_the_interval():
    """The power told after the end is the idle one; the joules of the load are still missing."""
    hits = 0
    for phase in range(100):
        clock, power = VirtualClock(1.0 + phase / 1000), DrivenPower(70.0)
        with Session(
            [SimulatedCounterProfiler(counters=[nvml_counter(power)], tells_power=True)],
            clock=clock,
        ) as s:
            with s.window() as window:
                power.set(clock.now(), 400.0)
                clock.sleep(0.55)
                power.set(clock.now(), 70.0)
            hits += window.result.low_j <= 220.0 <= window.result.high_j
    assert hits >= 93


def test_energy_is_told_although_the_power_at_the_ends_is_not():
    class NoPower(SimulatedCounterProfiler):
        def read_power(self, channel):
            raise ReadingError("no power")

    clock = VirtualClock()
    with Session([NoPower(counters=[nvml_counter(Constant(200.0))])], clock=clock) as session:
        with session.window() as window:
            clock.sleep(2.0)
        assert window.result.low_j <= 400.0 <= window.result.high_j


@pytest.mark.parametrize("seconds", [0.3, 0.5, 1.0])
def test_short_sampled_windows_of_a_load_that_begins_and_ends_with_them(seconds):
    """The samples around the window are idle ones: both ends err towards them."""
    hits = 0
    for seed in range(100):
        draw = random.Random(seed)
        clock, power = VirtualClock(draw.random()), DrivenPower(30.0)
        with Session([SimulatedPowerProfiler(gauges=[power_gauge(power)])], clock=clock) as session:
            clock.sleep(draw.uniform(0.5, 1.5))
            with session.window() as window:
                power.set(clock.now(), 150.0)
                clock.sleep(seconds)
                power.set(clock.now(), 30.0)
            hits += window.result.low_j <= 150.0 * seconds <= window.result.high_j
    assert hits >= 93


def test_sampled_windows_of_less_than_two_periods_are_refused():
    clock = VirtualClock()
    with Session([SimulatedPowerProfiler()], clock=clock) as session:
        clock.sleep(1.0)
        with session.window() as window:
            clock.sleep(0.15)
        assert "too short" in window.missing[0].reason


@pytest.mark.parametrize("precision", [0.02, 0.01])
def test_reading_biases_by_less_than_a_tenth_of_the_target(precision):
    """Reads of 1 ms at idle power: the more precise the target, the fewer of them."""
    clock, power = VirtualClock(), DrivenPower(0.0)
    counter = rapl_counter(power, faults=(Slow(seconds=1e-3),))
    profiler = SimulatedCounterProfiler(counters=[counter])
    profiler.open(clock)
    work = SimulatedWork(clock, 0.005, power=power, busy_w=150.0)
    settings = LoopSettings(precision=precision, max_time_s=300)
    run = run_loop(work, [Source(profiler, profiler.channels)], (PACKAGE,), clock, settings)
    profiler.close()
    mean = batch_means(run.blocks.per_iteration([PACKAGE])).mean
    assert abs(mean / (150.0 * 0.005) - 1) <= 0.1 * precision + 1e-4


def test_work_much_longer_than_the_time_is_not_run_more_often_than_needed():
    clock, power = VirtualClock(), DrivenPower(30.0)
    profiler = SimulatedCounterProfiler(counters=[rapl_counter(power)])
    profiler.open(clock)
    work = SimulatedWork(clock, 30.0, power=power, busy_w=150.0)
    settings = LoopSettings(max_time_s=5)
    run_loop(work, [Source(profiler, profiler.channels)], (PACKAGE,), clock, settings)
    profiler.close()
    assert work.calls == 4, "one to warm up, one to time the reading, two to measure"


def test_windows_of_several_threads_share_a_session():
    """Real clock: every window of every thread has its own joules, and no thread is left."""
    before = threading.active_count()
    watts: list[float] = []
    gauge, counter = power_gauge(Constant(100.0)), rapl_counter(Constant(50.0))
    profilers = [
        SimulatedPowerProfiler(gauges=[gauge], sample_period_s=0.005),
        SimulatedCounterProfiler(counters=[counter]),
    ]

    def work(session):
        for _ in range(5):
            with session.window() as window:
                session.clock.sleep(0.03)
            watts.extend(c.energy_j / window.duration_s for c in window.channels)

    with Session(profilers) as session:
        threads = [threading.Thread(target=work, args=(session,)) for _ in range(4)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
    assert len(watts) == 40
    assert sorted(watts)[:20] == pytest.approx([50.0] * 20, rel=0.2)
    assert sorted(watts)[20:] == pytest.approx([100.0] * 20, rel=0.2)
    assert threading.active_count() == before


def test_no_device_is_asked_twice_at_once():
    """Real clock: the sampler's thread and ends of windows in other threads take turns."""
    overlaps: list[bool] = []

    class Alone(SimulatedPowerProfiler):
        asked = threading.Lock()

        def read_power(self, channel):
            free = self.asked.acquire(blocking=False)
            overlaps.append(not free)
            self.clock.sleep(0.004)
            if free:
                self.asked.release()
            return 100.0

    def work(session):
        for _ in range(5):
            with session.window():
                session.clock.sleep(0.007)

    with Session([Alone(sample_period_s=0.005)]) as session:
        threads = [threading.Thread(target=work, args=(session,)) for _ in range(3)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
    assert len(overlaps) > 10
    assert not any(overlaps)


def test_a_counter_that_stops_in_the_middle_of_a_window_has_no_figure():
    """It shows what was used until then, which is not what was used."""
    clock = VirtualClock()
    profiler = SimulatedCounterProfiler(
        counters=[rapl_counter(Constant(50.0), faults=(Sticks(4.0),))]
    )
    with Session([profiler], clock=clock) as session, session.window() as window:
        clock.advance(10.0)
    assert window.energy_j is None
    assert "did not move" in window.missing[0].reason

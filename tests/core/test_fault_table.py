"""Kind of source × fault -> the exact figure, or a channel that is missing with its reason.

Never negative, never joules that were not there, never a silent zero; the healthy
channel beside the sick one keeps its figure. ``EXACT`` stands for the truth to one
unit of the counter and one update period of its power; ``BLIND`` for what no
reader can see, stated in docs/method.md.
"""

from __future__ import annotations

import errno
import math
import re
from collections.abc import Callable
from dataclasses import replace

import pytest

from greenai_core import Profiler, ReadingError, Session
from greenai_core.loop import LoopSettings, run_loop
from greenai_core.run_costs import sensor_notes
from greenai_core.testing import (
    Constant,
    Fails,
    Fault,
    Gives,
    Jumps,
    Latch,
    Resets,
    SimulatedCounterProfiler,
    SimulatedPowerProfiler,
    SimulatedStreamProfiler,
    SimulatedWindowProfiler,
    Slow,
    Sticks,
    VirtualClock,
    nvml_counter,
    power_gauge,
    rapl_counter,
    vanishes,
)

SICK_W, WELL_W = 100.0, 50.0
BEGIN, MIDDLE, END = 10.0, 20.0, 30.0
EXACT, BLIND = "exact", "blind"

Act = Callable[[VirtualClock], None]


def quiet(clock: VirtualClock) -> None:
    """Nothing happens to the machine."""
    clock.sleep(END - BEGIN)


def with_pause(pause: Act) -> Act:
    """Something happens in the middle."""

    def act(clock: VirtualClock) -> None:
        clock.sleep(MIDDLE - BEGIN)
        pause(clock)
        clock.sleep(END - MIDDLE)

    return act


def suspended(clock: VirtualClock) -> None:
    clock.suspend(60.0)


def stopped_for(seconds: float) -> Act:
    """The process stands still while time goes on: SIGSTOP, a late heartbeat, a clock put on."""
    return lambda clock: clock.lapse(seconds)


def put_back(clock: VirtualClock) -> None:
    """Against all promises the clock goes back."""
    clock.time -= 5.0


def counters(faults: tuple[Fault, ...], **options: object) -> Profiler:
    sick = rapl_counter(Constant(SICK_W), "cpu:0/package", faults=faults, **options)
    well = rapl_counter(Constant(WELL_W), "cpu:1/package")
    return SimulatedCounterProfiler(counters=[sick, well])


def slow_counters(faults: tuple[Fault, ...]) -> Profiler:
    sick = nvml_counter(Constant(SICK_W), "gpu:sick", faults=faults)
    well = nvml_counter(Constant(WELL_W), "gpu:well")
    return SimulatedCounterProfiler(counters=[sick, well])


def gauges(kind: type, faults: tuple[Fault, ...]) -> Profiler:
    sick = power_gauge(Constant(SICK_W), "gpu:sick", "gpu", faults=faults)
    well = power_gauge(Constant(WELL_W), "gpu:well", "gpu")
    return kind(gauges=[sick, well])


def windows(faults: tuple[Fault, ...]) -> Profiler:
    sick = nvml_counter(Constant(SICK_W), "gpu:sick", latch=Latch(1e-3), faults=faults)
    well = nvml_counter(Constant(WELL_W), "gpu:well", latch=Latch(1e-3))
    return SimulatedWindowProfiler(counters=[sick, well])


KINDS: dict[str, Callable[[tuple[Fault, ...]], Profiler]] = {
    "counter": counters,
    "slow counter": slow_counters,
    "power": lambda faults: gauges(SimulatedPowerProfiler, faults),
    "stream": lambda faults: gauges(SimulatedStreamProfiler, faults),
    "window": windows,
}

NOT_READ = "Input/output error|could not be read|gave no power|gave no figure|stream is gone"
IMPOSSIBLE = "cannot be true|NaN|gave no power|cannot convert"
DEAD = "did not move|0 W all the time|gave 0 J|stuck"
ASLEEP = "suspended for 60.0 s"

# What is wrong: faults of the sick channel, what happens to the machine, and what is
# expected of each kind: (counter, slow counter, power, stream, window).
FAULTS: dict[str, tuple[tuple[Fault, ...], Act, tuple[str, str, str, str, str]]] = {
    "nothing": ((), quiet, (EXACT,) * 5),
    "reset": (
        (Resets(MIDDLE),), quiet, ("reset", "reset", EXACT, EXACT, "cannot be true|gave 0 J"),
    ),
    "stuck throughout": ((Sticks(1.0),), quiet, (DEAD, DEAD, EXACT, EXACT, DEAD)),
    "stuck from the middle": ((Sticks(MIDDLE),), quiet, (DEAD, DEAD, EXACT, EXACT, BLIND)),
    "constant zero": ((Gives(value=0.0),), quiet, (DEAD,) * 5),
    "zero from the middle": (
        (Gives(MIDDLE, value=0.0),), quiet,
        ("reset", "reset", "told 0 W for", "told 0 W for", "cannot be true"),
    ),
    "EIO at the beginning": (
        (Fails(BEGIN - 0.5, BEGIN + 1.0),), quiet, (NOT_READ,) * 5,
    ),
    "EIO in the middle": (
        (Fails(MIDDLE, MIDDLE + 2.0),), quiet, (EXACT, EXACT, NOT_READ, NOT_READ, EXACT),
    ),
    "EIO for an instant": ((Fails(MIDDLE, MIDDLE + 0.02),), quiet, (EXACT,) * 5),
    "EIO at the end": ((Fails(END - 1.0),), quiet, (NOT_READ,) * 5),
    "EACCES from the middle": (
        (Fails(MIDDLE, number=errno.EACCES),), quiet,
        ("Permission denied", "Permission denied", "Permission denied", NOT_READ, NOT_READ),
    ),
    "device lost": (
        (vanishes(MIDDLE),), quiet,
        ("No such device", "No such device", "No such device", NOT_READ, NOT_READ),
    ),
    "NaN at the end": ((Gives(END - 1.0, value=math.nan),), quiet, (IMPOSSIBLE,) * 5),
    "NaN in the middle": (
        (Gives(MIDDLE, MIDDLE + 2.0, value=math.nan),), quiet,
        (EXACT, EXACT, IMPOSSIBLE, IMPOSSIBLE, EXACT),
    ),
    "negative at the end": ((Gives(END - 1.0, value=-1.0),), quiet, (IMPOSSIBLE,) * 5),
    "negative in the middle": (
        (Gives(MIDDLE, MIDDLE + 2.0, value=-1.0),), quiet,
        (EXACT, EXACT, IMPOSSIBLE, IMPOSSIBLE, EXACT),
    ),
    "slow reads": ((Slow(seconds=0.05),), quiet, (EXACT,) * 5),
    "late heartbeat": (
        (), with_pause(stopped_for(3.0)), (EXACT, EXACT, "gave no power for 3", EXACT, EXACT),
    ),
    "clock put on": (
        (), with_pause(stopped_for(600.0)),
        ("may have wrapped|could not be read for long", EXACT, "gave no power for", EXACT, EXACT),
    ),
    "clock put back": (
        (), with_pause(put_back),
        ("reset|exact", "reset|exact", EXACT, "gave no power|exact", EXACT),
    ),
    "suspended, nothing moved": ((), with_pause(suspended), (ASLEEP,) * 5),
    "suspended, the counter moved on": (
        (Jumps(MIDDLE, joules=700.0),), with_pause(suspended), (ASLEEP,) * 5,
    ),
}  # fmt: skip
CELLS = [
    pytest.param(kind, fault, outcome, id=f"{kind} - {fault}")
    for fault, (_, _, outcomes) in FAULTS.items()
    for kind, outcome in zip(KINDS, outcomes, strict=True)
]


def is_sick(id: str) -> bool:
    return id in ("cpu:0/package", "gpu:sick")


def grain_w(kind: str) -> float:
    """One unit and one update period of the power: what a read may be off by, as seconds."""
    return {"slow counter": 0.11, "window": 0.06}.get(kind, 0.06)


@pytest.mark.parametrize(("kind", "fault", "outcome"), CELLS)
def test_a_window(kind: str, fault: str, outcome: str) -> None:
    faults, act, _ = FAULTS[fault]
    clock = VirtualClock()
    profiler = KINDS[kind](faults)
    with Session([profiler], clock=clock) as session:
        clock.sleep(BEGIN - clock.now())
        with session.window() as window:
            act(clock)
        result = window.result
        figures = {c.id: c.energy_j for c in result.channels}
        reasons = {m.id: m.reason for m in result.missing}
    assert len(figures) + len(reasons) == 2, "each channel is told or missing"
    assert all(joules > 0 for joules in figures.values()), "never negative, never a silent zero"
    assert all(reasons.values())
    sick = next(channel.id for channel in profiler_channels(profiler) if is_sick(channel.id))
    check(outcome, figures.get(sick), reasons.get(sick, ""), SICK_W, result.duration_s, kind)
    machine_wide = fault in ("clock put back", "clock put on", "late heartbeat")
    if "suspended" not in fault and not machine_wide:
        (well,) = set(figures) - {sick}
        assert figures[well] == pytest.approx(
            WELL_W * result.duration_s, abs=WELL_W * grain_w(kind)
        )
    assert (result.energy_j is None) == bool(reasons), "a part is never told as the whole"


def profiler_channels(profiler: Profiler):
    sensors = getattr(profiler, "counters", None) or profiler.gauges
    return [sensor.channel for sensor in sensors.values()]


def check(
    outcome: str, joules: float | None, reason: str, watts: float, seconds: float, kind: str
) -> None:
    truth = watts * seconds
    if outcome == BLIND:
        assert joules is not None
        assert 0 < joules <= truth * 1.001, "it may be too little, and is never too much"
    elif joules is None:
        assert outcome != EXACT, reason
        assert re.search(outcome, reason), reason
    else:
        assert EXACT in outcome, f"{joules} J instead of a reason like {outcome!r}"
        assert joules == pytest.approx(truth, abs=watts * grain_w(kind))


@pytest.mark.parametrize("wraps", [0, 1, 10, 50])
def test_any_number_of_wraps_is_exact_to_one_unit(wraps: int) -> None:
    """2000 J on counters of 2·10⁹ µJ and less."""
    unit = 61.035e-6
    wraps_at = 5_000_000_000 if wraps < 2 else 2_000_000_000 // wraps
    start = {0: 0, 1: 2_500_000_000}.get(wraps, 0)
    clock = VirtualClock()
    with Session([counters((), wraps_at=wraps_at, start_count=start)], clock=clock) as session:
        clock.sleep(BEGIN)
        with session.window() as window:
            clock.sleep(END - BEGIN)
        sick = next(c for c in window.channels if is_sick(c.id))
    assert sick.energy_j == pytest.approx(2000.0, abs=2 * unit + 1e-3 * SICK_W)


LOST = {
    "reset": "reset|cannot be true",
    "stuck throughout": "stuck|did not move",
    "stuck from the middle": "stopped moving|did not move",
    "constant zero": "stuck|did not move|0 W all the time",
    "zero from the middle": "reset|cannot be true|told 0 W for",
    "device lost": "No such device|gave no power|gave no figure|stream is gone|stopped moving",
    "EIO at the end": "",
}  # fmt: skip
"""What a recording of repeated work must say; faults that are not here may heal."""


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("fault", FAULTS)
def test_repeated_work(kind: str, fault: str) -> None:
    """The run goes on with the healthy channel; the sick one is right, or named."""
    faults, act, (*outcomes,) = FAULTS[fault]
    outcome = dict(zip(KINDS, outcomes, strict=True))[kind]
    clock = VirtualClock()
    profiler = KINDS[kind](faults)
    happened = False

    def work() -> None:
        nonlocal happened
        clock.sleep(0.05)
        if clock.now() > MIDDLE and not happened and act is not quiet:
            happened = True
            PAUSES[fault](clock)

    with Session([profiler], clock=clock) as session:
        well = next(c.id for c in session.channels if not is_sick(c.id))
        sick = next(c.id for c in session.channels if is_sick(c.id))
        clock.sleep(BEGIN - 1.0 - clock.now())
        settings = LoopSettings(1e-9, min_time_s=20.0, max_time_s=20.0, warm_up_s=1.0)
        run = run_loop(work, session.sources, (well,), clock, settings)
        notes = sensor_notes(session.sources)
    blocks = run.blocks
    for joules in blocks.energies.values():
        assert (joules > 0).all(), "never negative, never a silent zero"
    assert set(blocks.energies) | set(blocks.failures) == {well, sick}
    assert all(blocks.failures.values())
    if "suspended" in fault:
        assert any("suspended for 60.0 s" in note for note in notes)
    if sick in blocks.energies and outcome != BLIND:
        watts = blocks.energies[sick].sum() / blocks.durations.sum()
        assert watts == pytest.approx(SICK_W, rel=0.02)
    if not PAUSES.get(fault):
        watts = blocks.energies[well].sum() / blocks.durations.sum()
        assert watts == pytest.approx(WELL_W, rel=0.02)
    if sick in blocks.failures and fault in LOST:
        assert re.search(LOST[fault], blocks.failures[sick]), blocks.failures[sick]


PAUSES: dict[str, Act] = {
    "late heartbeat": stopped_for(3.0),
    "clock put on": stopped_for(600.0),
    "clock put back": put_back,
    "suspended, nothing moved": suspended,
    "suspended, the counter moved on": suspended,
}


# Sources that are dead from the beginning, or die for good


@pytest.mark.parametrize("kind", ["counter", "slow counter", "power"])
def test_a_source_none_of_whose_channels_answers_does_not_open(kind: str) -> None:
    """So ``auto`` can skip it with its reason, and take the next best."""
    profiler = KINDS[kind]((Fails(0.0, number=errno.EACCES),))
    sensors = getattr(profiler, "counters", None) or profiler.gauges
    for id, sensor in sensors.items():
        sensors[id] = replace(sensor, faults=(Fails(0.0, number=errno.EACCES),))
    with pytest.raises(ReadingError, match="Permission denied"):
        profiler.open(VirtualClock())
    assert not profiler.is_open


def test_a_stream_that_is_dead_is_waited_for_only_once() -> None:
    clock = VirtualClock()
    profiler = gauges(SimulatedStreamProfiler, (vanishes(5.0),))
    with Session([profiler], clock=clock) as session:
        clock.sleep(BEGIN)
        waited = []
        for _ in range(4):
            with session.window() as window:
                clock.sleep(2.0)
            waited.append(clock.now())
            assert [c.energy_j for c in window.channels] == [pytest.approx(100.0)]
    assert waited[0] - BEGIN > 2.0 + profiler.patience_s - 0.5
    assert waited[1] - waited[0] < 3.0
    assert waited[3] - waited[1] < 6.0


def test_a_stream_that_comes_back_is_waited_for_again() -> None:
    clock = VirtualClock()
    profiler = gauges(SimulatedStreamProfiler, (Fails(5.0, 20.0),))
    with Session([profiler], clock=clock) as session:
        clock.sleep(BEGIN)
        with session.window() as window:
            clock.sleep(2.0)
        assert [m.id for m in window.missing] == ["gpu:sick"]
        clock.sleep(10.0)
        with session.window() as window:
            clock.sleep(2.0)
        assert not window.missing
        assert window.energy_j == pytest.approx(300.0)

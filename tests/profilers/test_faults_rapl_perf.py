"""What happens when a counter of perf_event fails in the middle of a window."""

from __future__ import annotations

import errno
from contextlib import contextmanager

import pytest
from fault_tables import EXACT, Case, Impossible, Table, cases, told

from greenai_core import PluginUnavailable, Session
from greenai_core.testing import PmuMeter, PowerPmu, VirtualClock
from greenai_core.testing.power_pmu import INTEL_UNIT_J
from greenai_plugins.profilers.rapl_perf import RaplPerfProfiler

WATTS, SECONDS = 150.0, 20.0
SICK, METER = "cpu:0/package", "energy-pkg@0"
WRAP_J = 2**32 * INTEL_UNIT_J


@contextmanager
def session_on(folder):
    """Two sockets; the register of the first wraps inside the window of every case."""
    clock = VirtualClock()
    meters = [
        PmuMeter("energy-pkg", 0, WATTS, start_j=WRAP_J - WATTS * 15.0),
        PmuMeter("energy-pkg", 16, WATTS),
    ]
    pmu = PowerPmu(folder / "sys", meters, {0: (0, 0), 16: (1, 0)})
    pmu.drive(clock)
    with Session([profiler_on(pmu)], clock=clock) as session:
        yield pmu, clock, session
    assert pmu.still_open == 0


def profiler_on(pmu, **options):
    return RaplPerfProfiler(root=pmu.root, cpuinfo=pmu.cpuinfo, opener=pmu.open_event, **options)


def answer(content):
    return lambda pmu, clock: pmu.answer(METER, content)


def hang(pmu, clock):
    """One read that takes long: the next one is quick again."""
    pmu.slow(METER, 6.0)
    clock.sleep(1.5)
    pmu.slow(METER, 0.0)


NO_GPU = Impossible("it measures no GPU")
NO_NETWORK = Impossible("it asks the kernel, no network")

TABLE: Table = {
    "EIO": Case(lambda pmu, clock: pmu.fail(METER), "Input/output error"),
    "EACCES": Case(
        lambda pmu, clock: pmu.refuse(errno.EACCES),
        EXACT,
        "exact: asked for when opened, and then the remedy is told",
    ),
    "reset": Case(lambda pmu, clock: pmu.reset(METER), "reset"),
    "wrap": Case(lambda pmu, clock: None, EXACT),
    "stuck": Case(lambda pmu, clock: pmu.stick(METER), "did not move"),
    "constant zero": Case(answer(bytes(8)), "reset"),
    "NaN": Impossible("a count is eight bytes, each of which is a number"),
    "negative": Case(answer(b"\xff" * 8), "cannot be true"),
    "GPU lost": NO_GPU,
    "slow read": Case(
        lambda pmu, clock: pmu.slow(METER, 0.05), EXACT, "exact, with a wider interval"
    ),
    "unplugged": Case(lambda pmu, clock: pmu.fail(METER, errno.ENODEV), "No such device"),
    "HTTP 500": NO_NETWORK,
    "hang": Case(hang, EXACT),
    "half a JSON": NO_NETWORK,
    "frame cut": Case(answer(b"\x01\x02\x03"), "3 bytes instead of 8"),
}


@pytest.mark.parametrize("case", cases(TABLE))
def test_fault(case, tmp_path):
    with session_on(tmp_path) as (pmu, clock, session):
        with session.window() as window:
            clock.sleep(SECONDS / 2)
            case.harm(pmu, clock)
            clock.sleep(SECONDS / 2)
        told(window.result, SICK, case.outcome, WATTS, 0.05 if "wider" in case.summary else 2e-3)
        well = {c.id: c.energy_j for c in window.channels}
        assert well["cpu:1/package"] == pytest.approx(
            WATTS * window.duration_s, abs=WATTS * (0.1 if case.outcome == EXACT else 2e-3)
        )


def test_the_end_of_the_file_is_no_zero(tmp_path):
    """What read(2) gives when the driver is gone."""
    with session_on(tmp_path) as (pmu, clock, session):
        with session.window() as window:
            clock.sleep(SECONDS)
            pmu.answer(METER, b"")
        told(window.result, SICK, "0 bytes instead of 8: its driver or CPU is gone", WATTS, 2e-3)


def test_a_failure_that_heals_takes_only_the_windows_that_end_in_it(tmp_path):
    with session_on(tmp_path) as (pmu, clock, session):
        with session.window() as outer:
            clock.sleep(5.0)
            pmu.fail(METER)
            with session.window() as inner:
                clock.sleep(5.0)
            pmu.fail(METER, 0)
            clock.sleep(5.0)
        told(inner.result, SICK, "could not be read", WATTS, 2e-3)
        told(outer.result, SICK, EXACT, WATTS, 2e-3)


def test_a_process_that_was_stopped_for_long_or_a_machine_that_slept(tmp_path):
    """64 bits do not wrap: ten minutes without a read lose nothing."""
    with session_on(tmp_path) as (_, clock, session):
        with session.window() as window:
            clock.sleep(SECONDS)
            clock.lapse(600.0)
        told(window.result, SICK, EXACT, WATTS, 2e-3)
        with session.window() as window:
            clock.suspend(9.0)
            clock.sleep(SECONDS)
        told(window.result, SICK, r"suspended for 9.0 s", WATTS, 2e-3)


@pytest.mark.parametrize(
    ("harm", "reason"),
    [
        (lambda pmu: pmu.refuse(errno.EACCES), "no permission"),
        (lambda pmu: pmu.refuse(errno.EINVAL), "the kernel says: Invalid argument"),
        (lambda pmu: [pmu.answer(name, bytes(8)) for name in pmu.meters], "do not move"),
        (lambda pmu: pmu.stick(METER), r"energy-pkg/ on CPU 0 does not move while others do"),
        (lambda pmu: pmu.fail(METER), r"energy-pkg/ on CPU 0 does not move while others do"),
        (lambda pmu: [pmu.fail(name) for name in pmu.meters], "do not move"),
    ],
    ids=["EACCES", "EINVAL", "constant zero", "one stuck", "one EIO", "all EIO"],
)
def test_what_does_not_work_is_refused_when_opened(harm, reason, tmp_path):
    clock = VirtualClock()
    pmu = PowerPmu.xeon(tmp_path / "sys")
    pmu.drive(clock)
    harm(pmu)
    profiler = profiler_on(pmu)
    with pytest.raises(PluginUnavailable, match=reason):
        profiler.open(clock)
    assert not profiler.is_open
    assert pmu.still_open == 0

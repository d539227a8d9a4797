"""A generic meter of energy × fault."""

from __future__ import annotations

from typing import Any

import pytest
from fault_tables import EXACT, Case, Impossible, Table, cases, told

from greenai_core import Session
from greenai_core.testing import FakeWattmeter, VirtualClock
from greenai_plugins.profilers.meter_generic import MeterEnergyProfiler

WATTS = 80.0
WRAP_WH = 100


def keeps(fault: str) -> Any:
    return lambda meter, clock: meter.keep_failing(fault)


def says(body: bytes) -> Any:
    return lambda meter, clock: meter.say(body)


def sticks(meter: FakeWattmeter, clock: VirtualClock) -> None:
    says(b'{"aenergy": {"total": %.3f}}' % (meter.counted_j() / 3600))(meter, clock)


def resets(meter: FakeWattmeter, clock: VirtualClock) -> None:
    meter._began = clock.now()


def wraps(meter: FakeWattmeter, clock: VirtualClock) -> None:
    """From 100 Wh to 0: the meter forgets what it had counted until then."""
    meter._began += WRAP_WH * 3600 / WATTS


def vanishes(meter: FakeWattmeter, clock: VirtualClock) -> None:
    meter.keep_failing("reset")  # the connection that is open
    meter.__exit__(None, None, None)


TABLE: Table = {
    "EIO": Case(keeps("reset"), "does not answer"),
    "EACCES": Case(
        lambda meter, clock: setattr(meter, "password", "changed"), "401: it wants a password"
    ),
    "reset": Case(resets, "reset"),
    "wrap": Case(wraps, EXACT),
    "stuck": Case(sticks, "did not move"),
    "constant zero": Case(says(b'{"aenergy": {"total": 0}}'), "reset"),
    "NaN": Case(says(b'{"aenergy": {"total": NaN}}'), "cannot be true"),
    "negative": Case(says(b'{"aenergy": {"total": -5.0}}'), "cannot be true"),
    "GPU lost": Impossible("no GPU is asked"),
    "slow read": Case(lambda meter, clock: clock.lapse(3.0), EXACT),
    "unplugged": Case(vanishes, "does not answer"),
    "HTTP 500": Case(keeps("500"), "status 500", "one answer: exact; lasting: missing"),
    "hang": Case(keeps("hang"), "did not answer within 0.5 s"),
    "half a JSON": Case(keeps("half"), "not JSON"),
    "frame cut": Case(says(b"12"), "has no aenergy"),
}


@pytest.mark.parametrize("case", cases(TABLE))
def test_fault(case: Case) -> None:
    clock = VirtualClock(100.0)
    hangs = case is TABLE["hang"]  # each read then takes real time
    with FakeWattmeter("shelly2", WATTS, clock=clock) as meter:
        wrapping = case.harm is wraps
        # 0.02 Wh before the wrap when the fault comes in the middle of the window.
        meter._began -= (WRAP_WH - 0.02) * 3600 / WATTS - 60.0 if wrapping else 1000.0
        profiler = MeterEnergyProfiler(
            url=meter.url + "/rpc/Switch.GetStatus?id=0",
            path="aenergy.total",
            unit="Wh",
            step=0.001,
            wraps_at=WRAP_WH if wrapping else None,
            timeout_s=0.5 if hangs else 10.0,
        )
        with Session([profiler], clock=clock) as session, session.window() as window:
            clock.sleep(60.0)
            if wrapping:
                clock.sleep(0.9)
            case.harm(meter, clock)
            clock.sleep(7.0 if hangs else 60.0)
        # Two steps of the counter, and two of its periods.
        told(window.result, "wall:meter", case.outcome, WATTS, 2.1)

"""Shelly and Tasmota meters over HTTP × fault."""

from __future__ import annotations

from typing import Any

import pytest
from fault_tables import EXACT, Case, Impossible, Table, cases, told

from greenai_core import Session
from greenai_core.testing import FakeWattmeter, VirtualClock
from greenai_plugins.profilers.wattmeter import WattmeterProfiler

WATTS = 80.0


def keeps(fault: str) -> Any:
    return lambda meter, clock: meter.keep_failing(fault)


def vanishes(meter: FakeWattmeter, clock: VirtualClock) -> None:
    meter.keep_failing("reset")  # the connection that is open
    meter.__exit__(None, None, None)


def locks(meter: FakeWattmeter, clock: VirtualClock) -> None:
    meter.password = "changed"


TABLE: Table = {
    "EIO": Case(keeps("reset"), "does not answer"),
    "EACCES": Case(locks, "status 401: it wants a password"),
    "reset": Impossible("power has no count; the counter beside it is compared afresh"),
    "wrap": Impossible("power has no count"),
    "stuck": Case(
        lambda meter, clock: meter.say(b'{"apower": 80.0, "aenergy": {"total": 9.0}}'),
        EXACT,
        "not seen: steady power looks the same; a note where its counter disagrees",
    ),
    "constant zero": Case(lambda meter, clock: meter.say(b'{"apower": 0.0}'), "told 0 W"),
    "NaN": Case(keeps("nan"), "NaN"),
    "negative": Case(keeps("negative"), "cannot be true"),
    "GPU lost": Impossible("no GPU is asked"),
    "slow read": Case(lambda meter, clock: clock.lapse(3.0), EXACT),
    "unplugged": Case(vanishes, "does not answer"),
    "HTTP 500": Case(keeps("500"), "status 500", "one answer: exact; lasting: missing"),
    "hang": Case(keeps("hang"), "did not answer within 0.5 s"),
    "half a JSON": Case(keeps("half"), "not JSON"),
    "frame cut": Case(keeps("html"), "not JSON: '<html>"),
}


def measured(case: Case) -> None:
    clock = VirtualClock(100.0)
    hangs = case is TABLE["hang"]  # each read then takes real time
    with FakeWattmeter("shelly2", WATTS, clock=clock) as meter:
        timeout_s = 0.5 if hangs else 10.0
        profiler = WattmeterProfiler(url=meter.url, label="plug", timeout_s=timeout_s)
        with Session([profiler], clock=clock) as session, session.window() as window:
            clock.sleep(30.0)
            case.harm(meter, clock)
            clock.sleep(7.0 if hangs else 30.0)
        told(window.result, "wall:plug", case.outcome, WATTS, 0.1)


@pytest.mark.parametrize("case", cases(TABLE))
def test_fault(case: Case) -> None:
    measured(case)


@pytest.mark.parametrize(
    "case",
    [
        pytest.param(Case(lambda meter, clock: None, EXACT), id="nothing"),
        pytest.param(Case(lambda meter, clock: meter.fail("500"), EXACT), id="one answer lost"),
        pytest.param(Case(keeps("null"), "None"), id="null"),
        pytest.param(Case(keeps("moved"), "status 302"), id="moved elsewhere"),
        pytest.param(
            Case(lambda meter, clock: clock.lapse(20.0), "gave no power for 2"),
            id="process stopped for 20 s",
        ),
        pytest.param(
            Case(lambda meter, clock: clock.suspend(9.0), "suspended for 9.0 s"), id="suspended"
        ),
    ],
)
def test_beside_the_table(case: Case) -> None:
    measured(case)


def test_meters_of_one_machine_are_added_only_if_they_say_so() -> None:
    """One may hang behind the other: their sum would count its joules twice."""
    clock = VirtualClock(100.0)
    with FakeWattmeter("shelly2", 80.0, clock=clock) as a, FakeWattmeter("shelly2", 50.0) as b:

        def window(**options: str) -> tuple[Any, tuple[str, ...]]:
            meters = [
                WattmeterProfiler(url=meter.url, label=label, **options)
                for meter, label in ((a, "a"), (b, "b"))
            ]
            with Session(meters, clock=clock) as session:
                with session.window() as window:
                    clock.sleep(30.0)
                return window.result, session.notes()

        apart, notes = window()
        assert apart.energy_j is None
        assert len(apart.channels) == 2
        assert "wall:a and wall:b may see the same joules" in notes[0]
        together, notes = window(part_of="server")
        assert together.energy_j == pytest.approx(130.0 * 30.0, rel=0.01)
        assert together.contains == ("wall:a", "wall:b")
        assert notes == ()

"""A generic meter of power × fault: on a page, and as a command."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from fault_tables import EXACT, Case, Impossible, Table, cases, told

from greenai_core import Session
from greenai_core.testing import FakeWattmeter, VirtualClock
from greenai_plugins.profilers.meter_generic import MeterProfiler

WATTS = 80.0


def keeps(fault: str) -> Any:
    return lambda meter, clock: meter.keep_failing(fault)


def says(body: bytes) -> Any:
    return lambda meter, clock: meter.say(body)


def vanishes(meter: FakeWattmeter, clock: VirtualClock) -> None:
    meter.keep_failing("reset")  # the connection that is open
    meter.__exit__(None, None, None)


TABLE: Table = {
    "EIO": Case(keeps("reset"), "does not answer"),
    "EACCES": Case(
        lambda meter, clock: setattr(meter, "password", "changed"), "401: it wants a password"
    ),
    "reset": Impossible("power has no count"),
    "wrap": Impossible("power has no count"),
    "stuck": Case(says(b'{"apower": 80.0}'), EXACT, "not seen: steady power looks the same"),
    "constant zero": Case(says(b'{"apower": 0.0}'), "told 0 W"),
    "NaN": Case(keeps("nan"), "cannot be true"),
    "negative": Case(keeps("negative"), "cannot be true"),
    "GPU lost": Impossible("no GPU is asked"),
    "slow read": Case(lambda meter, clock: clock.lapse(3.0), EXACT),
    "unplugged": Case(vanishes, "does not answer"),
    "HTTP 500": Case(keeps("500"), "status 500", "one answer: exact; lasting: missing"),
    "hang": Case(keeps("hang"), "did not answer within 0.5 s"),
    "half a JSON": Case(keeps("half"), "not JSON"),
    "frame cut": Case(says(b"80"), "has no apower"),
}


@pytest.mark.parametrize("case", cases(TABLE))
def test_fault(case: Case) -> None:
    clock = VirtualClock(100.0)
    hangs = case is TABLE["hang"]  # each read then takes real time
    with FakeWattmeter("shelly2", WATTS, clock=clock) as meter:
        profiler = MeterProfiler(
            url=meter.url + "/rpc/Switch.GetStatus?id=0",
            path="apower",
            timeout_s=0.5 if hangs else 10.0,
        )
        with Session([profiler], clock=clock) as session, session.window() as window:
            clock.sleep(30.0)
            case.harm(meter, clock)
            clock.sleep(7.0 if hangs else 30.0)
        told(window.result, "wall:meter", case.outcome, WATTS, 0.1)


@pytest.mark.parametrize(
    ("printed", "outcome"),
    [
        ("80", EXACT),
        ("", "no number"),
        ("nan", "cannot be true"),
        ("-80", "cannot be true"),
        ("0", "told 0 W"),
        ("Traceback (most recent call last):", "no number"),
        (None, "ended with 1: cat: .*No such file"),
    ],
)
def test_a_command_that_says(printed: str | None, outcome: str, tmp_path: Path) -> None:
    """What ``cat`` prints of a file that changes in the middle of the window."""
    clock, file = VirtualClock(100.0), tmp_path / "power"
    file.write_text("80\n")
    profiler = MeterProfiler(command=f"cat {file}")
    with Session([profiler], clock=clock) as session, session.window() as window:
        clock.sleep(30.0)
        file.write_text(printed) if printed is not None else file.unlink()
        clock.sleep(30.0)
    told(window.result, "wall:meter", outcome, WATTS, 0.1)

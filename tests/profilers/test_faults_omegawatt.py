"""The serial port of an OmegaWatt meter × fault."""

from __future__ import annotations

import math
from typing import Any

import pytest
from fault_tables import EXACT, Case, Impossible, Table, cases, told

from greenai_core import PluginUnavailable, Session
from greenai_core.testing import VirtualClock
from greenai_core.testing.omegawatt import SimulatedOmegawatt
from greenai_plugins.profilers.omegawatt import OmegawattProfiler

pytest.importorskip("serial")

WATTS = 80.0


def repeats(meter: SimulatedOmegawatt, clock: Any) -> None:
    kept: list[bytes] = []

    def harm(n: int, content: bytes) -> bytes:
        kept.append(content)
        return kept[0]

    meter.harm = harm


def restarts(meter: SimulatedOmegawatt, clock: Any) -> None:
    meter.first_id -= 1500


def wraps(meter: SimulatedOmegawatt, clock: Any) -> None:
    """The 16-bit ids, from 65,535 to 0; nothing else in a frame counts up."""
    assert meter.first_id + 500 > 65535


def scaled(factor: float) -> Any:
    return lambda meter, clock: setattr(meter, "scale", factor)


def fails_for_a_second(meter: SimulatedOmegawatt, clock: Any) -> None:
    meter.unplugged = True
    clock.sleep(1.0)
    meter.unplugged = False
    meter.reset_input_buffer()


def silent(meter: SimulatedOmegawatt, clock: Any) -> None:
    meter.harm = lambda n, content: b""


def cut(meter: SimulatedOmegawatt, clock: Any) -> None:
    meter.harm = lambda n, content: content[: len(content) // 2]


def one_cut(meter: SimulatedOmegawatt, clock: Any) -> None:
    number = meter._next + 1
    meter.harm = lambda n, content: content[:40] if n == number else content


SERIAL = "a serial port has no permissions once it is open; opening it is refused with the remedy"
TABLE: Table = {
    "EIO": Case(fails_for_a_second, "gave no power for 1.* frames of 10 ms lost"),
    "EACCES": Impossible(SERIAL),
    "reset": Case(restarts, EXACT),
    "wrap": Case(wraps, EXACT),
    "stuck": Case(repeats, "came again and again for .* s: the meter is stuck"),
    "constant zero": Case(scaled(0.0), "told 0 W"),
    "NaN": Case(scaled(math.nan), "gave nan W"),
    "negative": Case(scaled(-1.0), "-80.0 W for 0.2. s, .*wrong way round"),
    "GPU lost": Impossible("no GPU is asked"),
    "slow read": Case(lambda meter, clock: clock.lapse(0.4), EXACT),
    "unplugged": Case(lambda meter, clock: setattr(meter, "unplugged", True), "is the meter unpl"),
    "HTTP 500": Impossible("no HTTP"),
    "hang": Case(silent, "no frame has come for"),
    "half a JSON": Impossible("no JSON"),
    "frame cut": Case(cut, "no frame has come for", "one frame: exact; all: missing"),
}


def measured(case: Case, clock: VirtualClock, first_id: int = 0) -> None:
    meter = SimulatedOmegawatt(WATTS, clock=clock)
    meter.first_id = first_id
    profiler = OmegawattProfiler(port="ttyFake", plugs=1, label="plug", open_port=meter.open_port)
    with Session([profiler], clock=clock) as session:
        with session.window() as window:
            clock.sleep(6.0)
            case.harm(meter, clock)
            clock.sleep(6.0)
        told(window.result, "wall:plug", case.outcome, WATTS, 0.05)


@pytest.mark.parametrize("case", cases(TABLE))
def test_fault(case: Case) -> None:
    measured(case, VirtualClock(100.0), 65536 - 400 if case.harm is wraps else 2000)


@pytest.mark.parametrize(
    "case",
    [
        pytest.param(Case(one_cut, EXACT), id="one frame cut"),
        pytest.param(
            Case(lambda meter, clock: clock.suspend(9.0), "suspended for 9.0 s"), id="suspended"
        ),
    ],
)
def test_beside_the_table(case: Case) -> None:
    measured(case, VirtualClock(100.0))


def test_a_port_that_may_not_be_read_is_refused_when_opened() -> None:
    def refuse(name: str) -> Any:
        raise PermissionError(13, "Permission denied", name)

    profiler = OmegawattProfiler(port="/dev/ttyUSB0", plugs=1, open_port=refuse)
    with pytest.raises(PluginUnavailable, match="usermod"):
        profiler.open(VirtualClock())

"""The log of wattmetre-read × fault."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path

import pytest
from fault_tables import EXACT, Case, Impossible, Table, cases, told

from greenai_core import Session
from greenai_core.testing import VirtualClock
from greenai_core.testing.omegawatt import SimulatedOmegawatt, logged
from greenai_plugins.profilers.omegawatt_log import OmegawattLogProfiler

WATTS = 80.0
UNIX_S = 1.7e9


class Writer:
    """What a fault may do harm to."""

    def __init__(
        self,
        meter: SimulatedOmegawatt,
        path: Path,
        clock: VirtualClock,
        stop: Callable[[], None],
    ) -> None:
        self.meter, self.path, self.clock, self.stop = meter, path, clock, stop
        self.ahead_s = 0.0

    def power(self, text: str) -> None:
        """Put this in the place of the first plug's power."""
        self.meter.log_harm = lambda row: ",".join(
            [*(fields := row.split(","))[:6], text, *fields[7:]]
        )


def denied(w: Writer) -> None:
    """Only a replaced log is opened again; a folder in its place is an error for root too."""
    w.stop()
    w.clock.sleep(1.0)
    w.path.unlink()
    w.path.mkdir()


def deleted(w: Writer) -> None:
    w.stop()
    w.path.unlink()


def replaced(w: Writer) -> None:
    """As logrotate does: the reader writes a new file with a header of its own."""
    w.path.rename(w.path.with_suffix(".1"))
    w.path.write_text(w.meter.log_header(), encoding="ascii")


def emptied(w: Writer) -> None:
    os.truncate(w.path, 0)
    with w.path.open("a", encoding="ascii") as file:
        file.write(w.meter.log_header())


def frozen(w: Writer) -> None:
    """The same row again and again, with its old time."""
    kept: list[str] = []
    w.meter.log_harm = lambda row: (kept.append(row), kept[0])[1]


def cut(w: Writer) -> None:
    w.meter.log_harm = lambda row: row[: len(row) // 2] + "\n"


LOG = "it is a file"
TABLE: Table = {
    "EIO": Case(denied, "cannot be read: Is a directory"),
    "EACCES": Impossible("a log that is open stays readable; opening it is refused"),
    "reset": Case(replaced, EXACT, "exact: a new or emptied log is followed"),
    "wrap": Impossible("it logs power, and nothing in it counts"),
    "stuck": Case(frozen, "whose time goes back"),
    "constant zero": Case(lambda w: w.power("0.0"), "told 0 W"),
    "NaN": Case(lambda w: w.power("nan"), "gave nan W"),
    "negative": Case(lambda w: w.power("-80.0"), "wrong way round"),
    "GPU lost": Impossible("no GPU is asked"),
    "slow read": Case(lambda w: w.clock.lapse(0.8), EXACT),
    "unplugged": Case(deleted, "cannot be read: No such file"),
    "HTTP 500": Impossible("no HTTP"),
    "hang": Case(lambda w: w.stop(), "does wattmetre-read still run"),
    "half a JSON": Impossible("no JSON"),
    "frame cut": Case(cut, "broken rows"),
}


def measured(case: Case, folder: Path) -> None:
    clock = VirtualClock(100.0)
    meter = SimulatedOmegawatt(WATTS, clock=clock)
    path = folder / "log.csv"
    stop = logged(meter, path, lambda t: UNIX_S + t, batch_s=0.31)
    writer = Writer(meter, path, clock, stop)
    clock.sleep(3.0)
    profiler = OmegawattLogProfiler(
        path=path,
        plugs=1,
        label="plug",
        wall=lambda: UNIX_S + clock.now() + clock.suspended_s + writer.ahead_s,
    )
    with Session([profiler], clock=clock) as session:
        with session.window() as window:
            clock.sleep(10.0)
            case.harm(writer)
            clock.sleep(10.0)
        told(window.result, "wall:plug", case.outcome, WATTS, 0.05)
    stop()


@pytest.mark.parametrize("case", cases(TABLE))
def test_fault(case: Case, tmp_path: Path) -> None:
    measured(case, tmp_path)


def half_a_line(w: Writer) -> None:
    """The reader was killed in the middle of a line, and another goes on in the same file."""
    with w.path.open("a", encoding="ascii") as file:
        file.write("1700000110.12,tr" + w.meter.log_header())


def damaged(w: Writer) -> None:
    w.meter.log_harm = lambda row: row.partition(",")[0] + ",false" + "," * 15 + "\n"


def few_damaged(w: Writer) -> None:
    rows = iter(range(1_000_000))
    harm = w.meter.log_harm

    def every_third(row: str) -> str:
        return row.partition(",")[0] + ",false" + "," * 15 + "\n" if next(rows) % 3 else harm(row)

    w.meter.log_harm = every_third


def set_ahead(w: Writer) -> None:
    w.ahead_s = 3600.0


@pytest.mark.parametrize(
    "case",
    [
        pytest.param(Case(emptied, EXACT), id="emptied"),
        pytest.param(Case(half_a_line, EXACT), id="half a line, then a header"),
        pytest.param(Case(damaged, "rows of damaged frames"), id="frame_is_ok=false"),
        pytest.param(Case(few_damaged, EXACT), id="some frames not ok"),
        pytest.param(Case(set_ahead, "clock of this machine was set|newest row"), id="clock set"),
        pytest.param(Case(lambda w: w.clock.suspend(9.0), "suspended for 9.0 s"), id="suspended"),
        pytest.param(Case(lambda w: w.power("x"), "without numbers"), id="no number"),
    ],
)
def test_beside_the_table(case: Case, tmp_path: Path) -> None:
    measured(case, tmp_path)

"""Built-in sensor × fault -> the exact figure, or a channel that is missing with its reason.

The kinds behind them have their own table in ``tests/core/test_fault_table.py``; here
it is the plugins on simulated hardware, through ``Session.window``.
"""

from __future__ import annotations

import os
import re
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from greenai_core import Channel, PluginUnavailable, ReadingError, Session
from greenai_core.channels import contents, overlap
from greenai_core.results import WindowResult
from greenai_core.testing import FakeWattmeter, PowercapTree, VirtualClock
from greenai_core.testing.nvml import NvmlSimulator, compiler
from greenai_core.testing.nvml_board import SimulatedBoard
from greenai_plugins.profilers.host import Machine
from greenai_plugins.profilers.modelled import ModelledProfiler
from greenai_plugins.profilers.nvml import NvmlPowerProfiler, NvmlProfiler
from greenai_plugins.profilers.rapl import RaplProfiler
from greenai_plugins.profilers.wattmeter import WattmeterProfiler

EXACT = "exact"
SECONDS = 20.0

needs_compiler = pytest.mark.skipif(
    compiler() is None, reason="the NVML simulator needs a C compiler: sudo apt install gcc"
)


def told(result: WindowResult, sick: str, outcome: str, watts: float, grain_s: float) -> None:
    """Check what a window tells of the sick channel, and that it invents nothing."""
    figures = {c.id: c.energy_j for c in result.channels}
    reasons = {m.id: m.reason for m in result.missing}
    assert all(joules > 0 for joules in figures.values())
    assert all(reasons.values())
    assert (sick in figures) != (sick in reasons)
    if outcome == EXACT:
        assert figures[sick] == pytest.approx(watts * result.duration_s, abs=watts * grain_s)
        assert result.energy_j is not None
    else:
        assert re.search(outcome, reasons[sick]), reasons[sick]
        assert result.energy_j is None, "a part is never told as the whole"


# RAPL

Tree = PowercapTree
RAPL: dict[str, tuple[Callable[[Tree, VirtualClock], Any], str]] = {
    "nothing": (lambda tree, clock: None, EXACT),
    "reset": (lambda tree, clock: tree.reset("intel-rapl:0", clock.now()), "reset"),
    "stuck": (lambda tree, clock: tree.stick("intel-rapl:0"), "did not move"),
    "constant zero": (lambda tree, clock: tree.write("intel-rapl:0", "0\n"), "reset"),
    "empty": (lambda tree, clock: tree.write("intel-rapl:0", ""), "instead of a number"),
    "garbage": (lambda tree, clock: tree.write("intel-rapl:0", "4e3\n"), "instead of a number"),
    "NaN": (lambda tree, clock: tree.write("intel-rapl:0", "nan\n"), "instead of a number"),
    "negative": (lambda tree, clock: tree.write("intel-rapl:0", "-7\n"), "cannot be true"),
    "zone removed": (lambda tree, clock: tree.remove("intel-rapl:0"), "did not move"),
    "process stopped for 3 s": (lambda tree, clock: clock.lapse(3.0), EXACT),
    "suspended": (lambda tree, clock: clock.suspend(9.0), "suspended for 9.0 s"),
}


@contextmanager
def sockets(folder: Path) -> Iterator[tuple[PowercapTree, VirtualClock, Session]]:
    clock = VirtualClock()
    with PowercapTree.xeon(folder / "powercap") as tree:
        tree.drive(clock)
        profiler = RaplProfiler(root=tree.root, cpuinfo=tree.cpuinfo)
        with Session([profiler], clock=clock) as session:
            yield tree, clock, session


@pytest.mark.parametrize("fault", RAPL)
def test_rapl(fault: str, tmp_path: Path) -> None:
    harm, outcome = RAPL[fault]
    with sockets(tmp_path) as (tree, clock, session):
        with session.window() as window:
            clock.sleep(SECONDS / 2)
            harm(tree, clock)
            clock.sleep(SECONDS / 2)
        told(window.result, "cpu:0/package", outcome, 150.0, 2e-3)
        if fault != "suspended":
            told_well = {c.id: c.energy_j for c in window.channels}
            assert told_well["cpu:1/package"] == pytest.approx(
                150.0 * window.duration_s, abs=150 * 2e-3
            )


def test_rapl_read_that_fails(tmp_path: Path) -> None:
    """EISDIR stands for EIO: a real error of the kernel on each read, then it heals."""
    with sockets(tmp_path) as (tree, clock, session):
        fds = session.sources[0].profiler._fds
        good = os.dup(fds["cpu:0/package"])
        folder = os.open(tree.root, os.O_RDONLY)
        with session.window() as outer:
            clock.sleep(5.0)
            os.dup2(folder, fds["cpu:0/package"])
            with session.window() as inner:
                clock.sleep(5.0)
            os.dup2(good, fds["cpu:0/package"])
            clock.sleep(5.0)
        told(inner.result, "cpu:0/package", "could not be read", 150.0, 2e-3)
        told(outer.result, "cpu:0/package", EXACT, 150.0, 2e-3)
        os.close(good)
        os.close(folder)


@pytest.mark.parametrize(
    ("harm", "reason"),
    [
        (lambda tree: tree.deny("intel-rapl:0"), "no permission"),
        (lambda tree: tree.fail("intel-rapl:0"), "cannot read"),
        (lambda tree: [tree.write(zone, "0\n") for zone in [*tree._fds]], "constant 0"),
        (lambda tree: [tree.stick(zone) for zone in [*tree._fds]], "do not move"),
    ],
    ids=["EACCES", "EIO", "constant zero", "stuck"],
)
def test_rapl_that_does_not_work_is_refused_when_opened(
    harm: Callable[[PowercapTree], Any], reason: str, tmp_path: Path
) -> None:
    clock = VirtualClock()
    with PowercapTree.xeon(tmp_path / "powercap") as tree:
        tree.drive(clock)
        harm(tree)
        profiler = RaplProfiler(root=tree.root, cpuinfo=tree.cpuinfo)
        with pytest.raises(PluginUnavailable, match=reason):
            profiler.open(clock)
        assert not profiler.is_open


# NVML

Boards = NvmlSimulator
NO_PERMISSION, UNKNOWN = 4, 999
READS = ("nvmlDeviceGetTotalEnergyConsumption", "field:186")
NVML: dict[str, tuple[dict[str, Any], Callable[[Boards, VirtualClock], Any], str, str]] = {
    "nothing": ({}, lambda sim, clock: None, EXACT, EXACT),
    "lost": ({}, lambda sim, clock: sim.lose(0), "GPU is lost.*dmesg", "GPU is lost.*dmesg"),
    "lost for good from the beginning": (
        {"faults": dict.fromkeys(READS, UNKNOWN)},
        lambda sim, clock: None, "Unknown Error", "Unknown Error",
    ),
    "permission taken": (
        {"faults": dict.fromkeys(READS, NO_PERMISSION)},
        lambda sim, clock: None, "Insufficient Permissions", "Insufficient Permissions",
    ),
    "constant zero": (
        {"watts": 0.0}, lambda sim, clock: None, "did not move", "no power for|No data|0 W",
    ),
    "late by 0.3 s": ({}, lambda sim, clock: clock.lapse(0.3), EXACT, EXACT),
    "process stopped for 5 s": (
        {}, lambda sim, clock: clock.lapse(5.0), EXACT, "gave no power for 5",
    ),
    "suspended": ({}, lambda sim, clock: clock.suspend(9.0), "suspended for 9", "suspended for 9"),
}  # fmt: skip


@needs_compiler
@pytest.mark.parametrize("profiler", [NvmlProfiler, NvmlPowerProfiler])
@pytest.mark.parametrize("fault", NVML)
def test_nvml(fault: str, profiler: type) -> None:
    options, harm, *outcomes = NVML[fault]
    outcome = outcomes[profiler is NvmlPowerProfiler]
    clock = VirtualClock(1000.0)
    boards = [SimulatedBoard(**{"watts": 150.0, **options}), SimulatedBoard(watts=100.0)]
    with NvmlSimulator(boards, clock=clock) as simulator, simulator.installed():
        if fault == "constant zero" and profiler is NvmlPowerProfiler:
            with Session([profiler()], clock=clock) as session:
                assert len(session.channels) == 1, "a board that tells no power is left out"
            return
        with Session([profiler()], clock=clock) as session:
            with session.window() as window:
                clock.sleep(SECONDS / 2)
                harm(simulator, clock)
                clock.sleep(SECONDS / 2)
            sick, well = (f"gpu:{simulator.uuid(n)}" for n in (0, 1))
            told(window.result, sick, outcome, 150.0, 0.11)
            if "suspended" not in fault and "stopped" not in fault:
                figures = {c.id: c.energy_j for c in window.channels}
                assert figures[well] == pytest.approx(100.0 * window.duration_s, abs=11.0)


@needs_compiler
def test_nvml_none_of_whose_boards_answers_does_not_open() -> None:
    clock = VirtualClock(1000.0)
    with NvmlSimulator([SimulatedBoard()], clock=clock) as simulator, simulator.installed():
        simulator.lose(0)
        profiler = NvmlProfiler()
        with pytest.raises((PluginUnavailable, ReadingError), match="GPU is lost"):
            profiler.open(clock)
        assert not profiler.is_open
        assert simulator.initialised == 0


# Wattmeters

METER: dict[str, tuple[Callable[[FakeWattmeter, VirtualClock], Any], str]] = {
    "nothing": (lambda meter, clock: None, EXACT),
    "one answer lost": (lambda meter, clock: meter.fail("500"), EXACT),
    "dead": (lambda meter, clock: meter.keep_failing("reset"), "does not answer"),
    "status 500": (lambda meter, clock: meter.keep_failing("500"), "status 500"),
    "half an answer": (lambda meter, clock: meter.keep_failing("half"), "not JSON"),
    "negative": (lambda meter, clock: meter.keep_failing("negative"), "cannot be true"),
    "NaN": (lambda meter, clock: meter.keep_failing("nan"), "NaN"),
    "null": (lambda meter, clock: meter.keep_failing("null"), "None"),
    "zero": (lambda meter, clock: meter.say(b'{"apower": 0.0}'), "told 0 W"),
    "process stopped for 20 s": (lambda meter, clock: clock.lapse(20.0), "gave no power for 2"),
    "suspended": (lambda meter, clock: clock.suspend(9.0), "suspended for 9.0 s"),
}


@pytest.mark.parametrize("fault", METER)
def test_wattmeter(fault: str) -> None:
    harm, outcome = METER[fault]
    clock = VirtualClock(100.0)
    with FakeWattmeter("shelly2", 80.0, clock=clock) as meter:
        profiler = WattmeterProfiler(url=meter.url, label="plug")
        with Session([profiler], clock=clock) as session, session.window() as window:
            clock.sleep(30.0)
            harm(meter, clock)
            clock.sleep(30.0)
        told(window.result, "wall:plug", outcome, 80.0, 0.1)


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


def channel(id: str, component: str = "wall", inside: str | None = None) -> Channel:
    return Channel(id, component, "sampled", contained_in=inside)


@pytest.mark.parametrize(
    ("channels", "total", "doubtful"),
    [
        ([channel("wall:a")], ("wall:a",), False),
        ([channel("wall:rack"), channel("wall:plug", inside="wall:rack")], ("wall:rack",), False),
        ([channel("wall:a"), channel("wall:b")], (), True),
        ([channel("wall:a", inside="wall:x"), channel("wall:b", inside="wall:y")], (), True),
        ([channel("wall:a"), channel("wall:b"), channel("cpu:0/package", "cpu")],
         ("cpu:0/package",), False),
        ([channel("psys", "psys"), channel("psys-1", "psys")], (), True),
    ],
)  # fmt: skip
def test_what_a_total_of_the_whole_machine_is(
    channels: list[Channel], total: tuple[str, ...], doubtful: bool
) -> None:
    assert contents(channels) == total
    assert bool(overlap(channels)) == doubtful


# The model of last resort


def test_modelled_never_fills_in_for_what_it_cannot_see() -> None:
    """A system that stops telling its load leaves no joules, not those of an idle machine."""
    clock = VirtualClock()
    silent = False

    def busy(machine: Machine | None = None) -> float:
        if silent:
            raise OSError("no /proc/stat")
        return clock.now() * 4

    machine = Machine("Any CPU", 8, 8.0, 1, False, 16 * 2**30)
    profiler = ModelledProfiler(machine=lambda: machine, busy=busy, powercap="/nonexistent")
    with Session([profiler], clock=clock) as session:
        with session.window() as window:
            clock.sleep(SECONDS / 2)
            silent = True
            clock.sleep(SECONDS / 2)
        assert window.energy_j is None
        assert "no /proc/stat" in {m.id: m.reason for m in window.missing}["model:cpu"]
        silent = False
        clock.sleep(1.0)
        with session.window() as window:
            clock.sleep(SECONDS / 2)
            clock.suspend(9.0)
            clock.sleep(SECONDS / 2)
        assert window.energy_j is None
        assert all("suspended for 9.0 s" in m.reason for m in window.missing)

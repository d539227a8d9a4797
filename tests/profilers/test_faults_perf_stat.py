"""What ``perf stat`` tells when something goes wrong in the middle of a window."""

from __future__ import annotations

import os
import signal

import pytest
from fault_tables import EXACT, Case, Impossible, Table, cases, told
from simulated_programs import World, power_pmu

from greenai_core import Session
from greenai_plugins.profilers.perf_stat import PerfStatProfiler

SICK = "cpu:0/package"
EVENT = "0/energy-pkg"
KERNEL = "perf_event adds the counter up in 64 bits from the beginning of the window"
EARLY = ("stuck", "constant zero")
"""Seen when a whole window is so: of one that stops half way perf tells the first half."""

TABLE: Table = {
    "EIO": Case(lambda world: world.show(EVENT, "<not counted>"), "is not counted"),
    "EACCES": Impossible("its counters are open; a refusal at the beginning is told as such"),
    "reset": Impossible(KERNEL),
    "wrap": Impossible(KERNEL),
    "stuck": Case(
        lambda world: world.still.add(EVENT), "gave 0 J", "missing; not seen from mid-window on"
    ),
    "constant zero": Case(lambda world: world.show(EVENT, "0.00"), "gave 0 J"),
    "NaN": Case(lambda world: world.show(EVENT, "nan"), "told as 'nan'"),
    "negative": Case(lambda world: world.show(EVENT, "-7.00"), "told as '-7.00'"),
    "GPU lost": Impossible("it sees no GPU"),
    "slow read": Case(lambda world: world.break_with(slow=0.1), EXACT, "exact; wider"),
    "unplugged": Case(lambda world: os.kill(world.pid, signal.SIGKILL), "ended by signal 9"),
    "HTTP 500": Impossible("no network"),
    "hang": Case(lambda world: world.break_with(hang=True), "did not answer for .* it hangs"),
    "half a JSON": Impossible("it prints lines"),
    "frame cut": Case(lambda world: world.break_with(cut="energy-pkg"), "gave no figure"),
}


@pytest.mark.parametrize("case", cases(TABLE))
def test_a_fault(case, tmp_path, request):
    power_pmu(tmp_path / "devices", "energy-pkg", "energy-ram")
    world = World(tmp_path / "world", {EVENT: 60.0, "0/energy-ram": 5.0})
    early = request.node.callspec.id in EARLY
    profiler = PerfStatProfiler(perf=world.perf, devices=tmp_path / "devices", patience_s=60.0)
    with Session([profiler], clock=world) as session:
        if early:
            case.harm(world)
        with session.window() as window:
            world.sleep(10.0)
            if "hang" in request.node.callspec.id:
                profiler._run._program._patience_s = 0.3
            if not early:
                case.harm(world)
            world.sleep(10.0)
        told(window.result, SICK, case.outcome, 60.0, 0.01)


@pytest.mark.parametrize("fault", ["NaN", "negative", "EIO"])
def test_a_fault_of_one_event_leaves_the_others_their_joules(fault, tmp_path):
    power_pmu(tmp_path / "devices", "energy-pkg", "energy-ram")
    world = World(tmp_path / "world", {EVENT: 60.0, "0/energy-ram": 5.0})
    profiler = PerfStatProfiler(perf=world.perf, devices=tmp_path / "devices")
    with Session([profiler], clock=world) as session, session.window() as window:
        world.sleep(10.0)
        TABLE[fault].harm(world)
        world.sleep(10.0)
    (dram,) = window.channels
    assert (dram.id, dram.energy_j) == ("cpu:0/dram", pytest.approx(100.0))


def test_the_next_window_is_well_again(tmp_path):
    power_pmu(tmp_path / "devices", "energy-pkg")
    world = World(tmp_path / "world", {EVENT: 60.0})
    profiler = PerfStatProfiler(perf=world.perf, devices=tmp_path / "devices")
    with Session([profiler], clock=world) as session:
        with session.window() as first:
            os.kill(world.pid, signal.SIGKILL)
        with session.window() as second:
            world.sleep(10.0)
    assert first.energy_j is None
    assert second.energy_j == pytest.approx(600.0)

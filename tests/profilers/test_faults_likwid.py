"""What ``likwid-powermeter`` tells when something goes wrong in the middle of a window."""

from __future__ import annotations

import os
import signal

import pytest
from fault_tables import EXACT, Case, Impossible, Table, cases, told
from simulated_programs import World

from greenai_core import Session
from greenai_plugins.profilers.likwid import LikwidProfiler

SICK = "cpu:0/package"
DOMAIN = "0/PKG"
RANGE_J = 2**32 * 61.04e-6
EARLY = ("stuck", "constant zero")
"""Seen when a whole window is so: of one that stops half way likwid tells the first half."""


def jump(world: World) -> None:
    """It subtracts 32 bits: a register that goes back has moved on by nearly all of them."""
    world.joules[DOMAIN] += RANGE_J
    world.tell()


TABLE: Table = {
    "EIO": Case(lambda world: world.break_with(code=1), "exit code 1: .*Cannot get access"),
    "EACCES": Impossible("its registers are open; a refusal at the beginning is told as such"),
    "reset": Case(jump, "more than any package draws"),
    # PowerData of src/includes/likwid.h: 32 bits in 5.2, which is exact; 64 bits in 5.5
    "wrap": Case(
        lambda world: world.show(DOMAIN, "1.1259e+15"),
        "more than any package draws",
        "exact, or missing (newer likwid)",
    ),
    "stuck": Case(
        lambda world: world.still.add(DOMAIN), "gave 0 J", "missing; not seen from mid-window on"
    ),
    "constant zero": Case(lambda world: world.show(DOMAIN, "0"), "gave 0 J"),
    "NaN": Case(lambda world: world.show(DOMAIN, "-nan"), "told as '-nan'"),
    "negative": Case(lambda world: world.show(DOMAIN, "-7"), "cannot be true"),
    "GPU lost": Impossible("it sees no GPU"),
    "slow read": Case(lambda world: None, EXACT, "exact; wider"),
    "unplugged": Case(lambda world: os.kill(world.pid, signal.SIGKILL), "ended by signal 9"),
    "HTTP 500": Impossible("no network"),
    "hang": Case(lambda world: world.break_with(hang=True), "did not answer for .* it hangs"),
    "half a JSON": Impossible("it prints lines"),
    "frame cut": Case(lambda world: world.break_with(cut="Energy consumed"), "gave no figure"),
}


@pytest.mark.parametrize("case", cases(TABLE))
def test_a_fault(case, tmp_path, request):
    """It always takes a while to start, which the interval holds: ``slow read``."""
    world = World(tmp_path / "world", {DOMAIN: 60.0, "0/DRAM": 5.0})
    world.startup_s = 0.2
    world.tell()
    early = request.node.callspec.id in EARLY
    profiler = LikwidProfiler(program=world.likwid, patience_s=60.0)
    with Session([profiler], clock=world) as session:
        if early:
            case.harm(world)
        with session.window() as window:
            world.sleep(10.0)
            if "hang" in request.node.callspec.id:
                profiler._program._patience_s = 0.3
            if not early:
                case.harm(world)
            world.sleep(10.0)
        told(window.result, SICK, case.outcome, 60.0, 0.21)


def test_output_without_its_runtime_is_not_believed(tmp_path):
    world = World(tmp_path / "world", {DOMAIN: 60.0})
    world.startup_s = 0.2
    world.tell()
    with Session([LikwidProfiler(program=world.likwid)], clock=world) as session:
        world.break_with(cut="Runtime")
        with session.window() as window:
            world.sleep(10.0)
    assert window.energy_j is None
    assert "did not tell its runtime" in window.missing[0].reason

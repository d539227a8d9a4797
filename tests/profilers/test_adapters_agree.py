"""One window, read by several tools through their adapters: they tell the same joules."""

from __future__ import annotations

import pytest
from library_machines import for_codecarbon, for_pyjoules, for_pyrapl, no_boards

from greenai_core.testing import PowercapTree, Sine, VirtualClock, Zone
from greenai_plugins.profilers.codecarbon_adapter import CodeCarbonProfiler
from greenai_plugins.profilers.likwid import LikwidProfiler
from greenai_plugins.profilers.perf_stat import PerfStatProfiler
from greenai_plugins.profilers.pyjoules_adapter import PyJoulesProfiler
from greenai_plugins.profilers.pyrapl_adapter import PyRaplProfiler
from greenai_plugins.profilers.rapl import RaplProfiler

for library in ("pyJoules", "pyRAPL", "codecarbon"):
    pytest.importorskip(library)

pytestmark = pytest.mark.filterwarnings("ignore:unclosed file:ResourceWarning")

ADAPTERS = [
    PyJoulesProfiler,
    PyRaplProfiler,
    CodeCarbonProfiler,
    LikwidProfiler,
    PerfStatProfiler,
]


def test_all_read_the_truth_and_give_it_the_same_name(tmp_path, monkeypatch):
    clock = VirtualClock()
    loads = {"intel-rapl:0": Sine(80.0, 40.0, 3.0), "intel-rapl:1": Sine(60.0, 20.0, 5.0)}
    zones = [
        Zone("intel-rapl:0", "package-0", loads["intel-rapl:0"], start_uj=1e9),
        Zone("intel-rapl:1", "package-1", loads["intel-rapl:1"], start_uj=50e9),
    ]
    with PowercapTree(tmp_path / "powercap", zones) as tree:
        tree.drive(clock)
        no_boards(monkeypatch)
        for_pyjoules(monkeypatch, tree)
        for_pyrapl(monkeypatch, tree)
        for_codecarbon(monkeypatch, tree.root, clock, 10.0)
        tools = [PyJoulesProfiler(), PyRaplProfiler(), CodeCarbonProfiler()]
        ours = RaplProfiler(root=tree.root, cpuinfo=tree.cpuinfo)
        for tool in (*tools, ours):
            tool.open(clock)
        begun = [(tool, tool.begin()) for tool in (*tools, ours)]
        start = clock.now()
        clock.sleep(7.3)
        end = clock.now()
        told = {tool.name: tool.end(state) for tool, state in reversed(begun)}
        for tool in (*tools, ours):
            tool.close()
    for number, zone in enumerate(loads):
        truth = tree.energy(zone, start, end)
        for name, readings in told.items():
            reading = next(r for r in readings if r.channel.id == f"cpu:{number}/package")
            assert reading.energy_j is not None, (name, reading.reason)
            assert abs(reading.energy_j - truth) <= 3 * reading.u_j + 1e-3, name
            assert reading.channel.method == "counter"


def test_the_same_sensor_errs_alike_whoever_reads_it(tmp_path, monkeypatch):
    """So its gain drops out when two tools are compared."""
    with PowercapTree.xeon(tmp_path / "powercap") as tree:
        clock = VirtualClock()
        tree.drive(clock)
        no_boards(monkeypatch)
        for_pyjoules(monkeypatch, tree)
        for_pyrapl(monkeypatch, tree)
        kinds = set()
        for tool in (PyJoulesProfiler(), PyRaplProfiler(), RaplProfiler(root=tree.root)):
            tool.open(clock)
            kinds |= {(c.gain_kind, c.gain_uncertainty) for c in tool.channels}
            tool.close()
    assert len(kinds) == 1


@pytest.mark.parametrize("adapter", ADAPTERS)
def test_none_is_taken_unless_it_is_asked_for(adapter):
    assert not adapter.automatic
    assert not adapter.nests
    assert adapter.priority < RaplProfiler.priority
    assert adapter.seen_on_hardware == ""


@pytest.mark.parametrize("adapter", ADAPTERS)
def test_the_older_call_takes_a_delay(adapter):
    assert adapter(0.1).get_unit() == adapter(delay=5).get_unit() == "J"

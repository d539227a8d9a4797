"""hwmon's energy counters × faults: what a window tells in whose middle the fault comes."""

from __future__ import annotations

from functools import partial

import pytest
from fault_tables import EXACT, Case, Table, cases, told
from sysfs_faults import NO_NETWORK, WHOLE, harmed, later, measured

from greenai_core import PluginUnavailable, Session
from greenai_core.testing import SysfsTree, VirtualClock
from greenai_core.testing.sysfs import AMD_WRAPS_AT
from greenai_plugins.profilers.hwmon import HwmonEnergyProfiler

CHIP = "class/hwmon/hwmon2"
COUNT = f"{CHIP}/energy3_input"
ID, WATTS = "cpu:0/package", 180.0

TABLE: Table = {
    "EIO": Case(lambda at: at.tree.fail(at.path), "could not be read"),
    "EACCES": Case(lambda at: at.tree.deny(at.path), "Permission denied"),
    "reset": Case(lambda at: at.tree.reset(at.path, at.clock.now()), "reset"),
    "wrap": Case(lambda at: None, EXACT),
    "stuck": Case(lambda at: at.tree.stick(at.path), "did not move"),
    "constant zero": Case(lambda at: at.tree.write(at.path, "0\n"), "reset"),
    "NaN": Case(lambda at: at.tree.write(at.path, "nan\n"), "instead of a number"),
    "negative": Case(lambda at: at.tree.write(at.path, "-7\n"), "cannot be true"),
    "GPU lost": Case(lambda at: at.tree.remove(at.folder), "is gone"),
    "slow read": Case(later(0.05), EXACT),
    "unplugged": Case(lambda at: at.tree.remove(at.folder), "is gone"),
    "HTTP 500": NO_NETWORK,
    "hang": Case(later(20.0, reads=1), EXACT, "exact, once it answers"),
    "half a JSON": NO_NETWORK,
    "frame cut": WHOLE,
}


WRAPS_AFTER_S = 130.0
"""In the middle of the window, which begins at 100 s."""


@pytest.mark.parametrize("case", cases(TABLE))
def test_a_fault_inside_a_window(case, tmp_path):
    start = AMD_WRAPS_AT - int(WRAPS_AFTER_S * WATTS * 1e6) if case is TABLE["wrap"] else 1_000_000
    build = partial(SysfsTree.amd_energy, start=start)
    with measured(build, HwmonEnergyProfiler, COUNT, CHIP, tmp_path, 0.01) as (place, session):
        told(harmed(place, session, case.harm), ID, case.outcome, WATTS, 0.2)


@pytest.mark.parametrize(
    ("harm", "reason", "hint"),
    [
        (
            lambda tree: [tree.deny(path) for path in [*tree.numbers]],
            f"no permission to read .*{COUNT}, so cpu:0/package is left out.*cpu:1/package",
            'printf "z %s 0440 root power\\n" ',
        ),
        (
            lambda tree: [tree.write(path, "0\n") for path in [*tree.numbers]],
            "constant 0",
            "virtual machine",
        ),
        (lambda tree: tree.remove(CHIP), "no chip in .*/class/hwmon tells energy", "driver"),
    ],
    ids=["EACCES", "constant zero", "absent"],
)
def test_what_does_not_work_is_refused_when_opened(harm, reason, hint, tmp_path):
    clock = VirtualClock()
    with SysfsTree.amd_energy(tmp_path) as tree:
        tree.drive(clock)
        harm(tree)
        profiler = HwmonEnergyProfiler(root=tmp_path)
        with pytest.raises(PluginUnavailable, match=reason) as caught:
            profiler.open(clock)
        assert hint in caught.value.hint
        assert not profiler.is_open


def test_a_socket_that_may_not_be_read_is_told(tmp_path):
    """The other one alone would look like the whole machine."""
    clock = VirtualClock()
    with SysfsTree.amd_energy(tmp_path) as tree:
        tree.drive(clock)
        tree.deny(COUNT)
        with Session([HwmonEnergyProfiler(root=tmp_path)], clock=clock) as session:
            assert [channel.id for channel in session.channels] == ["cpu:1/package"]
            assert any("no permission" in note and "tmpfiles.d" in note for note in session.notes())

"""hwmon's power sensors × faults: what a window tells in whose middle the fault comes."""

from __future__ import annotations

import pytest
from fault_tables import EXACT, Case, Table, cases, told
from sysfs_faults import NO_COUNT, NO_NETWORK, WHOLE, harmed, later, measured

from greenai_core import PluginUnavailable
from greenai_core.testing import SysfsTree, VirtualClock
from greenai_plugins.profilers.hwmon import HwmonProfiler

CHIP = "class/hwmon/hwmon4"
POWER = f"{CHIP}/power1_average"
ID, WATTS = "gpu:0000:03:00.0", 220.0

TABLE: Table = {
    "EIO": Case(lambda at: at.tree.fail(at.path), "could not be read"),
    "EACCES": Case(lambda at: at.tree.deny(at.path), "Permission denied"),
    "reset": NO_COUNT,
    "wrap": NO_COUNT,
    "stuck": Case(
        lambda at: at.tree.stick(at.path), EXACT, "not seen: steady power looks the same"
    ),
    "constant zero": Case(lambda at: at.tree.write(at.path, "0\n"), "told 0 W"),
    "NaN": Case(lambda at: at.tree.write(at.path, "nan\n"), "instead of a number"),
    "negative": Case(lambda at: at.tree.write(at.path, "-7\n"), "cannot be true"),
    "GPU lost": Case(lambda at: at.tree.remove(at.folder), "is gone"),
    "slow read": Case(later(0.05), EXACT),
    "unplugged": Case(lambda at: at.tree.remove(at.folder), "is gone"),
    "HTTP 500": NO_NETWORK,
    "hang": Case(later(20.0, reads=1), "gave no power for 1"),
    "half a JSON": NO_NETWORK,
    "frame cut": WHOLE,
}


@pytest.mark.parametrize("case", cases(TABLE))
def test_a_fault_inside_a_window(case, tmp_path):
    with measured(SysfsTree.amdgpu, HwmonProfiler, POWER, CHIP, tmp_path) as (place, session):
        told(harmed(place, session, case.harm), ID, case.outcome, WATTS, 0.2)


def test_a_file_that_heals_has_its_figure_again(tmp_path):
    """Windows after the fault do not suffer from it."""
    with measured(SysfsTree.amdgpu, HwmonProfiler, POWER, CHIP, tmp_path) as (place, session):
        place.tree.write(POWER, "")
        with session.window() as sick:
            place.clock.sleep(10.0)
        assert "instead of a number" in sick.missing[0].reason
        place.tree.move(POWER)
        place.clock.sleep(1.0)
        with session.window() as well:
            place.clock.sleep(10.0)
        assert well.energy_j == pytest.approx(2200.0, rel=0.02)


@pytest.mark.parametrize(
    ("harm", "reason", "hint"),
    [
        (lambda tree: tree.deny(POWER), f"no permission to read .*{POWER}", "tmpfiles.d"),
        (lambda tree: tree.remove(CHIP), "no chip in .*/class/hwmon tells power", "driver"),
    ],
    ids=["EACCES", "absent"],
)
def test_what_does_not_work_is_refused_when_opened(harm, reason, hint, tmp_path):
    clock = VirtualClock()
    with SysfsTree.amdgpu(tmp_path) as tree:
        tree.drive(clock)
        harm(tree)
        profiler = HwmonProfiler(root=tmp_path)
        with pytest.raises(PluginUnavailable, match=reason) as caught:
            profiler.open(clock)
        assert hint in caught.value.hint
        assert not profiler.is_open

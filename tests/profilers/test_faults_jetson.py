"""A Jetson's rails × faults: what a window tells in whose middle the fault comes."""

from __future__ import annotations

from functools import partial

import pytest
from fault_tables import EXACT, Case, Table, cases, told
from sysfs_faults import NO_COUNT, NO_NETWORK, WHOLE, harmed, later, measured

from greenai_core import PluginUnavailable
from greenai_core.testing import SysfsTree, VirtualClock
from greenai_plugins.profilers.jetson import JetsonProfiler

RAILS = {"VDD_IN": 12.0, "VDD_CPU_GPU_CV": 5.0, "VDD_SOC": 2.5}
CHIP = "bus/i2c/drivers/ina3221/1-0040/hwmon/hwmon1"
CURRENT = f"{CHIP}/curr1_input"
WATTS = 12.0

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
    "negative": Case(lambda at: at.tree.write(at.path, "-2000\n"), "cannot be true"),
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
    build = partial(SysfsTree.jetson, rails=RAILS)
    with measured(build, JetsonProfiler, CURRENT, CHIP, tmp_path) as (place, session):
        told(harmed(place, session, case.harm), "psys", case.outcome, WATTS, 0.2)


@pytest.mark.parametrize(
    ("harm", "reason", "hint"),
    [
        (
            lambda tree: [tree.deny(path) for path in [*tree.numbers]],
            "rails cannot be read: .*Permission denied",
            "sudo",
        ),
        (lambda tree: tree.remove(CHIP), "no NVIDIA Jetson", "mount /sys"),
        (
            lambda tree: [tree.set(f"{CHIP}/in{n}_enable", 0) for n in (1, 2, 3)],
            "all its inputs are switched off",
            "tegrastats",
        ),
    ],
    ids=["EACCES", "absent", "switched off"],
)
def test_what_does_not_work_is_refused_when_opened(harm, reason, hint, tmp_path):
    clock = VirtualClock()
    with SysfsTree.jetson(tmp_path, RAILS) as tree:
        tree.drive(clock)
        harm(tree)
        profiler = JetsonProfiler(root=tmp_path)
        with pytest.raises(PluginUnavailable, match=reason) as caught:
            profiler.open(clock)
        assert hint in caught.value.hint
        assert not profiler.is_open

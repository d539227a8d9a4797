"""RAPL of machines whose powercap tree shows energy twice, apart, or under other names.

The trees follow what Linux builds: drivers/powercap/powercap_sys.c numbers zones in
hexadecimal; intel_rapl_common.c names them; intel_rapl_tpmi.c registers the same control
type as the driver for MSRs. A zone a die on AMD's Zen 4 with Linux 6.10 is listed in
https://lore.kernel.org/linux-pm/20240730044917.4680-3-Dhananjay.Ugwekar@amd.com/
"""

from __future__ import annotations

import pytest

from greenai_core import Session
from greenai_core.testing import PowercapTree, VirtualClock, Zone
from greenai_core.testing.powercap import AMD_STEP_UJ
from greenai_plugins.profilers.rapl import RaplProfiler

INTEL, AMD, HYGON = "GenuineIntel", "AuthenticAMD", "HygonGenuine"


def measured(folder, zones, vendor=INTEL, prepare=lambda tree: None):
    """Total power of a machine, that of each channel, and what is said of them."""
    clock = VirtualClock()
    with PowercapTree(folder / "powercap", zones, vendor) as tree:
        prepare(tree)
        tree.drive(clock)
        profiler = RaplProfiler(root=tree.root, cpuinfo=tree.cpuinfo)
        with Session([profiler], clock=clock) as session:
            with session.window() as window:
                clock.sleep(10.0)
            said = profiler.channels[0].description
        result = window.result
    powers = {c.id: round(c.energy_j / 10.0, 1) for c in result.channels}
    return round(result.energy_j / 10.0, 1), powers, said


@pytest.mark.parametrize("vendor", [AMD, HYGON])
def test_a_zone_a_die_of_amd_is_the_package_many_times(tmp_path, vendor):
    """Two sockets of eight dies in sixteen zones: 360 W, not 2.9 kW."""
    zones = [
        zone
        for n in range(16)
        for zone in (
            Zone(f"intel-rapl:{n:x}", f"package-{n // 8}-die-{n % 8}", 180.0 + n // 8,
                 AMD_STEP_UJ, start_uj=1e9 * (1 + n // 8)),
            Zone(f"intel-rapl:{n:x}:0", "core", 2.0, AMD_STEP_UJ),
        )
    ]  # fmt: skip
    total, powers, said = measured(tmp_path, zones, vendor)
    assert total == 361.0
    assert powers == {"cpu:0/package": 180.0, "cpu:1/package": 181.0}
    assert "package-1-die-7 (intel-rapl:f) shows the counter of package-1 again" in said
    assert "core (intel-rapl:f:0) counts one single core on AMD and is left out" in said


def test_dies_that_count_apart_are_added(tmp_path):
    """Xeons of the series Cascade Lake AP have a counter a die."""
    zones = [
        Zone(f"intel-rapl:{2 * socket + die}", f"package-{socket}-die-{die}", 100.0 + die,
             start_uj=1e9 * (5 * socket + die))
        for socket in (0, 1)
        for die in (0, 1)
    ]  # fmt: skip
    total, powers, _ = measured(tmp_path, zones)
    assert total == 402.0
    assert set(powers) == {f"cpu:{s}-die-{d}/package" for s in (0, 1) for d in (0, 1)}


def test_dies_of_amd_that_do_not_agree_are_added(tmp_path):
    """Their counts tell, not the vendor: they are counters of their own."""
    zones = [
        Zone(f"intel-rapl:{die}", f"package-0-die-{die}", 50.0, AMD_STEP_UJ, 1e9 * (die + 1))
        for die in range(4)
    ]
    assert measured(tmp_path, zones, AMD)[0] == 200.0


def test_sockets_beyond_the_tenth_zone_are_not_lost(tmp_path):
    """The eleventh zone is intel-rapl:a."""
    zones = [
        Zone(f"intel-rapl:{n:x}", f"package-{n}", 100.0, start_uj=1e9 * n) for n in range(12)
    ] + [Zone("intel-rapl:b:0", "dram", 7.0)]
    total, powers, _ = measured(tmp_path, zones)
    assert total == 1207.0
    assert powers["cpu:11/package"] == 100.0
    assert powers["cpu:11/dram"] == 7.0


def test_a_package_that_stands_there_twice_with_one_count_is_one(tmp_path):
    zones = [Zone(f"intel-rapl:{n}", "package-0", 60.0) for n in (0, 1)]
    total, powers, said = measured(tmp_path, zones)
    assert total == 60.0
    assert set(powers) == {"cpu:0/package"}
    assert "package-0 (intel-rapl:1) shows the counter of package-0 again" in said


def test_two_counters_of_one_name_are_both_counted(tmp_path):
    """Kernels before 5.3 know no dies: two of them are called package-0."""
    zones = [Zone(f"intel-rapl:{n}", "package-0", 60.0 + n, start_uj=1e9 * n) for n in (0, 1)]
    total, powers, _ = measured(tmp_path, zones)
    assert total == 121.0
    assert powers == {"cpu:0/package": 60.0, "cpu:0-zone-1/package": 61.0}


def test_what_only_the_memory_mapped_registers_show_is_not_lost(tmp_path):
    """The package is there twice and counted once; its DRAM is there once."""
    zones = [
        Zone("intel-rapl:0", "package-0", 15.0),
        Zone("intel-rapl:0:0", "core", 8.0),
        Zone("intel-rapl-mmio:0", "package-0", 15.0),
        Zone("intel-rapl-mmio:0:0", "dram", 2.0),
    ]
    total, powers, said = measured(tmp_path, zones)
    assert total == 17.0
    assert powers == {"cpu:0/package": 15.0, "cpu:0/core": 8.0, "cpu:0/dram": 2.0}
    assert "package-0 (intel-rapl-mmio:0) is package-0 of intel-rapl again" in said


def test_a_control_type_of_another_name_is_neither_dropped_nor_doubled(tmp_path):
    """TPMI has that of MSRs today; another one would be read like it."""
    alone = [
        Zone("intel-rapl-tpmi:0", "package-0", 300.0),
        Zone("intel-rapl-tpmi:0:0", "dram", 9.0),
    ]
    assert measured(tmp_path, alone)[:2] == (
        309.0, {"cpu:0/package": 300.0, "cpu:0/dram": 9.0}
    )  # fmt: skip
    both = [*alone, Zone("intel-rapl:0", "package-0", 300.0)]
    assert measured(tmp_path / "both", both)[0] == 309.0


def test_a_xeon_behind_tpmi(tmp_path):
    """Granite Rapids: package, DRAM and, on the first package alone, the platform."""
    zones = [
        Zone("intel-rapl:0", "package-0", 190.0),
        Zone("intel-rapl:0:0", "dram", 20.0),
        Zone("intel-rapl:1", "package-1", 243.0, start_uj=7e9),
        Zone("intel-rapl:1:0", "dram", 6.0),
        Zone("intel-rapl:2", "psys", 700.0),
    ]
    total, powers, _ = measured(tmp_path, zones)
    assert total == 459.0, "the platform contains the packages and stands beside them"
    assert powers["psys"] == 700.0


def test_the_platform_of_the_master_package_is_the_one_that_moves(tmp_path):
    zones = [
        Zone("intel-rapl:0", "package-0", 50.0),
        Zone("intel-rapl:1", "package-1", 51.0, start_uj=7e9),
        Zone("intel-rapl:2", "psys", 3.0),
        Zone("intel-rapl:3", "psys-1", 160.0),
    ]
    total, powers, said = measured(tmp_path, zones, prepare=lambda tree: tree.stick("intel-rapl:2"))
    assert total == 101.0
    assert powers["psys"] == 160.0
    assert "psys (intel-rapl:2) is a second platform counter" in said

"""Jetson's rails on trees of known power: the module is the total, whatever its rails are.

The labels and their order are those of the kernel's device trees
(arch/arm64/boot/dts/nvidia/tegra{194-p2888,234-p3701,234-p3767}.dtsi) and of NVIDIA's Jetson
Linux Developer Guide, "Platform Power and Performance"
(https://docs.nvidia.com/jetson/archives/), the files those of Documentation/hwmon/ina3221.rst.
That VDD_IN or POM_5V_IN is the whole is NVIDIA's word, too
(https://forums.developer.nvidia.com/t/power-consumption-monitoring/73608).
"""

from __future__ import annotations

from contextlib import contextmanager

import pytest

from greenai_core import PluginUnavailable, Session
from greenai_core.channels import contents
from greenai_core.testing import PowerConformance, Sine, SysfsTree, VirtualClock
from greenai_plugins.profilers.jetson import JetsonProfiler
from greenai_plugins.profilers.modelled import ModelledProfiler

ORIN_NANO = {"VDD_IN": 12.0, "VDD_CPU_GPU_CV": 5.0, "VDD_SOC": 2.5}
AGX_ORIN = {
    "VDD_GPU_SOC": 8.0,
    "VDD_CPU_CV": 3.0,
    "VIN_SYS_5V0": 5.0,
    "NC": 0.0,
    "VDDQ_VDD2_1V8AO": 1.5,
    "": 0.0,
}
AGX_XAVIER = {"GPU": 6.0, "CPU": 4.0, "SOC": 3.0, "CV": 0.5, "VDDRQ": 1.0, "SYS5V": 2.0}
NANO = {"POM_5V_IN": 6.0, "POM_5V_GPU": 1.0, "POM_5V_CPU": 2.0}
TX2 = {
    "VDD_SYS_GPU": 1.0, "VDD_SYS_SOC": 0.5, "VDD_4V0_WIFI": 0.1,
    "VDD_IN": 4.0, "VDD_SYS_CPU": 0.8, "VDD_SYS_DDR": 0.7,
    "VDD_MUX": 9.0, "VDD_5V0_IO_SYS": 2.0, "VDD_3V3_SYS": 1.0,
}  # fmt: skip


@contextmanager
def opened(tree):
    clock = VirtualClock(50.0)
    profiler = JetsonProfiler(root=tree.root)
    with tree:
        tree.drive(clock, 0.01)
        profiler.open(clock)
        try:
            yield profiler
        finally:
            profiler.close()


@pytest.mark.parametrize(
    ("rails", "watts"),
    [(ORIN_NANO, 12.0), (AGX_ORIN, 16.0), (AGX_XAVIER, 16.5), (NANO, 6.0), (TX2, 4.0)],
    ids=["Orin Nano", "AGX Orin", "AGX Xavier", "Nano", "TX2"],
)
def test_the_total_is_the_module_neither_missed_nor_doubled(rails, watts, tmp_path):
    with opened(SysfsTree.jetson(tmp_path, rails)) as profiler:
        assert contents(profiler.channels) == ("psys",)
        assert profiler.evaluate(lambda: profiler.clock.sleep(20.0)).energy_j == pytest.approx(
            watts * 20.0, rel=0.002
        )


def test_rails_stand_inside_what_feeds_them(tmp_path):
    """NVIDIA: the power of VDDQ_VDD2_1V8AO is also included in VIN_SYS_5V0."""
    with opened(SysfsTree.jetson(tmp_path, AGX_ORIN)) as profiler:
        assert {c.id: c.contained_in for c in profiler.channels} == {
            "psys": None,
            "jetson:0/VDD_GPU_SOC": "psys",
            "jetson:0/VDD_CPU_CV": "psys",
            "jetson:0/VIN_SYS_5V0": "psys",
            "jetson:0/VDDQ_VDD2_1V8AO": "jetson:0/VIN_SYS_5V0",
        }


def test_the_carrier_board_is_not_in_the_module(tmp_path):
    with opened(SysfsTree.jetson(tmp_path, TX2)) as profiler:
        outside = {c.id for c in profiler.channels if c.contained_in is None}
        carrier = ("VDD_MUX", "VDD_5V0_IO_SYS", "VDD_3V3_SYS")
        assert outside == {"psys", *(f"jetson:0/{name}" for name in carrier)}


def test_jetpack_4(tmp_path):
    """Milliwatts in one file, by industrial I/O."""
    with opened(SysfsTree.jetson_iio(tmp_path, NANO)) as profiler:
        assert {c.id: c.component for c in profiler.channels} == {
            "psys": "psys",
            "jetson:0/POM_5V_GPU": "other",
            "jetson:0/POM_5V_CPU": "core",
        }
        assert profiler.read_power(profiler.channels[0]) == 6.0


def test_the_update_period_is_the_chips(tmp_path):
    with opened(SysfsTree.jetson(tmp_path, ORIN_NANO)) as profiler:
        assert {c.update_period_s for c in profiler.channels} == {0.007}


def test_a_rail_that_is_switched_off_is_absent_and_told(tmp_path):
    rails = {"VDD_IN": 12.0, "!VDD_CPU_GPU_CV": 5.0, "VDD_SOC": 2.5}
    with opened(SysfsTree.jetson(tmp_path, rails)) as profiler:
        assert [c.id for c in profiler.channels] == ["psys", "jetson:0/VDD_SOC"]
        assert any("VDD_CPU_GPU_CV is switched off" in note for note in profiler.notes())


@pytest.mark.parametrize(
    "rails",
    [
        {"VDD_GPU_SOC": 8.0, "!VDD_CPU_CV": 3.0, "VIN_SYS_5V0": 5.0},
        {"VDD_GPU": 8.0, "VDD_NEW": 3.0},
    ],
    ids=["one of the sum is off", "an unknown board"],
)
def test_where_the_module_is_not_known_there_is_no_total(rails, tmp_path):
    """A sum without one of its rails would be too little, one of unknown rails anything."""
    with opened(SysfsTree.jetson(tmp_path, rails)) as profiler:
        assert contents(profiler.channels) == ()
        assert any("not known to make up the whole module" in note for note in profiler.notes())


def test_an_idle_rail_below_the_offset_of_its_chip_takes_nothing_off_the_module(tmp_path):
    """AGX Thor shows an idle GPU at -392 mW: 80 µV over 2 mΩ are 40 mA."""
    rails = {"VDD_GPU": -0.15, "VDD_CPU_SOC_MSS": 6.5, "VIN_SYS_5V0": 6.5}
    with opened(SysfsTree.jetson(tmp_path, rails, shunt_uohm=2000)) as profiler:
        profiler.start()
        profiler.clock.sleep(10.0)
        window = profiler.stop()
        assert window.energy_j == pytest.approx(130.0, rel=0.001)
        assert {m.id: "told 0 W" in m.reason for m in window.missing} == {"jetson:0/VDD_GPU": True}


def test_a_model_of_memory_is_not_added_to_a_module_that_holds_it(tmp_path):
    clock = VirtualClock(50.0)
    with SysfsTree.jetson(tmp_path, ORIN_NANO) as tree:
        tree.drive(clock, 0.01)
        pair = [JetsonProfiler(root=tmp_path), ModelledProfiler()]
        with Session(pair, clock=clock) as session:
            assert session.contains == ("psys",)


def test_an_ina3221_of_another_board_is_no_jetson(tmp_path):
    with (
        SysfsTree.jetson(tmp_path, {"12V": 30.0, "3V3": 4.0}),
        pytest.raises(PluginUnavailable, match="no NVIDIA Jetson"),
    ):
        JetsonProfiler(root=tmp_path).check_available()


class TestJetson(PowerConformance):
    settle_s = 0.5
    files = {
        id: f"bus/i2c/drivers/ina3221/1-0040/hwmon/hwmon1/curr{n}_input"
        for n, id in enumerate(("psys", "jetson:0/VDD_CPU_GPU_CV", "jetson:0/VDD_SOC"), start=1)
    }

    @pytest.fixture(autouse=True)
    def _folder(self, tmp_path):
        self.folder = tmp_path
        yield
        self.tree.close() if hasattr(self, "tree") else None

    def make_hardware(self):
        self.clock = VirtualClock(50.0)
        self.tree = SysfsTree.jetson(self.folder, {**ORIN_NANO, "VDD_IN": Sine(12, 4, 20.0)})
        self.tree.drive(self.clock, 0.005)

    def make_profiler(self):
        return JetsonProfiler(root=self.folder)

    def make_absent(self):
        return JetsonProfiler(root=self.folder / "nowhere")

    def true_energy(self, start, end, channel):
        return self.tree.energy(self.files[channel], start, end)

    def break_sensor(self, channel):
        self.tree.write(self.files[channel], "")

"""hwmon's sensors on trees of known power: what belongs where, and is never added twice.

The trees follow the kernel's Documentation/hwmon/{sysfs-interface,amd_energy,
acpi_power_meter}.rst, Documentation/gpu/amdgpu/thermal.rst and
Documentation/ABI/testing/sysfs-driver-intel-{i915,xe}-hwmon
(https://www.kernel.org/doc/html/latest/), and for Grace the names of its ACPI power meters in
NVIDIA's Grace Performance Tuning Guide, "Power Telemetry"
(https://docs.nvidia.com/grace-perf-tuning-guide/power-thermals.html).
"""

from __future__ import annotations

from contextlib import contextmanager

import pytest

from greenai_core import ConfigError, PluginUnavailable, ReadingError, Session
from greenai_core.channels import contents
from greenai_core.testing import (
    CounterConformance,
    Number,
    PowercapTree,
    PowerConformance,
    Sine,
    SysfsTree,
    VirtualClock,
)
from greenai_plugins.profilers.hwmon import HwmonEnergyProfiler, HwmonProfiler
from greenai_plugins.profilers.rapl import RaplProfiler


@contextmanager
def opened(tree, cls=HwmonProfiler, **options):
    clock = VirtualClock(50.0)
    profiler = cls(root=tree.root, **options)
    with tree:
        tree.drive(clock, 0.01)
        profiler.open(clock)
        try:
            yield profiler
        finally:
            profiler.close()


def layout(profiler):
    return {c.id: (c.component, c.contained_in) for c in profiler.channels}


def chip(name, shows="power", count=1, labels=(), device=None, folder="class/hwmon/hwmon7"):
    """The pieces of a chip with ``count`` sensors of 50 W, 60 W, … each."""
    texts = {f"{folder}/name": name}
    texts |= {f"{folder}/{shows}{n}_label": label for n, label in enumerate(labels, start=1)}
    numbers = {
        f"{folder}/{shows}{n}_input": Number(40.0 + 10 * n, shows=shows, start=1)
        for n in range(1, count + 1)
    }
    return numbers, texts, {f"{folder}/device": device} if device else {}


# What belongs where


def test_amd_energy_tells_sockets_and_leaves_out_the_cores_in_them(tmp_path):
    with opened(SysfsTree.amd_energy(tmp_path), HwmonEnergyProfiler) as profiler:
        assert layout(profiler) == {"cpu:0/package": ("cpu", None), "cpu:1/package": ("cpu", None)}
        assert {c.wraps_at for c in profiler.channels} == {2**48}
        assert {c.update_period_s for c in profiler.channels} == {1e-3}


def test_a_board_and_a_processor_with_graphics_are_told_apart(tmp_path):
    """On an APU the figure is that of the whole package, CPU cores included."""
    with opened(SysfsTree.amdgpu(tmp_path, apu=28.0)) as profiler:
        assert [c.update_period_s for c in profiler.channels] == [1.0, None]
        assert layout(profiler) == {
            "gpu:0000:03:00.0": ("gpu", None),
            "cpu:0/package": ("cpu", None),
        }


def test_only_the_first_power_of_an_amdgpu_counts(tmp_path):
    """Van Gogh shows one power twice: as slowPPT and as fastPPT."""
    parts = chip("amdgpu", count=2, labels=("slowPPT", "fastPPT"), device="devices/0000:04:00.0")
    with opened(SysfsTree(tmp_path, *parts)) as profiler:
        assert [c.id for c in profiler.channels] == ["gpu:0000:04:00.0"]


def test_a_mean_goes_before_the_instant(tmp_path):
    numbers, texts, links = chip("amdgpu", device="devices/0000:04:00.0")
    numbers["class/hwmon/hwmon7/power1_average"] = Number(77.0)
    with opened(SysfsTree(tmp_path, numbers, texts, links)) as profiler:
        [channel] = profiler.channels
        assert profiler.read_power(channel) == 77.0
        assert channel.update_period_s == 1.0, "the firmware does not tell how long its mean is"


def test_an_mi300a_holds_cpu_and_gpu(tmp_path):
    numbers, texts, links = chip("amdgpu", device="devices/0000:01:00.0")
    texts["devices/0000:01:00.0/device"] = "0x74a0"
    with opened(SysfsTree(tmp_path, numbers, texts, links)) as profiler:
        assert layout(profiler) == {"psys:0000:01:00.0": ("psys", None)}


def test_the_second_die_of_an_mi250_is_left_out_not_missed(tmp_path):
    """It tells 0 W, since the first tells the power of both: no total would hold it."""
    dies = {"hwmon1": ("c1", 300.0), "hwmon2": ("c6", 0.0)}
    tree = SysfsTree(
        tmp_path,
        {f"class/hwmon/{at}/power1_average": Number(watts) for at, (_, watts) in dies.items()},
        {f"class/hwmon/{at}/name": "amdgpu" for at in dies},
        {f"class/hwmon/{at}/device": f"devices/0000:{bus}:00.0" for at, (bus, _) in dies.items()},
    )
    with opened(tree) as profiler:
        assert layout(profiler) == {"gpu:0000:c1:00.0": ("gpu", None)}
        assert any("gpu:0000:c6:00.0 is left out" in note for note in profiler.notes())


def test_an_intel_board_contains_its_package(tmp_path):
    with opened(SysfsTree.xe(tmp_path), HwmonEnergyProfiler) as profiler:
        board = "gpu:0000:05:00.0"
        assert layout(profiler) == {board: ("gpu", None), f"{board}/pkg": ("other", board)}
        assert contents(profiler.channels) == (board,)


def test_an_intel_package_stands_for_a_board_that_is_not_told(tmp_path):
    parts = chip("xe", "energy", labels=("pkg",), device="devices/0000:05:00.0")
    with opened(SysfsTree(tmp_path, *parts), HwmonEnergyProfiler) as profiler:
        assert layout(profiler) == {"gpu:0000:05:00.0/pkg": ("gpu", None)}


def test_tiles_of_an_i915_are_contained_in_it(tmp_path):
    device = "devices/0000:05:00.0"
    tile = chip("i915_gt0", "energy", device=device, folder="class/hwmon/hwmon8")
    card = chip("i915", "energy", device=device)
    parts = [{**a, **b} for a, b in zip(card, tile, strict=True)]
    with opened(SysfsTree(tmp_path, *parts), HwmonEnergyProfiler) as profiler:
        assert contents(profiler.channels) == ("gpu:0000:05:00.0",)
        assert "gpu:0000:05:00.0/gt0" in layout(profiler)


def test_a_server_with_one_acpi_meter(tmp_path):
    with opened(SysfsTree.power_meter(tmp_path)) as profiler:
        [channel] = profiler.channels
        assert (channel.id, channel.component) == ("psys:power_meter@ACPI000D:00", "psys")
        assert channel.update_period_s == 1.0


def test_another_device_that_gets_the_number_of_one_that_went_is_not_taken_for_it(tmp_path):
    places = {name: f"devices/{name}/hwmon/hwmon1" for name in ("0000:03:00.0", "ACPI000D:00")}
    numbers = {f"{places['0000:03:00.0']}/power1_average": Number(200.0)}
    numbers[f"{places['ACPI000D:00']}/power1_average"] = Number(900.0)
    texts = {f"{places['0000:03:00.0']}/name": "amdgpu"}
    tree = SysfsTree(tmp_path, numbers, texts, {"class/hwmon/hwmon1": places["0000:03:00.0"]})
    with opened(tree) as profiler:
        [channel] = profiler.channels
        assert profiler.read_power(channel) == 200.0
        tree.remove(places["0000:03:00.0"])
        (tmp_path / "class/hwmon/hwmon1").unlink()
        (tmp_path / "class/hwmon/hwmon1").symlink_to(tmp_path / places["ACPI000D:00"])
        with pytest.raises(ReadingError, match="is gone"):
            profiler.read_power(channel)


def test_a_label_does_not_steer_the_terminal(tmp_path):
    texts, numbers = {"class/hwmon/hwmon0/name": "psu"}, {}
    texts["class/hwmon/hwmon0/power1_label"] = "a\x1b[31mb\u202ec\n\x07d " + "x" * 9999
    numbers["class/hwmon/hwmon0/power1_input"] = Number(50.0)
    with opened(SysfsTree(tmp_path, numbers, texts)) as profiler:
        [channel] = profiler.channels
        assert channel.id.startswith("hwmon:psu@hwmon0/a[31mbc_d_xxx")
        assert channel.id.isprintable()
        assert len(channel.id) < 5000


@pytest.mark.parametrize("interval", [-100, 0, "x", "9" * 400])
def test_an_interval_that_cannot_be_is_not_believed(interval, tmp_path):
    tree = SysfsTree.power_meter(tmp_path)
    tree.set("devices/LNXSYSTM:00/ACPI000D:00/power1_average_interval", interval)
    with opened(tree) as profiler:
        assert profiler.channels[0].update_period_s == 1.0


def test_a_socket_that_reads_0_is_left_out_and_told(tmp_path):
    with opened(SysfsTree.amd_energy(tmp_path, (180.0, 0.0), start=0), HwmonEnergyProfiler) as some:
        assert layout(some) == {"cpu:0/package": ("cpu", None)}
        assert any("reads a constant 0, so cpu:1/package is left out" in n for n in some.notes())


@pytest.mark.parametrize(
    ("accuracy", "gain"), [("80.0%", 0.1155), ("98.0%", 0.05), ("100.0%", 0.05), ("", 0.05)]
)
def test_a_meter_that_calls_itself_inaccurate_is_believed(accuracy, gain, tmp_path):
    tree = SysfsTree.power_meter(tmp_path)
    tree.set("devices/LNXSYSTM:00/ACPI000D:00/power1_accuracy", accuracy)
    with opened(tree) as profiler:
        assert profiler.channels[0].gain_uncertainty == pytest.approx(gain, abs=1e-4)


def test_a_meter_of_a_battery_is_none_of_the_machine(tmp_path):
    tree = SysfsTree.power_meter(tmp_path)
    tree.set("devices/LNXSYSTM:00/ACPI000D:00/power1_is_battery", 1)
    with tree, pytest.raises(PluginUnavailable):
        HwmonProfiler(root=tmp_path).check_available()


def test_grace_hopper(tmp_path):
    """Module ⊇ Grace ⊇ rails: the total is Grace alone, beside what NVML tells of the GPU."""
    with opened(SysfsTree.grace(tmp_path)) as profiler:
        assert layout(profiler) == {
            "psys:module-0": ("psys", None),
            "cpu:0/package": ("cpu", "psys:module-0"),
            "cpu:0/core": ("core", "cpu:0/package"),
            "cpu:0/uncore": ("uncore", "cpu:0/package"),
            "cpu:0/dram": ("dram", "cpu:0/package"),
        }
        assert contents(profiler.channels) == ("cpu:0/package",)
        assert {c.update_period_s for c in profiler.channels} == {0.05}
        memory = next(c for c in profiler.channels if c.id == "cpu:0/dram")
        assert profiler.read_power(memory) == pytest.approx(120.0 - 80.0 - 25.0)


def test_grace_without_its_own_meter_is_the_sum_of_its_rails(tmp_path):
    meters = {"CPU Power Socket 1": 80.0, "SysIO Power Socket 1": 25.0}
    with opened(SysfsTree.power_meter(tmp_path, meters)) as profiler:
        assert layout(profiler) == {"cpu:1/core": ("cpu", None), "cpu:1/uncore": ("cpu", None)}


def test_modules_make_up_a_whole(tmp_path):
    """Only where nothing else tells what is in them."""
    meters = {"Module Power Socket 0": 500.0, "Module Power Socket 1": 450.0}
    with opened(SysfsTree.power_meter(tmp_path, meters)) as profiler:
        assert contents(profiler.channels) == ("psys:module-0", "psys:module-1")


# Chips of unknown place


def test_an_unknown_chip_is_in_no_total_and_says_how_to_place_it(tmp_path):
    parts = chip("ina226", device="devices/i2c-1/1-0040")
    with opened(SysfsTree(tmp_path, *parts)) as profiler:
        [channel] = profiler.channels
        assert (channel.id, channel.component) == ("hwmon:ina226@1-0040/1", "other")
        assert "map=ina226/1=COMPONENT" in channel.description
        assert contents(profiler.channels) == ()


@pytest.mark.parametrize(
    ("mapping", "id", "component"),
    [
        ("corsairpsu/power_total=wall", "hwmon:corsairpsu@0003:1B1C:1C08/power_total", "wall"),
        ("corsairpsu/1=wall", "hwmon:corsairpsu@0003:1B1C:1C08/power_total", "wall"),
        ("corsairpsu@0003:1B1C:1C08/1 = psys", "hwmon:corsairpsu@0003:1B1C:1C08/power_total",
         "psys"),
        ("corsairpsu/1=cpu:0/package", "cpu:0/package", "cpu"),
        ("corsairpsu/1=cpu:0/dram", "cpu:0/dram", "dram"),
        ("corsairpsu/1=gpu:0000:03:00.0", "gpu:0000:03:00.0", "gpu"),
    ],
)  # fmt: skip
def test_a_chip_is_where_the_user_says(mapping, id, component, tmp_path):
    parts = chip(
        "corsairpsu", count=2, labels=("power total", "power +12v"), device="d/0003:1B1C:1C08"
    )
    with opened(SysfsTree(tmp_path, *parts), map=mapping) as profiler:
        assert layout(profiler) == {
            id: (component, None),
            "hwmon:corsairpsu@0003:1B1C:1C08/power_+12v": ("other", None),
        }
        assert contents(profiler.channels) == (id,)


def test_two_sensors_mapped_to_the_wall_are_added(tmp_path):
    parts = chip("pmbus", count=2)
    with opened(SysfsTree(tmp_path, *parts), map="pmbus/1=wall,pmbus/2=wall") as profiler:
        total = profiler.evaluate(lambda: profiler.clock.sleep(10.0))
        assert total.energy_j == pytest.approx(1100.0, rel=0.01)


@pytest.mark.parametrize(
    ("mapping", "message"),
    [
        ("ina226=wall", "not of the form CHIP/SENSOR=COMPONENT"),
        ("ina226/1=toaster", "not of the form CHIP/SENSOR=COMPONENT"),
        ("ina226/2=wall", "hwmon.map names ina226/2, which is not here. There is: ina226/1"),
    ],
)
def test_a_wrong_map_is_refused(mapping, message, tmp_path):
    with (
        SysfsTree(tmp_path, *chip("ina226")),
        pytest.raises(ConfigError, match=message),
    ):
        HwmonProfiler(root=tmp_path, map=mapping).check_available()


# Beside other sensors


def test_rapl_goes_before_amd_energy(tmp_path):
    """Both read the same register: the socket is there once."""
    clock = VirtualClock(50.0)
    with (
        PowercapTree.epyc(tmp_path / "powercap") as powercap,
        SysfsTree.amd_energy(tmp_path / "sys", (180.0,)) as tree,
    ):
        powercap.drive(clock, 0.01)
        tree.drive(clock, 0.01)
        rapl = RaplProfiler(root=powercap.root, cpuinfo=powercap.cpuinfo)
        energy = HwmonEnergyProfiler(root=tree.root)
        assert rapl.priority > energy.priority > HwmonProfiler.priority
        with Session([rapl, energy], clock=clock) as session:
            assert session.contains == ("cpu:0/package",)
            assert "cpu:0/package is measured by rapl" in session.skipped[0].reason


def test_a_chip_that_tells_both_is_read_by_its_counter(tmp_path):
    """INA238, LTC2947 and others: one shunt, shown as energy and as power."""
    device = "devices/i2c-1/1-0040"
    parts = [
        {**a, **b}
        for a, b in zip(
            chip("ltc2947", device=device), chip("ltc2947", "energy", device=device), strict=True
        )
    ]
    clock = VirtualClock(50.0)
    with SysfsTree(tmp_path, *parts) as tree:
        tree.drive(clock, 0.01)
        both = [
            cls(root=tmp_path, map="ltc2947/1=wall") for cls in (HwmonEnergyProfiler, HwmonProfiler)
        ]
        with Session(both, clock=clock) as session:
            assert len(session.channels) == 1
            with session.window() as window:
                clock.sleep(10.0)
            assert window.energy_j == pytest.approx(500.0, rel=0.01)


def test_a_board_that_sleeps_is_left_out_and_told(tmp_path):
    """Reading its power would wake it up."""
    tree = SysfsTree.amdgpu(tmp_path, apu=28.0)
    tree.set("devices/pci0000:00/0000:03:00.0/power/runtime_status", "suspended")
    with opened(tree) as profiler:
        assert [c.id for c in profiler.channels] == ["cpu:0/package"]
        assert any("gpu:0000:03:00.0 is switched off" in note for note in profiler.notes())


# The rules of all profilers


class OnSysfs:
    settle_s = 0.5

    @pytest.fixture(autouse=True)
    def _folder(self, tmp_path):
        self.folder = tmp_path
        yield
        self.tree.close() if hasattr(self, "tree") else None

    def make_hardware(self):
        self.clock = VirtualClock(50.0)
        self.tree = self.build()
        self.tree.drive(self.clock, 0.005)

    def make_absent(self):
        return type(self.make_profiler())(root=self.folder / "nowhere")

    def true_energy(self, start, end, channel):
        return self.tree.energy(self.files[channel], start, end)

    def break_sensor(self, channel):
        self.tree.write(self.files[channel], "")


class TestHwmon(OnSysfs, PowerConformance):
    files = {
        "gpu:0000:03:00.0": "class/hwmon/hwmon4/power1_average",
        "cpu:0/package": "class/hwmon/hwmon5/power1_input",
    }

    def build(self):
        return SysfsTree.amdgpu(self.folder, Sine(200, 60, 20.0), apu=28.0)

    def make_profiler(self):
        return HwmonProfiler(root=self.folder)


class TestHwmonEnergy(OnSysfs, CounterConformance):
    files = {f"cpu:{n}/package": f"class/hwmon/hwmon2/energy{n + 3}_input" for n in (0, 1)}

    def build(self):
        return SysfsTree.amd_energy(self.folder, (Sine(180, 60, 0.7), 170.0))

    def make_profiler(self):
        return HwmonEnergyProfiler(root=self.folder)

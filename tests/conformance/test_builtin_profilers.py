"""RAPL, the model and the simulated profilers keep the rules of all profilers.

Those of NVML, pyJoules and wattmeters are held to them beside their own tests.
"""

from __future__ import annotations

from typing import ClassVar

import pytest

from greenai_core.testing import (
    Constant,
    CounterConformance,
    Fails,
    PowercapTree,
    PowerConformance,
    SimulatedCounterProfiler,
    SimulatedPowerProfiler,
    SimulatedStreamProfiler,
    SimulatedWindowProfiler,
    Sine,
    StreamConformance,
    TelemetryConformance,
    VirtualClock,
    WindowConformance,
    nvml_counter,
    power_gauge,
    rapl_counter,
)
from greenai_plugins.profilers.host import Machine
from greenai_plugins.profilers.modelled import ModelledProfiler
from greenai_plugins.profilers.rapl import RaplProfiler


class OnPowercap(CounterConformance):
    """A tree of files that moves with a virtual clock."""

    settle_s = 0.1
    window_s = 2.0

    @pytest.fixture(autouse=True)
    def _folder(self, tmp_path):
        self.folder = tmp_path / "powercap"
        yield
        self.tree.close() if hasattr(self, "tree") else None

    def make_hardware(self):
        self.clock = VirtualClock(50.0)
        self.tree = self.build()
        self.tree.drive(self.clock)

    def make_profiler(self):
        return RaplProfiler(root=self.folder, cpuinfo=self.tree.cpuinfo)

    def make_absent(self):
        return RaplProfiler(root=self.folder / "nowhere")

    def true_energy(self, start, end, channel):
        return self.tree.energy(self.zones[channel], start, end)

    def break_sensor(self, channel):
        self.tree.write(self.zones[channel], "")


class TestRaplServer(OnPowercap):
    """Two sockets, and DRAM that is filed under them but comes on top."""

    zones: ClassVar = {
        f"cpu:{n}/{part}": f"intel-rapl:{n}{below}"
        for n in (0, 1)
        for part, below in (("package", ""), ("dram", ":0"))
    }

    def build(self):
        return PowercapTree.xeon(self.folder, package=Sine(150, 50, 0.7), dram=20.0)


class TestRaplLaptop(OnPowercap):
    """A package with parts inside a counter of the whole platform."""

    zones: ClassVar = {
        "cpu:0/package": "intel-rapl:0",
        "cpu:0/core": "intel-rapl:0:0",
        "cpu:0/uncore": "intel-rapl:0:1",
        "cpu:0/dram": "intel-rapl:0:2",
        "psys": "intel-rapl:1",
    }

    def build(self):
        return PowercapTree.laptop(self.folder)


MACHINE = Machine(cpu="", threads=4, cpus=4.0, sockets=1, virtual=False, memory_bytes=8 * 2**30)
CPU_W, MEMORY_W = 0.21142857 * 40 + 0.78857143 * 40 / 2, 8 * 0.3725
"""Half busy at 40 W full power: 0.74 of 3.5 W idle; 0.3725 W for each GiB."""


class Host:
    """Four threads, two of them busy."""

    def __init__(self, clock):
        self.clock = clock
        self.fails = False

    def busy(self, machine):
        if self.fails:
            raise OSError("no /proc")
        return 2 * self.clock.now()


class TestModelled(CounterConformance):
    modelled = True

    def make_hardware(self):
        self.clock = VirtualClock(50.0)
        self.host = Host(self.clock)

    def make_profiler(self):
        return ModelledProfiler(
            tdp_w=40, powercap="/nowhere", machine=lambda: MACHINE, busy=self.host.busy
        )

    def make_absent(self):
        host = Host(VirtualClock())
        host.fails = True
        return ModelledProfiler(machine=lambda: MACHINE, busy=host.busy)

    def true_energy(self, start, end, channel):
        return (CPU_W if channel == "model:cpu" else MEMORY_W) * (end - start)

    def break_sensor(self, channel):
        self.host.fails = True


class TestModelledTelemetry(TelemetryConformance):
    def make_telemetry(self):
        self.clock = VirtualClock(50.0)
        self.host = Host(self.clock)
        profiler = ModelledProfiler(machine=lambda: MACHINE, busy=self.host.busy)
        profiler.open(self.clock)
        self.clock.sleep(1.0)
        return profiler

    def truth(self):
        return {("host", "utilisation"): 50.0}

    def wait(self):
        self.clock.sleep(1.0)

    def break_sensor(self):
        self.host.fails = True


ALWAYS_THERE = "simulated hardware is always there"


class OnSimulatedHardware:
    """Two sensors, one of them of power that changes."""

    expected_failures: ClassVar = {
        "test_absent_hardware_has_a_remedy": ALWAYS_THERE,
        "test_absent_hardware_does_not_open": ALWAYS_THERE,
    }

    def make_hardware(self):
        self.clock = VirtualClock(50.0)

    def make_profiler(self):
        self.sensors = {sensor.channel.id: sensor for sensor in self.make_sensors()}
        self.profiler = self.build(list(self.sensors.values()))
        return self.profiler

    def make_absent(self):
        return self.build(self.make_sensors())

    def true_energy(self, start, end, channel):
        return self.sensors[channel].profile.energy(start, end)

    def break_sensor(self, channel):
        self.profiler.inject(channel, Fails(self.clock.now()))


class TestSimulatedCounter(OnSimulatedHardware, CounterConformance):
    def make_sensors(self):
        dram = rapl_counter(Constant(20.0), "cpu:0/dram", "dram", gain_uncertainty=0.03)
        return [rapl_counter(Sine(100, 40, 0.7)), dram]

    def build(self, sensors):
        return SimulatedCounterProfiler(counters=sensors)


class TestSimulatedPower(OnSimulatedHardware, PowerConformance):
    def make_sensors(self):
        return [
            power_gauge(Sine(100, 40, 20.0), "gpu:0", "gpu"),
            power_gauge(Constant(30.0), "gpu:1", "gpu"),
        ]

    def build(self, sensors):
        return SimulatedPowerProfiler(gauges=sensors)


class TestSimulatedStream(OnSimulatedHardware, StreamConformance):
    def make_sensors(self):
        return [
            power_gauge(Sine(100, 40, 20.0), "gpu:0", "gpu"),
            power_gauge(Constant(30.0), "gpu:1", "gpu"),
        ]

    def build(self, sensors):
        return SimulatedStreamProfiler(gauges=sensors)


class TestSimulatedWindow(OnSimulatedHardware, WindowConformance):
    def make_sensors(self):
        return [nvml_counter(Sine(200, 50, 0.7)), nvml_counter(Constant(90.0), "gpu:GPU-1")]

    def build(self, sensors):
        return SimulatedWindowProfiler(counters=sensors)

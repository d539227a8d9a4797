"""Profilers of each kind that keep every rule, on one simulated meter."""

from __future__ import annotations

import math
from types import MappingProxyType

from greenai_core import (
    Channel,
    CounterProfiler,
    PluginUnavailable,
    PowerProfiler,
    ReadingError,
    Sample,
    StreamProfiler,
    WindowProfiler,
)
from greenai_core.testing.clock import VirtualClock
from greenai_core.testing.profiler_suite import (
    CounterConformance,
    PowerConformance,
    StreamConformance,
    WindowConformance,
)

PERIOD_S = 0.01
UNIT_J = 1e-4


class Meter:
    """Two channels of constant power, each of which can break."""

    def __init__(self, clock, present=True):
        self.clock = clock
        self.present = present
        self.broken = set()

    def watts(self, channel):
        return 50.0 if channel.endswith("package") else 30.0

    def counted(self, channel):
        """Joules latched at the last update."""
        self.fail_if_broken(channel)
        updates = math.floor(self.clock.now() / PERIOD_S + 1e-9)
        return self.watts(channel) * updates * PERIOD_S

    def fail_if_broken(self, channel):
        if channel in self.broken:
            raise ReadingError(f"{channel} is broken")


class OnMeter:
    """What the four kinds have in common."""

    name = "reference"
    option_names = MappingProxyType({"meter": "the meter to read"})
    method = "sampled"

    def __init__(self, meter=None):
        super().__init__()
        self.meter = meter

    def check_available(self):
        if self.meter is None or not self.meter.present:
            raise PluginUnavailable("there is no meter", "Plug one in")

    def connect(self):
        self.refuse_absence()
        return self.stated()

    def refuse_absence(self):
        if self.meter is None or not self.meter.present:
            raise PluginUnavailable("there is no meter", "Plug one in")

    def stated(self):
        facts = {
            "method": self.method,
            "resolution_j": UNIT_J,
            "update_period_s": PERIOD_S,
            "gain_uncertainty": 0.03,
            "gain_source": "its data sheet",
        }
        package = Channel("cpu:0/package", "cpu", **facts)
        return [package, Channel("cpu:0/core", "core", contained_in=package.id, **facts)]

    def disconnect(self):
        pass


class ReferenceCounter(OnMeter, CounterProfiler):
    method = "counter"

    def read(self, channel):
        return round(self.meter.counted(channel.id) / UNIT_J)


class ReferencePower(OnMeter, PowerProfiler):
    def read_power(self, channel):
        self.meter.fail_if_broken(channel.id)
        return self.meter.watts(channel.id)


class ReferenceStream(OnMeter, StreamProfiler):
    period_s = 0.05

    def connect(self):
        channels = super().connect()
        self.delivered = math.floor(self.clock.now() / self.period_s) + 1
        return channels

    def deliver(self):
        now = math.floor(self.clock.now() / self.period_s)
        samples = [
            Sample(step * self.period_s, channel.id, self.meter.watts(channel.id))
            for step in range(self.delivered, now + 1)
            for channel in self.channels
            if channel.id not in self.meter.broken
        ]
        self.delivered = now + 1
        return samples


class ReferenceWindow(OnMeter, WindowProfiler):
    method = "counter"

    def start_window(self):
        self.began = self.clock.now()

    def stop_window(self):
        seconds = self.clock.now() - self.began
        return {
            channel.id: self.meter.watts(channel.id) * seconds
            for channel in self.channels
            if channel.id not in self.meter.broken
        }


class OnMeterSuite:
    """The author's part, the same for all kinds."""

    plugin = None

    def make_hardware(self):
        self.clock = VirtualClock()
        self.meter = Meter(self.clock)

    def make_profiler(self):
        return self.plugin(meter=self.meter)

    def make_absent(self):
        return self.plugin(meter=Meter(VirtualClock(), present=False))

    def true_energy(self, start, end, channel):
        return self.meter.watts(channel) * (end - start)

    def break_sensor(self, channel):
        self.meter.broken.add(channel)


class CounterReference(OnMeterSuite, CounterConformance):
    plugin = ReferenceCounter


class PowerReference(OnMeterSuite, PowerConformance):
    plugin = ReferencePower


class StreamReference(OnMeterSuite, StreamConformance):
    plugin = ReferenceStream


class WindowReference(OnMeterSuite, WindowConformance):
    plugin = ReferenceWindow

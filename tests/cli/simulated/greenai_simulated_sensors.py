"""Simulated sensors in real time, for the tests of the command line."""

from __future__ import annotations

import time
from pathlib import Path

from greenai_core import (
    Channel,
    CounterProfiler,
    Observation,
    PluginUnavailable,
    PowerLimit,
    PowerLimiter,
    ReadingError,
    Telemetry,
)

PERIOD_S = 0.001
WATTS = 10.0


class SimProfiler(CounterProfiler, Telemetry):
    """10 W all the time, in a counter that moves every millisecond."""

    name = "sim"
    priority = 90
    option_names = {
        "watts": "constant power",
        "lost_file": "the sensor fails once this file exists",
        "busy_file": "20 W more for half a second from when this file was made",
        "calm_file": "1 W for half a second from when this file was made",
        "password": "secret of an imaginary account",
        "gain": "relative standard uncertainty",
    }
    component = "cpu"
    method = "counter"
    channel_id = "cpu:0/package"

    def __init__(
        self,
        watts=WATTS,
        lost_file=None,
        calm_file=None,
        password="",
        gain=0.0,
        busy_file=None,
    ):
        super().__init__()
        if not isinstance(watts, (int, float)):
            raise TypeError(f"watts is {watts!r}, not a number")
        self.watts = watts
        self.lost_file = Path(lost_file) if lost_file else None
        self.calm_file = Path(calm_file) if calm_file else None
        self.busy_file = Path(busy_file) if busy_file else None
        self.gain = gain

    def connect(self):
        return [
            Channel(
                self.channel_id,
                self.component,
                self.method,
                resolution_j=1e-6,
                update_period_s=PERIOD_S,
                gain_uncertainty=self.gain,
                gain_source="simulated",
            )
        ]

    def disconnect(self):
        pass

    def read(self, channel):
        if self.lost_file is not None and self.lost_file.exists():
            raise ReadingError("the simulated sensor was unplugged")
        latched = time.perf_counter() // PERIOD_S * PERIOD_S
        joules = latched * self.watts
        if self.calm_file is not None and self.calm_file.exists():
            calm_s = min(max(time.time() - self.calm_file.stat().st_mtime, 0.0), 0.5)
            joules -= calm_s * (self.watts - 1.0)
        if self.busy_file is not None and self.busy_file.exists():
            busy_s = min(max(time.time() - self.busy_file.stat().st_mtime, 0.0), 0.5)
            joules += busy_s * 20.0
        return int(joules / channel.resolution_j)

    def observe(self):
        return [Observation("host", "utilisation", 42.0, "%")]


class SimModelled(SimProfiler):
    """The same, but nothing stands behind it."""

    name = "sim-model"
    priority = 1
    method = "modelled"
    channel_id = "model:cpu"


class AbsentProfiler(SimProfiler):
    """A sensor that this machine does not have."""

    name = "sim-absent"

    def check_available(self):
        raise PluginUnavailable("no simulated board is plugged in", "Plug one into slot 7")


class SimLimiter(PowerLimiter):
    """One board between 100 W and 300 W."""

    name = "sim"

    def open(self):
        pass

    def close(self):
        pass

    def limits(self):
        return [PowerLimit("gpu:GPU-sim", 250.0, 300.0, 100.0, 300.0, settable=False)]

    def set_limit(self, device, watts):
        raise NotImplementedError

"""A part whose load is a number in a file, for the tests of ``greenai calibrate``."""

from __future__ import annotations

import time
from pathlib import Path

from greenai_core import Channel, CounterProfiler, PluginUnavailable

PERIOD_S = 0.005
GAIN, OFFSET_W = 1.06, 1.5
"""What the sensor tells over what is true."""


def true_power(level_file):
    """20 W, and 100 W more at level 100."""
    try:
        return 20.0 + float(Path(level_file).read_text() or 0)
    except (OSError, ValueError):
        return 20.0


class SimPart(CounterProfiler):
    """A counter that moves every 5 ms; ``stuck`` lets it count 30 W whatever happens."""

    name = "sim-part"
    automatic = False
    option_names = {
        "level_file": "where the load is",
        "stuck": "whether it does not follow the load",
        "gpu": "whether the part is a GPU",
    }

    def __init__(self, level_file="", stuck=False, gpu=False):
        super().__init__()
        self.gpu = gpu
        self.level_file = level_file
        self.stuck = stuck

    def check_available(self):
        if not self.level_file:
            raise PluginUnavailable("no level_file was given")

    def connect(self):
        self.joules, self.since = 0.0, time.perf_counter()
        return [
            Channel(
                "gpu:GPU-part" if self.gpu else "cpu:9/package",
                "gpu" if self.gpu else "cpu",
                "counter",
                resolution_j=1e-6,
                update_period_s=PERIOD_S,
                gain_uncertainty=0.056,
                gain_source="simulated",
            )
        ]

    def disconnect(self):
        pass

    def read(self, channel):
        watts = 30.0 if self.stuck else GAIN * true_power(self.level_file) + OFFSET_W
        periods = int((time.perf_counter() - self.since) / PERIOD_S)
        self.joules += watts * periods * PERIOD_S
        self.since += periods * PERIOD_S
        return int(self.joules / channel.resolution_j)

"""A board in a file, in real time: it draws what it is capped to; `python -m greenai_capsim`
is work on it, whose steps take longer the lower the cap is."""

from __future__ import annotations

import json
import os
import sys
import time
from pathlib import Path

from greenai_core import (
    Channel,
    CounterProfiler,
    PowerCapForbidden,
    PowerLimit,
    PowerLimiter,
)

DEVICE = "gpu:GPU-capsim"
PERIOD_S = 0.001


def file() -> Path:
    return Path(os.environ["GREENAI_CAPSIM_FILE"])


def state() -> dict[str, float]:
    return json.loads(file().read_text())


def put(cap: float) -> None:
    now = time.perf_counter()
    before = state() if file().exists() else {"cap": cap, "t": now, "joules": 0.0}
    joules = before["joules"] + before["cap"] * (now - before["t"])
    made = file().with_suffix(f".{os.getpid()}")
    made.write_text(json.dumps({"cap": cap, "t": now, "joules": joules}))
    made.replace(file())


def step_s(cap: float) -> float:
    return 0.002 * (0.9 + 0.1 * 300.0 / cap)


class CapSimLimiter(PowerLimiter):
    name = "capsim"

    def open(self):
        pass

    def close(self):
        pass

    def limits(self):
        return [PowerLimit(DEVICE, state()["cap"], 300.0, 100.0, 300.0, True, 0, "Capsim")]

    def by_hand(self, device, value):
        return f"capsim {value:g}"

    def set_limit(self, device, watts):
        if "GREENAI_CAPSIM_FORBIDDEN" in os.environ:
            raise PowerCapForbidden("no permission", self.by_hand(device, watts))
        put(watts)


class CapSimProfiler(CounterProfiler):
    name = "capsim"

    def connect(self):
        return [
            Channel(
                DEVICE,
                "gpu",
                "counter",
                resolution_j=1e-6,
                update_period_s=PERIOD_S,
                gain_source="simulated",
            )
        ]

    def disconnect(self):
        pass

    def read(self, channel):
        now = state()
        t = time.perf_counter() // PERIOD_S * PERIOD_S
        return int((now["joules"] + now["cap"] * max(t - now["t"], 0.0)) / channel.resolution_j)


if __name__ == "__main__":
    for number in range(int(sys.argv[1])):
        time.sleep(step_s(state()["cap"]))
        print(f"step {number}", flush=True)

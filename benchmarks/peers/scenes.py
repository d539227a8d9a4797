"""The simulated machine that every tool measures: its power, and the truth about it.

All instants are seconds of ``CLOCK_MONOTONIC``, which every process shares.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any

from greenai_core.testing.nvml import NvmlSimulator
from greenai_core.testing.nvml_board import Pulses, SimulatedBoard
from greenai_core.testing.powercap import INTEL_STEP_UJ, Zone
from greenai_core.testing.profiles import Bursts, Constant, PowerProfile, Sine, SquareWave

PROFILES = ("constant", "square", "sine", "bursts")

GENTLE = "gentle"
"""A sine of a few per cent: power that never is quite the same, as real power."""

SERVER, LAPTOP, NO_RAPL = "server", "laptop", "none"

PERIODS_S = {"square": 0.73, "sine": 1.31}
"""Multiples of no sensor's update period, so that no tool gets an aligned load for nothing."""

GENTLY = 0.1
"""Amplitude of the gentle sine over that of the other."""

BURST_S, PAUSE_S = 0.25, 0.35
HORIZON_S = 280.0
"""Bursts and stairs are laid out for so long; the power stays as it is afterwards."""

STAIRS = 16
"""Steps of a period of the GPU's sine, which the simulated board can only follow in steps."""

DRAM_SHARE = 0.1
"""Power of the memory over that of the package."""

WATTS = {"cpu": (60.0, 200.0), "gpu": (90.0, 400.0)}
"""Lowest and highest power."""

PSYS_EXTRA_W = 30.0
"""What the platform of a laptop draws beside package and memory."""

ROUND_START_UJ = 1_234_567_000.0

OLD_GPU = {
    "energy_counter": False,
    "instant_power": False,
    "power_usage": "instant",
    "power_period_s": 0.02,
    "power_seen_s": 0.02,
    "architecture": 4,
    "pci_device": 0x1B06,
    "name": "NVIDIA Simulated GTX 1080 Ti",
}
"""A Pascal board: no energy counter, and a power reading that is new every 20 ms."""

NEW_GPU = {"update_period_s": 0.1, "power_period_s": 0.1, "power_seen_s": 0.025}
"""Published of A100 and H100 (arXiv 2312.02741): new figures every 100 ms, and the
instant power is the mean of 25 ms only."""

GPU_LATENCY_S = 1e-4


@dataclass(frozen=True)
class Later(PowerProfile):
    """A profile that begins at ``origin``; before that it draws nothing."""

    profile: PowerProfile
    origin: float

    def power(self, t: float) -> float:
        """Power at an instant, W."""
        return self.profile.power(t - self.origin) if t >= self.origin else 0.0

    def energy(self, start: float, end: float) -> float:
        """Energy between two instants, J."""
        return self.profile.energy(max(start - self.origin, 0.0), max(end - self.origin, 0.0))


@dataclass(frozen=True)
class Scene:
    """One machine and what happens to it.

    Attributes:
        profile: of ``PROFILES``, or ``GENTLE``.
        origin: when it was switched on; sensors run from then on.
        seed: of the bursts.
        zones: ``server`` (package, dram), ``laptop`` (package, parts, dram, psys), ``none``.
        wrap_at: when the counter of the package passes its highest value.
        lost_at: when the GPU falls off the bus.
        old_gpu: whether the GPU has no energy counter.
        denied: whether only root may read the counters, and the tool is not root.
    """

    profile: str
    origin: float
    seed: int = 1
    zones: str = SERVER
    wrap_at: float | None = None
    lost_at: float | None = None
    old_gpu: bool = False
    denied: bool = False

    @classmethod
    def read(cls, kept: Mapping[str, Any]) -> Scene:
        """What ``kept`` gave."""
        return cls(**kept)

    def kept(self) -> dict[str, Any]:
        """For another process."""
        return asdict(self)

    def load(self, part: str, scale: float = 1.0) -> PowerProfile:
        """Power of ``cpu`` (the package) or ``gpu``, times ``scale``."""
        return Later(_load(self.profile, part, scale, self.seed), self.origin)

    def powercap(self) -> list[Zone]:
        """The zones of the powercap tree; none without RAPL."""
        package, dram = self.load("cpu"), self.load("cpu", DRAM_SHARE)
        start = ROUND_START_UJ
        if self.wrap_at is not None:
            highest = 2**32 * INTEL_STEP_UJ
            start = highest - package.energy(self.origin, self.wrap_at) * 1e6
        if self.zones == NO_RAPL:
            return []
        server = [
            Zone("intel-rapl:0", "package-0", package, start_uj=round(start)),
            Zone("intel-rapl:0:0", "dram", dram, start_uj=round(ROUND_START_UJ)),
        ]
        if self.zones == SERVER:
            return server
        platform = _Together((package, dram, Later(Constant(PSYS_EXTRA_W), self.origin)))
        cores = self.load("cpu", 0.6)
        return [
            server[0],
            Zone("intel-rapl:0:0", "core", cores, start_uj=round(ROUND_START_UJ)),
            Zone("intel-rapl:0:1", "dram", dram, start_uj=round(ROUND_START_UJ)),
            Zone("intel-rapl:1", "psys", platform, start_uj=round(ROUND_START_UJ)),
        ]

    def board(self) -> SimulatedBoard:
        """The GPU."""
        low, high = WATTS["gpu"]
        kind: dict[str, Any] = dict(OLD_GPU if self.old_gpu else NEW_GPU)
        square = self.profile == "square"
        pulses = Pulses(high - low, PERIODS_S["square"]) if square else None
        return SimulatedBoard(
            watts=low if square else self.load("gpu").power(self.origin),
            pulses=pulses,
            latency_s=GPU_LATENCY_S,
            **kind,
        )

    def prepare(self, boards: NvmlSimulator) -> None:
        """Tell the simulated GPU what its power will be."""
        for at, watts in _steps(self.profile, self.load("gpu"), self.origin):
            boards.set_power(0, watts, at=at)
        if self.lost_at is not None:
            boards.lose(0, at=self.lost_at)

    def truth(self, begin: float, end: float, boards: NvmlSimulator) -> dict[str, float]:
        """Joules of ``package``, ``dram``, ``cpu`` (both) and ``gpu``; and the ``seconds``."""
        package = self.load("cpu").energy(begin, end)
        dram = self.load("cpu", DRAM_SHARE).energy(begin, end)
        gpu = boards.energy(0, begin, end)
        joules = {"package": package, "dram": dram, "cpu": package + dram, "gpu": gpu}
        return joules | {"seconds": end - begin}


@dataclass(frozen=True)
class _Together(PowerProfile):
    parts: tuple[PowerProfile, ...]

    def power(self, t: float) -> float:
        return math.fsum(part.power(t) for part in self.parts)

    def energy(self, start: float, end: float) -> float:
        return math.fsum(part.energy(start, end) for part in self.parts)


def _load(profile: str, part: str, scale: float, seed: int) -> PowerProfile:
    low, high = (watts * scale for watts in WATTS[part])
    if profile == "constant":
        return Constant((low + high) / 2)
    if profile == "square":
        return SquareWave(low, high, PERIODS_S["square"])
    if profile == "sine":
        return Sine((low + high) / 2, (high - low) / 2, PERIODS_S["sine"])
    if profile == GENTLE:
        return Sine((low + high) / 2, GENTLY * (high - low) / 2, PERIODS_S["sine"])
    if profile == "bursts":
        return Bursts.at_random(low, high, HORIZON_S, BURST_S, PAUSE_S, seed)
    raise ValueError(f"no profile {profile!r}; there are {', '.join(PROFILES)}")


def _steps(profile: str, load: PowerProfile, origin: float) -> list[tuple[float, float]]:
    """Changes of power after ``origin`` that a board has to be told."""
    if profile in ("sine", GENTLE):
        step = PERIODS_S["sine"] / STAIRS
        middles = [(n, origin + (n + 0.5) * step) for n in range(1000)]
        return [(origin + n * step, load.power(middle)) for n, middle in middles]
    if profile == "bursts" and isinstance(load, Later) and isinstance(load.profile, Bursts):
        bursts = load.profile
        spans = bursts.spans[:500]
        return [
            step
            for begin, end in spans
            for step in ((origin + begin, bursts.busy_w), (origin + end, bursts.idle_w))
        ]
    return []

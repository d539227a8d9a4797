"""Powercap trees and NVIDIA boards that pyRAPL, pyJoules and codecarbon take for this machine's."""

from __future__ import annotations

import itertools
import os
import types
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from greenai_core.testing import PowercapTree, VirtualClock

Patch = pytest.MonkeyPatch


def for_pyrapl(patch: Patch, tree: PowercapTree, sockets: int = 2) -> None:
    """pyRAPL looks into this tree: it knows one path only."""
    from pyRAPL import device_api

    from greenai_plugins.profilers import pyrapl_adapter

    real = "/sys/class/powercap/intel-rapl"

    def moved(path: str) -> Path:
        return Path(path.replace(real, str(tree.root / "intel-rapl"), 1))

    known = types.SimpleNamespace(exists=lambda path: moved(path).exists())
    patch.setattr(device_api, "os", types.SimpleNamespace(path=known))
    patch.setattr(device_api, "open", lambda path, mode: moved(path).open(mode), raising=False)
    patch.setattr(device_api, "get_socket_ids", lambda: list(range(sockets)))
    patch.setattr(pyrapl_adapter, "POWERCAP", tree.root / "intel-rapl")


def for_pyjoules(patch: Patch, tree: PowercapTree) -> None:
    """pyJoules looks into this tree."""
    from pyJoules.device import rapl_device

    patch.setattr(rapl_device, "RAPL_API_DIR", str(tree.root / "intel-rapl"))


def for_codecarbon(patch: Patch, root: Path | None, clock: VirtualClock, ram_w: float) -> None:
    """codecarbon looks into this tree, keeps this time, and takes the memory for so much."""
    from codecarbon import emissions_tracker
    from codecarbon.core import cpu, hardware_cache, resource_tracker
    from codecarbon.external import hardware, ram

    hardware_cache.clear_cache()
    looks = itertools.count()
    # It divides by the length of a task, which is never quite 0.
    timing = types.SimpleNamespace(perf_counter=lambda: clock.now() + next(looks) * 1e-9)
    patch.setattr(emissions_tracker, "time", timing)
    patch.setattr(ram.RAM, "_calculate_ram_power", lambda memory, gigabytes: ram_w)
    patch.setattr(resource_tracker.cpu, "is_rapl_available", lambda: root is not None)
    patch.setattr(cpu.TDP, "_main", lambda tdp: ("Simulated CPU", 100.0))
    if root is not None:
        rapl = cpu.IntelRAPL
        patch.setattr(
            hardware, "IntelRAPL", lambda **options: rapl(**options | {"rapl_dir": str(root)})
        )


class Boards:
    """A mocked NVML of boards with an energy counter.

    Args:
        clock: the time.
        watts: of each board.
    """

    def __init__(self, clock: VirtualClock, *watts: float) -> None:
        self.clock = clock
        self.watts = watts
        self.broken: dict[int, Exception] = {}

    def millijoules(self, handle: int) -> int:
        """What the counter shows."""
        if handle in self.broken:
            raise self.broken[handle]
        return 5_000 + round(self.watts[handle] * self.clock.now() * 1e3)

    def install(self, patch: Patch) -> None:
        """Answer in place of the driver."""
        import pynvml

        answers: dict[str, Callable[..., Any]] = {
            "nvmlInit": lambda: None,
            "nvmlShutdown": lambda: None,
            "nvmlDeviceGetCount": lambda: len(self.watts),
            "nvmlDeviceGetHandleByIndex": lambda index: index,
            "nvmlDeviceGetUUID": lambda handle: f"GPU-{handle:04d}",
            "nvmlDeviceGetName": lambda handle: "Simulated",
            "nvmlDeviceGetTotalEnergyConsumption": self.millijoules,
            "nvmlDeviceGetPowerUsage": self._milliwatts,
            "nvmlDeviceGetEnforcedPowerLimit": lambda handle: 300_000,
            "nvmlDeviceGetMemoryInfo": lambda handle: types.SimpleNamespace(total=2**34),
        }
        for name, answer in answers.items():
            patch.setattr(pynvml, name, answer)

    def install_for_codecarbon(self, patch: Patch) -> None:
        """The same, and codecarbon takes NVML for present."""
        import pynvml
        from codecarbon.core import gpu, gpu_nvidia, resource_tracker

        self.install(patch)
        patch.setattr(gpu_nvidia, "pynvml", pynvml)
        patch.setattr(gpu, "PYNVML_AVAILABLE", True)
        patch.setattr(resource_tracker.gpu, "is_nvidia_system", lambda: True)

    def _milliwatts(self, handle: int) -> int:
        if handle in self.broken:
            raise self.broken[handle]
        return round(self.watts[handle] * 1e3)


def no_boards(patch: Patch) -> None:
    """No NVIDIA driver."""
    import pynvml

    def refuse() -> None:
        raise pynvml.NVMLError(pynvml.NVML_ERROR_LIBRARY_NOT_FOUND)

    patch.setattr(pynvml, "nvmlInit", refuse)


def fail_reads(file: Any) -> None:
    """A real error of the kernel on each read of an open file: EISDIR stands for EIO."""
    folder = os.open("/", os.O_RDONLY)
    os.dup2(folder, file.fileno())
    os.close(folder)

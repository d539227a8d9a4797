"""A machine whose kernel counts energy: sysfs' PMUs ``power`` and ``power_core`` on disk.

``open_event`` stands for the system call, in this process and on any clock::

    pmu = PowerPmu.xeon(tmp_path / "sys")
    pmu.drive(clock)
    profiler = RaplPerfProfiler(root=pmu.root, cpuinfo=pmu.cpuinfo, opener=pmu.open_event)
    truth = pmu.energy("energy-pkg@0", start, end)

``PerfEventSimulator`` does the same below the system call itself, for other processes.
The files are those of Linux: arch/x86/events/rapl.c, drivers/powercap/intel_rapl_common.c.
"""

from __future__ import annotations

import errno
import math
import os
import sys
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING

from greenai_core.clock import SYSTEM_CLOCK, Clock

from .clock import hold
from .profiles import Constant, PowerProfile

if TYPE_CHECKING:
    from typing_extensions import Self

SCALE_J = 2.0**-32
"""Joules of one count, whatever the CPU."""

INTEL_UNIT_J = 2.0**-14
AMD_UNIT_J = 2.0**-16

UPDATE_S = 1e-3
"""The hardware shows a new value so often."""

CONFIGS = {
    "energy-cores": 1,
    "energy-pkg": 2,
    "energy-ram": 3,
    "energy-gpu": 4,
    "energy-psys": 5,
    "energy-core": 1,
}
TYPES = {"power": 23, "power_core": 24}
"""PMU -> its type; given out as modules are loaded, so others elsewhere."""

Load = PowerProfile | float


@dataclass(frozen=True)
class PmuMeter:
    """One hardware counter.

    Attributes:
        event: ``energy-pkg``, ``energy-ram``, ``energy-cores``, ``energy-gpu``,
            ``energy-psys``; ``energy-core`` is of the PMU ``power_core``.
        cpu: that reads it.
        load: its power.
        unit_j: joules of one step.
        start_j: what it stands on at time 0.
        falls_by_j: what the kernel's count falls by at each wrap of the 32-bit register,
            as behind TPMI; 0 where the kernel unwraps it.
    """

    event: str
    cpu: int
    load: Load
    unit_j: float = INTEL_UNIT_J
    start_j: float = 1234.5
    falls_by_j: float = 0.0

    @property
    def name(self) -> str:
        """``energy-pkg@0``."""
        return f"{self.event}@{self.cpu}"

    @property
    def pmu(self) -> str:
        """Which announces it."""
        return "power_core" if self.event == "energy-core" else "power"

    @property
    def profile(self) -> PowerProfile:
        """The power, as a profile."""
        return self.load if isinstance(self.load, PowerProfile) else Constant(self.load)

    def count(self, opened: float, t: float) -> int:
        """What a counter opened at one instant shows at another, in ``SCALE_J``."""
        steps, wraps = self._steps(t)
        before, wraps_before = self._steps(opened)
        counts = (steps - before) * round(self.unit_j / SCALE_J)
        return counts - (wraps - wraps_before) * round(self.falls_by_j / SCALE_J)

    def _steps(self, t: float) -> tuple[int, int]:
        shown = math.floor(t / UPDATE_S + 1e-6) * UPDATE_S
        steps = math.floor((self.start_j + self.profile.energy(0.0, shown)) / self.unit_j + 1e-9)
        return steps, steps // 2**32


@dataclass
class _State:
    """What is wrong with a counter."""

    errno: int = 0
    answer: bytes | None = None
    stuck_at: float = math.inf
    reset_at: float = -math.inf
    slow_s: float = 0.0


class PmuEvent:
    """An open counter of the simulated machine."""

    def __init__(self, meter: PmuMeter, state: _State, clock: Callable[[], Clock]) -> None:
        self._meter = meter
        self._state = state
        self._clock = clock
        self._opened = clock().now()
        self.closed = False

    @property
    def read(self) -> Callable[[], bytes]:
        """What reads it, as ``read(2)`` does."""
        return self._read

    def close(self) -> None:
        """Close it."""
        if self.closed:
            raise OSError(errno.EBADF, os.strerror(errno.EBADF))
        self.closed = True

    def _read(self) -> bytes:
        if self.closed:
            raise OSError(errno.EBADF, os.strerror(errno.EBADF))
        state = self._state
        if state.slow_s:
            hold(self._clock(), state.slow_s)
        if state.errno:
            raise OSError(state.errno, os.strerror(state.errno))
        if state.answer is not None:
            return state.answer
        now = min(self._clock().now(), state.stuck_at)
        since = self._opened if state.reset_at < self._opened else state.reset_at
        return self._meter.count(since, now).to_bytes(8, sys.byteorder, signed=True)


class PowerPmu:
    """Builds the files, and opens the counters that they announce.

    Args:
        root: what stands for ``/sys``; created.
        meters: the counters.
        packages: CPU -> its package, and its die.
        vendor: of the CPU, as in ``/proc/cpuinfo``; ``cpuinfo`` is such a file.
    """

    def __init__(
        self,
        root: Path,
        meters: Sequence[PmuMeter],
        packages: Mapping[int, tuple[int, int]],
        vendor: str = "GenuineIntel",
    ) -> None:
        self.root = root
        self.meters = {meter.name: meter for meter in meters}
        self._states = {meter.name: _State() for meter in meters}
        self._clock: Clock = SYSTEM_CLOCK
        self.refusal = 0
        self.events: list[PmuEvent] = []
        root.mkdir(parents=True, exist_ok=True)
        self.cpuinfo = root / "cpuinfo"
        self.cpuinfo.write_text(f"processor\t: 0\nvendor_id\t: {vendor}\n")
        for cpu, (package, die) in packages.items():
            _write(
                root / f"devices/system/cpu/cpu{cpu}/topology",
                {"physical_package_id": package, "die_id": die},
            )
        self._announce()

    @classmethod
    def xeon(cls, root: Path, package: Load = 150.0, dram: Load = 20.0, sockets: int = 2) -> Self:
        """An Intel server: package and DRAM of each socket, of 16 CPUs each."""
        meters = [
            PmuMeter(event, 16 * socket, load)
            for socket in range(sockets)
            for event, load in (("energy-pkg", package), ("energy-ram", dram))
        ]
        return cls(root, meters, {16 * socket: (socket, 0) for socket in range(sockets)})

    @classmethod
    def laptop(cls, root: Path, package: Load = 12.0, psys: Load = 21.0) -> Self:
        """An Intel laptop: package, its parts, DRAM, and the whole platform."""
        loads: dict[str, Load] = {
            "energy-pkg": package,
            "energy-cores": 6.0,
            "energy-gpu": 0.5,
            "energy-ram": 1.5,
            "energy-psys": psys,
        }
        return cls(root, [PmuMeter(event, 0, load) for event, load in loads.items()], {0: (0, 0)})

    @classmethod
    def epyc(
        cls, root: Path, package: Load = 180.0, core: Load = 3.0, sockets: int = 1, dies: int = 1
    ) -> Self:
        """An AMD server of four cores a socket, each with its own counter.

        Args:
            root: see the class.
            package: power of each package.
            core: power of each core.
            sockets: how many.
            dies: CPUs of each package in the cpumask; Linux 6.10 and 6.11 name one a die,
                though all read the counter of the package.
        """
        cpus = [(4 * socket + n, socket, n) for socket in range(sockets) for n in range(4)]
        meters = [PmuMeter("energy-core", cpu, core, AMD_UNIT_J) for cpu, _, _ in cpus]
        meters += [PmuMeter("energy-pkg", c, package, AMD_UNIT_J) for c, _, n in cpus if n < dies]
        return cls(root, meters, {cpu: (s, n) for cpu, s, n in cpus}, "AuthenticAMD")

    # Use

    def drive(self, clock: Clock) -> None:
        """Count on this clock from now on."""
        self._clock = clock

    def open_event(self, type: int, config: int, cpu: int) -> PmuEvent:
        """Open a counter, as the kernel would.

        Raises:
            OSError: ``refusal``; ENOENT, EINVAL, ENODEV for what is not there.
        """
        meter = self.refusal or matching(self.meters.values(), type, config, cpu)
        if isinstance(meter, int):
            raise OSError(meter, os.strerror(meter))
        event = PmuEvent(meter, self._states[meter.name], lambda: self._clock)
        self.events.append(event)
        return event

    def energy(self, name: str, start: float, end: float) -> float:
        """The truth: joules of a counter between two instants."""
        return self.meters[name].profile.energy(start, end)

    # Faults

    def refuse(self, code: int) -> None:
        """Opening fails with this error from now on; 0 ends it."""
        self.refusal = code

    def fail(self, name: str, code: int = errno.EIO) -> None:
        """Reads end in this error; 0 ends it."""
        self._states[name].errno = code

    def stick(self, name: str) -> None:
        """Stop counting, as when all CPUs of the package go offline."""
        self._states[name].stuck_at = self._clock.now()

    def reset(self, name: str) -> None:
        """Count from 0 again."""
        self._states[name].reset_at = self._clock.now()

    def answer(self, name: str, content: bytes) -> None:
        """Each read gives this: nothing, a part of a number, a negative one."""
        self._states[name].answer = content

    def slow(self, name: str, seconds: float) -> None:
        """Each read takes so long; 0 ends it."""
        self._states[name].slow_s = seconds

    def migrate(self, cpu: int, to: int) -> None:
        """A CPU went offline, and another of its package takes over its counters."""
        topology = self.root / "devices/system/cpu"
        (topology / f"cpu{cpu}").rename(topology / f"cpu{to}")
        for name, meter in [*self.meters.items()]:
            if meter.cpu == cpu:
                moved = replace(meter, cpu=to)
                self.meters[moved.name] = moved
                self._states[moved.name] = self._states.pop(name)
                del self.meters[name]
        self._announce()

    def _announce(self) -> None:
        for pmu in {meter.pmu for meter in self.meters.values()}:
            _announce(self.root, pmu, [m for m in self.meters.values() if m.pmu == pmu])

    @property
    def still_open(self) -> int:
        """How many counters were opened and not closed."""
        return sum(not event.closed for event in self.events)


def matching(meters: Collection[PmuMeter], type: int, config: int, cpu: int) -> PmuMeter | int:
    """The counter that a system call with these arguments means, or the kernel's error."""
    if type not in {TYPES[meter.pmu] for meter in meters}:
        return errno.ENOENT
    events = [m for m in meters if (TYPES[m.pmu], CONFIGS[m.event]) == (type, config)]
    if not events:
        return errno.EINVAL
    return next((meter for meter in events if meter.cpu == cpu), errno.ENODEV)


def _announce(root: Path, pmu: str, meters: Iterable[PmuMeter]) -> None:
    folder = root / "bus/event_source/devices" / pmu
    meters = list(meters)
    cpus = ",".join(str(cpu) for cpu in sorted({meter.cpu for meter in meters}))
    _write(folder, {"type": TYPES[pmu], "cpumask": cpus})
    _write(folder / "format", {"event": "config:0-7"})
    for event in {meter.event for meter in meters}:
        text = f"event=0x{CONFIGS[event]:02x}"
        scale = f"{SCALE_J:.22e}"
        files = {event: text, f"{event}.unit": "Joules", f"{event}.scale": scale}
        _write(folder / "events", files)


def _write(folder: Path, files: Mapping[str, object]) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    for name, content in files.items():
        (folder / name).write_text(f"{content}\n")

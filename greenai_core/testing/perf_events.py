"""The system call perf_event_open of a machine with known power, for other processes.

A small C library (``perf_event_simulator.c``) is put before libc's by ``LD_PRELOAD``. It
checks what it is asked as Linux does, and shows counts that follow the system's monotonic
clock, so whatever opens the counters runs unchanged, in any language::

    with PerfEventSimulator(PowerPmu.xeon(folder / "sys")) as kernel:
        subprocess.run([...], env=kernel.environment())
        truth = kernel.energy("energy-pkg@0", start, end)  # of time.perf_counter
"""

from __future__ import annotations

import errno
import functools
import itertools
import math
import mmap
import os
import struct
import tempfile
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING

from greenai_core.clock import SYSTEM_CLOCK

from .c_library import built
from .power_pmu import CONFIGS, TYPES, PowerPmu

if TYPE_CHECKING:
    from typing_extensions import Self

LIBRARY = "libgreenai-perf.so"
VARIABLE = "GREENAI_PERF_SIMULATOR"

MAX_METERS = 64
MAX_STEPS = 32

_MACHINE = struct.Struct("@IiiiIIII")
_METER = struct.Struct("@IIiidddddiI")
_STEP = struct.Struct("@dd")
_METER_BYTES = _METER.size + MAX_STEPS * _STEP.size
_FIELDS = {"read_errno": ("i", 12), "stuck_at": ("d", 40), "reset_at": ("d", 48)}
_ANSWER = ("i", 56)
_STEPS = ("I", 60)


@functools.lru_cache(maxsize=1)
def build_library() -> Path:
    """Build the library, once a process; it is removed when the process ends.

    Raises:
        PluginUnavailable: there is no C compiler, or it failed.
    """
    source = Path(__file__).with_name("perf_event_simulator.c")
    flags = "-Wall", "-ldl", "-lpthread", "-lm"
    return built(source, LIBRARY, "the simulator of perf_event_open", *flags)


class PerfEventSimulator:
    """The kernel of a simulated machine; a context manager.

    Args:
        pmu: the machine; its loads must be constant watts.
        paranoid: ``kernel.perf_event_paranoid``.
        capable: whether the processes have CAP_PERFMON.
    """

    def __init__(self, pmu: PowerPmu, *, paranoid: int = 0, capable: bool = False) -> None:
        if len(pmu.meters) > MAX_METERS:
            raise ValueError(f"the simulator has room for {MAX_METERS} counters")
        self.pmu = pmu
        self.paranoid = paranoid
        self.capable = capable
        self._names = [*pmu.meters]
        self._steps: dict[str, list[tuple[float, float]]] = {}
        self._folder: tempfile.TemporaryDirectory[str] | None = None
        self._memory: mmap.mmap | None = None

    def __enter__(self) -> Self:
        build_library()
        self._folder = tempfile.TemporaryDirectory(prefix="greenai-perf-")
        file = Path(self._folder.name) / "machine"
        file.write_bytes(bytes(_MACHINE.size + MAX_METERS * _METER_BYTES))
        with file.open("r+b") as opened:
            self._memory = mmap.mmap(opened.fileno(), 0)
        head = len(self._names), self.paranoid, int(self.capable), 0, 0, 0, 0, 0
        _MACHINE.pack_into(self._memory, 0, *head)
        began = SYSTEM_CLOCK.now() - 1.0
        for name, meter in self.pmu.meters.items():
            facts = TYPES[meter.pmu], CONFIGS[meter.event], meter.cpu, 0
            energies = meter.unit_j, meter.start_j, meter.falls_by_j, math.inf, -math.inf
            _METER.pack_into(self._memory, self._offset(name), *facts, *energies, -1, 0)
            self._steps[name] = []
            self.set_power(name, meter.profile.power(began), at=began)
        return self

    def __exit__(self, *error: object) -> None:
        if self._memory is not None:
            self._memory.close()
            self._memory = None
        if self._folder is not None:
            self._folder.cleanup()
            self._folder = None

    def environment(self, base: Mapping[str, str] | None = None) -> dict[str, str]:
        """Environment for a subprocess that shall run on this kernel."""
        if self._folder is None:
            raise RuntimeError("the perf_event simulator is used outside its with block")
        env = dict(os.environ if base is None else base)
        env["LD_PRELOAD"] = ":".join(filter(None, [str(build_library()), env.get("LD_PRELOAD")]))
        env[VARIABLE] = str(Path(self._folder.name) / "machine")
        return env

    # What happens to the machine

    def set_power(self, name: str, watts: float, *, at: float | None = None) -> float:
        """Let the true power of a counter be this from now on; returns the instant."""
        at = SYSTEM_CLOCK.now() if at is None else at
        steps = self._steps[name]
        if len(steps) == MAX_STEPS or (steps and at < steps[-1][0]):
            raise ValueError(f"at most {MAX_STEPS} steps of power, and each after the one before")
        offset = self._offset(name) + _METER.size + len(steps) * _STEP.size
        _STEP.pack_into(self._mapped(), offset, at, watts)
        steps.append((at, watts))
        self._set(name, _STEPS, len(steps))
        return at

    def fail(self, name: str, code: int = errno.EIO) -> None:
        """Reads end in this error; 0 ends it."""
        self._set(name, _FIELDS["read_errno"], code)

    def stick(self, name: str) -> None:
        """Stop counting, as when all CPUs of the package go offline."""
        self._set(name, _FIELDS["stuck_at"], SYSTEM_CLOCK.now())

    def reset(self, name: str) -> None:
        """Count from 0 again."""
        self._set(name, _FIELDS["reset_at"], SYSTEM_CLOCK.now())

    def cut(self, name: str, size: int) -> None:
        """Reads give so many bytes; 0 is the end of the file, as when the driver is gone."""
        self._set(name, _ANSWER, size)

    def refuse(self, code: int) -> None:
        """Opening fails with this error, as behind a seccomp filter; 0 ends it."""
        struct.pack_into("@i", self._mapped(), 12, code)

    # What it saw

    @property
    def calls(self) -> dict[str, int]:
        """How many counters were opened, closed, read and refused."""
        values = struct.unpack_from("@IIII", self._mapped(), 16)
        return dict(zip(("opened", "closed", "reads", "refused"), values, strict=True))

    def energy(self, name: str, start: float, end: float) -> float:
        """The truth: joules of a counter between two instants of ``time.perf_counter``."""
        steps = [*self._steps[name], (math.inf, 0.0)]
        return sum(
            watts * max(min(after, end) - max(begun, start), 0.0)
            for (begun, watts), (after, _) in itertools.pairwise(steps)
        )

    def _offset(self, name: str) -> int:
        return _MACHINE.size + self._names.index(name) * _METER_BYTES

    def _set(self, name: str, field: tuple[str, int], value: float) -> None:
        code, place = field
        struct.pack_into(f"@{code}", self._mapped(), self._offset(name) + place, value)

    def _mapped(self) -> mmap.mmap:
        if self._memory is None:
            raise RuntimeError("the perf_event simulator is used outside its with block")
        return self._memory

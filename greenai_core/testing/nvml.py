"""Simulated NVIDIA boards of known power, behind the real nvidia-ml-py.

A small C library with NVML's entry points (``nvml_simulator.c``) is built as
``libnvidia-ml.so.1`` and takes the driver's place, in a subprocess or in this
process::

    with NvmlSimulator([SimulatedBoard(watts=300.0)]) as simulator:
        subprocess.run([...], env=simulator.environment())
        with simulator.installed():
            ...  # import pynvml, and what uses it
        truth = simulator.energy(0, began, ended)
"""

from __future__ import annotations

import ctypes
import functools
import itertools
import math
import mmap
import os
import struct
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

from greenai_core.clock import SYSTEM_CLOCK, Clock

from .c_library import built
from .clock import hold
from .nvml_board import SimulatedBoard, configuration

if TYPE_CHECKING:
    from typing_extensions import Self

LIBRARY = "libnvidia-ml.so.1"
CONFIG_VARIABLE = "GREENAI_NVML_SIMULATOR"

MAX_BOARDS = 16
MAX_STEPS = 1024
HISTORY_S = 10.0
"""The boards have been on for so long when the simulator begins."""

_HEAD = struct.Struct("@ddddIIIiII")
_STEP = struct.Struct("@dd")
_CONTROL_BYTES = _HEAD.size + MAX_STEPS * _STEP.size
_LOST_OFFSET, _FROZEN_OFFSET, _RESET_OFFSET, _LATENCY_OFFSET = 0, 8, 16, 24
_LIMIT_OFFSET = 32
_STEPS_OFFSET = 36
_FLAGS_OFFSET = 40
_CODE_OFFSET = 44
_FLOOR_OFFSET = 48
_CLOCK_OFFSET = 52
_FORBIDDEN = 1
_STUBBORN = 2
_ZERO = 4
_CLOCK = ctypes.CFUNCTYPE(ctypes.c_double)
_SLEEP = ctypes.CFUNCTYPE(None, ctypes.c_double)


@functools.lru_cache(maxsize=1)
def build_library() -> Path:
    """Build the library, once a process; it is removed when the process ends.

    Raises:
        PluginUnavailable: there is no C compiler, or it failed.
    """
    source = Path(__file__).with_name("nvml_simulator.c")
    flags = f"-Wl,-soname,{LIBRARY}", "-lm", "-lpthread"
    return built(source, LIBRARY, "the NVML simulator", *flags)


class NvmlSimulator:
    """A machine with these boards; a context manager.

    All times are seconds of its clock. The default, ``time.perf_counter``, is on
    Linux the clock of the library too.
    """

    def __init__(
        self,
        boards: Sequence[SimulatedBoard] = (SimulatedBoard(),),
        *,
        driver_version: str = "550.54.15",
        faults: Mapping[str, int] | None = None,
        clock: Clock = SYSTEM_CLOCK,
    ) -> None:
        """A machine with these boards.

        Args:
            boards: in PCI order; none at all is a machine whose boards are gone.
            driver_version: what NVML gives.
            faults: NVML function without a board -> error code it gives.
            clock: of the boards; another than the system's only with ``installed``.
        """
        if len(boards) > MAX_BOARDS:
            raise ValueError(f"the simulator has room for {MAX_BOARDS} boards, not {len(boards)}")
        self.boards = tuple(boards)
        self.driver_version = driver_version
        self.faults = dict(faults or {})
        self.clock = clock
        self.origin = 0.0
        self._steps: list[list[tuple[float, float]]] = []
        self._folder: tempfile.TemporaryDirectory[str] | None = None
        self._control: mmap.mmap | None = None
        self._library: ctypes.CDLL | None = None

    def __enter__(self) -> Self:
        build_library()
        self.origin = self.clock.now() - HISTORY_S
        self._folder = tempfile.TemporaryDirectory(prefix="greenai-nvml-")
        folder = Path(self._folder.name)
        control = folder / "control"
        control.write_bytes(bytes(MAX_BOARDS * _CONTROL_BYTES))
        with control.open("r+b") as file:
            self._control = mmap.mmap(file.fileno(), 0)
        self._steps = [[] for _ in self.boards]
        for index, board in enumerate(self.boards):
            limit = round(board.default_w * 1000)
            start = math.inf, math.inf, -math.inf, 0.0, limit, 0, 0, 0, 0, 0
            _HEAD.pack_into(self._control, index * _CONTROL_BYTES, *start)
            self.set_power(index, board.watts, at=self.origin)
        (folder / "boards.txt").write_text(self._configuration(control), encoding="utf-8")
        return self

    def __exit__(self, *error: object) -> None:
        if self._control is not None:
            self._control.close()
            self._control = None
        if self._folder is not None:
            self._folder.cleanup()
            self._folder = None

    # Using it

    def environment(self, base: Mapping[str, str] | None = None) -> dict[str, str]:
        """Environment for a subprocess that shall see these boards.

        Args:
            base: what to begin with; this process's environment by default.

        Raises:
            RuntimeError: the boards have a clock that another process cannot share.
        """
        if self.clock is not SYSTEM_CLOCK:
            raise RuntimeError("a subprocess cannot share the clock of this NVML simulator")
        env = dict(os.environ if base is None else base)
        paths = [str(build_library().parent), env.get("LD_LIBRARY_PATH", "")]
        env["LD_LIBRARY_PATH"] = ":".join(path for path in paths if path)
        env[CONFIG_VARIABLE] = str(self._path("boards.txt"))
        return env

    @contextmanager
    def installed(self) -> Iterator[Self]:
        """Let pynvml see these boards in this process, until the end of the block."""
        import pynvml

        before, configured = pynvml.nvmlLib, os.environ.get(CONFIG_VARIABLE)
        os.environ[CONFIG_VARIABLE] = str(self._path("boards.txt"))
        self._library = ctypes.CDLL(str(build_library()))
        clock = _CLOCK() if self.clock is SYSTEM_CLOCK else _CLOCK(self.clock.now)
        self._library.nvmlSimulatorClock(clock)
        sleep = (
            _SLEEP() if self.clock is SYSTEM_CLOCK else _SLEEP(functools.partial(hold, self.clock))
        )
        self._library.nvmlSimulatorSleep(sleep)
        # What pynvml itself does when it loads the driver's library by its name; a
        # machine that has one may have loaded it before.
        pynvml.nvmlLib = self._library
        pynvml._nvmlGetFunctionPointer_cache.clear()
        try:
            yield self
        finally:
            while self.initialised:
                pynvml.nvmlShutdown()
            self._library.nvmlSimulatorClock(_CLOCK())
            self._library.nvmlSimulatorSleep(_SLEEP())
            pynvml.nvmlLib = before
            pynvml._nvmlGetFunctionPointer_cache.clear()
            _unload(self._library)
            self._library = None
            if configured is None:
                del os.environ[CONFIG_VARIABLE]
            else:
                os.environ[CONFIG_VARIABLE] = configured

    @property
    def initialised(self) -> int:
        """How many times NVML is initialised in this process; 0 outside ``installed``."""
        return int(self._library.nvmlSimulatorInitialised()) if self._library else 0

    # What happens to the boards

    def uuid(self, board: int) -> str:
        """UUID of a board, as NVML gives it."""
        return self.boards[board].uuid or f"GPU-{board:08x}-5151-4242-8383-00000000{board:04x}"

    def set_power(self, board: int, watts: float, *, at: float | None = None) -> float:
        """Let the true power be this from now on.

        Args:
            board: its index.
            watts: without the pulses.
            at: the instant instead of now; not before that of the call before.

        Returns:
            The instant.
        """
        at = self.clock.now() if at is None else at
        steps = self._steps[board]
        if len(steps) == MAX_STEPS or (steps and at < steps[-1][0]):
            raise ValueError(f"at most {MAX_STEPS} steps of power, and each after the one before")
        control, offset = self._mapped(), board * _CONTROL_BYTES
        _STEP.pack_into(control, offset + _HEAD.size + len(steps) * _STEP.size, at, watts)
        steps.append((at, watts))
        struct.pack_into("@I", control, offset + _STEPS_OFFSET, len(steps))
        return at

    def lose(self, board: int, *, at: float | None = None) -> None:
        """Let a board fall off the bus, now or at an instant."""
        at = self.clock.now() if at is None else at
        self._put("@d", board, _LOST_OFFSET, at)

    def fail(self, board: int, code: int) -> None:
        """Let every call on the board give this error code from now on; 0 heals it."""
        self._put("@i", board, _CODE_OFFSET, code)

    def freeze(self, board: int) -> None:
        """Let the board show the energy and power of this instant from now on."""
        self._put("@d", board, _FROZEN_OFFSET, self.clock.now())

    def reset(self, board: int) -> None:
        """Let the energy counter begin at 0 again, as when the driver is loaded anew."""
        self._put("@d", board, _RESET_OFFSET, self.clock.now())

    def zero(self, board: int) -> None:
        """Let the board show 0 J and 0 W from now on."""
        self._flag(board, _ZERO)

    def slow_down(self, board: int, seconds: float) -> None:
        """Let every read of the board's energy or power take so much longer from now on."""
        self._put("@d", board, _LATENCY_OFFSET, seconds)

    def _put(self, kind: str, board: int, offset: int, value: float) -> None:
        struct.pack_into(kind, self._mapped(), board * _CONTROL_BYTES + offset, value)

    def forbid(self, board: int) -> None:
        """Take away the permission to set the power limit."""
        self._flag(board, _FORBIDDEN)

    def make_stubborn(self, board: int) -> None:
        """Let the board keep its power limit, while setting it succeeds."""
        self._flag(board, _STUBBORN)

    def clamp(self, board: int, watts: float) -> None:
        """Let the board take limits below this, and keep this one instead."""
        self._put("@I", board, _FLOOR_OFFSET, round(watts * 1000))

    def _flag(self, board: int, flag: int) -> None:
        control, offset = self._mapped(), board * _CONTROL_BYTES + _FLAGS_OFFSET
        flags = struct.unpack_from("@I", control, offset)[0]
        struct.pack_into("@I", control, offset, flags | flag)

    def limit_w(self, board: int) -> float:
        """The power limit in force, whoever set it, W."""
        offset = board * _CONTROL_BYTES + _LIMIT_OFFSET
        return float(struct.unpack_from("@I", self._mapped(), offset)[0]) / 1000

    def locked_mhz(self, board: int) -> int:
        """The highest clock that somebody locked, MHz; 0 where nobody did."""
        offset = board * _CONTROL_BYTES + _CLOCK_OFFSET
        return int(struct.unpack_from("@I", self._mapped(), offset)[0])

    # The truth

    def energy(self, board: int, start: float, end: float) -> float:
        """What the board really used between two instants, J."""
        return self._since_origin(board, end) - self._since_origin(board, start)

    def module_energy(self, board: int, start: float, end: float) -> float:
        """What its module really used between two instants, the board included, J."""
        return self.energy(board, start, end) + (self.boards[board].module_w or 0.0) * (end - start)

    def _since_origin(self, board: int, instant: float) -> float:
        steps = [*self._steps[board], (math.inf, 0.0)]
        joules = sum(
            watts * max(min(after, instant) - begun, 0.0)
            for (begun, watts), (after, _) in itertools.pairwise(steps)
        )
        pulses = self.boards[board].pulses
        if pulses is not None:
            whole, part = divmod(instant - self.origin, pulses.period_s)
            on = pulses.duty * pulses.period_s
            joules += pulses.watts * (whole * on + min(part, on))
        return joules

    # Files

    def _path(self, name: str) -> Path:
        if self._folder is None:
            raise RuntimeError("the NVML simulator is used outside its with block")
        return Path(self._folder.name) / name

    def _mapped(self) -> mmap.mmap:
        if self._control is None:
            raise RuntimeError("the NVML simulator is used outside its with block")
        return self._control

    def _configuration(self, control: Path) -> str:
        lines = [
            f"driver_version {self.driver_version}",
            f"origin {self.origin!r}",
            f"control {control}",
            *(f"fail {call} {code}" for call, code in self.faults.items()),
        ]
        for index, board in enumerate(self.boards):
            lines += [f"board {self.uuid(index)}", *configuration(board)]
        return "\n".join(lines) + "\n"


def _unload(library: ctypes.CDLL) -> None:
    # Otherwise whoever asks for libnvidia-ml.so.1 later in this process would get it.
    import _ctypes

    _ctypes.dlclose(library._handle)

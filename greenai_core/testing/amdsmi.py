"""Simulated AMD boards of known power, behind the real Python package amdsmi.

A small C library with all entry points of ``libamd_smi.so`` is built from the names
that the installed package looks up, and hands each call to Python::

    with AmdSmiSimulator([SimulatedAmdBoard(watts=500.0)], clock=clock).installed():
        ...  # import amdsmi, and what uses it; in this process only
"""

from __future__ import annotations

import ctypes
import functools
import importlib.util
import os
import re
import sys
import tempfile
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from greenai_core.clock import SYSTEM_CLOCK, Clock
from greenai_core.errors import PluginUnavailable

from .c_library import built
from .hardware import Latch
from .profiles import Constant, PowerProfile

SUCCESS, NOT_SUPPORTED, NO_PERMISSION, NOT_FOUND, NOT_INITIALISED = 0, 2, 10, 31, 32
STEP_J = 2.0**-16
UNFILLED = 0xFFFFFFFF

_HOOK = ctypes.CFUNCTYPE(ctypes.c_long, ctypes.c_int, *[ctypes.c_void_p] * 6)
_CALL = "long {name}(long a, long b, long c, long d, long e, long f)"
_CALL += " {{ return hook ? hook({index}, a, b, c, d, e, f) : 32; }}\n"
_HEAD = "typedef long (*hook_t)(int, long, long, long, long, long, long);\n"
_HEAD += "static hook_t hook;\nvoid greenai_hook(hook_t f) { hook = f; }\n"


@dataclass
class SimulatedAmdBoard:
    """One board.

    Attributes:
        watts: its power, or a profile of the clock's seconds.
        name: of the product.
        address: on the PCI bus.
        counter: ``moves``, ``stuck`` (as on some MI100), or ``none`` (as on Radeon).
        counted: joules on the counter for each joule used.
        power: ``current`` (MI300), ``average`` (earlier), ``none``, or ``zero`` (the
            second die of an MI250).
        partitions: devices that it is divided into, functions of one place on the bus.
        latch: when the counter takes over a new value.
        fault: status that each read gives; 0 for none.
        reset_at: instant at which the counter began again at 0; None for never.
    """

    watts: float | PowerProfile = 300.0
    name: str = "AMD Instinct MI300X"
    address: str = "0000:c1:00.0"
    counter: str = "moves"
    counted: float = 1.0
    power: str = "current"
    partitions: int = 1
    latch: Latch = Latch(1e-3)  # noqa: RUF009  # immutable
    fault: int = 0
    reset_at: float | None = None

    @property
    def profile(self) -> PowerProfile:
        """The power, as a profile."""
        return self.watts if isinstance(self.watts, PowerProfile) else Constant(float(self.watts))


class AmdSmiSimulator:
    """A machine with these boards.

    Args:
        boards: in PCI order; may be changed meanwhile.
        clock: of the boards.
    """

    def __init__(
        self, boards: Sequence[SimulatedAmdBoard] = (), *, clock: Clock = SYSTEM_CLOCK
    ) -> None:
        self.boards = list(boards)
        self.clock = clock
        self.initialised = 0
        """How often ``amdsmi_init`` was called and not undone."""
        self.refusal = SUCCESS
        """Status that ``amdsmi_init`` gives."""
        self._stands: dict[int, int] = {}

    def energy_j(self, board: int, start: float, end: float) -> float:
        """True energy between two instants of the clock, J."""
        return self.boards[board].profile.energy(start, end)

    @contextmanager
    def installed(self) -> Iterator[AmdSmiSimulator]:
        """Take the place of AMD's library in this process.

        Raises:
            PluginUnavailable: the package amdsmi or a C compiler is missing.
        """
        folder, names = build_library()
        library = ctypes.CDLL(str(folder / "lib" / "libamd_smi.so"))
        hook = _HOOK(functools.partial(self._called, names))
        before = os.environ.get("ROCM_HOME")
        os.environ["ROCM_HOME"] = str(folder)
        _forget()
        library.greenai_hook(hook)
        try:
            yield self
        finally:
            library.greenai_hook(None)
            _forget()
            if before is None:
                del os.environ["ROCM_HOME"]
            else:
                os.environ["ROCM_HOME"] = before

    def _called(self, names: Sequence[str], index: int, *arguments: int | None) -> int:
        name = names[index].removeprefix("amdsmi_")
        answer: Callable[..., int] | None = getattr(self, f"_{name}", None)
        if name not in ("init", "shut_down") and not self.initialised:
            return NOT_INITIALISED
        return NOT_SUPPORTED if answer is None else answer(*arguments)

    # What the library does; each takes the pointers that it was given.

    def _init(self, *_: Any) -> int:
        self.initialised += self.refusal == SUCCESS
        return self.refusal

    def _shut_down(self, *_: Any) -> int:
        self.initialised -= 1
        return SUCCESS

    def _get_socket_handles(self, count: int, handles: int | None, *_: Any) -> int:
        return _list(count, handles, range(1, len(self.boards) + 1))

    def _get_processor_handles(self, socket: int, count: int, handles: int | None, *_: Any) -> int:
        partitions = self.boards[socket - 1].partitions
        return _list(count, handles, range(socket * 100, socket * 100 + partitions))

    def _board(self, handle: int) -> SimulatedAmdBoard:
        return self.boards[handle // 100 - 1]

    def _get_gpu_device_bdf(self, handle: int, place: int, *_: Any) -> int:
        domain, bus, rest = self._board(handle).address.split(":")
        device, function = rest.split(".")
        number = int(function) + handle % 100
        number |= int(device, 16) << 3 | int(bus, 16) << 8 | int(domain, 16) << 16
        _put(place, ctypes.c_uint64, number)
        return SUCCESS

    def _get_gpu_asic_info(self, handle: int, info: int, *_: Any) -> int:
        filled = _struct("amdsmi_asic_info_t", info)
        filled.market_name = self._board(handle).name.encode()
        filled.vendor_name = b"Advanced Micro Devices"
        filled.asic_serial = b"1234"
        return SUCCESS

    def _get_energy_count(self, handle: int, count: int, step: int, time: int, *_: Any) -> int:
        board = self._board(handle)
        if board.fault or board.counter == "none":
            return board.fault or NOT_SUPPORTED
        now = board.latch.before(self.clock.now())
        since = 0.0 if board.reset_at is None else min(board.reset_at, now)
        stands = int(board.counted * board.profile.energy(since, now) / STEP_J)
        key = handle // 100
        if board.counter == "stuck":
            stands = self._stands.setdefault(key, stands)
        _put(count, ctypes.c_uint64, stands)
        _put(step, ctypes.c_float, 15.3)
        _put(time, ctypes.c_uint64, int(now * 1e9))
        return SUCCESS

    def _get_power_info(self, handle: int, info: int, *_: Any) -> int:
        board = self._board(handle)
        if board.fault or board.power == "none":
            return board.fault or NOT_SUPPORTED
        watts = 0 if board.power == "zero" else round(board.profile.power(self.clock.now()))
        filled = _struct("amdsmi_power_info_t", info)
        filled.current_socket_power = UNFILLED if board.power == "average" else watts
        filled.average_socket_power = watts if board.power == "average" else UNFILLED
        return SUCCESS

    def _get_gpu_activity(self, handle: int, info: int, *_: Any) -> int:
        if self._board(handle).fault:
            return self._board(handle).fault
        _struct("amdsmi_engine_usage_t", info).gfx_activity = 87
        return SUCCESS

    def _get_gpu_vram_usage(self, handle: int, info: int, *_: Any) -> int:
        filled = _struct("amdsmi_vram_usage_t", info)
        filled.vram_total, filled.vram_used = 196_592, 1024
        return SUCCESS

    def _get_temp_metric(self, handle: int, kind: int, metric: int, value: int, *_: Any) -> int:
        _put(value, ctypes.c_int64, 61)
        return SUCCESS


@functools.lru_cache(maxsize=1)
def build_library() -> tuple[Path, tuple[str, ...]]:
    """Build the library, once a process.

    Returns:
        A folder to be ``ROCM_HOME``, and the names of the library's functions.

    Raises:
        PluginUnavailable: the package amdsmi or a C compiler is missing, or it failed.
    """
    found = importlib.util.find_spec("amdsmi")
    if found is None or found.origin is None:
        raise PluginUnavailable("the package amdsmi is not installed", "pip install amdsmi")
    wrapper = Path(found.origin).with_name("amdsmi_wrapper.py").read_text(encoding="utf-8")
    names = tuple(sorted(set(re.findall(r"_libraries\['libamd_smi.so'\]\.(\w+)", wrapper))))
    calls = (_CALL.format(name=name, index=index) for index, name in enumerate(names))
    with tempfile.TemporaryDirectory() as folder:
        source = Path(folder) / "simulator.c"
        source.write_text(_HEAD + "".join(calls))
        library = built(source, "lib/libamd_smi.so", "the simulator of AMD SMI")
    return library.parents[1], names


def _forget() -> None:
    for name in [name for name in sys.modules if name.partition(".")[0] == "amdsmi"]:
        del sys.modules[name]


def _list(count: int, handles: int | None, numbers: Sequence[int]) -> int:
    """Tell how many there are, or fill the array that was made for them."""
    _put(count, ctypes.c_uint32, len(numbers))
    if handles:
        array = (ctypes.c_void_p * len(numbers)).from_address(handles)
        for place, number in enumerate(numbers):
            array[place] = number
    return SUCCESS


def _put(address: int, kind: Any, value: float) -> None:
    kind.from_address(address).value = value


def _struct(name: str, address: int) -> Any:
    """The package's own idea of a structure, at the place that it gave us."""
    return getattr(sys.modules["amdsmi.amdsmi_wrapper"], name).from_address(address)

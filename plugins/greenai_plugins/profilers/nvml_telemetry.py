"""What NVML tells of a board beside its energy."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

from greenai_core import Observation
from greenai_plugins.nvml_boards import Board, absent

Ask = Callable[[Any, Any], float]

# Where a newer call exists it comes first; drivers and nvidia-ml-py of other ages lack one of them.
_QUANTITIES: Sequence[tuple[str, str, Sequence[Ask]]] = (
    ("utilisation", "%", [lambda nvml, h: nvml.nvmlDeviceGetUtilizationRates(h).gpu]),
    ("memory_utilisation", "%", [lambda nvml, h: nvml.nvmlDeviceGetUtilizationRates(h).memory]),
    (
        "memory_used",
        "B",
        [
            # Version 2 leaves out what the driver keeps for itself.
            lambda nvml, h: nvml.nvmlDeviceGetMemoryInfo(h, nvml.nvmlMemory_v2).used,
            lambda nvml, h: nvml.nvmlDeviceGetMemoryInfo(h).used,
        ],
    ),
    (
        "temperature",
        "°C",
        [
            lambda nvml, h: nvml.nvmlDeviceGetTemperatureV(h, nvml.NVML_TEMPERATURE_GPU),
            lambda nvml, h: nvml.nvmlDeviceGetTemperature(h, nvml.NVML_TEMPERATURE_GPU),
        ],
    ),
    ("clock", "MHz", [lambda nvml, h: nvml.nvmlDeviceGetClockInfo(h, nvml.NVML_CLOCK_SM)]),
    ("memory_clock", "MHz", [lambda nvml, h: nvml.nvmlDeviceGetClockInfo(h, nvml.NVML_CLOCK_MEM)]),
    ("power_limit", "W", [lambda nvml, h: nvml.nvmlDeviceGetEnforcedPowerLimit(h) / 1000]),
    (
        "throttling",
        "bits",
        [
            lambda nvml, h: nvml.nvmlDeviceGetCurrentClocksEventReasons(h),
            lambda nvml, h: nvml.nvmlDeviceGetCurrentClocksThrottleReasons(h),
        ],
    ),
)


def observe_board(nvml: Any, board: Board) -> list[Observation]:
    """What the board tells now; what it does not have is left out.

    Raises:
        NVMLError: of pynvml; the board does not answer.
    """
    observations = []
    for quantity, unit, ways in _QUANTITIES:
        value = _first(nvml, board, ways)
        if value is not None:
            observations.append(Observation(board.id, quantity, float(value), unit))
    return observations


def _first(nvml: Any, board: Board, ways: Sequence[Ask]) -> float | None:
    for ask in ways:
        try:
            return ask(nvml, board.handle)
        except AttributeError:
            continue  # this nvidia-ml-py is older than the call
        except nvml.NVMLError as error:
            if not absent(nvml, error) and error.value != nvml.NVML_ERROR_NO_PERMISSION:
                raise
    return None


def process_shares(nvml: Any, board: Board, since_us: int) -> tuple[dict[int, float], int] | None:
    """Share of the board's time that each process used, by its PID; the board's idea of it.

    It is the share of time in which the process had a kernel running on the streaming
    multiprocessors, so shares of processes that overlap add up to more than the
    board's utilisation.

    Args:
        nvml: the module pynvml.
        board: which.
        since_us: samples up to this time stamp of the board are left out.

    Returns:
        The shares, and the newest time stamp for the next call; None where the board
        does not tell, as with MIG.

    Raises:
        NVMLError: of pynvml; the board does not answer.
    """
    try:
        samples = nvml.nvmlDeviceGetProcessUtilization(board.handle, since_us)
    except AttributeError:
        return None
    except nvml.NVMLError as error:
        if error.value == nvml.NVML_ERROR_NOT_FOUND:
            return {}, since_us  # no process used it since then
        if absent(nvml, error) or error.value == nvml.NVML_ERROR_NO_PERMISSION:
            return None
        raise
    found: dict[int, list[float]] = {}
    for one in samples:
        # Drivers leave old entries and ones without a process in the buffer.
        if one.timeStamp > since_us and one.pid and one.smUtil <= 100:
            found.setdefault(one.pid, []).append(one.smUtil / 100)
    newest = max((one.timeStamp for one in samples), default=since_us)
    shares = {pid: sum(each) / len(each) for pid, each in found.items()}
    return shares, max(newest, since_us)

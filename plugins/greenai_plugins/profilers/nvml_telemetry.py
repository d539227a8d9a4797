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

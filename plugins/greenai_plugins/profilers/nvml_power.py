"""How the power of an NVIDIA board is read: what each generation and driver gives."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from greenai_plugins.nvml_boards import Board, absent

POWER_PERIOD_S = 0.1
"""Instant power of A100 and H100 is new every 100 ms (arXiv 2312.02741)."""

AVERAGING_S = 1.0

POWER_INSTANT_FIELD = 186
"""``NVML_FI_DEV_POWER_INSTANT`` of nvml.h, in mW; older nvidia-ml-py lack the name."""

GPU_SCOPE = 0
"""``NVML_POWER_SCOPE_GPU``: the board without the CPU that shares its module."""

PART_TIME_UNCERTAINTY = 0.05
PART_TIME = (
    "the sensor looks at 25 of every 100 ms; 5 % assumed for what it does not see, and more "
    "where the work repeats every 0.1 s or so"
)


@dataclass(frozen=True)
class PowerSource:
    """How the power of one board is read.

    Attributes:
        read: handle -> milliwatts.
        period_s: between two values that can differ.
        instant: whether it is the power at this instant, no average.
        description: for people.
    """

    read: Callable[[Any], int]
    period_s: float
    instant: bool
    description: str


def power_source(nvml: Any, board: Board) -> PowerSource | None:
    """The best reading of a board's power; None where it has none."""

    def instant(handle: Any) -> int:
        value = nvml.nvmlDeviceGetFieldValues(handle, [(POWER_INSTANT_FIELD, GPU_SCOPE)])[0]
        if value.nvmlReturn != nvml.NVML_SUCCESS:
            raise nvml.NVMLError(value.nvmlReturn)
        return _positive(nvml, value.value.uiVal)

    def usage(handle: Any) -> int:
        return _positive(nvml, nvml.nvmlDeviceGetPowerUsage(handle))

    try:
        instant(board.handle)
    except nvml.NVMLError as error:
        if absent(nvml, error):
            return _usage_source(nvml, board, usage)
    # After any other error too: then each reading says what is wrong.
    return PowerSource(
        instant,
        POWER_PERIOD_S,
        True,
        f"instant power, sampled; {PART_TIME}"
        if board.looks_part_time
        else "instant power, sampled",
    )


def _positive(nvml: Any, milliwatts: int) -> int:
    # A board that answers is on, so 0 means that it has no figure.
    if milliwatts <= 0:
        raise nvml.NVMLError(nvml.NVML_ERROR_NO_DATA)
    return int(milliwatts)


def _usage_source(nvml: Any, board: Board, read: Callable[[Any], int]) -> PowerSource | None:
    try:
        read(board.handle)
    except nvml.NVMLError as error:
        if absent(nvml, error):
            return None
    if not board.usage_is_mean:
        part_time = f"; {PART_TIME}" if board.looks_part_time else ""
        return PowerSource(read, POWER_PERIOD_S, True, f"power, sampled{part_time}")
    return PowerSource(
        read,
        AVERAGING_S,
        False,
        "power averaged over 1 s, sampled: windows of a few seconds are smeared",
    )

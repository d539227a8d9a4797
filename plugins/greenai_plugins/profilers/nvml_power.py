"""How the power of an NVIDIA board is read: what each generation and driver gives."""

from __future__ import annotations

import functools
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

from greenai_plugins.nvml_boards import Board, absent

POWER_PERIOD_S = 0.1
"""Instant power of A100 and H100 is new every 100 ms (arXiv 2312.02741)."""

AVERAGING_S = 1.0

POWER_INSTANT_FIELD = 186
"""``NVML_FI_DEV_POWER_INSTANT`` of nvml.h, in mW; older nvidia-ml-py lack the name."""

POWER_AVERAGE_FIELD = 185
"""``NVML_FI_DEV_POWER_AVERAGE``: the mean of 1 s."""

GPU_SCOPE = 0
"""``NVML_POWER_SCOPE_GPU``: the board without the CPU that shares its module."""

MODULE_SCOPE = 1
"""``NVML_POWER_SCOPE_MODULE``: on Grace-Hopper and Grace-Blackwell with that CPU and its memory."""

MODULE_LOOKS = 3
"""A new value comes between two scopes of so many looks in a row by no chance."""

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


def module_source(nvml: Any, board: Board) -> PowerSource | None:
    """The best reading of the power of the module that a board shares with a CPU.

    None for a board by itself, whatever its driver calls the module: both scopes are
    asked in one call, and tell the same there unless the board had a new value just in
    between, while a CPU never draws nothing.
    """
    for id, period_s, instant, what in (
        (POWER_INSTANT_FIELD, POWER_PERIOD_S, True, "instant power of the module, sampled"),
        (POWER_AVERAGE_FIELD, AVERAGING_S, False, "power of the module averaged over 1 s, sampled"),
    ):
        try:
            looks = [
                _fields(nvml, board.handle, id, (GPU_SCOPE, MODULE_SCOPE))
                for _ in range(MODULE_LOOKS)
            ]
        except nvml.NVMLError:
            continue
        if all(whole is not None and whole > (alone or 0) for alone, whole in looks):
            return PowerSource(functools.partial(_module, nvml, id), period_s, instant, what)
    return None


def _module(nvml: Any, id: int, handle: Any) -> int:
    (milliwatts,) = _fields(nvml, handle, id, (MODULE_SCOPE,))
    return _positive(nvml, milliwatts or 0)


def _fields(nvml: Any, handle: Any, id: int, scopes: Sequence[int]) -> list[int | None]:
    """A field of each scope, in one call; None where there is none.

    Raises:
        NVMLError: of pynvml; the board does not answer.
    """
    found: list[int | None] = []
    for value in nvml.nvmlDeviceGetFieldValues(handle, [(id, scope) for scope in scopes]):
        error = nvml.NVMLError(value.nvmlReturn) if value.nvmlReturn != nvml.NVML_SUCCESS else None
        if error is not None and not absent(nvml, error):
            raise error
        found.append(None if error is not None else int(value.value.uiVal) or None)
    return found


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

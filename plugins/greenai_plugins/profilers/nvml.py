"""NVIDIA boards, through NVML: their energy counter, or else their power."""

from __future__ import annotations

import functools
import math
from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Any, ClassVar

from greenai_core import (
    Channel,
    CounterProfiler,
    PluginUnavailable,
    PowerProfiler,
    ReadingError,
)
from greenai_plugins.nvml_boards import Board, explain
from greenai_plugins.profilers.nvml_base import FollowedBoards
from greenai_plugins.profilers.nvml_check import CounterCheck, Look
from greenai_plugins.profilers.nvml_power import (
    PART_TIME,
    PART_TIME_UNCERTAINTY,
    PowerSource,
    power_source,
)

GAIN_UNCERTAINTY = 0.056
GAIN_SOURCE = "NVML beside an external meter, published for 12 boards: RMS 5.6 % (-7.9 to +12.7 %)"

MODULE_GAIN_UNCERTAINTY = 0.10
MODULE_GAIN_SOURCE = "assumption for modules: none beside an external meter is published"

OF_MODULE = ", of the module with its CPU and memory: it contains the GPU"

COUNTER_PERIOD_S = 0.1
"""The counter moves every 10 to 100 ms, by the board; this is the careful end."""


class NvmlProfiler(FollowedBoards, CounterProfiler):
    """Boards with an energy counter (Volta and later).

    In the background of its first second or so, each counter is compared with the
    board's own power; see ``nvml_check``.

    Args:
        gpus: see ``option_names``.
    """

    name: ClassVar[str] = "nvml"
    priority: ClassVar[int] = 60

    def __init__(self, *, gpus: str = "") -> None:
        """Follow these boards; see ``option_names``."""
        super().__init__(gpus=gpus)
        self._check = CounterCheck()
        self._gains: dict[str, float] = {}

    def follow(self) -> None:
        """Begin to read, and to compare each counter with the power."""
        super().follow()
        looks = {
            id: Look(self._name(id), functools.partial(self._look, id, source))
            for id in self._boards
            if (source := self._power[id]) is not None and source.instant
        }
        self._gains = {self._name(c.id): c.gain_uncertainty for c in self.channels}
        self._check = CounterCheck(looks)
        self._check.begin(self.clock)

    def _name(self, id: str) -> str:
        board = self._boards[id]
        return str(board) if id == board.id else f"the module of {board}"

    def unfollow(self) -> None:
        """End both."""
        self._check.end()
        super().unfollow()

    def _look(self, id: str, source: PowerSource) -> tuple[float, float]:
        handle = self._boards[id].handle
        millijoules = self._nvml.nvmlDeviceGetTotalEnergyConsumption(handle)
        return millijoules / 1000, source.read(handle) / 1000

    def revised(self, channel: Channel) -> Channel:
        """With what the comparison of the counter with the power has shown so far."""
        verdict = self._check.verdict(channel.id)
        if verdict is None:
            return channel
        return replace(
            channel,
            gain_uncertainty=verdict.widened(channel.gain_uncertainty),
            gain_source=f"{channel.gain_source}; here the counter shows {verdict} "
            "what the board's own power adds up to",
        )

    def notes(self) -> Sequence[str]:
        """Which counters disagree with the power by more than 10 %."""
        self._check.wait()
        return [
            *super().notes(),
            *(
                f"{board}: its energy counter shows {verdict} what its own power adds up to, and "
                "which is right is not known; the gain's uncertainty is widened from "
                f"{self._gains[board]:.1%} to {verdict.widened(self._gains[board]):.1%} to cover "
                "both. "
                "Compare with a meter at the wall; work that repeats in step with a sensor that "
                "looks only part of the time (A100, H100) may be the cause too"
                for board, verdict in self._check.disagreements()
            ),
        ]

    def read(self, channel: Channel) -> int:
        """Millijoules since the driver was loaded.

        Raises:
            ReadingError: the board does not answer.
        """
        nvml, board = self._nvml, self._boards[channel.id]
        try:
            return int(nvml.nvmlDeviceGetTotalEnergyConsumption(board.handle))
        except nvml.NVMLError as error:
            raise ReadingError(explain(nvml, board, error)) from error

    def reader(self, channel: Channel) -> Callable[[], int]:
        """Asks the board."""
        handle = self._boards[channel.id].handle
        return functools.partial(self._nvml.nvmlDeviceGetTotalEnergyConsumption, handle)

    def read_power(self, channel: Channel) -> float | None:
        """Watts at this instant; None where NVML tells only an average, or nothing now."""
        source = self._power[channel.id]
        if source is None or not source.instant:
            return None
        try:
            return source.read(self._boards[channel.id].handle) / 1000
        except self._nvml.NVMLError:
            return None  # the joules stand without it, with a wider interval

    def _probe(self, nvml: Any, board: Board) -> None:
        nvml.nvmlDeviceGetTotalEnergyConsumption(board.handle)

    def _lacking(self, boards: Sequence[Board]) -> PluginUnavailable:
        return PluginUnavailable(
            f"{', '.join(map(str, boards))}: no energy counter, as on all boards before Volta",
            "Use the profiler nvml-power, which samples power",
        )

    def _channels_of(self, board: Board) -> Sequence[Channel]:
        # On GH200 the counter is that of the whole module (ml-energy/zeus, pull request 172).
        # Where a driver counts otherwise, the comparison with the module's power tells.
        on_module = board.module_id in self._power
        what = f"energy counter{OF_MODULE}" if on_module else "energy counter"
        return [
            Channel(
                board.module_id if on_module else board.id,
                "psys" if on_module else "gpu",
                "counter",
                resolution_j=1e-3,
                update_period_s=COUNTER_PERIOD_S,
                gain_uncertainty=MODULE_GAIN_UNCERTAINTY if on_module else GAIN_UNCERTAINTY,
                gain_source=MODULE_GAIN_SOURCE if on_module else GAIN_SOURCE,
                description=_describe(board, what),
            )
        ]


class NvmlPowerProfiler(FollowedBoards, PowerProfiler):
    """Boards that tell their power, sampled.

    The instant power where the driver gives it; otherwise
    ``nvmlDeviceGetPowerUsage``, which from Ampere on is a mean over 1 s, so that
    windows of a few seconds are smeared.

    Args:
        gpus: see ``option_names``.
    """

    name: ClassVar[str] = "nvml-power"
    priority: ClassVar[int] = 40

    def read_power(self, channel: Channel) -> float:
        """Watts of the board.

        Raises:
            ReadingError: the board does not answer.
        """
        nvml, board = self._nvml, self._boards[channel.id]
        source = self._power[channel.id]
        try:
            if source is None:
                raise nvml.NVMLError(nvml.NVML_ERROR_NOT_SUPPORTED)
            return source.read(board.handle) / 1000
        except nvml.NVMLError as error:
            raise ReadingError(explain(nvml, board, error)) from error

    def _probe(self, nvml: Any, board: Board) -> None:
        source = power_source(nvml, board)
        if source is None:
            raise nvml.NVMLError(nvml.NVML_ERROR_NOT_SUPPORTED)
        source.read(board.handle)

    def _lacking(self, boards: Sequence[Board]) -> PluginUnavailable:
        return PluginUnavailable(
            f"{', '.join(map(str, boards))}: tells no power",
            "Only a meter outside can measure it: see the profiler wattmeter",
        )

    def _channels_of(self, board: Board) -> Sequence[Channel]:
        module = self._power.get(board.module_id)
        return [self._channel(board), *([] if module is None else [_module(board, module)])]

    def _channel(self, board: Board) -> Channel:
        source = self._power[board.id]
        unseen = source is not None and source.instant and board.looks_part_time
        return Channel(
            board.id,
            "gpu",
            "sampled",
            contained_in=board.module_id if board.module_id in self._power else None,
            resolution_j=0.0,
            update_period_s=source.period_s if source else None,
            gain_uncertainty=math.hypot(GAIN_UNCERTAINTY, PART_TIME_UNCERTAINTY if unseen else 0.0),
            gain_source=f"{GAIN_SOURCE}; {PART_TIME}" if unseen else GAIN_SOURCE,
            load_uncertainty=PART_TIME_UNCERTAINTY if unseen else 0.0,
            description=_describe(board, source.description if source else "power"),
        )


def _module(board: Board, source: PowerSource) -> Channel:
    return Channel(
        board.module_id,
        "psys",
        "sampled",
        update_period_s=source.period_s,
        gain_uncertainty=MODULE_GAIN_UNCERTAINTY,
        gain_source=MODULE_GAIN_SOURCE,
        description=_describe(board, f"{source.description}{OF_MODULE}"),
    )


def _describe(board: Board, what: str) -> str:
    text = f"{board.name}, number {board.index} in nvidia-smi: {what}"
    if board.mig:
        text += "; MIG is on, and this is the whole board with all its instances"
    return text

"""NVIDIA boards, through NVML: their energy counter, or else their power."""

from __future__ import annotations

import functools
import importlib.util
import math
import sys
from abc import abstractmethod
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from typing import Any, ClassVar

from greenai_core import (
    Channel,
    CounterProfiler,
    LifecycleError,
    Observation,
    PluginUnavailable,
    PowerProfiler,
    Profiler,
    ReadingError,
    Telemetry,
)
from greenai_plugins.nvml_boards import (
    REQUIRES,
    Board,
    absent,
    borrowed,
    choose,
    explain,
    find_boards,
    initialise,
)
from greenai_plugins.profilers.nvml_check import CounterCheck, Look
from greenai_plugins.profilers.nvml_power import (
    PART_TIME,
    PART_TIME_UNCERTAINTY,
    PowerSource,
    power_source,
)
from greenai_plugins.profilers.nvml_telemetry import observe_board

GAIN_UNCERTAINTY = 0.056
GAIN_SOURCE = "NVML beside an external meter, published for 12 boards: RMS 5.6 % (-7.9 to +12.7 %)"

COUNTER_PERIOD_S = 0.1
"""The counter moves every 10 to 100 ms, by the board; this is the careful end."""


class _Boards(Telemetry, Profiler):
    """What both profilers have in common: NVML, and the boards that they follow."""

    requires: ClassVar[Mapping[str, str]] = REQUIRES
    option_names: ClassVar[Mapping[str, str]] = {
        "gpus": "boards by number of nvidia-smi or beginning of UUID, commas between, or `all`; "
        "default: those that CUDA_VISIBLE_DEVICES leaves"
    }

    def __init__(self, *, gpus: str = "") -> None:
        """Follow these boards; see ``option_names``."""
        super().__init__()
        self._gpus = str(gpus)
        self._nvml: Any = None
        self._boards: dict[str, Board] = {}
        self._power: dict[str, PowerSource | None] = {}

    def check_available(self) -> None:
        """Return if a board can be measured here.

        Raises:
            PluginUnavailable: no library, driver, board, or none with what it takes.
        """
        super().check_available()
        with borrowed() as nvml:
            self._choose(nvml)

    def connect(self) -> Sequence[Channel]:
        """Initialise NVML and find the boards.

        Raises:
            PluginUnavailable: no driver, no board, or none with what it takes.
        """
        nvml = initialise()
        try:
            boards = self._choose(nvml)
            self._power = {board.id: power_source(nvml, board) for board in boards}
        except BaseException:
            nvml.nvmlShutdown()
            raise
        self._nvml = nvml
        self._boards = {board.id: board for board in boards}
        return [self._channel(board) for board in boards]

    def disconnect(self) -> None:
        """Shut NVML down, unless others still use it."""
        nvml, self._nvml = self._nvml, None
        self._boards = {}
        self._power = {}
        nvml.nvmlShutdown()

    def observe(self) -> Sequence[Observation]:
        """Utilisation, memory, temperature, SM clock, and NVML's reasons for throttling.

        What a board does not tell is left out. The utilisation is NVML's own
        mean, over the last 1/6 s to 1 s by the board.

        Raises:
            LifecycleError: the profiler is not open.
            ReadingError: no board answers.
        """
        if self._nvml is None:
            raise LifecycleError(f"the profiler {self.name!r} is not open: call open() first")
        observations: list[Observation] = []
        failures = []
        for board in self._boards.values():
            try:
                observations += observe_board(self._nvml, board)
            except self._nvml.NVMLError as error:
                failures.append(explain(self._nvml, board, error))
        if failures and not observations:
            raise ReadingError("; ".join(failures))
        return observations

    def load_command(self, channel: Channel) -> Sequence[str] | None:
        """A program that multiplies matrices with PyTorch, where that is installed."""
        if importlib.util.find_spec("torch") is None:
            return None
        board = channel.id.removeprefix("gpu:")
        return [sys.executable, "-m", "greenai_plugins.cuda_load", board]

    def _choose(self, nvml: Any) -> list[Board]:
        chosen = choose(find_boards(nvml), self._gpus)
        lacking: list[tuple[Board, Exception]] = []
        failing: list[tuple[Board, Exception]] = []
        for board in chosen:
            try:
                self._probe(nvml, board)
            except nvml.NVMLError as error:
                (lacking if absent(nvml, error) else failing).append((board, error))
        named = self._gpus.strip() not in ("", "all")
        if len(lacking) == len(chosen) or (lacking and named):
            raise self._lacking([board for board, _ in lacking])
        if len(lacking) + len(failing) == len(chosen):
            raise PluginUnavailable(
                "; ".join(explain(nvml, *failure) for failure in failing),
                "See what nvidia-smi says of them",
            )
        # One that fails now keeps its channel: its readings will say why there are no joules.
        without = [board for board, _ in lacking]
        return [board for board in chosen if board not in without]

    @abstractmethod
    def _probe(self, nvml: Any, board: Board) -> None:
        """Raise NVML's error if the board cannot be read in this profiler's way."""

    @abstractmethod
    def _lacking(self, boards: Sequence[Board]) -> PluginUnavailable:
        """The error that says what these boards lack, and what to use for them."""

    @abstractmethod
    def _channel(self, board: Board) -> Channel:
        """The channel of a board."""


class NvmlProfiler(_Boards, CounterProfiler):
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

    def follow(self) -> None:
        """Begin to read, and to compare each counter with the power."""
        super().follow()
        looks = {
            id: Look(str(self._boards[id]), functools.partial(self._look, id, source))
            for id, source in self._power.items()
            if source is not None and source.instant
        }
        self._check = CounterCheck(looks)
        self._check.begin(self.clock)

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
            gain_uncertainty=verdict.widened(GAIN_UNCERTAINTY),
            gain_source=f"{GAIN_SOURCE}; here the counter shows {verdict} "
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
                f"{GAIN_UNCERTAINTY:.1%} to {verdict.widened(GAIN_UNCERTAINTY):.1%} to cover both. "
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

    def _channel(self, board: Board) -> Channel:
        return Channel(
            board.id,
            "gpu",
            "counter",
            resolution_j=1e-3,
            update_period_s=COUNTER_PERIOD_S,
            gain_uncertainty=GAIN_UNCERTAINTY,
            gain_source=GAIN_SOURCE,
            description=_describe(board, "energy counter"),
        )


class NvmlPowerProfiler(_Boards, PowerProfiler):
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

    def _channel(self, board: Board) -> Channel:
        source = self._power[board.id]
        unseen = source is not None and source.instant and board.looks_part_time
        return Channel(
            board.id,
            "gpu",
            "sampled",
            resolution_j=0.0,
            update_period_s=source.period_s if source else None,
            gain_uncertainty=math.hypot(GAIN_UNCERTAINTY, PART_TIME_UNCERTAINTY if unseen else 0.0),
            gain_source=f"{GAIN_SOURCE}; {PART_TIME}" if unseen else GAIN_SOURCE,
            load_uncertainty=PART_TIME_UNCERTAINTY if unseen else 0.0,
            description=_describe(board, source.description if source else "power"),
        )


def _describe(board: Board, what: str) -> str:
    text = f"{board.name}, number {board.index} in nvidia-smi: {what}"
    if board.mig:
        text += "; MIG is on, and this is the whole board with all its instances"
    return text

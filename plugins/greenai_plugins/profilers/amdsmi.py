"""AMD boards, through AMD SMI: their energy counter, or else their power."""

from __future__ import annotations

import functools
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
from greenai_plugins.amd_boards import (
    REQUIRES,
    Board,
    absent,
    borrowed,
    explain,
    find_boards,
    holds_cpu,
    initialise,
    joules_and_step,
    watts_of,
)
from greenai_plugins.profilers.nvml_check import CounterCheck, Look

GAIN_UNCERTAINTY = 0.10
GAIN_SOURCE = "AMD SMI, uncalibrated: 10 % assumed"

COUNTER_PERIOD_S = 0.1
"""Taken until it is seen to move; AMD states no period."""

POWER_PERIOD_S = 0.1
AVERAGE_PERIOD_S = 1.0
"""Of power that is told as an average; the firmware's time constant is not stated."""

POLL_S = 0.02
POLLS = 25
"""A board draws watts at least, so its counter moves in half a second if it ever does."""


class _Boards(Telemetry, Profiler):
    """What both profilers have in common: AMD SMI, and the boards that they follow."""

    requires: ClassVar[Mapping[str, str]] = REQUIRES
    option_names: ClassVar[Mapping[str, str]] = {
        "gpus": "boards by number of amd-smi or PCI address, commas between, or `all`; "
        "default: those that ROCR_VISIBLE_DEVICES and HIP_VISIBLE_DEVICES leave"
    }

    def __init__(self, *, gpus: str = "") -> None:
        """Follow these boards; see ``option_names``."""
        super().__init__()
        self._gpus = str(gpus).strip()
        self._smi: Any = None
        self._boards: dict[str, Board] = {}
        self._lost: list[str] = []

    def check_available(self) -> None:
        """Return if a board can be measured here.

        Raises:
            PluginUnavailable: no library, driver, board, or none with what it takes.
        """
        super().check_available()
        with borrowed() as smi:
            self._able(smi, find_boards(smi, self._gpus))

    def connect(self) -> Sequence[Channel]:
        """Initialise AMD SMI and find the boards.

        Raises:
            PluginUnavailable: no driver, no board, or none with what it takes.
        """
        smi = initialise()
        try:
            channels = self._able(smi, find_boards(smi, self._gpus))
        except BaseException:
            smi.amdsmi_shut_down()
            raise
        self._smi = smi
        self._boards = {board.id: board for board, _ in channels}
        return [channel for _, channel in channels]

    def disconnect(self) -> None:
        """Shut AMD SMI down, unless others still use it."""
        smi, self._smi, self._boards = self._smi, None, {}
        smi.amdsmi_shut_down()

    def notes(self) -> Sequence[str]:
        """Also which boards fail, and are in no total unless another profiler reads them."""
        lost = (f"{why}. It is left out here: see amd-smi list" for why in self._lost)
        return [*super().notes(), *lost]

    def observe(self) -> Sequence[Observation]:
        """Utilisation, memory, temperature of the hottest spot, clock; what is told of them.

        Raises:
            LifecycleError: the profiler is not open.
            ReadingError: no board answers.
        """
        if self._smi is None:
            raise LifecycleError(f"the profiler {self.name!r} is not open: call open() first")
        seen: list[Observation] = []
        failures = []
        for board in self._boards.values():
            try:
                seen += _observe(self._smi, board)
            except self._smi.AmdSmiException as error:
                failures.append(explain(self._smi, board, error))
        if failures and not seen:
            raise ReadingError("; ".join(failures))
        return seen

    def _able(self, smi: Any, boards: Sequence[Board]) -> list[tuple[Board, Channel]]:
        """The boards that can be read in this way, each with its channel."""
        able: list[tuple[Board, Channel]] = []
        failures: list[str] = []
        self._lost = []
        for board in boards:
            if holds_cpu(board):
                failures.append(
                    f"{board}: its power is that of the whole processor, cores and all; the "
                    "profiler hwmon tells it as such"
                )
                continue
            try:
                able.append((board, self._channel(smi, board)))
            except smi.AmdSmiException as error:
                if absent(smi, error):
                    failures.append(f"{board} has no {self._quantity}")
                else:
                    self._lost.append(explain(smi, board, error))
            except ValueError as error:
                # The second die of an MI250 tells 0 W, since the first tells both.
                second = "MI250" in board.name
                (failures if second else self._lost).append(f"{board}: {error}")
        failures += self._lost
        if not able or (failures and self._gpus not in ("", "all")):
            raise PluginUnavailable("; ".join(failures), self._way_out)
        return able

    _quantity: ClassVar[str]
    _way_out: ClassVar[str]

    @abstractmethod
    def _channel(self, smi: Any, board: Board) -> Channel:
        """The channel of a board.

        Raises:
            AmdSmiException: of amdsmi; it cannot be read in this way.
            ValueError: what it tells cannot be true.
        """


class AmdSmiProfiler(_Boards, CounterProfiler):
    """Boards with an energy counter (MI100 and later of the Instinct series).

    On some boards and drivers the counter stands still, or counts at another pace
    than the board's own power: the former are left out, the latter get a wider
    interval. Both have been reported (github.com/ROCm/amdsmi/issues/22 and /38).

    Args:
        gpus: see ``option_names``.
    """

    name: ClassVar[str] = "amdsmi"
    priority: ClassVar[int] = 60
    _quantity = "energy counter"
    _way_out = "The profiler amdsmi-power samples the power instead; a reboot may help a counter"

    def __init__(self, *, gpus: str = "") -> None:
        """Follow these boards; see ``option_names``."""
        super().__init__(gpus=gpus)
        self._check = CounterCheck()

    def connect(self) -> Sequence[Channel]:
        """Initialise AMD SMI and find the boards whose counter moves.

        Raises:
            PluginUnavailable: no driver, no board, or none with a counter that moves.
        """
        channels = super().connect()
        try:
            still = self._still()
        except BaseException:  # an interrupt while it is waited for
            self.disconnect()
            raise
        if len(still) == len(channels) or (still and self._gpus not in ("", "all")):
            self.disconnect()
            raise PluginUnavailable(
                "; ".join(f"{board}: its energy counter does not move" for board in still.values()),
                self._way_out,
            )
        self._boards = {id: board for id, board in self._boards.items() if id not in still}
        return [channel for channel in channels if channel.id not in still]

    def _still(self) -> dict[str, Board]:
        """The boards whose counter stands still for too long."""
        first = {id: self._count(board) for id, board in self._boards.items()}
        still = dict(self._boards)
        for _ in range(POLLS):
            still = {id: b for id, b in still.items() if self._count(b) in (first[id], None)}
            if not still:
                break
            self.clock.sleep(POLL_S)
        return still

    def _count(self, board: Board) -> int | None:
        try:
            return joules_and_step(self._smi.amdsmi_get_energy_count(board.handle))[0]
        except (self._smi.AmdSmiException, ValueError):
            return None

    def follow(self) -> None:
        """Begin to read, and to compare each counter with the power."""
        super().follow()
        self._check = CounterCheck(
            {
                id: Look(str(board), functools.partial(self._look, board))
                for id, board in self._boards.items()
            }
        )
        self._check.begin(self.clock)

    def unfollow(self) -> None:
        """End both."""
        self._check.end()
        super().unfollow()

    def _look(self, board: Board) -> tuple[float, float]:
        count, step = joules_and_step(self._smi.amdsmi_get_energy_count(board.handle))
        watts, _ = watts_of(self._smi.amdsmi_get_power_info(board.handle))
        return count * step, watts

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
                f"{GAIN_UNCERTAINTY:.0%} to {verdict.widened(GAIN_UNCERTAINTY):.0%} to cover both. "
                "Compare with a meter at the wall"
                for board, verdict in self._check.disagreements()
            ),
        ]

    def read(self, channel: Channel) -> int:
        """Steps of the counter since the driver was loaded.

        Raises:
            ReadingError: the board does not answer.
        """
        smi, board = self._smi, self._boards[channel.id]
        try:
            count, step = joules_and_step(smi.amdsmi_get_energy_count(board.handle))
        except smi.AmdSmiException as error:
            raise ReadingError(explain(smi, board, error)) from error
        except ValueError as error:
            raise ReadingError(f"{board}: {error}") from error
        if step != channel.resolution_j:
            raise ReadingError(f"{board}: the step of its counter has changed to {step} J")
        return count

    def read_power(self, channel: Channel) -> float | None:
        """Watts at this instant; None where the board tells an average, or nothing now."""
        smi, board = self._smi, self._boards[channel.id]
        try:
            watts, average = watts_of(smi.amdsmi_get_power_info(board.handle))
        except (smi.AmdSmiException, ValueError):
            return None
        return None if average else watts

    def _channel(self, smi: Any, board: Board) -> Channel:
        _, step = joules_and_step(smi.amdsmi_get_energy_count(board.handle))
        return Channel(
            board.id,
            "gpu",
            "counter",
            resolution_j=step,
            update_period_s=COUNTER_PERIOD_S,
            gain_uncertainty=GAIN_UNCERTAINTY,
            gain_source=GAIN_SOURCE,
            description=_describe(board, "energy counter"),
        )


class AmdSmiPowerProfiler(_Boards, PowerProfiler):
    """Boards that tell their power, sampled.

    The power now on MI300 and later; on earlier ones, and on Radeon, an average of
    the firmware, so that windows of a few seconds are smeared.

    Args:
        gpus: see ``option_names``.
    """

    name: ClassVar[str] = "amdsmi-power"
    priority: ClassVar[int] = 40
    _quantity = "power"
    _way_out = "Only a meter outside can measure it: see the profiler wattmeter"

    def read_power(self, channel: Channel) -> float:
        """Watts of the board.

        Raises:
            ReadingError: the board does not answer, or tells no power.
        """
        smi, board = self._smi, self._boards[channel.id]
        try:
            return watts_of(smi.amdsmi_get_power_info(board.handle))[0]
        except smi.AmdSmiException as error:
            raise ReadingError(explain(smi, board, error)) from error
        except ValueError as error:
            raise ReadingError(f"{board}: {error}") from error

    def _channel(self, smi: Any, board: Board) -> Channel:
        _, average = watts_of(smi.amdsmi_get_power_info(board.handle))
        return Channel(
            board.id,
            "gpu",
            "sampled",
            update_period_s=AVERAGE_PERIOD_S if average else POWER_PERIOD_S,
            gain_uncertainty=GAIN_UNCERTAINTY,
            gain_source=GAIN_SOURCE,
            description=_describe(board, "average power" if average else "power"),
        )


def _describe(board: Board, what: str) -> str:
    text = f"{board.name}, number {board.index} in amd-smi: {what}"
    if board.partitions > 1:
        text += f"; of the whole board, which is divided into {board.partitions} devices"
    if "MI250" in board.name:
        text += "; of both dies, which the driver tells at the first of them"
    return text


def _observe(smi: Any, board: Board) -> list[Observation]:
    """What a board tells now; what it does not have is left out.

    Raises:
        AmdSmiException: of amdsmi; the board does not answer.
    """
    kinds = smi.AmdSmiTemperatureType, smi.AmdSmiTemperatureMetric, smi.AmdSmiClkType
    asks: Sequence[tuple[str, str, Callable[[], Any]]] = (
        ("utilisation", "%", lambda: smi.amdsmi_get_gpu_activity(board.handle)["gfx_activity"]),
        (
            "memory_used",
            "B",
            lambda: smi.amdsmi_get_gpu_vram_usage(board.handle)["vram_used"] * 2**20,
        ),
        (
            "temperature",
            "°C",
            lambda: smi.amdsmi_get_temp_metric(board.handle, kinds[0].HOTSPOT, kinds[1].CURRENT),
        ),
        ("clock", "MHz", lambda: smi.amdsmi_get_clock_info(board.handle, kinds[2].GFX)["clk"]),
    )
    seen = []
    for quantity, unit, ask in asks:
        try:
            value = ask()
        except smi.AmdSmiException as error:
            if not absent(smi, error):
                raise
            continue
        if isinstance(value, (int, float)):
            seen.append(Observation(board.id, quantity, float(value), unit))
    return seen

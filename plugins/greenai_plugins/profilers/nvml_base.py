"""What both NVML profilers have in common: the boards, and all that is not energy."""

from __future__ import annotations

import importlib.util
import sys
from abc import abstractmethod
from collections.abc import Mapping, Sequence
from typing import Any, ClassVar

from greenai_core import (
    Channel,
    LifecycleError,
    Observation,
    PluginUnavailable,
    ProcessUtilisation,
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
from greenai_plugins.profilers.nvml_power import PowerSource, module_source, power_source
from greenai_plugins.profilers.nvml_telemetry import observe_board, process_shares


class FollowedBoards(Telemetry, ProcessUtilisation, Profiler):
    """What both profilers have in common: NVML, and the boards that they follow.

    On Grace-Hopper and Grace-Blackwell a board shares its module with a CPU. The
    module is a channel of its own then, which contains the board: part of no total
    that has parts.
    """

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
        # By id of the channel: a board has two where it is part of a module.
        self._boards: dict[str, Board] = {}
        self._power: dict[str, PowerSource | None] = {}
        self._seen_us: dict[str, int] = {}

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
            for board in boards:
                if (module := module_source(nvml, board)) is not None:
                    self._power[board.module_id] = module
        except BaseException:
            nvml.nvmlShutdown()
            raise
        self._nvml = nvml
        self._seen_us = {}
        found = [(channel, board) for board in boards for channel in self._channels_of(board)]
        self._boards = {channel.id: board for channel, board in found}
        return [channel for channel, _ in found]

    def disconnect(self) -> None:
        """Shut NVML down, unless others still use it."""
        nvml, self._nvml = self._nvml, None
        self._boards = {}
        self._power = {}
        nvml.nvmlShutdown()

    def observe(self) -> Sequence[Observation]:
        """Utilisation, memory, temperature, clocks, power limit, reasons for throttling.

        All of the whole board, also where MIG splits it. What a board does not tell is
        left out. The utilisations are NVML's own means, over the last 1/6 s to 1 s by
        the board; the clock is that of the streaming multiprocessors.

        Raises:
            LifecycleError: the profiler is not open.
            ReadingError: no board answers.
        """
        observations: list[Observation] = []
        failures = []
        for board in self._followed():
            try:
                observations += observe_board(self._nvml, board)
            except self._nvml.NVMLError as error:
                failures.append(explain(self._nvml, board, error))
        if failures and not observations:
            raise ReadingError("; ".join(failures))
        return observations

    def processes(self) -> Mapping[str, Mapping[int, float]]:
        """Share of the time in which each process had a kernel running, by board and PID.

        NVML's own figures, of the whole board. Shares of processes that overlap are not
        told apart. Boards that do not tell, as with MIG, are left out.

        Raises:
            LifecycleError: the profiler is not open.
            ReadingError: no board tells.
        """
        found: dict[str, Mapping[int, float]] = {}
        failures = []
        for board in self._followed():
            try:
                told = process_shares(self._nvml, board, self._seen_us.get(board.id, 0))
            except self._nvml.NVMLError as error:
                failures.append(explain(self._nvml, board, error))
                continue
            if told is None:
                why = "with MIG its driver" if board.mig else "its driver"
                failures.append(f"{board}: {why} does not tell what each process uses")
            else:
                found[board.id], self._seen_us[board.id] = told
        if not found:
            raise ReadingError("; ".join(failures))
        return found

    def _followed(self) -> Sequence[Board]:
        """Each board once.

        Raises:
            LifecycleError: the profiler is not open.
        """
        if self._nvml is None:
            raise LifecycleError(f"the profiler {self.name!r} is not open: call open() first")
        return list({board.id: board for board in self._boards.values()}.values())

    def load_command(self, channel: Channel) -> Sequence[str] | None:
        """A program that multiplies matrices with PyTorch, where that is installed."""
        if importlib.util.find_spec("torch") is None:
            return None
        board = self._boards.get(channel.id)  # the one on a module, too
        uuid = board.uuid if board else channel.id.removeprefix("gpu:")
        return [sys.executable, "-m", "greenai_plugins.cuda_load", uuid]

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
    def _channels_of(self, board: Board) -> Sequence[Channel]:
        """The channels of a board, and of the module that it is part of."""

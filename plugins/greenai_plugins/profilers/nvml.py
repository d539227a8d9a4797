"""NVIDIA boards, through NVML: their energy counter, or else their power."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
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
from greenai_plugins.profilers.nvml_telemetry import observe_board

GAIN_UNCERTAINTY = 0.056
GAIN_SOURCE = "NVML beside an external meter, published for 12 boards: RMS 5.6 % (-7.9 to +12.7 %)"

COUNTER_PERIOD_S = 0.1
"""The counter moves every 10 to 100 ms, by the board; this is the careful end."""

POWER_PERIOD_S = 0.1
"""Instant power of A100 and H100 is new every 100 ms (arXiv 2312.02741)."""

AVERAGING_S = 1.0

POWER_INSTANT_FIELD = 186
"""``NVML_FI_DEV_POWER_INSTANT`` of nvml.h, in mW; older nvidia-ml-py lack the name."""

GPU_SCOPE = 0
"""``NVML_POWER_SCOPE_GPU``: the board without the CPU that shares its module."""

AMPERE = 7
"""``NVML_DEVICE_ARCH_AMPERE``."""


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

    Args:
        gpus: see ``option_names``.
    """

    name: ClassVar[str] = "nvml"
    priority: ClassVar[int] = 60
    precise_ends: ClassVar[bool] = True

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
        return Channel(
            board.id,
            "gpu",
            "sampled",
            resolution_j=0.0,
            update_period_s=source.period_s if source else None,
            gain_uncertainty=GAIN_UNCERTAINTY,
            gain_source=GAIN_SOURCE,
            description=_describe(board, source.description if source else "power"),
        )


def _describe(board: Board, what: str) -> str:
    text = f"{board.name}, number {board.index} in nvidia-smi: {what}"
    if board.mig:
        text += "; MIG is on, and this is the whole board with all its instances"
    return text


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
        "instant power, sampled (A100 and H100 look at 25 of every 100 ms)",
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
    try:
        older = nvml.nvmlDeviceGetArchitecture(board.handle) < AMPERE
    except nvml.NVMLError:
        older = False
    if older:
        return PowerSource(read, POWER_PERIOD_S, True, "power, sampled")
    return PowerSource(
        read,
        AVERAGING_S,
        False,
        "power averaged over 1 s, sampled: windows of a few seconds are smeared",
    )

"""The model of last resort for NVIDIA boards that do not tell their power.

P = P_idle + (P_max − P_idle) · utilisation, from the utilisation that NVML tells. It is an
estimate, called *modelled* everywhere, and its interval is wide: the utilisation says for
which share of the time any kernel ran, not how much of the board that kernel kept busy.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, ClassVar

from greenai_core import Channel, PluginUnavailable, PowerProfiler, ReadingError
from greenai_plugins.nvml_boards import Board, absent, choose, explain, find_boards

from .gpu_table import find_board
from .modelled import TO_STANDARD
from .nvml_base import FollowedBoards
from .nvml_power import power_source

IDLE_SHARE = 0.15
"""Idle over full power, an assumption: boards draw some 5 to 30 % of their limit when no
kernel runs, the more when a CUDA context is open."""

ERROR = 0.60
"""95 % half-width, an assumption: at a utilisation of 100 % a board may draw anything from
a third of its limit to all of it."""

GAIN_SOURCE = (
    "utilisation model of boards (an assumption): the utilisation tells when kernels ran, not how "
    "much of the board they used"
)

UTILISATION_PERIOD_S = 1.0
"""NVML's utilisation is the mean over 1/6 s to 1 s, by the product; this is the careful end
(https://docs.nvidia.com/deploy/nvml-api/structnvmlUtilization__t.html)."""

BELIEVABLE_W = (1.0, 2000.0)
"""Power limits of one board outside of this mean "no limit"."""


@dataclass(frozen=True)
class BoardModel:
    """Power of one board.

    Attributes:
        idle_w: when no kernel runs.
        max_w: when one always does.
        basis: where the figures come from, for people.
    """

    idle_w: float
    max_w: float
    basis: str

    def power_w(self, utilisation: float) -> float:
        """Power at a utilisation between 0 and 1."""
        return self.idle_w + (self.max_w - self.idle_w) * utilisation


def board_model(nvml: Any, board: Board) -> BoardModel | None:
    """The best model of a board; None where nothing is known of its full power.

    Raises:
        NVMLError: of pynvml; the board does not answer.
    """
    for ask, what in (
        (nvml.nvmlDeviceGetEnforcedPowerLimit, "power limit of {:g} W in force"),
        (nvml.nvmlDeviceGetPowerManagementDefaultLimit, "power limit of {:g} W by default"),
    ):
        try:
            watts = ask(board.handle) / 1000
        except nvml.NVMLError as error:
            if not absent(nvml, error):
                raise
        else:
            low, high = BELIEVABLE_W
            if low <= watts <= high:
                return BoardModel(watts * IDLE_SHARE, watts, what.format(watts))
    design = find_board(board.name)
    if design is None:
        return None
    watts = design.power_w
    return BoardModel(watts * IDLE_SHARE, watts, f"{watts:g} W of thermal design power")


class GpuModelProfiler(FollowedBoards, PowerProfiler):
    """Boards without a reading of power or energy, estimated by how busy they are.

    Args:
        gpus: see ``option_names``.
    """

    name: ClassVar[str] = "gpu-model"
    priority: ClassVar[int] = 0
    option_names: ClassVar[Mapping[str, str]] = {
        "gpus": "boards by number of nvidia-smi or beginning of UUID, commas between, or `all`: "
        "modelled even if they tell their power; default: those of CUDA_VISIBLE_DEVICES that do not"
    }

    def __init__(self, *, gpus: str = "") -> None:
        """Follow these boards; see ``option_names``."""
        super().__init__(gpus=gpus)
        self._models: dict[str, BoardModel] = {}

    def read_power(self, channel: Channel) -> float:
        """Modelled power of the board, W.

        Raises:
            ReadingError: the board does not tell how busy it is.
        """
        board = self._boards[channel.id]
        try:
            percent = self._nvml.nvmlDeviceGetUtilizationRates(board.handle).gpu
        except self._nvml.NVMLError as error:
            raise ReadingError(explain(self._nvml, board, error)) from error
        if not 0 <= percent <= 100:
            raise ReadingError(f"{board}: a utilisation of {percent} % cannot be true")
        return self._models[board.id].power_w(percent / 100)

    def _choose(self, nvml: Any) -> list[Board]:
        boards = choose(find_boards(nvml), self._gpus)
        asked = bool(self._gpus.strip())
        models, unknown = {}, []
        for board in boards:
            try:
                if not asked and _tells_energy(nvml, board):
                    continue
                self._probe(nvml, board)
                model = board_model(nvml, board)
            except nvml.NVMLError as error:
                unknown.append(_why_not(nvml, board, error))
            else:
                if model is None:
                    unknown.append(f"{board} tells no power limit, and its power is not listed")
                else:
                    models[board.id] = model
        if unknown and (asked or not models):
            raise PluginUnavailable(
                "; ".join(unknown),
                "Only a meter outside can measure it: see the profiler wattmeter",
            )
        if not models:
            raise self._lacking(boards)
        self._models = models
        return [board for board in boards if board.id in models]

    def _probe(self, nvml: Any, board: Board) -> None:
        nvml.nvmlDeviceGetUtilizationRates(board.handle)

    def _lacking(self, boards: Sequence[Board]) -> PluginUnavailable:
        return PluginUnavailable(
            f"{', '.join(map(str, boards))}: measured, so that no model is needed",
            "To compare, name boards with the option gpus",
        )

    def _channels_of(self, board: Board) -> Sequence[Channel]:
        model = self._models[board.id]
        return [
            Channel(
                board.id,
                "gpu",
                "modelled",
                update_period_s=UTILISATION_PERIOD_S,
                gain_uncertainty=ERROR / TO_STANDARD,
                gain_source=GAIN_SOURCE,
                description=(
                    f"modelled, ±{ERROR:.0%}: {board.name}, number {board.index} in nvidia-smi: "
                    f"{model.idle_w:.3g} W idle, {model.max_w:.3g} W busy ({model.basis})"
                ),
            )
        ]


def _tells_energy(nvml: Any, board: Board) -> bool:
    """Whether a sensor stands behind the board, even if it fails just now."""
    try:
        nvml.nvmlDeviceGetTotalEnergyConsumption(board.handle)
    except nvml.NVMLError as error:
        return not absent(nvml, error) or power_source(nvml, board) is not None
    return True


def _why_not(nvml: Any, board: Board, error: Exception) -> str:
    if absent(nvml, error):
        return f"{board} tells neither its power nor how busy it is"
    return explain(nvml, board, error)

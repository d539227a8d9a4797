"""The highest clock of NVIDIA boards, through NVML: for boards whose power cannot be capped."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from typing import Any, ClassVar

from greenai_core import (
    ClockLimit,
    ClockLimiter,
    LifecycleError,
    PluginUnavailable,
    PowerCapError,
    PowerCapForbidden,
)
from greenai_plugins.limiters.nvml import SPLIT, may_administer
from greenai_plugins.nvml_boards import (
    REQUIRES,
    Board,
    absent,
    borrowed,
    explain,
    find_boards,
    initialise,
    users_of,
)


class NvmlClockLimiter(ClockLimiter):
    """Locks the graphics clock of a board between its lowest and a highest one.

    Volta and later. NVML does not tell whether somebody locked the clocks before: a lock
    of somebody else is lost when the old state, running freely, is given back.
    """

    name: ClassVar[str] = "nvml-clocks"
    requires: ClassVar[Mapping[str, str]] = REQUIRES

    def __init__(self) -> None:
        self._nvml: Any = None
        self._boards: dict[str, Board] = {}
        self._clocks: dict[str, tuple[int, ...]] = {}
        self._refused = False

    def check_available(self) -> None:
        """Return if the clocks of a board can be locked here.

        Raises:
            PluginUnavailable: no library, driver, board, or none with such clocks.
        """
        super().check_available()
        with borrowed() as nvml:
            _clocked(nvml)

    def open(self) -> None:
        """Initialise NVML and find the boards with clocks.

        Raises:
            LifecycleError: it is open already.
            PluginUnavailable: no driver, no board, or none with such clocks.
        """
        if self._nvml is not None:
            raise LifecycleError(f"the limiter {self.name!r} is open already")
        nvml = initialise()
        try:
            found = _clocked(nvml)
        except BaseException:
            nvml.nvmlShutdown()
            raise
        self._boards = {board.id: board for board, _ in found}
        self._clocks = {board.id: clocks for board, clocks in found}
        self._nvml = nvml

    def close(self) -> None:
        """Shut NVML down, unless others still use it."""
        nvml, self._nvml = self._nvml, None
        self._boards, self._clocks = {}, {}
        if nvml is not None:
            nvml.nvmlShutdown()

    def limits(self) -> Sequence[ClockLimit]:
        """The clocks of each board.

        Raises:
            LifecycleError: it is not open.
        """
        self._check_open()
        permitted = may_administer() and not self._refused
        return [
            ClockLimit(
                board.id,
                self._clocks[board.id][0],
                self._clocks[board.id][-1],
                permitted and not board.mig,
                board.index,
                board.name,
                SPLIT if board.mig else "",
            )
            for board in self._boards.values()
        ]

    def users(self, device: str) -> Mapping[int, str]:
        """The processes with work on a board. See ``NvmlLimiter.users``."""
        return users_of(self._nvml, self._board(device))

    def by_hand(self, device: str, value: float) -> str:
        """What root would type, MHz."""
        low = self._clocks[device][0]
        return f"nvidia-smi -i {device.removeprefix('gpu:')} -lgc {low},{value:.0f}"

    def set_limit(self, device: str, mhz: float) -> float:
        """Lock the clock below the step that is next to ``mhz``.

        Returns:
            That step, MHz.

        Raises:
            LifecycleError: it is not open.
            PowerCapForbidden: no permission.
            PowerCapError: no such board, out of its range, MIG is on, or another failure.
        """
        board = self._board(device)
        clocks = self._clocks[device]
        if not clocks[0] <= mhz <= clocks[-1] or math.isnan(mhz):
            raise PowerCapError(
                f"{mhz:g} MHz is out of the range of {board}: it takes {clocks[0]} to "
                f"{clocks[-1]} MHz"
            )
        if board.mig:
            raise PowerCapError(f"the clocks of {board} are not locked: {SPLIT}")
        step = min(clocks, key=lambda clock: abs(clock - mhz))
        nvml = self._nvml
        self._do(
            lambda: nvml.nvmlDeviceSetGpuLockedClocks(board.handle, clocks[0], step), board, step
        )
        return float(step)

    def reset(self, device: str) -> None:
        """Let the clock of a board run freely.

        Raises:
            LifecycleError: it is not open.
            PowerCapForbidden: no permission.
            PowerCapError: no such board, or another failure.
        """
        board, nvml = self._board(device), self._nvml
        self._do(lambda: nvml.nvmlDeviceResetGpuLockedClocks(board.handle), board, None)

    def _do(self, call: Callable[[], object], board: Board, step: int | None) -> None:
        nvml = self._nvml
        try:
            call()
        except nvml.NVMLError as error:
            if error.value == nvml.NVML_ERROR_NO_PERMISSION:
                self._refused = True
                hand = f"nvidia-smi -i {board.uuid} -rgc"
                if step is not None:
                    hand = self.by_hand(board.id, step)
                raise PowerCapForbidden(
                    f"locking the clocks of {board} needs root. Run the command with sudo, or do "
                    f"it yourself: sudo {hand}",
                    hand,
                ) from error
            raise PowerCapError(
                f"the clocks cannot be locked. {explain(nvml, board, error)}"
            ) from error

    def _check_open(self) -> None:
        if self._nvml is None:
            raise LifecycleError(f"the limiter {self.name!r} is not open: call open() first")

    def _board(self, device: str) -> Board:
        self._check_open()
        board = self._boards.get(device)
        if board is None:
            raise PowerCapError(
                f"no device {device!r} has clocks to lock here. There are {', '.join(self._boards)}"
            )
        return board


def _clocked(nvml: Any) -> list[tuple[Board, tuple[int, ...]]]:
    """The boards with clocks that can be chosen, and those, rising."""
    boards = find_boards(nvml)
    found = []
    for board in boards:
        try:
            memory = max(nvml.nvmlDeviceGetSupportedMemoryClocks(board.handle))
            clocks = nvml.nvmlDeviceGetSupportedGraphicsClocks(board.handle, memory)
        except (nvml.NVMLError, ValueError) as error:
            if isinstance(error, ValueError) or absent(nvml, error):
                continue
            raise PluginUnavailable(
                f"the clocks cannot be listed. {explain(nvml, board, error)}"
            ) from error
        if clocks:
            found.append((board, tuple(sorted(int(clock) for clock in clocks))))
    if not found:
        raise PluginUnavailable(
            f"no board here has clocks to lock: {', '.join(map(str, boards))}",
            "Clocks can be locked on Volta and later",
        )
    return found

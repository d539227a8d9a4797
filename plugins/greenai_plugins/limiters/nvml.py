"""Power limits of NVIDIA boards, through NVML."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, ClassVar

from greenai_core import (
    LifecycleError,
    PluginUnavailable,
    PowerCapError,
    PowerCapForbidden,
    PowerCapKept,
    PowerLimit,
    PowerLimiter,
)
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

TOLERANCE_W = 1.0
"""How far from what was asked a limit may be read back: boards may round."""

SPLIT = "it is split by MIG, and a limit would hold for all its instances. Turn MIG off first"

CAP_SYS_ADMIN = 21
"""Bit of ``CapEff`` in /proc/PID/status (capabilities(7)); the driver's kernel
module asks for this capability before it sets a limit."""


class NvmlLimiter(PowerLimiter):
    """The power limit of every board, whatever CUDA_VISIBLE_DEVICES says.

    NVML cannot be asked whether it would let a limit be set, and nothing is set
    to find out: ``settable`` says whether this process has the capability that
    the driver wants (root has it, but not in a common container), the driver has
    not refused yet, and MIG is off.
    """

    name: ClassVar[str] = "nvml"
    requires: ClassVar[Mapping[str, str]] = REQUIRES

    def __init__(self) -> None:
        self._nvml: Any = None
        self._boards: dict[str, Board] = {}
        self._refused = False

    def check_available(self) -> None:
        """Return if the limit of a board can be read here.

        Raises:
            PluginUnavailable: no library, driver, board, or none with a limit.
        """
        super().check_available()
        with borrowed() as nvml:
            _limited(nvml)

    def open(self) -> None:
        """Initialise NVML and find the boards that have a limit.

        Raises:
            LifecycleError: it is open already.
            PluginUnavailable: no driver, no board, or none with a limit.
        """
        if self._nvml is not None:
            raise LifecycleError(f"the limiter {self.name!r} is open already")
        nvml = initialise()
        try:
            self._boards = {board.id: board for board in _limited(nvml)}
        except BaseException:
            nvml.nvmlShutdown()
            raise
        self._nvml = nvml

    def close(self) -> None:
        """Shut NVML down, unless others still use it."""
        nvml, self._nvml = self._nvml, None
        self._boards = {}
        if nvml is not None:
            nvml.nvmlShutdown()

    def limits(self) -> Sequence[PowerLimit]:
        """The limits of each board.

        Raises:
            LifecycleError: it is not open.
            PowerCapError: a board does not answer.
        """
        self._check_open()
        permitted = may_administer() and not self._refused
        return [self._limit(board, permitted) for board in self._boards.values()]

    def limit(self, device: str) -> PowerLimit:
        """The limits of one board; the others may be lost.

        Raises:
            LifecycleError: it is not open.
            PowerCapError: no such board, or it does not answer.
        """
        return self._limit(self._board(device), may_administer() and not self._refused)

    def users(self, device: str) -> Mapping[int, str]:
        """The processes with work on a board, or with a picture.

        Raises:
            LifecycleError: it is not open.
            PowerCapError: no such board, or it does not answer.
        """
        return users_of(self._nvml, self._board(device))

    def by_hand(self, device: str, value: float) -> str:
        """What root would type, W."""
        return f"nvidia-smi -i {device.removeprefix('gpu:')} -pl {value:g}"

    def set_limit(self, device: str, watts: float) -> None:
        """Set the limit of one board, and read it back.

        Raises:
            LifecycleError: it is not open.
            PowerCapForbidden: no permission.
            PowerCapKept: the board kept another value.
            PowerCapError: no such board, out of its range, or MIG is on.
        """
        board = self._board(device)
        limit = self._limit(board, permitted=True)
        if not limit.low_w <= watts <= limit.high_w:
            raise PowerCapError(
                f"{watts:g} W is out of the range of {board}: it takes "
                f"{limit.low_w:g} to {limit.high_w:g} W"
            )
        if board.mig:
            raise PowerCapError(
                f"{board} is split by MIG, and a limit would hold for all its instances. "
                "Turn MIG off first"
            )
        self._set(board, watts)
        kept = self._limit(board, permitted=True).current_w
        if abs(kept - watts) > TOLERANCE_W:
            raise PowerCapKept(
                f"{board} was asked for a limit of {watts:g} W and took it, but keeps {kept:g} W. "
                "See `nvidia-smi -q -d POWER`; the maker of the machine may have fixed it",
                kept,
            )

    def _board(self, device: str) -> Board:
        self._check_open()
        board = self._boards.get(device)
        if board is None:
            raise PowerCapError(
                f"no device {device!r} has a power limit here. There are {', '.join(self._boards)}"
            )
        return board

    def _check_open(self) -> None:
        if self._nvml is None:
            raise LifecycleError(f"the limiter {self.name!r} is not open: call open() first")

    def _set(self, board: Board, watts: float) -> None:
        nvml = self._nvml
        try:
            nvml.nvmlDeviceSetPowerManagementLimit(board.handle, round(watts * 1000))
        except nvml.NVMLError as error:
            if error.value == nvml.NVML_ERROR_NO_PERMISSION:
                self._refused = True
                raise PowerCapForbidden(
                    f"setting the power limit of {board} needs root. Run the command with sudo, "
                    f"or set it yourself: sudo nvidia-smi -i {board.uuid} -pl {watts:g}; "
                    "start a container with --cap-add SYS_ADMIN",
                    self.by_hand(board.id, watts),
                ) from error
            raise PowerCapError(
                f"the power limit cannot be set. {explain(nvml, board, error)}"
            ) from error

    def _limit(self, board: Board, permitted: bool) -> PowerLimit:
        nvml, handle = self._nvml, board.handle
        try:
            low, high = nvml.nvmlDeviceGetPowerManagementLimitConstraints(handle)
            return PowerLimit(
                board.id,
                nvml.nvmlDeviceGetPowerManagementLimit(handle) / 1000,
                nvml.nvmlDeviceGetPowerManagementDefaultLimit(handle) / 1000,
                low / 1000,
                high / 1000,
                permitted and not board.mig,
                board.index,
                board.name,
                SPLIT if board.mig else "",
            )
        except nvml.NVMLError as error:
            raise PowerCapError(
                f"the power limit cannot be read. {explain(nvml, board, error)}"
            ) from error


def _limited(nvml: Any) -> list[Board]:
    found = find_boards(nvml)
    limited = []
    for board in found:
        try:
            nvml.nvmlDeviceGetPowerManagementLimitConstraints(board.handle)
        except nvml.NVMLError as error:
            if absent(nvml, error):
                continue
        limited.append(board)
    if not limited:
        raise PluginUnavailable(
            f"no board here has a power limit to set: {', '.join(map(str, found))}"
        )
    return limited


def may_administer(status: Path = Path("/proc/self/status")) -> bool:
    """Whether a process has the capability CAP_SYS_ADMIN.

    Args:
        status: the process's status file.
    """
    for line in status.read_text(encoding="ascii", errors="replace").splitlines():
        if line.startswith("CapEff:"):
            return bool(int(line.split()[1], 16) >> CAP_SYS_ADMIN & 1)
    return False

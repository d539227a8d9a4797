"""NVIDIA boards as NVML shows them: opening NVML, finding boards, choosing among them."""

from __future__ import annotations

import itertools
import logging
import os
import re
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from greenai_core import PluginUnavailable, PowerCapError

REQUIRES = {"pynvml": "nvidia"}

AMPERE, HOPPER = 7, 9
"""``NVML_DEVICE_ARCH_…`` of nvml.h."""

GA100_DEVICES = 0x2000
"""Upper byte of the PCI device ids of GA100 (A100 0x20b0, A30 0x20b7, A800 0x20f3);
Ampere's other chips have 0x22 to 0x25 there."""

CUDA_VARIABLE = "CUDA_VISIBLE_DEVICES"

_log = logging.getLogger(__name__)

_CURES = {
    "NVML_ERROR_LIBRARY_NOT_FOUND": (
        "NVIDIA's library libnvidia-ml.so.1 is not on this machine, so there is no NVIDIA driver",
        "Install the NVIDIA driver; start a container with --gpus all",
    ),
    "NVML_ERROR_DRIVER_NOT_LOADED": (
        "the NVIDIA driver is not loaded",
        "Load it: sudo modprobe nvidia; start a container with --gpus all",
    ),
    "NVML_ERROR_LIB_RM_VERSION_MISMATCH": (
        "NVIDIA's library and its loaded kernel module are of different versions",
        "The driver was updated meanwhile: reboot the machine",
    ),
    "NVML_ERROR_NO_PERMISSION": (
        "this user may not use the NVIDIA driver",
        "Make /dev/nvidiactl and /dev/nvidia* readable and writable for the user; "
        "start a container with --gpus all",
    ),
}

_ADVICE = {
    "NVML_ERROR_GPU_IS_LOST": "it fell off the bus; `sudo dmesg | grep -i xid` tells why, "
    "and as a rule only a reboot brings it back",
    "NVML_ERROR_RESET_REQUIRED": "it must be reset: sudo nvidia-smi --gpu-reset, or reboot",
}

_ABSENT = (
    "NVML_ERROR_NOT_SUPPORTED",
    "NVML_ERROR_INVALID_ARGUMENT",
    "NVML_ERROR_FUNCTION_NOT_FOUND",
    "NVML_ERROR_ARGUMENT_VERSION_MISMATCH",
    "NVML_ERROR_NO_DATA",
)


@dataclass(frozen=True)
class Board:
    """One board.

    Attributes:
        index: its number in NVML and nvidia-smi.
        uuid: as NVML gives it, ``GPU-…``.
        name: of the product.
        handle: NVML's, valid until NVML is shut down.
        mig: whether it is split into instances.
        instances: UUIDs of these, ``MIG-…``.
        architecture: NVML's number; None where the driver does not tell.
        pci_device: its PCI device id; None likewise.
    """

    index: int
    uuid: str
    name: str
    handle: Any = field(compare=False, repr=False)
    mig: bool = False
    instances: tuple[str, ...] = ()
    architecture: int | None = None
    pci_device: int | None = None

    @property
    def id(self) -> str:
        """Id of its channel."""
        return f"gpu:{self.uuid}"

    @property
    def module_id(self) -> str:
        """Id of the channel of the module that it shares with a CPU, if it does."""
        return f"psys:module-{self.uuid}"

    @property
    def is_ga100(self) -> bool:
        """Whether its chip is GA100: A100, A30, A800 and their like."""
        return self.architecture == AMPERE and (self.pci_device or 0) & 0xFF00 == GA100_DEVICES

    @property
    def looks_part_time(self) -> bool:
        """Whether its instant power looks at 25 of every 100 ms only (arXiv 2312.02741).

        Found on A100 and H100; taken to hold for all boards with these chips.
        """
        return self.is_ga100 or self.architecture == HOPPER

    @property
    def usage_is_mean(self) -> bool:
        """Whether ``nvmlDeviceGetPowerUsage`` gives the mean of a second.

        nvml.h: "On Ampere (except GA100) or newer GPUs, the API returns power averaged
        over 1 sec interval." A board that does not tell what it is may be one of these.
        """
        return self.architecture is None or (self.architecture >= AMPERE and not self.is_ga100)

    def __str__(self) -> str:
        return f"GPU {self.index} ({self.name}, {self.uuid})"


def initialise() -> Any:
    """Initialise NVML once more; it counts, so each call needs one ``nvmlShutdown``.

    Returns:
        The module pynvml.

    Raises:
        PluginUnavailable: there is no driver that works; the hint is the remedy.
    """
    import pynvml

    try:
        pynvml.nvmlInit()
    except pynvml.NVMLError as error:
        for name, (reason, hint) in _CURES.items():
            if error.value == getattr(pynvml, name):
                raise PluginUnavailable(reason, hint) from error
        raise PluginUnavailable(
            f"the NVIDIA driver does not start: {error}", "See what nvidia-smi says"
        ) from error
    return pynvml


@contextmanager
def borrowed() -> Iterator[Any]:
    """NVML for the length of a block."""
    nvml = initialise()
    try:
        yield nvml
    finally:
        nvml.nvmlShutdown()


def absent(nvml: Any, error: Exception) -> bool:
    """Whether an error says that a board or driver does not have what was asked for."""
    code = getattr(error, "value", None)
    return any(code == getattr(nvml, name) for name in _ABSENT if hasattr(nvml, name))


def explain(nvml: Any, board: Board, error: Exception) -> str:
    """What NVML says of a board, and what can be done about it."""
    code = getattr(error, "value", None)
    advice = [text for name, text in _ADVICE.items() if code == getattr(nvml, name)]
    return "; ".join([f"{board}: NVML says {str(error)!r}", *advice])


def users_of(nvml: Any, board: Board) -> dict[int, str]:
    """PID and name of each process that computes or draws on a board.

    A name is empty where the process is outside of this container, or is gone.

    Raises:
        PowerCapError: the board does not answer.
    """
    found: dict[int, str] = {}
    for kind in ("Compute", "Graphics"):
        try:
            running = _running(nvml, board, kind)
        except nvml.NVMLError as error:
            if absent(nvml, error):
                continue
            raise PowerCapError(
                f"who uses the board cannot be read. {explain(nvml, board, error)}"
            ) from error
        found |= {int(process.pid): _name_of(int(process.pid)) for process in running}
    return found


def _running(nvml: Any, board: Board, kind: str) -> Sequence[Any]:
    # Drivers before 510 have the second version only, and nvidia-ml-py asks for the third.
    for version in ("_v3", "_v2"):
        call = getattr(nvml, f"nvmlDeviceGet{kind}RunningProcesses{version}", None)
        if call is None:
            continue
        try:
            found: Sequence[Any] = call(board.handle)
        except nvml.NVMLError as error:
            if error.value != nvml.NVML_ERROR_FUNCTION_NOT_FOUND:
                raise
        else:
            return found
    return ()


def _name_of(pid: int) -> str:
    try:
        return Path(f"/proc/{pid}/comm").read_text(encoding="utf-8", errors="replace").strip()
    except OSError:
        return ""


def find_boards(nvml: Any) -> list[Board]:
    """All boards that answer, in NVML's order, which is that of the PCI bus.

    Raises:
        PluginUnavailable: there is none.
    """
    found, silent = [], []
    try:
        count = nvml.nvmlDeviceGetCount()
    except nvml.NVMLError as error:
        raise PluginUnavailable(f"NVML does not count the boards: {error}") from error
    for index in range(count):
        try:
            handle = nvml.nvmlDeviceGetHandleByIndex(index)
            uuid, name = nvml.nvmlDeviceGetUUID(handle), nvml.nvmlDeviceGetName(handle)
        except nvml.NVMLError as error:
            silent.append(f"GPU {index} cannot be used: NVML says {str(error)!r}")
            _log.warning("%s. It is left out", silent[-1])
        else:
            chip = _architecture(nvml, handle), _pci_device(nvml, handle)
            found.append(Board(index, uuid, name, handle, *_mig(nvml, handle), *chip))
    if not found:
        raise PluginUnavailable(
            "; ".join(silent) or "the NVIDIA driver works, but has no board",
            "See what nvidia-smi says; start a container with --gpus all",
        )
    return found


def _architecture(nvml: Any, handle: Any) -> int | None:
    try:
        return int(nvml.nvmlDeviceGetArchitecture(handle))
    except nvml.NVMLError:
        return None


def _pci_device(nvml: Any, handle: Any) -> int | None:
    try:
        return int(nvml.nvmlDeviceGetPciInfo(handle).pciDeviceId) >> 16
    except nvml.NVMLError:
        return None


def _mig(nvml: Any, handle: Any) -> tuple[bool, tuple[str, ...]]:
    try:
        if not nvml.nvmlDeviceGetMigMode(handle)[0]:
            return False, ()
    except nvml.NVMLError:
        return False, ()
    uuids = []
    for index in range(nvml.nvmlDeviceGetMaxMigDeviceCount(handle)):
        try:
            instance = nvml.nvmlDeviceGetMigDeviceHandleByIndex(handle, index)
            uuids.append(nvml.nvmlDeviceGetUUID(instance))
        except nvml.NVMLError:
            continue  # the slots have gaps
    return True, tuple(uuids)


def choose(boards: Sequence[Board], gpus: str) -> list[Board]:
    """The boards to measure.

    Args:
        boards: all that there are.
        gpus: commas between numbers of nvidia-smi and (beginnings of) UUIDs, or
            ``all``; empty for those that CUDA may use in this process.

    Raises:
        PluginUnavailable: no board is left, or one is not there.
    """
    if gpus.strip() == "all":
        return list(boards)
    if gpus.strip():
        return _named(boards, gpus)
    visible = os.environ.get(CUDA_VARIABLE)
    return list(boards) if visible is None else _visible(boards, visible)


def _named(boards: Sequence[Board], gpus: str) -> list[Board]:
    chosen: list[Board] = []
    for entry in (part.strip().removeprefix("gpu:") for part in gpus.split(",")):
        matches = [
            board
            for board in boards
            if (entry.isdecimal() and int(entry) == board.index) or _has_uuid(board, entry)
        ]
        if len(matches) != 1:
            what = f"{len(matches)} boards" if matches else "no board"
            raise PluginUnavailable(
                f"the option gpus={gpus!r} asks for {entry!r}, which is {what} of this machine",
                f"There are {', '.join(map(str, boards))}",
            )
        chosen += [board for board in matches if board not in chosen]
    return chosen


def _has_uuid(board: Board, entry: str) -> bool:
    """Whether a UUID or its beginning is that of a board or of one of its instances.

    Before driver 470 an instance was ``MIG-<UUID of the board>/<numbers>``.
    """
    if entry.startswith("MIG-GPU-"):
        return entry.removeprefix("MIG-").split("/")[0] == board.uuid
    if entry.startswith("MIG-"):
        return any(uuid.startswith(entry) for uuid in board.instances)
    return entry.startswith("GPU-") and board.uuid.startswith(entry)


def _visible(boards: Sequence[Board], variable: str) -> list[Board]:
    """What CUDA makes of its variable: it stops at the first entry that it cannot find.

    The first entry says whether there are numbers or UUIDs, of boards or of instances;
    one of another kind ends the list. One that comes twice leaves no board at all.
    """
    entries = _entries(variable)
    chosen: list[Board] = []
    for entry in entries:
        if isinstance(entry, int):
            matches = list(boards[entry : entry + 1])
        else:
            matches = [board for board in boards if _has_uuid(board, entry)]
        if len(matches) != 1:
            break
        board = matches[0]
        if board in chosen and not str(entry).startswith("MIG-"):
            chosen = []  # the same board by two beginnings of its UUID
            break
        chosen += [board] if board not in chosen else []
    if not chosen:
        raise PluginUnavailable(
            f"{CUDA_VARIABLE}={variable!r} leaves this process no GPU",
            "Unset it, or name boards with the option gpus",
        )
    _check_order(boards, chosen, entries, variable)
    return chosen


def _entries(variable: str) -> list[int] | list[str]:
    """The entries of CUDA's variable up to the first that is none; none if one comes twice."""
    words = [word.strip() for word in variable.split(",")]
    kind = next((kind for kind in ("GPU-", "MIG-") if words[0].startswith(kind)), "")
    if kind:
        names = list(itertools.takewhile(lambda word: word.startswith(kind), words))
        return names if len(set(names)) == len(names) else []
    # CUDA reads a number as C does: `2nd` is 2, and `10` is not 1.
    found = (re.match(r"[+]?\d+", word) for word in words)
    numbers = [int(match[0]) for match in itertools.takewhile(bool, found) if match]
    return numbers if len(set(numbers)) == len(numbers) else []


def _check_order(
    boards: Sequence[Board], chosen: Sequence[Board], entries: Sequence[int | str], variable: str
) -> None:
    # CUDA numbers unlike boards from fastest to slowest unless told otherwise; NVML, and
    # nvidia-smi, never do. A guess would measure the wrong board.
    if (
        len(chosen) < len(boards)
        and any(isinstance(entry, int) for entry in entries)
        and len({board.name for board in boards}) > 1
        and os.environ.get("CUDA_DEVICE_ORDER") != "PCI_BUS_ID"
    ):
        raise PluginUnavailable(
            f"{CUDA_VARIABLE}={variable!r} numbers boards in CUDA's own order, which NVML does "
            f"not know for boards that differ ({', '.join(map(str, boards))})",
            f"Set CUDA_DEVICE_ORDER=PCI_BUS_ID, or UUIDs in {CUDA_VARIABLE}",
        )

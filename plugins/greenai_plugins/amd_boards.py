"""AMD boards as AMD SMI shows them: opening the library, finding boards, choosing among them."""

from __future__ import annotations

import contextlib
import io
import os
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from greenai_core import PluginUnavailable

REQUIRES = {"amdsmi": "amd"}

VARIABLES = ("ROCR_VISIBLE_DEVICES", "HIP_VISIBLE_DEVICES")
"""Each leaves some of the devices that the one before has left."""

MOST_W = 10_000
"""Fields that the driver does not fill hold the highest value of their type."""

STEP_J = 2.0**-16
ROUNDED_STEP_UJ = 15.3
"""The step of the counter is 2^-16 J, 15.259 µJ (Linux, ``kgd_pp_interface.h``,
``gpu_metrics_v1_3``), which the library tells rounded: 0.27 % too much."""

PCI_DEVICES = Path("/sys/bus/pci/devices")

MI300A = "0x74a0"
NORTH_BRIDGE = "vddnb"
"""A voltage that amdgpu tells of processors with graphics alone (Linux,
Documentation/gpu/amdgpu/thermal.rst); MI300A holds CPU cores too and has none."""

_GROUPS = (
    "Add the user to the groups of /dev/kfd and /dev/dri: sudo usermod -aG render,video $USER, "
    "then log in again; start a container with --device /dev/kfd --device /dev/dri"
)


@dataclass(frozen=True)
class Board:
    """One board, or one die of a board that has several.

    Attributes:
        index: of its first device in amd-smi.
        address: on the PCI bus, ``0000:c1:00.0``.
        name: of the product.
        handle: AMD SMI's, of its first partition, which tells the power of all.
        partitions: devices that it is divided into; 1 for none.
    """

    index: int
    address: str
    name: str
    handle: Any = field(compare=False, repr=False)
    partitions: int = 1

    @property
    def id(self) -> str:
        """Id of its channel, the same as other profilers give it."""
        return f"gpu:{self.address}"

    def __str__(self) -> str:
        return f"GPU {self.index} ({self.name}, {self.address})"


def initialise() -> Any:
    """Initialise AMD SMI once more; it counts, so each call needs one ``amdsmi_shut_down``.

    Returns:
        The module amdsmi.

    Raises:
        PluginUnavailable: there is no driver or library that works; the hint is the remedy.
    """
    amdsmi = _module()
    try:
        amdsmi.amdsmi_init(amdsmi.AmdSmiInitFlags.INIT_AMD_GPUS)
    except amdsmi.AmdSmiException as error:
        raise PluginUnavailable(
            f"the AMD driver does not start: {name_of(error)}",
            _remedy(amdsmi, error)
            or "Load it: sudo modprobe amdgpu; amd-smi list shows whether that helped",
        ) from error
    return amdsmi


def _module() -> Any:
    said = io.StringIO()
    try:
        # Without its library the package prints, then fails in ways of its own.
        with contextlib.redirect_stdout(said):
            import amdsmi
    except (KeyError, OSError, AttributeError) as error:
        raise PluginUnavailable(
            "the Python package amdsmi finds no libamd_smi.so that fits it, so there is no "
            "AMD SMI here",
            "Install ROCm's amd-smi-lib, and the amdsmi of the same ROCm release; "
            "ROCM_PATH tells where it is",
        ) from error
    return amdsmi


@contextmanager
def borrowed() -> Iterator[Any]:
    """AMD SMI for a moment.

    Raises:
        PluginUnavailable: as ``initialise``.
    """
    amdsmi = initialise()
    try:
        yield amdsmi
    finally:
        amdsmi.amdsmi_shut_down()


def find_boards(amdsmi: Any, wanted: str = "") -> list[Board]:
    """The boards to follow.

    Partitions of one board are functions of one place on the bus; each would tell
    the power of the whole.

    Args:
        amdsmi: the module, initialised.
        wanted: numbers of amd-smi or PCI addresses with commas between, or ``all``;
            empty for those that the variables of ROCm leave.

    Raises:
        PluginUnavailable: there is none, or not the one that was asked for.
    """
    try:
        handles = list(amdsmi.amdsmi_get_processor_handles())
        devices = [(n, h, amdsmi.amdsmi_get_gpu_device_bdf(h)) for n, h in enumerate(handles)]
    except amdsmi.AmdSmiException as error:
        raise PluginUnavailable(
            f"AMD SMI does not list its boards: {name_of(error)}",
            _remedy(amdsmi, error) or "See what `amd-smi list` says",
        ) from error
    if not devices:
        raise PluginUnavailable("there is no AMD board", "See what `amd-smi list` says")
    chosen = _chosen(devices, wanted) if wanted else _visible(devices, os.environ)
    boards: dict[str, Board] = {}
    for index, handle, place in devices:
        address = _board_address(place)
        parts = [device for device in devices if _board_address(device[2]) == address]
        if address not in boards and any(device in chosen for device in parts):
            name = _name(amdsmi, handle)
            boards[address] = Board(index, address, name, handle, len(parts))
    if not boards:
        raise PluginUnavailable(
            f"{' and '.join(VARIABLES)} leave no AMD board", "Unset them, or name boards with gpus"
        )
    return list(boards.values())


Device = tuple[int, Any, str]


def _board_address(place: str) -> str:
    return place.lower().rpartition(".")[0] + ".0"


def _chosen(devices: Sequence[Device], wanted: str) -> list[Device]:
    if wanted.strip() == "all":
        return list(devices)
    found = []
    for word in wanted.split(","):
        text = word.strip().lower()
        named = [d for d in devices if str(d[0]) == text or d[2].lower() == text]
        if not named:
            known = ", ".join(f"{n} ({place})" for n, _, place in devices)
            raise PluginUnavailable(
                f"there is no AMD board {word.strip()!r}", f"There are: {known}"
            )
        found += named
    return found


def _visible(devices: Sequence[Device], environment: Mapping[str, str]) -> list[Device]:
    """What ROCm leaves visible; a list ends at the first entry that names no device."""
    left = list(devices)
    for variable in VARIABLES:
        if variable not in environment:
            continue
        kept = []
        for word in environment[variable].split(","):
            text = word.strip()
            if text.upper().startswith("GPU-"):
                return list(devices)  # by serial number: which that is, is not known here
            if not (text.isascii() and text.isdigit() and int(text) < len(left)):
                break
            kept.append(left[int(text)])
        left = kept
    return left


def _name(amdsmi: Any, handle: Any) -> str:
    try:
        return str(amdsmi.amdsmi_get_gpu_asic_info(handle)["market_name"])
    except (amdsmi.AmdSmiException, KeyError, ValueError):
        return "AMD GPU"


def holds_cpu(board: Board) -> bool:
    """Whether its power is that of CPU cores too, which RAPL counts as well."""
    folder = PCI_DEVICES / board.address
    with contextlib.suppress(OSError):
        if (folder / "device").read_text().strip() == MI300A:
            return True
    for label in folder.glob("hwmon/hwmon*/in1_label"):
        with contextlib.suppress(OSError):
            return label.read_text().strip() == NORTH_BRIDGE
    return False


def absent(amdsmi: Any, error: Exception) -> bool:
    """Whether the board does not have what was asked for, and never will."""
    names = ("NOT_SUPPORTED", "NOT_YET_IMPLEMENTED", "NO_DATA", "FILE_NOT_FOUND")
    codes = [getattr(amdsmi.amdsmi_wrapper, f"AMDSMI_STATUS_{name}", None) for name in names]
    return getattr(error, "err_code", None) in codes


def explain(amdsmi: Any, board: Board, error: Exception) -> str:
    """What is wrong with a board, and what to do."""
    remedy = _remedy(amdsmi, error)
    return f"{board} does not answer: {name_of(error)}" + (f". {remedy}" if remedy else "")


def name_of(error: Exception) -> str:
    """The name of an error of AMD SMI without its number and line breaks."""
    told = getattr(error, "err_info", "") or str(error)
    return " ".join(str(told).split())


def _remedy(amdsmi: Any, error: Exception) -> str:
    refused = amdsmi.amdsmi_wrapper.AMDSMI_STATUS_NO_PERM
    return _GROUPS if getattr(error, "err_code", None) == refused else ""


def joules_and_step(told: Mapping[str, Any]) -> tuple[int, float]:
    """Count and joules of one step of an energy counter, as any release of amdsmi tells them.

    Raises:
        ValueError: there is no count in it.
    """
    count = told.get("energy_accumulator", told.get("power"))
    step_uj = told.get("counter_resolution")
    if not isinstance(count, int) or not isinstance(step_uj, (int, float)) or not step_uj > 0:
        raise ValueError(f"{dict(told)} holds no energy")
    return count, STEP_J if round(step_uj, 1) == ROUNDED_STEP_UJ else step_uj * 1e-6


def watts_of(told: Mapping[str, Any]) -> tuple[float, bool]:
    """Power of a board, W, and whether it is an average, as any release of amdsmi tells it.

    Boards of the MI300 series tell the power now, earlier ones an average.

    Raises:
        ValueError: there is no power in it.
    """
    for key, average in (
        ("current_socket_power", False),
        ("average_socket_power", True),
        ("socket_power", True),
    ):
        watts = told.get(key)
        if isinstance(watts, int) and 0 < watts < MOST_W:
            return float(watts), average
    raise ValueError("it tells no power, or 0 W")

"""What the adapters of other measuring tools have in common."""

from __future__ import annotations

import contextlib
import logging
import math
import re
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from greenai_core import Channel, ConfigError, PluginUnavailable, ReadingError

from . import rapl_facts

CPUINFO = Path("/proc/cpuinfo")

DELAY_HELP = "accepted for older scripts; without effect"

RAPL_UNIT_J = 61.04e-6
"""One unit of most RAPL counters; sysfs tells multiples of it."""

SMALLEST_RAPL_RANGE_J = 65_536.0
"""Where a tool does not tell when its counter wraps: 32 bits of the smallest unit."""

MAX_RAPL_POWER_W = 500.0
"""No package draws more for long (assumption); tells how soon a counter may wrap."""

GPU_PERIOD_S = 0.1
GPU_UNIT_J = 0.001
GPU_GAIN = (
    0.056,
    "NVML beside an external meter, published for 12 boards: RMS 5.6 % (-7.9 to +12.7 %)",
)
"""As in the plugin nvml: it is the same sensor, and errs alike."""

STUCK_S = 1.0
STUCK_PERIODS = 20

PERMISSION_REMEDY = (
    "Give your group read access: echo "
    '"z /sys/class/powercap/intel-rapl*/energy_uj 0440 root $(id -gn)" | '
    "sudo tee /etc/tmpfiles.d/greenai.conf && "
    "sudo systemd-tmpfiles --create /etc/tmpfiles.d/greenai.conf"
)

NO_RAPL_REMEDY = "On bare metal: sudo modprobe intel_rapl_msr. Virtual machines have no RAPL"

_PACKAGE = re.compile(r"package-(\d+)(-die-\d+)?")


def check_delay(profiler: str, delay: Any) -> None:
    """Return if the delay of an older script is a time, or none.

    Raises:
        ConfigError: it is not.
    """
    try:
        usable = delay is None or 0 <= float(delay) < math.inf
    except (TypeError, ValueError):
        usable = False
    if not usable:
        raise ConfigError(f"{profiler}: delay {delay!r} is no number of seconds")


def rapl_channel(
    socket: str,
    part: str,
    description: str,
    *,
    platform: bool = False,
    resolution_j: float = RAPL_UNIT_J,
) -> Channel:
    """The channel of a RAPL counter that another tool reads: the same as ours, by id and gain.

    Args:
        socket: as in ``rapl_facts.identify``; so is ``part``, and ``platform``.
        part: see there.
        description: for people.
        platform: see there.
        resolution_j: joules of the last digit that the tool tells.
    """
    identity = rapl_facts.identify(socket, part, platform)
    vendor = rapl_facts.cpu_of(CPUINFO).vendor
    return rapl_facts.channel(identity, vendor, resolution_j, None, description)


def gpu_channel(uuid: str, description: str) -> Channel:
    """The channel of an NVIDIA board whose energy counter another tool reads."""
    return Channel(
        f"gpu:{uuid}",
        "gpu",
        "counter",
        resolution_j=GPU_UNIT_J,
        update_period_s=GPU_PERIOD_S,
        gain_uncertainty=GPU_GAIN[0],
        gain_source=GPU_GAIN[1],
        description=description,
    )


def socket_of(zone: str) -> str | None:
    """``cpu:0`` for the powercap zone ``package-0``, with its die; None for other zones."""
    match = _PACKAGE.fullmatch(zone)
    return f"cpu:{match[1]}{match[2] or ''}" if match else None


def range_j(zone: Path) -> float:
    """Joules after which the counter of a powercap zone starts again at 0."""
    try:
        return int((zone / "max_energy_range_uj").read_text()) * 1e-6
    except (OSError, ValueError):
        return SMALLEST_RAPL_RANGE_J


def zone_of(package: Path, name: str) -> Path:
    """The folder of a counter below that of its package."""
    if name == "package":
        return package
    for zone in sorted(package.glob("intel-rapl:*")):
        with contextlib.suppress(OSError):
            if (zone / "name").read_text().strip() == name:
                return zone
    return package / name


def check_length(channel: Channel, duration_s: float, range_j: float, tool: str) -> None:
    """Return if the counter cannot have wrapped unseen in a window of that length.

    Raises:
        ReadingError: it may have.
    """
    longest = range_j / MAX_RAPL_POWER_W
    if duration_s > longest:
        raise ReadingError(
            f"the counter of {channel.id} may have wrapped unseen in a window of "
            f"{duration_s:.0f} s; {tool} can tell for {longest:.0f} s. Use the profiler rapl"
        )


def check_moved(channel: Channel, joules: float, duration_s: float) -> None:
    """Return if the counter has moved, or could not yet.

    Raises:
        ReadingError: it stood still for long.
    """
    period = channel.update_period_s or 0.0
    if joules == 0.0 and duration_s > max(STUCK_S, STUCK_PERIODS * period):
        raise ReadingError(
            f"the counter of {channel.id} did not move for {duration_s:.1f} s: it is stuck, or "
            "not implemented here as in most virtual machines"
        )


def unreadable(error: OSError) -> PluginUnavailable:
    """What to raise when a file of RAPL cannot be opened."""
    if isinstance(error, PermissionError):
        return PluginUnavailable(f"no permission to read {error.filename}", PERMISSION_REMEDY)
    return PluginUnavailable(
        f"cannot read {error.filename}: {error.strerror}",
        "See whether `sudo cat` can; dmesg may say why",
    )


@contextlib.contextmanager
def logging_left_alone(*loggers: str) -> Iterator[None]:
    """Let a library called in this thread say nothing and configure nothing, as some do.

    Args:
        loggers: names of its loggers; the root's handlers and level are put back too.
    """
    known = [logging.getLogger(), *map(logging.getLogger, loggers)]
    before = [(logger, list(logger.handlers), logger.level) for logger in known]
    here = threading.get_ident()

    def from_elsewhere(record: logging.LogRecord) -> bool:
        return record.thread != here

    for logger in known:
        logger.addFilter(from_elsewhere)
    # ``logging.warning`` would give a root without handlers one of its own.
    nobody = logging.NullHandler()
    logging.getLogger().addHandler(nobody)
    try:
        yield
    finally:
        for logger, handlers, level in before:
            logger.removeFilter(from_elsewhere)
            logger.handlers[:] = handlers
            logger.setLevel(level)

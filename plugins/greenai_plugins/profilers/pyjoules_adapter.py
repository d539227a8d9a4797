"""Joules as pyJoules reads them: Intel RAPL through sysfs, and NVIDIA GPUs.

pyJoules reads its counters at the start and at the stop of a window and knows
nothing of wrap-around; what it cannot know is an error here, never a figure.
"""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, ClassVar, NamedTuple

from greenai_core import (
    Channel,
    ConfigError,
    PluginUnavailable,
    Reading,
    ReadingError,
    WindowProfiler,
)

RAPL_PERIOD_S = 0.001
RAPL_UNIT_J = 61.04e-6
"""One unit of most RAPL counters; sysfs tells multiples of it."""

SMALLEST_RAPL_RANGE_J = 65_536.0
"""Where ``max_energy_range_uj`` cannot be read: 32 bits of the smallest unit."""

MAX_RAPL_POWER_W = 500.0
"""No package draws more for long (assumption); tells how soon a counter may wrap."""

GPU_PERIOD_S = 0.1
GPU_UNIT_J = 0.001

STUCK_S = 1.0
STUCK_PERIODS = 20

INTEL_GAIN = (0.03, "assumption for uncalibrated Intel RAPL: 3 %")
AMD_GAIN = (0.10, "assumption for uncalibrated AMD RAPL: 10 %")
GPU_GAIN = (0.056, "RMS of 12 boards against an external meter, arXiv 2312.02741")

PERMISSION_REMEDY = (
    "Give your group read access: echo "
    '"z /sys/class/powercap/intel-rapl*/energy_uj 0440 root $(id -gn)" | '
    "sudo tee /etc/tmpfiles.d/greenai.conf && "
    "sudo systemd-tmpfiles --create /etc/tmpfiles.d/greenai.conf"
)


class _Source(NamedTuple):
    """One counter of pyJoules.

    Attributes:
        channel: what it counts.
        device: a device of pyJoules, configured for this counter alone, so that
            one that fails takes no other with it.
        unit_j: joules of one count as pyJoules gives it.
        range_j: joules after which it starts again at 0.
    """

    channel: Channel
    device: Any
    unit_j: float
    range_j: float


class PyJoulesProfiler(WindowProfiler):
    """Joules of the CPU packages, their memory and NVIDIA GPUs, through pyJoules.

    Args:
        delay: accepted for older scripts, seconds between two measures. It has
            no effect: the counters are read at the start and at the stop of a
            window, so a window ends when the work does.

    Raises:
        ConfigError: ``delay`` is no time.
    """

    name: ClassVar[str] = "pyjoules"
    requires: ClassVar[Mapping[str, str]] = {"pyJoules": "pyjoules"}
    option_names: ClassVar[Mapping[str, str]] = {
        "delay": "accepted for older scripts; without effect"
    }
    priority: ClassVar[int] = 10
    """Below ``rapl`` and ``nvml``, which follow wraps and update instants."""

    def __init__(self, delay: float | None = None) -> None:
        super().__init__()
        try:
            usable = delay is None or 0 <= float(delay) < math.inf
        except (TypeError, ValueError) as error:
            raise ConfigError(f"pyjoules: delay {delay!r} is no number of seconds") from error
        if not usable:
            raise ConfigError(f"pyjoules: delay {delay!r} is no number of seconds")
        self._sources: tuple[_Source, ...] = ()
        self._nvml_uses = 0
        self._began = 0.0
        self._before: dict[str, float | ReadingError] = {}
        self._failures: dict[str, str] = {}

    def check_available(self) -> None:
        """Return if pyJoules finds a counter that it may read.

        Raises:
            PluginUnavailable: it is not installed, finds none, or may not read it.
        """
        super().check_available()
        if not self.is_open:
            self.connect()
            self.disconnect()

    def connect(self) -> Sequence[Channel]:
        """Ask pyJoules for its devices.

        Raises:
            PluginUnavailable: it finds none, or may not read one.
        """
        super().check_available()
        try:
            self._sources = tuple(source for source in self._find() if _readable(source))
        except BaseException:
            self.disconnect()
            raise
        if not self._sources:
            self.disconnect()
            raise PluginUnavailable(
                "pyJoules finds neither Intel RAPL counters in /sys/class/powercap/intel-rapl nor "
                "an NVIDIA GPU that counts its energy",
                "On a machine that has them, load the kernel module: sudo modprobe "
                "intel_rapl_msr, or install the NVIDIA driver. Virtual machines have no RAPL",
            )
        return [source.channel for source in self._sources]

    def disconnect(self) -> None:
        """Let go of the devices."""
        self._sources = ()
        if self._nvml_uses:
            import pynvml

            # pyJoules initialises NVML with each device and never ends it.
            for _ in range(self._nvml_uses):
                pynvml.nvmlShutdown()
            self._nvml_uses = 0

    def start_window(self) -> None:
        """Read every counter; a failed read is told at the end of the window."""
        self._began = self.clock.now()
        self._before = {}
        for source in self._sources:
            try:
                self._before[source.channel.id] = _count(source)
            except ReadingError as error:
                self._before[source.channel.id] = error

    def stop_window(self) -> Mapping[str, float]:
        """Read every counter again: the joules of those that can be trusted."""
        joules = {}
        self._failures = {}
        for source in self._sources:
            name = source.channel.id
            try:
                before = self._before[name]
                if isinstance(before, ReadingError):
                    raise before
                after = _count(source)
                joules[name] = _joules(source, before, after, self.clock.now() - self._began)
            except ReadingError as error:
                self._failures[name] = str(error)
        return joules

    def end(self, begun: Any) -> Sequence[Reading]:
        """End the window; a channel without a figure tells its own reason."""
        return [
            dataclasses.replace(reading, reason=self._failures[reading.channel.id])
            if reading.energy_j is None and reading.channel.id in self._failures
            else reading
            for reading in super().end(begun)
        ]

    def _find(self) -> Iterator[_Source]:
        from pyJoules.exception import NoSuchDeviceError

        for search in (self._rapl, self._gpus):
            try:
                yield from search()
            except NoSuchDeviceError:
                continue

    def _rapl(self) -> Iterator[_Source]:
        from pyJoules.device import rapl_device

        domains = rapl_device.RaplDevice.available_domains()
        packages = {d.socket for d in domains if d.get_domain_name() == "package"}
        gain, gain_source = _rapl_gain()
        for domain in domains:
            name, socket = domain.get_domain_name(), domain.socket
            package = f"cpu:{socket}/package"
            inside = name in ("core", "uncore") and socket in packages
            device = rapl_device.RaplDevice()
            device.configure([domain])
            channel = Channel(
                f"cpu:{socket}/{name}",
                "cpu" if name == "package" else name,
                "counter",
                contained_in=package if inside else None,
                resolution_j=RAPL_UNIT_J,
                update_period_s=RAPL_PERIOD_S,
                gain_uncertainty=gain,
                gain_source=gain_source,
                description=f"{domain!r} of pyJoules",
            )
            folder = Path(rapl_device.RAPL_API_DIR) / f"intel-rapl:{socket}"
            yield _Source(channel, device, 1e-6, _range_j(folder, name))

    def _gpus(self) -> Iterator[_Source]:
        try:
            from pyJoules.device.nvidia_device import NvidiaGPUDevice
        except ImportError:
            return
        import pynvml

        domains = NvidiaGPUDevice.available_domains()
        self._nvml_uses += 1
        for domain in domains:
            device = NvidiaGPUDevice()
            self._nvml_uses += 1
            device.configure([domain])
            handle = pynvml.nvmlDeviceGetHandleByIndex(domain.device_id)
            uuid = pynvml.nvmlDeviceGetUUID(handle)
            channel = Channel(
                f"gpu:{uuid.decode() if isinstance(uuid, bytes) else uuid}",
                "gpu",
                "counter",
                resolution_j=GPU_UNIT_J,
                update_period_s=GPU_PERIOD_S,
                gain_uncertainty=GPU_GAIN[0],
                gain_source=GPU_GAIN[1],
                description=f"{domain!r} of pyJoules",
            )
            yield _Source(channel, device, 1e-3, math.inf)


def _count(source: _Source) -> float:
    """What the counter stands at, in its own unit.

    Raises:
        ReadingError: pyJoules could not read it.
    """
    try:
        (count,) = source.device.get_energy()
        return float(count)
    except Exception as error:
        # pyJoules lets through whatever the file system and NVML raise.
        raise ReadingError(
            f"pyJoules could not read {source.channel.id} ({type(error).__name__}: {error})"
        ) from error


def _readable(source: _Source) -> bool:
    """Whether the counter works; a GPU may have none.

    Raises:
        PluginUnavailable: it is there, but not for this user, or is broken.
    """
    try:
        _count(source)
    except ReadingError as error:
        if isinstance(error.__cause__, PermissionError):
            raise PluginUnavailable(
                f"no permission to read {error.__cause__.filename}", PERMISSION_REMEDY
            ) from error
        if type(error.__cause__).__name__ == "NVMLError_NotSupported":
            return False
        raise PluginUnavailable(str(error)) from error
    return True


def _joules(source: _Source, before: float, after: float, duration_s: float) -> float:
    """Energy between two counts.

    Raises:
        ReadingError: the counter wrapped, may have, was reset, or is stuck.
    """
    channel = source.channel
    longest = source.range_j / MAX_RAPL_POWER_W
    if after < before:
        raise ReadingError(
            f"the counter of {channel.id} went back from {before:.0f} to {after:.0f}: it wrapped "
            "or was reset, which pyJoules cannot tell apart. Use the profiler rapl"
        )
    if duration_s > longest:
        raise ReadingError(
            f"the counter of {channel.id} may have wrapped unseen in a window of "
            f"{duration_s:.0f} s; pyJoules can tell for {longest:.0f} s. Use the profiler rapl"
        )
    period = channel.update_period_s or 0.0
    if after == before and duration_s > max(STUCK_S, STUCK_PERIODS * period):
        raise ReadingError(
            f"the counter of {channel.id} did not move for {duration_s:.1f} s: it is stuck, or "
            "not implemented here as in most virtual machines"
        )
    return (after - before) * source.unit_j


def _range_j(folder: Path, name: str) -> float:
    """Joules after which a RAPL counter starts again at 0."""
    zones = [folder] if name == "package" else sorted(folder.glob("intel-rapl:*"))
    for zone in zones:
        try:
            if name == "package" or (zone / "name").read_text().strip() == name:
                return int((zone / "max_energy_range_uj").read_text()) * 1e-6
        except (OSError, ValueError):
            continue
    return SMALLEST_RAPL_RANGE_J


def _rapl_gain() -> tuple[float, str]:
    try:
        amd = "AuthenticAMD" in Path("/proc/cpuinfo").read_text(errors="replace")
    except OSError:
        amd = True
    return AMD_GAIN if amd else INTEL_GAIN

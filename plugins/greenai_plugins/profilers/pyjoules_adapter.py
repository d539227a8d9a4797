"""Joules as pyJoules reads them: Intel RAPL through sysfs, and NVIDIA GPUs.

pyJoules reads its counters at the start and at the stop of a window and knows
nothing of wrap-around; what it cannot know is an error here, never a figure.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, ClassVar, NamedTuple

from greenai_core import (
    Channel,
    PluginUnavailable,
    ReadingError,
    WindowProfiler,
)

from .adapters import (
    DELAY_HELP,
    PERMISSION_REMEDY,
    check_delay,
    check_length,
    check_moved,
    gpu_channel,
    range_j,
    rapl_channel,
    zone_of,
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
    option_names: ClassVar[Mapping[str, str]] = {"delay": DELAY_HELP}
    priority: ClassVar[int] = 10
    """Below ``rapl`` and ``nvml``, which follow wraps and update instants."""

    def __init__(self, delay: float | None = None) -> None:
        super().__init__()
        check_delay(self.name, delay)
        self._sources: tuple[_Source, ...] = ()
        self._nvml_uses = 0
        self._began = 0.0
        self._before: dict[str, float | ReadingError] = {}

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
        asked = self.clock.now()
        self._before = {}
        for source in self._sources:
            try:
                self._before[source.channel.id] = _count(source)
            except ReadingError as error:
                self._before[source.channel.id] = error
        self._began = self.clock.now()
        self.outside_s = self._began - asked

    def stop_window(self) -> Mapping[str, float | str]:
        """Read every counter again: its joules, or why they cannot be trusted."""
        ended = self.clock.now()
        duration = ended - self._began
        given: dict[str, float | str] = {}
        for source in self._sources:
            name = source.channel.id
            try:
                before = self._before[name]
                if isinstance(before, ReadingError):
                    raise before
                given[name] = _joules(source, before, _count(source), duration)
            except ReadingError as error:
                given[name] = str(error)
        self.outside_s += self.clock.now() - ended
        return given

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
        for domain in domains:
            name, socket = domain.get_domain_name(), domain.socket
            device = rapl_device.RaplDevice()
            device.configure([domain])
            channel = rapl_channel(f"cpu:{socket}", name, f"{domain!r} of pyJoules")
            folder = Path(rapl_device.RAPL_API_DIR) / f"intel-rapl:{socket}"
            yield _Source(channel, device, 1e-6, range_j(zone_of(folder, name)))

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
            channel = gpu_channel(
                uuid.decode() if isinstance(uuid, bytes) else uuid, f"{domain!r} of pyJoules"
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
    if after < before:
        raise ReadingError(
            f"the counter of {channel.id} went back from {before:.0f} to {after:.0f}: it wrapped "
            "or was reset, which pyJoules cannot tell apart. Use the profiler rapl"
        )
    check_length(channel, duration_s, source.range_j, "pyJoules")
    check_moved(channel, after - before, duration_s)
    return (after - before) * source.unit_j

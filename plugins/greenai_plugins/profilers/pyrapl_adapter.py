"""Joules as pyRAPL reads them: Intel RAPL through sysfs, packages and memory.

pyRAPL subtracts two reads of each counter, in µJ, and knows nothing of wrap-around;
what it cannot know is an error here, never a figure.
"""

from __future__ import annotations

import contextlib
import warnings
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, ClassVar, NamedTuple

from greenai_core import Channel, PluginUnavailable, ReadingError, WindowProfiler

from .adapters import (
    DELAY_HELP,
    NO_RAPL_REMEDY,
    check_delay,
    check_length,
    check_moved,
    logging_left_alone,
    range_j,
    rapl_channel,
    unreadable,
    zone_of,
)

POWERCAP = Path("/sys/class/powercap/intel-rapl")
"""The only place where pyRAPL looks."""


class _Source(NamedTuple):
    """One counter of pyRAPL.

    Attributes:
        channel: what it counts.
        measurement: one of pyRAPL's, of this counter alone, so that one that fails
            takes no other with it.
        socket: place of its figure in pyRAPL's lists.
        part: which list: ``pkg`` or ``dram``.
        range_j: joules after which it starts again at 0.
    """

    channel: Channel
    measurement: Any
    socket: int
    part: str
    range_j: float


class PyRaplProfiler(WindowProfiler):
    """Joules of the CPU packages and their memory, through pyRAPL.

    Args:
        delay: accepted for older scripts, seconds between two measures; no effect.

    Raises:
        ConfigError: ``delay`` is no time.
    """

    name: ClassVar[str] = "pyrapl"
    requires: ClassVar[Mapping[str, str]] = {"pyRAPL": "pyrapl"}
    option_names: ClassVar[Mapping[str, str]] = {"delay": DELAY_HELP}
    priority: ClassVar[int] = 10
    """Below ``rapl``, which follows wraps."""

    def __init__(self, delay: float | None = None) -> None:
        super().__init__()
        check_delay(self.name, delay)
        self._sources: tuple[_Source, ...] = ()
        self._failed: dict[str, str] = {}
        self._began = 0.0

    def check_available(self) -> None:
        """Return if pyRAPL finds a counter that it may read.

        Raises:
            PluginUnavailable: it is not installed, finds none, or may not read it.
        """
        super().check_available()
        if not self.is_open:
            self.connect()
            self.disconnect()

    def connect(self) -> Sequence[Channel]:
        """Ask pyRAPL for each counter of each socket.

        Raises:
            PluginUnavailable: it finds none, or may not read one.
        """
        super().check_available()
        try:
            with _files_left_open():
                self._sources = tuple(_found())
        except OSError as error:
            raise unreadable(error) from error
        if not self._sources:
            raise PluginUnavailable(
                f"pyRAPL finds no counter of every socket in {POWERCAP}", NO_RAPL_REMEDY
            )
        return [source.channel for source in self._sources]

    def disconnect(self) -> None:
        """Let go of the counters."""
        with _files_left_open():
            self._sources = ()

    def start_window(self) -> None:
        """Begin each measurement; one that fails is told at the end of the window."""
        self._failed = {}
        asked = self.clock.now()
        for source in self._sources:
            try:
                source.measurement.begin()
            except (OSError, ValueError) as error:
                self._failed[source.channel.id] = _unread(source, error)
        self._began = self.clock.now()
        self.outside_s = self._began - asked

    def stop_window(self) -> Mapping[str, float | str]:
        """End each: its joules, or why they cannot be trusted."""
        ended = self.clock.now()
        duration = ended - self._began
        given: dict[str, float | str] = dict(self._failed)
        for source in self._sources:
            if source.channel.id in self._failed:
                continue
            try:
                source.measurement.end()
                given[source.channel.id] = _joules(source, duration)
            except (OSError, ValueError) as error:
                given[source.channel.id] = _unread(source, error)
            except ReadingError as error:
                given[source.channel.id] = str(error)
        self.outside_s += self.clock.now() - ended
        return given


@contextlib.contextmanager
def _files_left_open() -> Iterator[None]:
    """Without the warning that files are closed by the collector: pyRAPL closes none."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ResourceWarning)
        yield


def _found() -> Iterator[_Source]:
    """The counters that pyRAPL can read; a machine may have none of its memory."""
    with logging_left_alone():
        import pyRAPL
        from pyRAPL.device_api import get_socket_ids
    parts = (("pkg", "package", pyRAPL.Device.PKG), ("dram", "dram", pyRAPL.Device.DRAM))
    theirs = pyRAPL._sensor
    try:
        for socket in sorted(get_socket_ids()):
            for part, zone, device in parts:
                try:
                    pyRAPL.setup(devices=[device], socket_ids=[socket])
                except pyRAPL.PyRAPLException:
                    continue
                # A measurement keeps the sensor that was set up when it was made.
                measurement = pyRAPL.Measurement("greenai")
                channel = rapl_channel(f"cpu:{socket}", zone, f"{part}[{socket}] of pyRAPL")
                limit = range_j(zone_of(POWERCAP / f"intel-rapl:{socket}", zone))
                yield _Source(channel, measurement, socket, part, limit)
    finally:
        pyRAPL._sensor = theirs


def _joules(source: _Source, duration_s: float) -> float:
    """What the measurement that has ended gave.

    Raises:
        ReadingError: the counter wrapped, may have, was reset, or is stuck.
    """
    told = getattr(source.measurement.result, source.part)
    # pyRAPL gives None in place of a list without a figure that is not negative.
    if told is None or told[source.socket] < 0:
        raise ReadingError(
            f"pyRAPL has no figure for {source.channel.id} that is not negative: the counter "
            "wrapped, was reset or showed no number, which it cannot tell apart. Use the profiler "
            "rapl"
        )
    joules = float(told[source.socket]) * 1e-6
    check_length(source.channel, duration_s, source.range_j, "pyRAPL")
    check_moved(source.channel, joules, duration_s)
    return joules


def _unread(source: _Source, error: Exception) -> str:
    return f"pyRAPL could not read {source.channel.id} ({type(error).__name__}: {error})"

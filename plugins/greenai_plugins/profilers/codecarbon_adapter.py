"""Joules as codecarbon tells them: measured where it reads counters, modelled elsewhere.

codecarbon takes RAPL if it may, and otherwise a model of CPU load and thermal design
power; the memory is always modelled. Which of it a figure is, is asked of codecarbon
itself, and told by the method of each channel.
"""

from __future__ import annotations

import contextlib
import io
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any, ClassVar, NamedTuple

from greenai_core import Channel, PluginUnavailable, ReadingError, WindowProfiler

from .adapters import (
    DELAY_HELP,
    SMALLEST_RAPL_RANGE_J,
    check_delay,
    check_length,
    check_moved,
    gpu_channel,
    logging_left_alone,
    rapl_channel,
    socket_of,
)

JOULES_PER_KWH = 3.6e6

MODEL_GAINS = {
    "cpu": (0.4 / 1.959, "codecarbon's model: static estimators err by up to 40 %"),
    "dram": (0.8 / 1.959, "codecarbon's model of memory: ±80 %, since power follows traffic"),
}
"""Component -> gain and its source: the same bounds that ``modelled`` takes (95 %
half-widths there); codecarbon states none of its own."""

POWER_PERIOD_S = 1.0
"""How often codecarbon samples a board that has no energy counter."""

NEVER_S = 1e6
"""Seconds between readings of its own that would fall into a window."""


class _Source(NamedTuple):
    """One figure of codecarbon.

    Attributes:
        channel: what it is of.
        device: what codecarbon reads it with; None where it is modelled.
        rapl: the interface that holds it, if it is a counter of a CPU.
        total: name of the component's sum in its results, where that is the figure.
    """

    channel: Channel
    device: Any
    total: str = ""
    rapl: Any = None


class CodeCarbonProfiler(WindowProfiler):
    """Joules of CPU packages, memory and GPUs, as codecarbon tells them.

    It is used without its network access, its files, its lock and its logging. Its
    sums are told apart by socket and board, so that they can be compared.

    Args:
        delay: accepted for older scripts, seconds between two measures; no effect.

    Raises:
        ConfigError: ``delay`` is no time.
    """

    name: ClassVar[str] = "codecarbon"
    requires: ClassVar[Mapping[str, str]] = {"codecarbon": "codecarbon"}
    option_names: ClassVar[Mapping[str, str]] = {"delay": DELAY_HELP}
    priority: ClassVar[int] = 5
    """Below all that read the same sensors."""

    def __init__(self, delay: float | None = None) -> None:
        super().__init__()
        check_delay(self.name, delay)
        self._tracker: Any = None
        self._sources: tuple[_Source, ...] = ()
        self._before: dict[str, float | None] = {}
        self._began = 0.0

    def check_available(self) -> None:
        """Return if codecarbon is installed and finds something to tell.

        Raises:
            PluginUnavailable: it is not, or does not.
        """
        super().check_available()
        if not self.is_open:
            self.connect()
            self.disconnect()

    def connect(self) -> Sequence[Channel]:
        """Let codecarbon look for its hardware, which takes it a second or two.

        Raises:
            PluginUnavailable: it is not installed, or fails.
        """
        super().check_available()
        with logging_left_alone("codecarbon"):
            try:
                self._tracker = _offline_tracker()
                self._tracker.start_task()
                self._tracker.stop_task()
                self._sources = tuple(_found(self._tracker))
            except Exception as error:
                self.disconnect()
                raise PluginUnavailable(
                    f"codecarbon does not start ({type(error).__name__}: {error})",
                    "Install a version that is known to work: pip install 'codecarbon>=3.3,<4'",
                ) from error
            except BaseException:  # an interrupt is likely while it takes its second or two
                self.disconnect()
                raise
        if not self._sources:
            self.disconnect()
            raise PluginUnavailable(
                "codecarbon finds nothing to tell the energy of",
                "See what `codecarbon detect` says",
            )
        return [source.channel for source in self._sources]

    def disconnect(self) -> None:
        """End its threads."""
        tracker, self._tracker = self._tracker, None
        self._sources = ()
        if tracker is not None:
            with logging_left_alone("codecarbon"), contextlib.suppress(Exception):
                tracker.stop()

    def start_window(self) -> None:
        """Begin a task of codecarbon's."""
        asked = self.clock.now()
        with logging_left_alone("codecarbon"):
            self._tracker.start_task()
        self._before = {
            source.channel.id: _last(source.device) for source in self._sources if source.device
        }
        self._began = self.clock.now()
        self.outside_s = self._began - asked

    def stop_window(self) -> Mapping[str, float | str]:
        """End the task: joules of each channel, or why they cannot be trusted.

        Raises:
            ReadingError: codecarbon knows of no task.
        """
        ended = self.clock.now()
        with logging_left_alone("codecarbon"):
            result = self._tracker.stop_task()
        self.outside_s += self.clock.now() - ended
        if result is None:
            raise ReadingError("codecarbon lost the task that it was to measure")
        given: dict[str, float | str] = {}
        for source in self._sources:
            try:
                given[source.channel.id] = self._joules(source, result, ended - self._began)
            except ReadingError as error:
                given[source.channel.id] = str(error)
        return given

    def _joules(self, source: _Source, result: Any, duration_s: float) -> float:
        channel, device = source.channel, source.device
        if device is None:
            return float(getattr(result, source.total)) * JOULES_PER_KWH
        joules = float(device.energy_delta.kWh) * JOULES_PER_KWH
        if channel.component == "gpu":
            _check_board(channel, device)
        else:
            self._check_mirrors(source.rapl)
            _check_rapl(channel, device, self._before[channel.id])
            limit = float(device.max_energy_reading.kWh) * JOULES_PER_KWH
            check_length(channel, duration_s, limit or SMALLEST_RAPL_RANGE_J, "codecarbon")
        check_moved(channel, joules, duration_s)
        return joules

    def _check_mirrors(self, rapl: Any) -> None:
        """Return if codecarbon counts no socket that it took for a mirror when opened.

        Raises:
            ReadingError: it does: the channels lack a socket.
        """
        known = {source.device.path for source in self._sources if source.rapl is rapl}
        counted = {file.path for file in rapl._rapl_files} - set(rapl._mirrored_candidates)
        if counted - known:
            raise ReadingError(
                f"codecarbon took {', '.join(sorted(counted - known))} for the mirror of another "
                "counter and found it to be one of its own: open it again"
            )


def _offline_tracker() -> Any:
    """A tracker that uses no network and no file, and leaves signals alone."""
    # AMD's library, which it imports where that is installed, prints that it has no driver.
    with contextlib.redirect_stdout(io.StringIO()):
        from codecarbon import OfflineEmissionsTracker

    # Each is given so that no configuration file of the user's decides it.
    options: dict[str, Any] = {
        "output_methods": [],
        "allow_multiple_runs": True,
        "measure_power_secs": NEVER_S,
        "tracking_mode": "machine",
        "log_level": "critical",
        "emissions_endpoint": None,
        "electricitymaps_api_token": None,
        "force_carbon_intensity_g_co2e_kwh": 0.0,
        "force_cpu_power": None,
        "force_ram_power": None,
        "force_mode_cpu_load": False,
        "rapl_include_dram": False,
        "rapl_prefer_psys": False,
        "pue": 1.0,
        "wue": 0.0,
    }
    # Joules have no country; it asks for one before it starts.
    return OfflineEmissionsTracker(country_iso_code="FRA", **options)


def _found(tracker: Any) -> Iterator[_Source]:
    """What codecarbon tells the energy of, and how it knows."""
    for device in sorted(tracker._hardware, key=lambda device: type(device).__name__):
        kind = type(device).__name__
        if kind == "CPU" and device._mode == "intel_rapl":
            yield from _packages(device._intel_interface)
        elif kind == "CPU":
            description = f"codecarbon models the CPU ({device._mode}, {device._tdp} W)"
            yield _Source(_modelled("cpu", description), None, "cpu_energy")
        elif kind == "GPU":
            yield from _boards(device)
        elif kind == "RAM":
            yield _Source(
                _modelled("dram", "codecarbon models the memory by its size"), None, "ram_energy"
            )


def _packages(rapl: Any) -> Iterator[_Source]:
    platform = any(_zone_name(file) == "psys" for file in rapl._rapl_files)
    for file in rapl._rapl_files:
        # Two counters that show the same joules: codecarbon counts one of them.
        if file.path in rapl._mirrored_candidates:
            continue
        zone = _zone_name(file)
        socket = socket_of(zone)
        part = "package" if socket else zone
        description = f"{file.path}, read by codecarbon"
        channel = rapl_channel(socket or "cpu:0", part, description, platform=platform)
        yield _Source(channel, file, rapl=rapl)


def _boards(gpus: Any) -> Iterator[_Source]:
    watched = set(gpus._get_gpu_ids())
    for board in gpus.devices.devices:
        if board.gpu_index not in watched:
            continue
        channel = gpu_channel(board._uuid, f"{board._gpu_name}, read by codecarbon")
        if board._use_power_fallback:
            channel = replace(
                channel,
                method="sampled",
                resolution_j=0.0,
                update_period_s=POWER_PERIOD_S,
                description=f"{board._gpu_name}: its power, sampled by codecarbon each second",
            )
        yield _Source(channel, board)


def _modelled(component: str, description: str) -> Channel:
    gain, source = MODEL_GAINS[component]
    return Channel(
        f"model:{component}",
        component,
        "modelled",
        gain_uncertainty=gain,
        gain_source=source,
        description=description,
    )


def _zone_name(file: Any) -> str:
    with contextlib.suppress(OSError):
        return (Path(file.path).parent / "name").read_text().strip()
    return Path(file.path).parent.name


def _last(device: Any) -> float | None:
    """Where the counter stood when codecarbon last read it, kWh."""
    return None if device.last_energy is None else float(device.last_energy.kWh)


def _check_rapl(channel: Channel, file: Any, before: float | None) -> None:
    """Return if codecarbon read the counter at both ends, and it went forward.

    Raises:
        ReadingError: it did not; codecarbon would tell 0 J, or a whole range.
    """
    if file.sample_skipped or file.last_energy is None or before is None:
        raise ReadingError(f"codecarbon could not read {file.path} of {channel.id}")
    if float(file.last_energy.kWh) < before:
        raise ReadingError(
            f"the counter of {channel.id} went back: it wrapped or was reset, which codecarbon "
            "cannot tell apart. Use the profiler rapl"
        )


def _check_board(channel: Channel, board: Any) -> None:
    """Return if codecarbon got the figure in the way that the channel says.

    Raises:
        ReadingError: it lost the counter and sampled the power instead.
    """
    if board._use_power_fallback and channel.method == "counter":
        raise ReadingError(
            f"codecarbon could not read the counter of {channel.id}, or it went back, and took "
            "the power of one instant for all of the window"
        )

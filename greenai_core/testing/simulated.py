"""Profilers, limiters and work on simulated hardware, one of each kind.

They are plugins like any other: the same base classes, nothing bypassed. What
they should find is known from the profile behind each sensor.
"""

from __future__ import annotations

import math
import random
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import replace
from typing import Any

from ..channels import Channel
from ..clock import SYSTEM_CLOCK, Clock
from ..counters import CounterProfiler
from ..errors import PluginUnavailable, PowerCapError, ReadingError
from ..profiler import Observation, PowerLimit, PowerLimiter, Telemetry
from ..sampling import PowerProfiler, Sample, StreamProfiler
from ..windows import WindowProfiler
from .hardware import (
    Fails,
    SimulatedCounter,
    SimulatedGauge,
    nvml_counter,
    power_gauge,
    rapl_counter,
)
from .profiles import Constant, DrivenPower


class SimulatedCounterProfiler(CounterProfiler):
    """Counts what :class:`SimulatedCounter` shows.

    Args:
        counters: one a channel; by default one RAPL package at 50 W.
        tells_power: whether ``read_power`` tells the power of the moment.
    """

    name = "simulated-counter"
    automatic = False

    def __init__(
        self, *, counters: Sequence[SimulatedCounter] | None = None, tells_power: bool = False
    ) -> None:
        super().__init__()
        if counters is None:
            counters = [rapl_counter(Constant(50.0))]
        self._tells_power = tells_power
        self.counters = {counter.channel.id: counter for counter in counters}

    def connect(self) -> Sequence[Channel]:
        """The channels of the counters."""
        return [counter.channel for counter in self.counters.values()]

    def disconnect(self) -> None:
        """Nothing is held."""

    def read(self, channel: Channel) -> int:
        """What stands on the counter now.

        Raises:
            ReadingError: a fault says so.
        """
        try:
            return self.counters[channel.id].read(self.clock)
        except OSError as error:
            raise ReadingError(f"{channel.id} could not be read: {error}") from error

    def read_power(self, channel: Channel) -> float | None:
        """The true power of the moment if the profiler was told to know it."""
        if not self._tells_power:
            return None
        counter = self.counters[channel.id]
        return counter.gain * counter.profile.power(self.clock.now())


class SimulatedPowerProfiler(PowerProfiler):
    """Samples what :class:`SimulatedGauge` shows.

    Args:
        gauges: one a channel; by default one wattmeter at 100 W.
        sample_period_s: instead of the 0.1 s of the kind.
    """

    name = "simulated-power"
    automatic = False

    def __init__(
        self,
        *,
        gauges: Sequence[SimulatedGauge] | None = None,
        sample_period_s: float | None = None,
    ) -> None:
        super().__init__()
        if gauges is None:
            gauges = [power_gauge(Constant(100.0))]
        if sample_period_s is not None:
            self.sample_period_s = sample_period_s  # type: ignore[misc]  # of this instance alone
        self.gauges = {gauge.channel.id: gauge for gauge in gauges}

    def connect(self) -> Sequence[Channel]:
        """The channels of the gauges."""
        return [gauge.channel for gauge in self.gauges.values()]

    def disconnect(self) -> None:
        """Nothing is held."""

    def read_power(self, channel: Channel) -> float:
        """What the gauge shows now.

        Raises:
            ReadingError: a fault says so.
        """
        try:
            return self.gauges[channel.id].read(self.clock)
        except OSError as error:
            raise ReadingError(f"{channel.id} could not be read: {error}") from error


class SimulatedStreamProfiler(StreamProfiler):
    """Delivers stamped power late and in batches, as a wattmeter's log does.

    Args:
        gauges: one a channel; by default one wattmeter at 100 W.
        period_s: time between two stamps.
        late_s: how long after its stamp a sample is there.
        batch_s: samples arrive together, this often.
    """

    name = "simulated-stream"
    automatic = False

    def __init__(
        self,
        *,
        gauges: Sequence[SimulatedGauge] | None = None,
        period_s: float = 0.01,
        late_s: float = 0.3,
        batch_s: float = 0.25,
    ) -> None:
        super().__init__()
        if gauges is None:
            gauges = [power_gauge(Constant(100.0))]
        self.period_s = period_s  # type: ignore[misc]  # of this instance alone
        self.gauges = {gauge.channel.id: gauge for gauge in gauges}
        self._late_s = late_s
        self._batch_s = batch_s
        self._next = 0

    def connect(self) -> Sequence[Channel]:
        """The channels; the stream begins."""
        self._next = math.ceil(self.clock.now() / self.period_s)
        return [gauge.channel for gauge in self.gauges.values()]

    def disconnect(self) -> None:
        """Nothing is held."""

    def deliver(self) -> Iterable[Sample]:
        """The samples whose batch has arrived; a gauge that fails leaves its own out.

        Raises:
            ReadingError: every gauge fails.
        """
        batch = math.floor((self.clock.now() - self._late_s) / self._batch_s + 1e-9)
        samples = []
        while self._next * self.period_s <= batch * self._batch_s:
            time = self._next * self.period_s
            self._next += 1
            samples += [
                Sample(time, id, gauge.power(time))
                for id, gauge in self.gauges.items()
                if not _fails(gauge, time)
            ]
        if not samples and all(_fails(g, self.clock.now()) for g in self.gauges.values()):
            raise ReadingError("the simulated stream is gone")
        return samples


def _fails(gauge: SimulatedGauge, t: float) -> bool:
    return any(isinstance(fault, Fails) and fault.active(t) for fault in gauge.faults)


class SimulatedWindowProfiler(WindowProfiler):
    """Knows the joules of one window, and of no other inside it.

    Args:
        counters: one a channel; by default one NVML counter at 200 W.
    """

    name = "simulated-window"
    automatic = False

    def __init__(self, *, counters: Sequence[SimulatedCounter] | None = None) -> None:
        super().__init__()
        if counters is None:
            counters = [nvml_counter(Constant(200.0))]
        self.counters = {counter.channel.id: counter for counter in counters}
        self._counts: dict[str, int] = {}

    def connect(self) -> Sequence[Channel]:
        """The channels of the counters."""
        return [counter.channel for counter in self.counters.values()]

    def disconnect(self) -> None:
        """Nothing is held."""

    def start_window(self) -> None:
        """Note the counts.

        Raises:
            ReadingError: every counter fails.
        """
        self._counts = self._read()

    def stop_window(self) -> Mapping[str, float]:
        """The joules since; a counter that failed at one end is left out.

        Raises:
            ReadingError: every counter fails.
        """
        counts = self._read()
        return {
            id: (counts[id] - self._counts[id]) * self.counters[id].channel.resolution_j
            for id in counts
            if id in self._counts
        }

    def _read(self) -> dict[str, int]:
        counts, problems = {}, []
        for id, counter in self.counters.items():
            try:
                counts[id] = counter.read(self.clock)
            except OSError as error:
                problems.append(f"{id} could not be read: {error}")
        if not counts:
            raise ReadingError("; ".join(problems))
        return counts


class SimulatedTelemetry(Telemetry):
    """Tells figures that a test decides.

    Args:
        clock: whose time the figures are functions of.
        figures: quantity -> (value as a function of time, unit).
        device: of which they are.
    """

    def __init__(
        self,
        clock: Clock = SYSTEM_CLOCK,
        figures: Mapping[str, tuple[Callable[[float], float], str]] | None = None,
        device: str = "host",
    ) -> None:
        self._clock = clock
        self._figures = figures or {"utilisation": (lambda t: 50.0, "%")}
        self._device = device

    def observe(self) -> Sequence[Observation]:
        """The figures now.

        Raises:
            ReadingError: a figure is not a number.
        """
        t = self._clock.now()
        observations = []
        for quantity, (value, unit) in self._figures.items():
            if math.isnan(value(t)):
                raise ReadingError(f"{self._device} gives no {quantity}")
            observations.append(Observation(self._device, quantity, value(t), unit))
        return observations


class SimulatedLimiter(PowerLimiter):
    """Keeps power limits in memory.

    Args:
        limits: of each device at the beginning; by default one GPU, 100 W to 400 W.
        stubborn_w: the device takes this limit whatever is set; None: it obeys.
        on_set: called with device and watts after a limit was set.
        present: False: ``open`` finds no hardware.
    """

    name = "simulated"

    def __init__(
        self,
        *,
        limits: Sequence[PowerLimit] | None = None,
        stubborn_w: float | None = None,
        on_set: Callable[[str, float], None] = lambda device, watts: None,
        present: bool = True,
    ) -> None:
        if limits is None:
            limits = [PowerLimit("gpu:GPU-0", 400.0, 400.0, 100.0, 400.0, settable=True)]
        self._limits = {limit.device: limit for limit in limits}
        self._stubborn_w = stubborn_w
        self._on_set = on_set
        self._present = present
        self._open = False

    def check_available(self) -> None:
        """Return if the simulated hardware is there.

        Raises:
            PluginUnavailable: it is not.
        """
        if not self._present:
            raise PluginUnavailable("the simulated limiter has no hardware", "Use present=True")

    def open(self) -> None:
        """Open it.

        Raises:
            PluginUnavailable: it is not there.
        """
        self.check_available()
        self._open = True

    def close(self) -> None:
        """Close it."""
        self._open = False

    def limits(self) -> Sequence[PowerLimit]:
        """The limits now.

        Raises:
            PowerCapError: it is not open.
        """
        if not self._open:
            raise PowerCapError("the simulated limiter is not open: call open() first")
        return tuple(self._limits.values())

    def set_limit(self, device: str, watts: float) -> None:
        """Set one limit.

        Raises:
            PowerCapError: no such device, out of range, no permission, or the
                device kept another value.
        """
        limit = {limit.device: limit for limit in self.limits()}.get(device)
        if limit is None:
            known = ", ".join(self._limits)
            raise PowerCapError(f"there is no device {device} (devices: {known})")
        if not limit.settable:
            raise PowerCapError(f"no permission to set the limit of {device}. Run as root")
        if not limit.low_w <= watts <= limit.high_w:
            raise PowerCapError(
                f"{device} takes {limit.low_w:g} W to {limit.high_w:g} W, not {watts:g} W"
            )
        kept = watts if self._stubborn_w is None else self._stubborn_w
        self._limits[device] = replace(limit, current_w=kept)
        self._on_set(device, kept)
        if kept != watts:
            raise PowerCapError(f"{device} kept {kept:g} W instead of {watts:g} W")


class SimulatedWork:
    """A workload of known length that makes a simulated device busy.

    Args:
        clock: on which it takes its time.
        seconds: mean length of one call.
        cv: coefficient of variation of the length, normally distributed.
        warm_up: the first call takes this share longer than later ones.
        warm_up_calls: over how many calls the warm-up falls to 1/e.
        power: the device, set to ``busy_w`` while working and to its idle power
            otherwise; None: no device.
        busy_w: its power while working.
        seed: of the variation.
    """

    def __init__(
        self,
        clock: Clock,
        seconds: float,
        *,
        cv: float = 0.0,
        warm_up: float = 0.0,
        warm_up_calls: float = 20.0,
        power: DrivenPower | None = None,
        busy_w: float = 0.0,
        seed: int = 0,
    ) -> None:
        self.clock = clock
        self.seconds = seconds
        self.calls = 0
        self._cv = cv
        self._warm_up = warm_up
        self._warm_up_calls = warm_up_calls
        self._power = power
        self._busy_w = busy_w
        self._draw = random.Random(seed)  # noqa: S311  # no secret: repeatable on purpose

    def __call__(self, *args: Any, **kwargs: Any) -> int:
        """Work once; whatever is given is ignored. Returns how often it has worked."""
        trend = 1 + self._warm_up * math.exp(-self.calls / self._warm_up_calls)
        length = self.seconds * trend * max(1 + self._cv * self._draw.gauss(0, 1), 0.0)
        if self._power is not None:
            self._power.set(self.clock.now(), self._busy_w)
        try:
            self.clock.sleep(length)
        finally:
            if self._power is not None:
                self._power.set(self.clock.now(), self._power.idle_w)
        self.calls += 1
        return self.calls

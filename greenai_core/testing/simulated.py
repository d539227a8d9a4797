"""Profilers on simulated hardware, one of each kind.

They are plugins like any other: the same base classes, nothing bypassed. What
they should find is known from the profile behind each sensor.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace

from greenai_core.channels import Channel
from greenai_core.counters import CounterProfiler
from greenai_core.errors import ReadingError
from greenai_core.sampling import PowerProfiler, Sample, StreamProfiler
from greenai_core.windows import WindowProfiler

from .hardware import (
    Fails,
    Fault,
    SimulatedCounter,
    SimulatedGauge,
    nvml_counter,
    power_gauge,
    rapl_counter,
)
from .profiles import Constant


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

    def inject(self, channel: str, *faults: Fault) -> None:
        """Let something go wrong with one channel, beside what already does."""
        counter = self.counters[channel]
        self.counters[channel] = replace(counter, faults=(*counter.faults, *faults))

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

    def inject(self, channel: str, *faults: Fault) -> None:
        """Let something go wrong with one channel, beside what already does."""
        gauge = self.gauges[channel]
        self.gauges[channel] = replace(gauge, faults=(*gauge.faults, *faults))

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

    def inject(self, channel: str, *faults: Fault) -> None:
        """Let something go wrong with one channel, beside what already does."""
        gauge = self.gauges[channel]
        self.gauges[channel] = replace(gauge, faults=(*gauge.faults, *faults))

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

    def inject(self, channel: str, *faults: Fault) -> None:
        """Let something go wrong with one channel, beside what already does."""
        counter = self.counters[channel]
        self.counters[channel] = replace(counter, faults=(*counter.faults, *faults))

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

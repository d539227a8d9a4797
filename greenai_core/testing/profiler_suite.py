"""The conformance suites of profilers, one for each kind of source.

Ten lines in the tests of a plugin::

    from greenai_core.testing.profiler_suite import CounterConformance

    class TestMyMeter(CounterConformance):
        def make_hardware(self):  # a simulated one, whose truth is known
            self.clock, self.meter = my_clock(), my_simulated_meter(watts=50)

        def make_profiler(self):
            return MyMeter(address=self.meter.address)

        def make_absent(self):
            return MyMeter(address="nowhere")

        def true_energy(self, start, end, channel):
            return 50 * (end - start)

        def break_sensor(self, channel):
            self.meter.fail(channel)

``clock`` is handed to ``open``; ``advance(seconds)`` sleeps on it unless it is
replaced. The simulated sensor reads true (its gain is 1): joules are judged by the
interval of repeatability. Subclass the suite of the profiler's kind:
``CounterConformance``, ``PowerConformance``, ``StreamConformance`` or
``WindowConformance``.
"""

from __future__ import annotations

import math
from typing import cast

import pytest

from greenai_core.channels import SAMPLED
from greenai_core.counters import CounterProfiler
from greenai_core.errors import LifecycleError
from greenai_core.sampling import PowerProfiler, StreamProfiler

from .conformance import check
from .profiler_channels import ChannelChecks, LifeChecks
from .profiler_energy import EnergyChecks, FailureChecks, NestingChecks


class ProfilerConformance(LifeChecks, ChannelChecks, EnergyChecks, FailureChecks):
    """What all kinds keep; subclass the suite of the kind instead."""


class CounterConformance(ProfilerConformance, NestingChecks):
    """Rules of a ``CounterProfiler``."""

    @check
    def test_counts_are_whole_numbers(self) -> None:
        """``read`` gives raw counts as int; joules are made of them by the core."""
        profiler = cast("CounterProfiler", self._opened())
        for channel in profiler.channels:
            count = profiler.read(channel)
            assert type(count) is int, f"{channel.id}: {count!r} is no int"
        profiler.close()

    @check
    def test_counters_state_their_unit(self) -> None:
        """A counter states the joules of one count, and a positive wrap or None."""
        profiler = self._opened()
        for channel in profiler.channels:
            unit, wrap = channel.resolution_j, channel.wraps_at
            assert math.isfinite(unit), f"{channel.id}: {unit} J a count"
            assert unit > 0, f"{channel.id}: {unit} J a count"
            assert wrap is None or wrap > 0, f"{channel.id}: wraps at {wrap}"
        profiler.close()


class PowerConformance(ProfilerConformance, NestingChecks):
    """Rules of a ``PowerProfiler``."""

    @check
    def test_power_is_a_plain_number(self) -> None:
        """``read_power`` gives watts as float or int, which reports can hold."""
        profiler = cast("PowerProfiler", self._opened())
        for channel in profiler.channels:
            watts = profiler.read_power(channel)
            assert isinstance(watts, (int, float)), f"{channel.id}: {type(watts).__name__}"
        profiler.close()

    @check
    def test_power_is_called_sampled(self) -> None:
        """Integrated power is no energy counter: its method is ``sampled`` (or ``modelled``)."""
        _assert_sampled(self)


class StreamConformance(ProfilerConformance, NestingChecks):
    """Rules of a ``StreamProfiler``."""

    @check
    def test_stamps_rise_on_the_clock(self) -> None:
        """Stamps of one channel rise, lie between ``open`` and now, and name known channels."""
        profiler = cast("StreamProfiler", self._made())
        began = self.clock.now()
        samples = []
        # Ahead of the core's own reader, which takes what was delivered.
        deliver, patch = profiler.deliver, pytest.MonkeyPatch()
        patch.setattr(profiler, "deliver", lambda: _kept(samples, deliver()))
        with patch.context():
            profiler.open(self.clock)
            self.advance(self.window_s)
            profiler.pull()
        known = {channel.id for channel in profiler.channels}
        patch.undo()
        profiler.close()
        assert samples, "nothing was delivered"
        last = dict.fromkeys(known, began - 1e-9)
        for sample in samples:
            assert sample.channel in known, f"a sample of {sample.channel!r}, no channel"
            assert sample.time > last[sample.channel], (
                f"{sample.channel}: {sample.time} s after {last[sample.channel]} s"
            )
            assert sample.time <= self.clock.now() + 1e-9, "a stamp lies in the future"
            last[sample.channel] = sample.time

    @check
    def test_delivering_does_not_wait(self) -> None:
        """``deliver`` gives what has arrived, and does not wait for more."""
        profiler = cast("StreamProfiler", self._opened())
        before = self.clock.now()
        list(profiler.deliver())
        waited = self.clock.now() - before
        profiler.close()
        assert waited < profiler.period_s / 10, f"deliver() took {waited} s"

    @check
    def test_power_is_called_sampled(self) -> None:
        """Integrated power is no energy counter: its method is ``sampled`` (or ``modelled``)."""
        _assert_sampled(self)


class WindowConformance(ProfilerConformance):
    """Rules of a ``WindowProfiler``."""

    @check
    def test_nesting_is_refused(self) -> None:
        """A second window inside the first is a LifecycleError, and the first goes on."""
        profiler = self._opened()
        start = self.clock.now()
        outer = profiler.begin()
        self.advance(self.window_s / 2)
        with pytest.raises(LifecycleError):
            profiler.begin()
        self.advance(self.window_s / 2)
        end = self.clock.now()
        readings = profiler.end(outer)
        profiler.close()
        for reading in readings:
            truth = self.true_energy(start, end, reading.channel.id)
            assert reading.energy_j is not None, reading.reason
            assert reading.energy_j > truth / 2, (
                f"{reading.channel.id}: {reading.energy_j} J left of {truth} J"
            )


def _kept(samples, delivered):  # type: ignore[no-untyped-def]  # any iterable of Sample
    batch = list(delivered)
    samples.extend(batch)
    return batch


def _assert_sampled(suite: ProfilerConformance) -> None:
    if suite.modelled:
        pytest.skip("a modelled source is judged by test_modelled_figures_are_called_so")
    profiler = suite._opened()
    for channel in profiler.channels:
        assert channel.method == SAMPLED, f"{channel.id} is called {channel.method}"
    profiler.close()


__all__ = [
    "CounterConformance",
    "PowerConformance",
    "ProfilerConformance",
    "StreamConformance",
    "WindowConformance",
]

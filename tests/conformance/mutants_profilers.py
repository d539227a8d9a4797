"""Profilers with one fault each."""

from __future__ import annotations

import dataclasses
import os
from pathlib import Path
from types import MappingProxyType

import numpy as np
from kit import breaks
from reference_profilers import (
    CounterReference,
    PowerReference,
    ReferenceCounter,
    ReferencePower,
    ReferenceStream,
    ReferenceWindow,
    StreamReference,
    WindowReference,
)

from greenai_core import Channel, LifecycleError, PluginUnavailable, ReadingError
from greenai_core.profiler import Evaluation


def counter(check):
    return breaks(check, CounterReference)


# Life


@counter("test_class_facts_are_stated")
class HelpForNoOption(ReferenceCounter):
    option_names = MappingProxyType({"colour": "of the meter"})


@counter("test_constructor_opens_nothing")
class LooksAtOnce(ReferenceCounter):
    def __init__(self, meter=None):
        super().__init__(meter)
        Path(os.devnull).read_bytes()


@counter("test_needs_no_options")
class MustBeTold(ReferenceCounter):
    def __init__(self, meter):
        super().__init__(meter)


@counter("test_present_hardware_is_available")
class NeverAvailable(ReferenceCounter):
    def check_available(self):
        raise PluginUnavailable("there is no meter", "Plug one in")


@counter("test_absent_hardware_has_a_remedy")
class NoRemedy(ReferenceCounter):
    def check_available(self):
        if not self.meter.present:
            raise PluginUnavailable("there is no meter")


@counter("test_absent_hardware_does_not_open")
class OpensNothing(ReferenceCounter):
    def refuse_absence(self):
        pass


@counter("test_channels_are_unknown_before_open")
class NoChannelsBeforeOpen(ReferenceCounter):
    @property
    def channels(self):
        return super().channels if self.is_open else ()


@counter("test_opening_twice_is_refused")
class OpensTwice(ReferenceCounter):
    def open(self, clock):
        if not self.is_open:
            super().open(clock)


@counter("test_closing_twice_is_harmless")
class ClosesOnce(ReferenceCounter):
    def close(self):
        if not self.is_open:
            raise LifecycleError("not open")
        super().close()


@counter("test_reopening_works")
class ForgetsItsOrder(ReferenceCounter):
    opened = 0

    def stated(self):
        self.opened += 1
        return super().stated()[:: 1 if self.opened == 1 else -1]


@counter("test_unit_is_joules")
class TellsKilowattHours(ReferenceCounter):
    def get_unit(self):
        return "kWh"


# Channels


def stating(check, **changes):
    """The second channel states something wrong."""

    class States(ReferenceCounter):
        def stated(self):
            first, second = super().stated()
            return [first, dataclasses.replace(second, **changes)]

    States.__name__ = "States" + "".join(sorted(changes)).title().replace("_", "")
    return counter(check)(States)


stating("test_ids_are_well_formed_and_unique", id="Core 0")
stating("test_containers_exist", contained_in="cpu:9/package")
stating("test_gain_uncertainty_has_a_source", gain_source="")
stating("test_update_periods_are_positive", update_period_s=0.0)
stating("test_counters_state_their_unit", wraps_at=0)


class LooseChannel(Channel):
    def __post_init__(self):
        pass


@counter("test_components_and_methods_are_known")
class MeasuresAToaster(ReferenceCounter):
    def stated(self):
        first, second = super().stated()
        return [first, LooseChannel(**{**dataclasses.asdict(second), "component": "toaster"})]


@counter("test_modelled_figures_are_called_so")
class CallsItselfModelled(ReferenceCounter):
    method = "modelled"


@counter("test_grain_is_a_time")
class EndlessGrain(ReferenceCounter):
    def grain_s(self, channel):
        return float("inf")


# Energy


def scaled(readings, factor):
    return [
        dataclasses.replace(r, energy_j=None if r.energy_j is None else r.energy_j * factor)
        for r in readings
    ]


class CountsWindows(ReferenceCounter):
    """Knows how many windows are open, and whether any was inside another."""

    depth = 0
    nested = False

    def begin(self):
        self.depth += 1
        self.nested = self.depth > 1 or self.nested
        return super().begin()

    def end(self, begun):
        self.depth -= 1
        return super().end(begun)


@counter("test_energy_is_the_truth")
class ReadsTooMuch(CountsWindows):
    """A wrong unit; where a sensor failed, or windows overlap, the fault does not show."""

    def end(self, begun):
        readings = super().end(begun)
        whole = all(reading.energy_j is not None for reading in readings)
        return scaled(readings, 1.05) if whole and not self.nested else readings


@counter("test_next_window_starts_afresh")
class CarriesOver(CountsWindows):
    carried = 0.0

    def end(self, begun):
        readings = super().end(begun)
        if self.depth == 0:
            readings = [
                dataclasses.replace(r, energy_j=None if r.energy_j is None else r.energy_j + c)
                for r, c in zip(readings, [self.carried] * len(readings), strict=True)
            ]
            self.carried = max((r.energy_j or 0.0) for r in readings)
        return readings


@counter("test_windows_nest")
class LosesTheInnerWindow(CountsWindows):
    def end(self, begun):
        readings = super().end(begun)
        return scaled(readings, 0.5) if self.nested and self.depth == 0 else readings


class DoubleRecording:
    def __init__(self, recording):
        self.recording = recording

    def __getattr__(self, name):
        return getattr(self.recording, name)

    def energies(self, ticks, instants):
        return [(c, 2 * blocks) for c, blocks in self.recording.energies(ticks, instants)]


@counter("test_recorded_blocks_add_up")
class RecordsTwice(ReferenceCounter):
    def record(self):
        return DoubleRecording(super().record())


@counter("test_evaluate_returns_seconds_joules_and_result")
class JoulesFirst(ReferenceCounter):
    def evaluate(self, f, *args, **kwargs):
        seconds, joules, result = super().evaluate(f, *args, **kwargs)
        return Evaluation(joules, seconds, result)


@counter("test_with_measures")
class ForgetsTheBlock(ReferenceCounter):
    def __exit__(self, kind, error, trace):
        super().__exit__(kind, error, trace)
        self.last = None


@counter("test_stopping_without_starting_is_refused")
class StopsAnyTime(ReferenceCounter):
    def stop(self):
        return super().stop() if self._started else None


@counter("test_starting_twice_is_refused")
class StartsAnyTime(ReferenceCounter):
    def start(self):
        if not self._started:
            super().start()


# Failure


@counter("test_failed_sensor_gives_a_reason_and_no_joules")
class MakesSomethingUp(ReferenceCounter):
    """A value that stands still would be found by the core, so this one goes on."""

    last_count = 0

    def read(self, channel):
        if self.meter.broken == {channel.id}:
            self.last_count += 1
            return self.last_count
        count = super().read(channel)
        if channel == self.channels[0]:
            self.last_count = count
        return count


@counter("test_other_channels_go_on")
class AllOrNothing(ReferenceCounter):
    def read(self, channel):
        if self.meter.broken:
            raise ReadingError("the meter is broken")
        return super().read(channel)


@counter("test_evaluate_raises_where_joules_are_missing")
class ZeroForUnknown(ReferenceCounter):
    def evaluate(self, f, *args, **kwargs):
        try:
            return super().evaluate(f, *args, **kwargs)
        except ReadingError:
            return Evaluation(1.0, 0.0, None)


# What only one kind has


@counter("test_counts_are_whole_numbers")
class CountsInFractions(ReferenceCounter):
    def read(self, channel):
        return float(super().read(channel))


@breaks("test_power_is_a_plain_number", PowerReference)
class NumpyWatts(ReferencePower):
    def read_power(self, channel):
        return np.float32(super().read_power(channel))


@breaks("test_power_is_called_sampled", PowerReference)
class CallsItselfCounter(ReferencePower):
    method = "counter"


@breaks("test_stamps_rise_on_the_clock", StreamReference)
class StuttersStamps(ReferenceStream):
    def deliver(self):
        return [copy for sample in super().deliver() for copy in (sample, sample)]


@breaks("test_delivering_does_not_wait", StreamReference)
class WaitsForMore(ReferenceStream):
    def deliver(self):
        self.clock.sleep(0.006)
        return super().deliver()


@breaks("test_nesting_is_refused", WindowReference)
class NestsByChance(ReferenceWindow):
    def begin(self):
        return super().begin() if self._window is None else self._window


@breaks("test_expected_failures_are_checks", CounterReference, expected_failures={"test_x": "why"})
class NothingWrong(ReferenceCounter):
    pass

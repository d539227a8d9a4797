"""Checks of what a profiler says of itself and of its channels, and of its life."""

from __future__ import annotations

import inspect
import math
import re

import pytest

from greenai_core.channels import COMPONENTS, METHODS
from greenai_core.errors import GreenAIError, LifecycleError, PluginUnavailable

from .conformance import check, is_finite
from .profiler_hooks import ProfilerHooks
from .watching import watched

CHANNEL_ID = re.compile(r"[a-z][a-z0-9_-]*(:[^\s/]+(/[^\s/]+)?)?")
"""``cpu:0/package``, ``gpu:GPU-uuid``, and ``psys``, of which a machine has one."""


class LifeChecks(ProfilerHooks):
    """Construct, ask, open, close."""

    @check
    def test_class_facts_are_stated(self) -> None:
        """A profiler has a name, and each option is a keyword with a line of help."""
        cls = type(self._made())
        assert cls.name.strip(), "name is empty"
        keywords = inspect.signature(cls).parameters
        for option, text in cls.option_names.items():
            assert option in keywords, f"the constructor has no keyword {option!r}"
            assert text.strip(), f"the option {option!r} has no help"

    @check
    def test_constructor_opens_nothing(self) -> None:
        """The constructor does no I/O."""
        self.make_hardware()
        with watched() as touched:
            self.make_profiler()
        assert not touched, f"the constructor touched {touched[0]}"

    @check
    def test_needs_no_options(self) -> None:
        """All options can be left out: ``cls()`` constructs a profiler."""
        type(self._made())()

    @check
    def test_present_hardware_is_available(self) -> None:
        """``check_available`` returns where the hardware is."""
        self._made().check_available()

    @check
    def test_absent_hardware_has_a_remedy(self) -> None:
        """Without its hardware a profiler is unavailable, with the reason and the remedy."""
        with pytest.raises(PluginUnavailable) as caught:
            self.make_absent().check_available()
        assert caught.value.reason.strip(), "no reason"
        assert caught.value.hint.strip(), f"no remedy for: {caught.value.reason}"

    @check
    def test_absent_hardware_does_not_open(self) -> None:
        """Without its hardware ``open`` raises an error of greenai and leaves it closed."""
        self._made()
        profiler = self.make_absent()
        with pytest.raises(GreenAIError):
            profiler.open(self.clock)
        assert not profiler.is_open, "it counts as open after open() failed"

    @check
    def test_channels_are_unknown_before_open(self) -> None:
        """Before ``open`` nobody knows the channels: LifecycleError, not an empty list."""
        with pytest.raises(LifecycleError):
            _ = self._made().channels

    @check
    def test_opening_twice_is_refused(self) -> None:
        """A second ``open`` is a LifecycleError."""
        with self._opened() as profiler, pytest.raises(LifecycleError):
            profiler.open(self.clock)

    @check
    def test_closing_twice_is_harmless(self) -> None:
        """``close`` does nothing where nothing is open."""
        profiler = self._made()
        profiler.close()
        profiler.open(self.clock)
        profiler.close()
        profiler.close()
        assert not profiler.is_open, "it is open after close()"

    @check
    def test_reopening_works(self) -> None:
        """After ``close`` a profiler opens again, on the same channels, and measures."""
        with self._opened() as profiler:
            before = [channel.id for channel in profiler.channels]
            profiler.close()
            profiler.open(self.clock)
            self.advance(self.settle_s)
            assert [channel.id for channel in profiler.channels] == before, "other channels"
            _, window, _ = self._measured(profiler)
            profiler.close()
            assert {one.id for one in window.channels} == set(before), f"missing: {window.missing}"

    @check
    def test_unit_is_joules(self) -> None:
        """The unit is the joule, whatever the source counts in."""
        assert self._made().get_unit() == "J"


class ChannelChecks(ProfilerHooks):
    """What the channels say of themselves."""

    @check
    def test_ids_are_well_formed_and_unique(self) -> None:
        """Ids are ``kind``, ``kind:device`` or ``kind:device/part``, and no two are alike."""
        with self._opened() as profiler:
            ids = [channel.id for channel in profiler.channels]
            assert ids, "an open profiler has no channels"
            for id in ids:
                assert CHANNEL_ID.fullmatch(id), (
                    f"the id {id!r} is not of the form kind:device/part"
                )
            assert len(set(ids)) == len(ids), f"two channels with one id: {sorted(ids)}"

    @check
    def test_components_and_methods_are_known(self) -> None:
        """Component and method are words that totals understand."""
        with self._opened() as profiler:
            for channel in profiler.channels:
                assert channel.component in COMPONENTS, f"{channel.id}: {channel.component!r}"
                assert channel.method in METHODS, f"{channel.id}: {channel.method!r}"

    @check
    def test_modelled_figures_are_called_so(self) -> None:
        """What no sensor measured has the method ``modelled``, and nothing else has."""
        with self._opened() as profiler:
            for channel in profiler.channels:
                assert channel.measured != self.modelled, f"{channel.id} is called {channel.method}"

    @check
    def test_containers_exist(self) -> None:
        """``contained_in`` is the id of another channel, and no channel contains itself."""
        with self._opened() as profiler:
            outer = {channel.id: channel.contained_in for channel in profiler.channels}
            for id in outer:
                seen: list[str] = [id]
                while (container := outer[seen[-1]]) is not None:
                    assert container in outer, f"{id} is contained in {container!r}, no channel"
                    assert container not in seen, f"{id} contains itself"
                    seen.append(container)

    @check
    def test_gain_uncertainty_has_a_source(self) -> None:
        """The sensor's gain uncertainty is stated, with where the figure comes from."""
        with self._opened() as profiler:
            for channel in profiler.channels:
                gain = channel.gain_uncertainty
                assert is_finite(gain), f"{channel.id}: gain uncertainty {gain}"
                assert gain >= 0, f"{channel.id}: gain uncertainty {gain}"
                assert channel.gain_source.strip(), (
                    f"{channel.id}: no source of the gain uncertainty"
                )

    @check
    def test_update_periods_are_positive(self) -> None:
        """An update period is a positive time, or None where it is not known; never 0."""
        with self._opened() as profiler:
            for channel in profiler.channels:
                period = channel.update_period_s
                assert period is None or (math.isfinite(period) and period > 0), (
                    f"{channel.id}: update period {period}"
                )

    @check
    def test_grain_is_a_time(self) -> None:
        """``grain_s`` is a finite time for every channel."""
        with self._opened() as profiler:
            for channel in profiler.channels:
                grain = profiler.grain_s(channel)
                assert is_finite(grain), f"{channel.id}: grain {grain}"
                assert grain >= 0, f"{channel.id}: grain {grain}"

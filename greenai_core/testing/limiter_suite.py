"""The conformance suite of power limiters.

Ten lines in the tests of a plugin::

    from greenai_core.testing.limiter_suite import LimiterConformance

    class TestMyLimiter(LimiterConformance):
        def make_hardware(self):  # simulated boards
            self.boards = my_simulated_boards()

        def make_limiter(self):
            return MyLimiter()

        def make_absent(self):
            return MyLimiter(driver="absent")

        def true_limit(self, device):  # asks the simulation, not the limiter
            return self.boards[device].limit_w

        def forbid(self):
            self.boards.need_root()

        def make_stubborn(self):
            self.boards.ignore_limits()
"""

from __future__ import annotations

import contextlib
import math
from collections.abc import Iterator

import pytest

from greenai_core.errors import GreenAIError, PluginUnavailable, PowerCapError
from greenai_core.limiter import PowerLimit, PowerLimiter

from .conformance import Conformance, check
from .watching import watched


class LimiterHooks(Conformance):
    """The author's part of ``LimiterConformance``, and what its checks share."""

    def make_hardware(self) -> None:
        """Build the simulated boards; may do I/O, which the constructor may not."""

    def make_limiter(self) -> PowerLimiter:
        """A limiter of those boards, not open yet."""
        raise NotImplementedError("the suite needs make_limiter()")

    def make_absent(self) -> PowerLimiter:
        """A limiter whose hardware (or library) is not there."""
        raise NotImplementedError("the suite needs make_absent()")

    def true_limit(self, device: str) -> float:
        """The limit in force on the simulated board, W, not asked through the limiter."""
        raise NotImplementedError("the suite needs true_limit(device)")

    def forbid(self) -> None:
        """Take the permission to set limits away."""
        raise NotImplementedError("the suite needs forbid()")

    def make_stubborn(self) -> None:
        """Let the boards keep their limits, whatever is set, without an error."""
        raise NotImplementedError("the suite needs make_stubborn()")

    def _made(self) -> PowerLimiter:
        self.make_hardware()
        return self.make_limiter()

    @contextlib.contextmanager
    def _opened(self) -> Iterator[PowerLimiter]:
        limiter = self._made()
        limiter.open()
        try:
            yield limiter
        finally:
            limiter.close()


def other(limit: PowerLimit) -> float:
    """A whole number of watts within the range that is not in force."""
    middle = float(round((limit.low_w + limit.high_w) / 2))
    return middle if middle != limit.current_w else middle + 1.0


class LimiterConformance(LimiterHooks):
    """Rules of ``PowerLimiter``; subclass it as ``Test…``."""

    @check
    def test_constructor_opens_nothing(self) -> None:
        """The constructor does no I/O."""
        self.make_hardware()
        with watched() as touched:
            self.make_limiter()
        assert not touched, f"the constructor touched {touched[0]}"

    @check
    def test_present_hardware_is_available(self) -> None:
        """``check_available`` returns where the hardware is."""
        self._made().check_available()

    @check
    def test_absent_hardware_has_a_remedy(self) -> None:
        """Without its hardware a limiter is unavailable, with the reason and the remedy."""
        with pytest.raises(PluginUnavailable) as caught:
            self.make_absent().check_available()
        assert caught.value.reason.strip(), "no reason"
        assert caught.value.hint.strip(), f"no remedy for: {caught.value.reason}"

    @check
    def test_absent_hardware_does_not_open(self) -> None:
        """Without its hardware ``open`` raises an error of greenai."""
        with pytest.raises(GreenAIError):
            self.make_absent().open()

    @check
    def test_closing_twice_is_harmless(self) -> None:
        """``close`` does nothing where nothing is open, and ``open`` works again after it."""
        limiter = self._made()
        limiter.close()
        limiter.open()
        limiter.close()
        limiter.close()
        limiter.open()
        assert limiter.limits(), "no limits after reopening"
        limiter.close()

    @check
    def test_devices_are_named_once(self) -> None:
        """Each device is told once, under the id of its channel (``gpu:…``)."""
        with self._opened() as limiter:
            devices = [limit.device for limit in limiter.limits()]
        assert devices, "no device has a limit"
        assert len(set(devices)) == len(devices), f"told twice: {devices}"
        assert all(":" in device for device in devices), f"devices {devices}"

    @check
    def test_limits_are_those_in_force(self) -> None:
        """``current_w`` is what the board keeps to."""
        with self._opened() as limiter:
            for limit in limiter.limits():
                assert limit.current_w == pytest.approx(self.true_limit(limit.device))

    @check
    def test_ranges_hold_their_limits(self) -> None:
        """The limit in force and the maker's lie within the range that can be set."""
        with self._opened() as limiter:
            for limit in limiter.limits():
                for watts in (limit.current_w, limit.default_w):
                    assert 0 < limit.low_w <= watts <= limit.high_w < math.inf, f"{limit}"

    @check
    def test_set_limit_is_in_force(self) -> None:
        """What was set is what the board keeps to, and what ``limits`` tells."""
        with self._opened() as limiter:
            for limit in limiter.limits():
                watts = other(limit)
                limiter.set_limit(limit.device, watts)
                told = {one.device: one.current_w for one in limiter.limits()}
                assert self.true_limit(limit.device) == pytest.approx(watts), "not in force"
                assert told[limit.device] == pytest.approx(watts), f"told is {told}"

    @check
    def test_other_devices_keep_their_limits(self) -> None:
        """Setting one board's limit leaves the others alone."""
        with self._opened() as limiter:
            first, *rest = limiter.limits()
            if not rest:
                pytest.skip("there is one device only")
            before = {limit.device: self.true_limit(limit.device) for limit in rest}
            limiter.set_limit(first.device, other(first))
            assert {limit.device: self.true_limit(limit.device) for limit in rest} == before

    @check
    def test_old_limit_can_be_restored(self) -> None:
        """The limit that was read first can be set again, exactly."""
        with self._opened() as limiter:
            for limit in limiter.limits():
                limiter.set_limit(limit.device, other(limit))
                limiter.set_limit(limit.device, limit.current_w)
                assert self.true_limit(limit.device) == pytest.approx(limit.current_w)

    @check
    def test_closing_changes_no_limit(self) -> None:
        """``close`` leaves the limit in force; who set it restores it."""
        with self._opened() as limiter:
            limit = limiter.limits()[0]
            limiter.set_limit(limit.device, other(limit))
            limiter.close()
            assert self.true_limit(limit.device) == pytest.approx(other(limit))

    @check
    def test_out_of_range_is_refused(self) -> None:
        """Watts beyond the range, or no number, are a PowerCapError and change nothing."""
        with self._opened() as limiter:
            for limit in limiter.limits():
                before = self.true_limit(limit.device)
                for watts in (limit.low_w - 1, limit.high_w + 1, math.nan, math.inf):
                    with pytest.raises(PowerCapError):
                        limiter.set_limit(limit.device, watts)
                    assert self.true_limit(limit.device) == before, f"{watts} W changed it"

    @check
    def test_unknown_device_is_refused(self) -> None:
        """A device that is not there is a PowerCapError that names it."""
        with self._opened() as limiter, pytest.raises(PowerCapError, match="no-such-board"):
            limiter.set_limit("gpu:no-such-board", limiter.limits()[0].current_w)

    @check
    def test_forbidden_is_told(self) -> None:
        """Without permission ``settable`` is False, and setting is a PowerCapError."""
        with self._opened() as limiter:
            limit = limiter.limits()[0]
            self.forbid()
            with pytest.raises(PowerCapError):
                limiter.set_limit(limit.device, other(limit))
            limiter.close()
            limiter.open()
            assert not limiter.limits()[0].settable, "told as settable without permission"

    @check
    def test_stubborn_board_is_an_error(self) -> None:
        """A board that keeps another value is a PowerCapError: what was set is read back."""
        with self._opened() as limiter:
            limit = limiter.limits()[0]
            self.make_stubborn()
            with pytest.raises(PowerCapError):
                limiter.set_limit(limit.device, other(limit))


__all__ = ["LimiterConformance"]

"""The conformance suite of telemetry: how busy, hot or throttled devices are.

Ten lines in the tests of a plugin::

    from greenai_core.testing.telemetry_suite import TelemetryConformance

    class TestMyTelemetry(TelemetryConformance):
        def make_telemetry(self):  # on simulated hardware whose state is known
            self.board = my_simulated_board(temperature=61.0)
            return MyTelemetry(self.board)

        def truth(self):
            return {("gpu:GPU-0", "temperature"): 61.0}

        def break_sensor(self):
            self.board.fail()
"""

from __future__ import annotations

import math
from collections.abc import Mapping

import pytest

from greenai_core.errors import ReadingError
from greenai_core.profiler import Telemetry

from .conformance import Conformance, check, is_finite

UNITS = {
    "utilisation": "%",
    "memory_used": "B",
    "temperature": "°C",
    "clock": "MHz",
    "memory_utilisation": "%",
    "memory_clock": "MHz",
    "power_limit": "W",
    "throttling": "bits",
}
"""The quantities that telemetry tells, each in its one unit."""


class TelemetryConformance(Conformance):
    """Rules of ``Telemetry``; subclass it as ``Test…``."""

    def make_telemetry(self) -> Telemetry:
        """Telemetry that is ready to observe simulated hardware."""
        raise NotImplementedError("the suite needs make_telemetry()")

    def truth(self) -> Mapping[tuple[str, str], float]:
        """What the simulated hardware shows, by device and quantity, in ``UNITS``."""
        raise NotImplementedError("the suite needs truth()")

    def wait(self) -> None:
        """Let the time pass that a new mean takes; nothing by default."""

    def break_sensor(self) -> None:
        """Make all observations fail from now on."""
        raise NotImplementedError("the suite needs break_sensor()")

    @check
    def test_values_are_the_truth(self) -> None:
        """Each figure is what the hardware shows."""
        seen = {(o.device, o.quantity): o.value for o in self.make_telemetry().observe()}
        for key, value in self.truth().items():
            assert key in seen, f"{key} is not told; told are {sorted(seen)}"
            assert math.isclose(seen[key], value, rel_tol=1e-6), f"{key} is told as {seen[key]}"

    @check
    def test_each_figure_is_told_once(self) -> None:
        """One observation a device and quantity."""
        told = [(o.device, o.quantity) for o in self.make_telemetry().observe()]
        assert len(set(told)) == len(told), f"told twice: {told}"

    @check
    def test_quantities_have_their_units(self) -> None:
        """Quantities are the known ones in their units; joules and watts are not telemetry."""
        for one in self.make_telemetry().observe():
            assert UNITS.get(one.quantity) == one.unit, f"{one.quantity} in {one.unit}"

    @check
    def test_values_are_possible(self) -> None:
        """Figures are finite, shares lie within 0 and 100 %."""
        for one in self.make_telemetry().observe():
            assert is_finite(one.value), f"{one.quantity} of {one.device} is {one.value}"
            if one.unit == "%":
                assert 0 <= one.value <= 100, f"{one.quantity} of {one.device} is {one.value} %"

    @check
    def test_devices_are_named(self) -> None:
        """Each figure belongs to ``host`` or to the device of a channel (``gpu:…``)."""
        for one in self.make_telemetry().observe():
            assert one.device == "host" or ":" in one.device, f"the device is {one.device!r}"

    @check
    def test_observing_again_works(self) -> None:
        """The same figures are told at every call."""
        telemetry = self.make_telemetry()
        first = [(one.device, one.quantity) for one in telemetry.observe()]
        self.wait()
        second = [(one.device, one.quantity) for one in telemetry.observe()]
        assert first == second, f"first {first}, then {second}"

    @check
    def test_failed_sensor_is_an_error(self) -> None:
        """A device that does not answer is a ReadingError with a message, never a zero."""
        telemetry = self.make_telemetry()
        self.break_sensor()
        with pytest.raises(ReadingError) as caught:
            telemetry.observe()
        assert str(caught.value).strip(), "the error says nothing"


__all__ = ["UNITS", "TelemetryConformance"]

"""Simulated telemetry and power limits."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace

from greenai_core.clock import SYSTEM_CLOCK, Clock
from greenai_core.errors import PluginUnavailable, PowerCapError, ReadingError
from greenai_core.limiter import PowerLimit, PowerLimiter
from greenai_core.profiler import Observation, Telemetry


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
    options = None
    """Another process cannot reach what is in the memory of this one."""

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

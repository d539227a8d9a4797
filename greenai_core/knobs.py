"""Power limits and clock limits behind one face: a number that is set, and given back."""

from __future__ import annotations

import importlib
from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from .errors import PluginBroken
from .limiter import ClockLimit, ClockLimiter, Limiter, PowerLimiter

EXACT = 1e-6
"""A limit that is this near to the old one need not be given back."""


@dataclass(frozen=True)
class Setting:
    """What a device is limited to, and what it can be limited to, in ``unit``.

    Attributes:
        device: ``gpu:GPU-<uuid>``, ``cpu:0/package``.
        unit: ``W`` or ``MHz``.
        current: in force now; None for a clock, which no driver tells.
        default: what the maker set; None for a clock that runs freely.
        low, high: the range.
        settable, index, label, refusal: see ``PowerLimit``.
        also: what else setting it changes; see ``PowerLimiter.also``.
    """

    device: str
    unit: str
    current: float | None
    default: float | None
    low: float
    high: float
    settable: bool
    index: int | None
    label: str
    refusal: str
    also: Mapping[str, float] = field(default_factory=dict)

    def __str__(self) -> str:
        known = f"GPU {self.index}" if self.index is not None else ""
        words = ", ".join(word for word in (self.label, self.device) if word)
        return f"{known} ({words})" if known else words


class Knob(ABC):
    """A limiter, whatever it limits."""

    unit: str

    def __init__(self, limiter: Limiter) -> None:
        self.limiter = limiter

    @property
    def target(self) -> str:
        """``module:class`` of the limiter."""
        kind = type(self.limiter)
        return f"{kind.__module__}:{kind.__qualname__}"

    @property
    def options(self) -> Mapping[str, Any] | None:
        """What its constructor takes; None where no other process can make it."""
        return self.limiter.options

    @abstractmethod
    def settings(self) -> Sequence[Setting]:
        """Of every device.

        Raises:
            PowerCapError: a device does not answer.
        """

    @abstractmethod
    def setting(self, device: str) -> Setting:
        """Of one device.

        Raises:
            PowerCapError: there is none, or it does not answer.
        """

    @abstractmethod
    def set(self, device: str, value: float) -> float:
        """Set the limit; what is in force then.

        Raises:
            PowerCapError: see the limiter.
        """

    @abstractmethod
    def restore(
        self, device: str, value: float | None, also: Mapping[str, float] | None = None
    ) -> None:
        """Give a device back what it had: a limit, or None for running freely.

        Raises:
            PowerCapError: see the limiter.
        """


class PowerKnob(Knob):
    """Watts."""

    unit = "W"

    def __init__(self, limiter: PowerLimiter) -> None:
        super().__init__(limiter)
        self._power = limiter

    def settings(self) -> Sequence[Setting]:
        """Of every device. See ``Knob``."""
        return [self.setting(limit.device) for limit in self._power.limits()]

    def setting(self, device: str) -> Setting:
        """Of one device. See ``Knob``."""
        limit = self._power.limit(device)
        return Setting(
            limit.device,
            self.unit,
            limit.current_w,
            limit.default_w,
            limit.low_w,
            limit.high_w,
            limit.settable,
            limit.index,
            limit.label,
            limit.refusal,
            dict(self._power.also(device)),
        )

    def set(self, device: str, value: float) -> float:
        """Set the limit. See ``Knob``."""
        self._power.set_limit(device, value)
        return value

    def restore(
        self, device: str, value: float | None, also: Mapping[str, float] | None = None
    ) -> None:
        """Give a device back what it had. See ``Knob``."""
        limit, now = self._power.limit(device), self._power.also(device)
        watts = limit.default_w if value is None else value
        if abs(limit.current_w - watts) >= EXACT or (also or now) != now:
            self._power.restore(device, watts, also or now)


class ClockKnob(Knob):
    """The highest clock, MHz."""

    unit = "MHz"

    def __init__(self, limiter: ClockLimiter) -> None:
        super().__init__(limiter)
        self._clock = limiter

    def settings(self) -> Sequence[Setting]:
        """Of every device. See ``Knob``."""
        return [self._shown(limit) for limit in self._clock.limits()]

    def setting(self, device: str) -> Setting:
        """Of one device. See ``Knob``."""
        return self._shown(self._clock.limit(device))

    def set(self, device: str, value: float) -> float:
        """Set the limit. See ``Knob``."""
        return self._clock.set_limit(device, value)

    def restore(
        self, device: str, value: float | None, also: Mapping[str, float] | None = None
    ) -> None:
        """Let the clock run freely, or give it back a limit. See ``Knob``."""
        if value is None:
            self._clock.reset(device)
        else:
            self._clock.set_limit(device, value)

    def _shown(self, limit: ClockLimit) -> Setting:
        return Setting(
            limit.device,
            self.unit,
            None,
            None,
            limit.low_mhz,
            limit.high_mhz,
            limit.settable,
            limit.index,
            limit.label,
            limit.refusal,
        )


def knob_of(limiter: Limiter) -> Knob:
    """The knob of a limiter.

    Raises:
        PluginBroken: it is neither a power limiter nor a clock limiter.
    """
    if isinstance(limiter, PowerLimiter):
        return PowerKnob(limiter)
    if isinstance(limiter, ClockLimiter):
        return ClockKnob(limiter)
    raise PluginBroken(f"{limiter!r} limits neither power nor clocks: it is no PowerLimiter")


def make_knob(target: str, options: Mapping[str, Any]) -> Knob:
    """The knob of a limiter that another process used; it is not open.

    Args:
        target: ``module:class``.
        options: of its constructor.

    Raises:
        PluginBroken: there is no such class any more.
    """
    module, _, name = target.partition(":")
    try:
        found: Any = importlib.import_module(module)
        for part in name.split("."):
            found = getattr(found, part)
        return knob_of(found(**options))
    except (ImportError, AttributeError, TypeError, ValueError) as error:
        raise PluginBroken(
            f"the limiter {target} cannot be made again: {error}. Install what set the limit"
        ) from error

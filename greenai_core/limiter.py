"""The contracts of what sets the power limits, and the clocks, of devices."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, ClassVar, TypeVar

from .errors import PowerCapError
from .libraries import require


@dataclass(frozen=True)
class PowerLimit:
    """Power limits of one device, in watts.

    Attributes:
        device: ``gpu:GPU-<uuid>``.
        current_w: in force now.
        default_w: what the maker set.
        low_w, high_w: what it can be set to.
        settable: whether this user may set it.
        index: number of the device among its kind, as its vendor's tool counts; None
            where there is none.
        label: what people call the device; empty where nobody does.
        refusal: why it must not be set by anyone here (split by MIG, say); empty if it may.
    """

    device: str
    current_w: float
    default_w: float
    low_w: float
    high_w: float
    settable: bool
    index: int | None = None
    label: str = ""
    refusal: str = ""


@dataclass(frozen=True)
class ClockLimit:
    """Limits of the clock of one device, in MHz.

    Attributes:
        device: ``gpu:GPU-<uuid>``.
        low_mhz, high_mhz: what its highest clock can be set to.
        settable, index, label, refusal: see ``PowerLimit``.
    """

    device: str
    low_mhz: float
    high_mhz: float
    settable: bool
    index: int | None = None
    label: str = ""
    refusal: str = ""


class Limiter(ABC):
    """What power limiters and clock limiters share (group ``greenai.limiters``)."""

    name: ClassVar[str]
    requires: ClassVar[Mapping[str, str]] = {}

    options: Mapping[str, Any] | None = {}
    """What the constructor was given, as JSON types: another process makes the same limiter
    from it, and gives an old limit back when this one is killed. None: no other process can,
    so a limit is lost with this one; for simulations."""

    def check_available(self) -> None:
        """Return if limits can be read here.

        Raises:
            PluginUnavailable: they cannot; the hint is the remedy.
        """
        require(self.requires)

    @abstractmethod
    def open(self) -> None:
        """Open the hardware.

        Raises:
            PluginUnavailable: it cannot be opened.
        """

    @abstractmethod
    def close(self) -> None:
        """Close it; does nothing when it is not open."""

    def users(self, device: str) -> Mapping[int, str]:
        """PID and name of each process that uses a device now; empty where that is not told.

        Raises:
            PowerCapError: the device does not answer.
        """
        return {}

    def by_hand(self, device: str, value: float) -> str:
        """The shell command by which root would set a limit; empty where there is none."""
        return ""


class PowerLimiter(Limiter):
    """Reads and sets the power limits of devices."""

    def limit(self, device: str) -> PowerLimit:
        """The limits of one device now, whatever becomes of the others.

        Raises:
            PowerCapError: there is none, or it does not answer.
        """
        return _of(device, self.limits())

    def also(self, device: str) -> Mapping[str, float]:
        """What else ``set_limit`` changes, as it is now; ``restore`` is given it back.

        Raises:
            PowerCapError: the device does not answer.
        """
        return {}

    def restore(self, device: str, watts: float, also: Mapping[str, float]) -> None:
        """Give a device back what it had.

        Args:
            device: whose limit was set.
            watts: its limit before.
            also: what ``also`` said then.

        Raises:
            PowerCapError: see ``set_limit``.
        """
        self.set_limit(device, watts)

    @abstractmethod
    def limits(self) -> Sequence[PowerLimit]:
        """The limits of each device now.

        Raises:
            PowerCapError: a device does not answer.
        """

    @abstractmethod
    def set_limit(self, device: str, watts: float) -> None:
        """Set the limit of one device; returns after it was read back.

        Raises:
            PowerCapForbidden: no permission.
            PowerCapKept: the device took it, and keeps another value.
            PowerCapError: no such device, out of range, or another failure.
        """


class ClockLimiter(Limiter):
    """Sets the highest clock of devices, for boards whose power cannot be capped."""

    def limit(self, device: str) -> ClockLimit:
        """The limits of one device now. See ``PowerLimiter.limit``."""
        return _of(device, self.limits())

    @abstractmethod
    def limits(self) -> Sequence[ClockLimit]:
        """The limits of each device.

        Raises:
            PowerCapError: a device does not answer.
        """

    @abstractmethod
    def set_limit(self, device: str, mhz: float) -> float:
        """Set the highest clock of one device.

        Returns:
            The clock, MHz, that it was set to: devices know steps.

        Raises:
            PowerCapForbidden: no permission.
            PowerCapError: no such device, out of range, or another failure.
        """

    @abstractmethod
    def reset(self, device: str) -> None:
        """Let the clock of one device run freely again.

        Raises:
            PowerCapForbidden: no permission.
            PowerCapError: no such device, or another failure.
        """


L = TypeVar("L", PowerLimit, ClockLimit)


def _of(device: str, limits: Sequence[L]) -> L:
    for limit in limits:
        if limit.device == device:
            return limit
    known = ", ".join(limit.device for limit in limits) or "none"
    raise PowerCapError(f"no device {device!r} can be limited here (there are: {known})")

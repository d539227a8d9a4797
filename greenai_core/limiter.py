"""The contract of what sets the power limits of devices."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import ClassVar

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
    """

    device: str
    current_w: float
    default_w: float
    low_w: float
    high_w: float
    settable: bool


class PowerLimiter(ABC):
    """Reads and sets the power limits of devices (group ``greenai.limiters``)."""

    name: ClassVar[str]
    requires: ClassVar[Mapping[str, str]] = {}

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
            PowerCapError: no such device, out of range, no permission, or the
                device kept another value.
        """

"""The two figures that the old grading service was asked about, and how they are written.

Both are kept so that old numbers can be reproduced. Neither says how much energy
something takes: the first is a power, the second a degree of use.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from decimal import Decimal

from greenai_core import Bounds, DevicePower, GradeError, Run

NOT_MEANINGFUL = (
    "not meaningful for energy: efficiency is a power (kW above idle, doubled), optimisation a "
    "degree of use"
)

PUE = 2.0
"""Power usage effectiveness that the old script assumed of every machine."""

KW_PER_W = 0.001

RAM_W_PER_GB = 0.3725
"""Power of memory that the old script assumed, W/GB."""

NAMES = ("efficiency", "optimisation")


@dataclass(frozen=True)
class LegacyFigure:
    """One of the two, with its 95 % interval.

    Attributes:
        name: one of ``NAMES``.
        value, low, high: ``low`` is never below zero.
    """

    name: str
    value: float
    low: float
    high: float

    @property
    def questions(self) -> tuple[float, ...]:
        """What to ask a service: the value, and the ends of its interval where they differ."""
        return tuple(dict.fromkeys((self.value, self.low, self.high)))


def efficiency(run_w: float, idle_w: float) -> float:
    """Power above idle, times a PUE of 2, in kW."""
    return (run_w - idle_w) * PUE * KW_PER_W


def optimisation(run_w: float, idle_w: float, max_w: float) -> float:
    """Power above idle as a share of the most that the machine draws."""
    return (run_w - idle_w) / max_w


def power_max_w(cpu_w: float, gpu_w: float, ram_gb: float) -> float:
    """The most that a machine draws as the old script reckoned it, W."""
    return cpu_w + gpu_w + ram_gb * RAM_W_PER_GB


def max_of(devices: Sequence[DevicePower], ram_gb: float | None) -> float | None:
    """``power_max_w`` of devices that are known; None where the CPU or the memory is not."""
    if ram_gb is None or not any(device.type == "CPU" for device in devices):
        return None
    watts = {
        kind: sum(device.max_power_w for device in devices if device.type == kind)
        for kind in ("CPU", "GPU")
    }
    return power_max_w(watts["CPU"], watts["GPU"], ram_gb)


def figures_of(run: Run) -> tuple[LegacyFigure, ...]:
    """The figures of a run: both, or the first alone where power caps are not known.

    Raises:
        GradeError: there is no energy above idle to speak of.
    """
    if run.net_energy_j is None:
        raise GradeError("no net energy: idle was not measured")
    return figures(run.net_energy_j, run.duration_s, max_of(run.devices, run.memory_gb))


def figures(net: Bounds, duration_s: float, max_w: float | None) -> tuple[LegacyFigure, ...]:
    """The figures of an energy above idle, J, in a time, s.

    Raises:
        GradeError: a number is none, or there is no energy above idle to speak of.
    """
    positive = [duration_s] if max_w is None else [duration_s, max_w]
    numbers = [net.value, net.low, net.high, *positive]
    if not all(map(math.isfinite, numbers)) or min(positive) <= 0:
        raise GradeError("the net energy, its time or the power cap is no positive number")
    if net.value < 0:
        raise GradeError(
            f"net energy of {net.value:.3g} J is below the noise floor, and the old service takes "
            "no figure below zero: run for longer"
        )
    watts = [joules / duration_s for joules in (net.value, max(net.low, 0.0), net.high)]
    found = [LegacyFigure("efficiency", *(efficiency(w, 0.0) for w in watts))]
    if max_w is not None:
        found.append(LegacyFigure("optimisation", *(optimisation(w, 0.0, max_w) for w in watts)))
    return tuple(found)


def fixed(value: float) -> str:
    """A number as the address of the old service takes it: digits, a point, digits.

    Raises:
        GradeError: below zero, or no number.
    """
    if not math.isfinite(value):
        raise GradeError(f"{value} is no number that a service could grade")
    if value < 0:
        raise GradeError(f"{value:g} is below zero, and the old service takes no such figure")
    text = format(Decimal(repr(abs(value))), "f")
    return text if "." in text else f"{text}.0"


def utilisation_percentage(energy_j: float, duration_s: float, max_w: float) -> float:
    """Mean power as a share of the most that a device draws, %.

    Raises:
        GradeError: time or power cap are not positive.
    """
    if not (duration_s > 0 and max_w > 0):
        raise GradeError(f"{duration_s} s and {max_w} W: both must be positive")
    return 100 * energy_j / (duration_s * max_w)

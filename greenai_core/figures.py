"""The parts of results: a number with its intervals, and the raw stretches behind it.

``results`` hands them on; import them from there.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

from .budget import Budget, scaled


@dataclass(frozen=True)
class Figure:
    """One number with its two 95 % intervals.

    Attributes:
        value: the estimate, in the unit that the field's name states.
        low, high: total uncertainty, with the gain of the sensor.
        repeat_low, repeat_high: repeatability, what a second run on the same
            machine would show; use it to compare.
        method: ``counter``, ``sampled``, ``modelled``, ``clock``, or several
            joined by ``+`` when a total is made of several.
        provenance: in words, which channels and which estimator.
        budget: what makes the intervals as wide as they are; empty where that was
            not recorded.
    """

    value: float
    low: float
    high: float
    repeat_low: float
    repeat_high: float
    method: str
    provenance: str
    budget: Budget = ()

    def divided(self, samples: int) -> Figure:
        """The same of one of so many samples."""
        return replace(
            self,
            value=self.value / samples,
            low=self.low / samples,
            high=self.high / samples,
            repeat_low=self.repeat_low / samples,
            repeat_high=self.repeat_high / samples,
            provenance=f"{self.provenance}; divided by {samples} samples",
            budget=scaled(self.budget, 1 / samples),
        )


@dataclass(frozen=True)
class ModelSummary:
    """Which file was measured, and how it was fed."""

    path: str
    format: str
    device: str
    inputs: tuple[str, ...]
    batch_size: int


@dataclass(frozen=True)
class ChannelJoules:
    """Joules of one channel in one repetition."""

    id: str
    energy_j: float


@dataclass(frozen=True)
class Repetition:
    """One block of the measured loop: the raw truth.

    Attributes:
        start_s: seconds after the loop began.
        duration_s: length, readings included.
        work_s: the part of it spent in the work itself.
        iterations: inferences or training steps done.
        channels: joules of each channel that could be read.
        flag: empty; what disturbed it, where it is an outlier and a cause was seen;
            else that none was seen.
    """

    start_s: float
    duration_s: float
    work_s: float
    iterations: int
    channels: tuple[ChannelJoules, ...]
    flag: str = ""


@dataclass(frozen=True)
class SelfCost:
    """What measuring itself took.

    Attributes:
        held_s: while the work stood still for it, s.
        cpu_s: on a processor, with the threads that read in the background, s.
        share: the larger of both over the length of what was measured.
        energy_j: estimated from ``cpu_s``; None without a sensor that sees the
            processors.
    """

    held_s: float
    cpu_s: float
    share: float
    energy_j: Figure | None = None


@dataclass(frozen=True)
class Observed:
    """What a device showed beside its joules while these were measured; part of no sum.

    Attributes:
        device: ``host``, or the id of a channel's device.
        quantity: ``utilisation``, ``memory_used``, ``temperature``, ``clock``,
            ``throttling`` … ; the figures are those of the whole device, whoever used it.
        unit: ``%``, ``B``, ``°C``, ``MHz``, ``W``, ``bits``.
        looks: how often it was looked at.
        mean, least, most: of the looks; None for ``throttling``.
        reasons: why its clocks were held down in any of them, in words; of ``throttling``.
        bits: the same as NVML's bits; None for all else.
    """

    device: str
    quantity: str
    unit: str
    looks: int
    mean: float | None = None
    least: float | None = None
    most: float | None = None
    reasons: tuple[str, ...] = ()
    bits: int | None = None


@dataclass(frozen=True)
class ChannelNet:
    """What one channel of a command cost above idle.

    Attributes:
        in_total: whether the window's total contains it.
        idle_power_w: mean of before and after, W.
        net_energy_j: J; negative where the channel drew more before and after.
    """

    id: str
    component: str
    in_total: bool
    idle_power_w: Figure
    net_energy_j: Figure


@dataclass(frozen=True)
class MissingChannel:
    """A channel that gave no figure, and why."""

    id: str
    reason: str

"""What is measured, what contains what, and what a total may add up."""

from __future__ import annotations

import math
import re
from collections.abc import Collection, Sequence
from dataclasses import dataclass, field, replace
from typing import Protocol

from .budget import Budget, Term, gains
from .results import ChannelEnergy, MissingChannel, WindowResult
from .statistics import add_gains, coverage_factor

COUNTER = "counter"
SAMPLED = "sampled"
MODELLED = "modelled"
METHODS = (COUNTER, SAMPLED, MODELLED)

PARTS = ("cpu", "dram", "gpu", "accelerator")
"""Components that a total adds up."""

SUPERSETS = ("wall", "psys")
"""Components that contain the parts; they stand beside a total."""

COMPONENTS = (*PARTS, *SUPERSETS, "core", "uncore", "other")

_DIE = re.compile(r"-die-\d+/")

DEFAULT_PERIOD_S = 0.1
"""Update period assumed where a channel does not state one: the slowest known."""

LEAST_POWER_W = 0.1
"""Whatever is on draws more; a counter of large units stands still for long."""

SHORTEST_WINDOW_PERIODS = 2
"""Below this what a counter shows says hardly anything of what happened inside."""

STUCK_S = 1.0
STUCK_PERIODS = 20


@dataclass(frozen=True)
class Channel:
    """One thing whose energy a profiler tells.

    Attributes:
        id: ``cpu:0/package``, ``cpu:0/dram``, ``gpu:GPU-<uuid>``, ``wall:NAME``;
            two profilers that see the same thing give it the same id.
        component: one of ``COMPONENTS``.
        method: ``counter`` and ``sampled`` are measured, ``modelled`` is not.
        contained_in: id of the channel whose joules include these.
        resolution_j: joules of one unit of a counter, or of the last digit.
        wraps_at: counts at which a counter starts again at 0; None for never.
        update_period_s: seconds between two new values; None where not known.
        gain_uncertainty: relative, k = 1, common to all readings.
        gain_source: where that figure comes from; channels whose text is the same
            up to the first ``;`` err alike.
        description: for people; the device's own name, and what to know of it.
        load_uncertainty: the part of ``gain_uncertainty`` that depends on the load, so
            that no calibration takes it away; relative, k = 1.
        calibration: when, and against which meter; empty if it was not calibrated.
    """

    id: str
    component: str
    method: str
    contained_in: str | None = None
    resolution_j: float = 0.0
    wraps_at: int | None = None
    update_period_s: float | None = None
    gain_uncertainty: float = 0.0
    gain_source: str = ""
    description: str = ""
    load_uncertainty: float = 0.0
    calibration: str = ""

    def __post_init__(self) -> None:
        if self.component not in COMPONENTS:
            raise ValueError(f"{self.id}: component {self.component!r} is none of {COMPONENTS}")
        if self.method not in METHODS:
            raise ValueError(f"{self.id}: method {self.method!r} is none of {METHODS}")

    @property
    def measured(self) -> bool:
        """Whether a sensor stands behind it."""
        return self.method != MODELLED

    @property
    def gain_kind(self) -> str:
        """What its gain has in common with that of other channels."""
        return self.gain_source.partition(";")[0]


class Evidence(Protocol):
    """What a sensor showed at and between the ends of a window: a dataclass of plain data."""

    def reading(self) -> Reading:
        """The reading that follows from it."""


@dataclass(frozen=True)
class Reading:
    """Energy of one channel in one window, or why there is none.

    Attributes:
        channel: what was read.
        energy_j: joules; None when the sensor failed.
        u_j: standard uncertainty without the sensor's gain.
        reason: of the failure.
        budget: what ``u_j`` is made of; empty where that is not told apart.
        covers_s: seconds between beginning and end of a source that takes its time over
            either, so that they may lie outside those of a window; None for the others.
        evidence: what it follows from, where that can be kept.
    """

    channel: Channel
    energy_j: float | None
    u_j: float = 0.0
    reason: str = ""
    budget: Budget = ()
    covers_s: float | None = None
    evidence: Evidence | None = field(default=None, compare=False, repr=False)


def too_short(channel: Channel, period_s: float, duration_s: float) -> str:
    """Why a window of so few periods has no figure."""
    return (
        f"the window lasted {duration_s:.3g} s and {channel.id} has a new value every "
        f"{period_s:.3g} s: too short to tell. Repeat the work inside the window"
    )


def stuck_reason(channel: Channel, counted_j: float, duration_s: float) -> str:
    """Why joules that did not grow for so long, s, are no energy; empty if they may be."""
    period = channel.update_period_s or DEFAULT_PERIOD_S
    patience_s = max(STUCK_S, STUCK_PERIODS * period, channel.resolution_j / LEAST_POWER_W)
    if counted_j == 0.0 and duration_s > patience_s:
        return (
            f"the counter of {channel.id} did not move for {duration_s:.1f} s, "
            "and nothing that is on uses no energy: it is stuck or not implemented here"
        )
    return ""


def contents(
    channels: Sequence[Channel], accelerators: Collection[str] | None = None
) -> tuple[str, ...]:
    """Ids of the channels that a total adds up.

    CPU packages, DRAM and the accelerators in use; nothing twice; modelled
    channels only for components that nothing measures. Where no part is
    measured but the machine as a whole is, the total is that measurement;
    several such channels are added only if they say that they make up one
    whole, see ``overlap``.

    Args:
        channels: all that are open.
        accelerators: ids of the accelerators in use; None for all of them.
    """
    parts = [
        channel
        for channel in channels
        if channel.component in PARTS
        and (
            accelerators is None
            or channel.component not in ("gpu", "accelerator")
            or channel.id in accelerators
        )
    ]
    ids = {channel.id for channel in parts}
    # Also what is inside another part, or no model of it would be known to be one of the same.
    measured = {channel.component for channel in parts if channel.measured}
    parts = [c for c in parts if c.contained_in not in ids and _of_socket(c.id) not in ids]
    if not measured:
        for component in SUPERSETS:
            wholes = _wholes(channels, component)
            if wholes:
                return () if _may_overlap(wholes) else tuple(c.id for c in wholes)
    return tuple(c.id for c in parts if c.measured or c.component not in measured)


def _of_socket(id: str) -> str:
    """Id of the same counter of the whole socket, for ``cpu:0-die-1/package``; else empty."""
    whole, dies = _DIE.subn("/", id)
    return whole if dies else ""


def overlap(channels: Sequence[Channel]) -> str:
    """Why channels of the whole machine make no total; empty if they do, or need not.

    Two meters may feed two power supplies, or one may hang behind the other.
    They are added when both are contained in the same, named by ``contained_in``.
    """
    if any(channel.component in PARTS and channel.measured for channel in channels):
        return ""
    for component in SUPERSETS:
        wholes = _wholes(channels, component)
        if _may_overlap(wholes):
            names = " and ".join(channel.id for channel in wholes)
            return (
                f"{names} may see the same joules, so there is no total of them. If each feeds "
                "a part of the machine, say so (wattmeters: give them the same part_of); "
                "otherwise use one of them"
            )
        if wholes:
            return ""
    return ""


def _wholes(channels: Sequence[Channel], component: str) -> list[Channel]:
    found = [c for c in channels if c.component == component and c.measured]
    ids = {channel.id for channel in found}
    return [channel for channel in found if channel.contained_in not in ids]


def _may_overlap(wholes: Sequence[Channel]) -> bool:
    return len(wholes) > 1 and (
        wholes[0].contained_in is None or len({c.contained_in for c in wholes}) > 1
    )


def joined_method(methods: Collection[str]) -> str:
    """Method of a total: that of its channels, or theirs joined by ``+``."""
    return "+".join(method for method in METHODS if method in methods)


def window_result(
    name: str,
    duration_s: float,
    readings: Sequence[tuple[str, Reading]],
    accelerators: Collection[str] | None = None,
) -> WindowResult:
    """The result of a window from what each profiler read in it.

    Args:
        name: of the window.
        duration_s: its length.
        readings: profiler name and reading of each channel.
        accelerators: see ``contents``.
    """
    inside = contents([reading.channel for _, reading in readings], accelerators)
    readings = [(profiler, _of_window(reading, duration_s)) for profiler, reading in readings]
    channels = []
    for profiler, reading in readings:
        if reading.energy_j is None:
            continue
        channel = reading.channel
        repeat, whole = half_widths([(channel, reading.energy_j, reading.u_j)])
        budget = budget_of([reading])
        channels.append(
            ChannelEnergy(
                channel.id,
                channel.component,
                channel.method,
                profiler,
                channel.id in inside,
                reading.energy_j,
                *bounds(reading.energy_j, whole),
                *bounds(reading.energy_j, repeat),
                budget,
            )
        )
    missing = tuple(
        MissingChannel(reading.channel.id, reading.reason)
        for _, reading in readings
        if reading.energy_j is None
    )
    used = [r for _, r in readings if r.channel.id in inside and r.energy_j is not None]
    terms = [(r.channel, r.energy_j, r.u_j) for r in used if r.energy_j is not None]
    method = joined_method({channel.method for channel, _, _ in terms})
    total = low = high = repeat_low = repeat_high = None
    if inside and len(terms) == len(inside):
        total = math.fsum(energy for _, energy, _ in terms)
        repeat, whole = half_widths(terms)
        low, high = bounds(total, whole)
        repeat_low, repeat_high = bounds(total, repeat)
    return WindowResult(
        name=name,
        duration_s=duration_s,
        energy_j=total,
        low_j=low,
        high_j=high,
        repeat_low_j=repeat_low,
        repeat_high_j=repeat_high,
        method=method,
        contains=inside,
        channels=tuple(channels),
        missing=missing,
        budget=budget_of(used) if total is not None else (),
    )


def longer(reading: Reading, outside_s: float, whole_s: float) -> Reading:
    """With the doubt about what a source counted before or after the window that was asked for.

    Nobody knows the power then: twice the mean and nothing are as likely.

    Args:
        reading: of it.
        outside_s: how long it measured before and after, s.
        whole_s: how long it measured altogether, s.
    """
    if reading.energy_j is None or outside_s <= 0.0:
        return reading
    u = reading.energy_j * outside_s / whole_s
    term = Term("outside", u, detail=f"it measured {outside_s:.3g} s more than the window")
    own = reading.budget or (Term("window", reading.u_j),)
    return replace(reading, u_j=math.hypot(reading.u_j, u), budget=(*own, term))


def _of_window(reading: Reading, duration_s: float) -> Reading:
    if reading.covers_s is None:
        return reading
    return longer(reading, reading.covers_s - duration_s, reading.covers_s)


def budget_of(readings: Sequence[Reading]) -> Budget:
    """What makes the interval of a sum of readings as wide as it is."""
    terms: list[Term] = []
    for reading in readings:
        id = reading.channel.id
        own = reading.budget or (Term("window", reading.u_j),)
        terms += [replace(t, detail=f"{id}: {t.detail}" if t.detail else id) for t in own if t.u]
    shares = [
        (r.channel.gain_kind, r.channel.id, abs(r.energy_j or 0.0) * r.channel.gain_uncertainty)
        for r in readings
    ]
    return (*terms, *gains(shares))


def half_widths(terms: Sequence[tuple[Channel, float, float]]) -> tuple[float, float]:
    """95 % half-widths of a sum of channels: repeatability, and with the gains.

    Args:
        terms: channel, joules and standard uncertainty of each.
    """
    repeat = math.sqrt(math.fsum(u * u for _, _, u in terms))
    gain = add_gains([(c.gain_kind, abs(energy) * c.gain_uncertainty) for c, energy, _ in terms])
    k = coverage_factor()
    return k * repeat, k * math.hypot(repeat, gain)


def bounds(value: float, half: float) -> tuple[float, float]:
    """The interval around an energy; energy is never negative, so neither is its low end."""
    return max(value - half, min(value, 0.0)), value + half

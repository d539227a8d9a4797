"""What the search for the best cap hands back. ``results`` hands the main class on."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from .comparison_results import Quad
from .figures import ChannelJoules, Figure

CONFIRMED = "confirmed"
UNCONFIRMED = "unconfirmed"
UNDECIDED = "undecided"
TOO_SLOW = "too slow"
LOST = "lost"
NO_SAVING = "no saving"
UNBOUND = "unbound"
INTERRUPTED = "interrupted"
FAILED = "failed"
DRY_RUN = "dry run"

OUTCOMES: Mapping[str, str] = {
    CONFIRMED: "another cap is better, and the confirmation showed it",
    UNCONFIRMED: "another cap promises to be better; it was not confirmed, as asked",
    UNDECIDED: "the confirmation did not show a saving; the original is kept",
    TOO_SLOW: "another cap saves, but steps are slower than allowed; the original is kept",
    LOST: "the candidate could not be confirmed; the original is kept",
    NO_SAVING: "ended after the probes: no cap promised enough",
    UNBOUND: "ended after the pilot: the work draws less than the lowest cap",
    INTERRUPTED: "interrupted; what was measured is kept",
    FAILED: "ended by an error; what was measured is kept",
    DRY_RUN: "nothing was tried: setting a limit is not permitted",
}
"""How a search ended, and what that means."""

SAME = 0.5
"""A cap that is this near to what was asked for is no other one, in the unit of the result."""


@dataclass(frozen=True)
class CappedDevice:
    """What a device was limited to before the search, and what it can be limited to.

    Attributes:
        id: ``gpu:GPU-<uuid>``, ``cpu:0/package``.
        label: what people call it; empty where nobody does.
        index: number of the device among its kind; None where there is none.
        original: in force before, and again after; None for a clock that ran freely.
        default: what the maker set; None where that is not told.
        low, high: the range.
        also: what else setting it changes, and what that was before.
    """

    id: str
    label: str
    index: int | None
    original: float | None
    default: float | None
    low: float
    high: float
    also: Mapping[str, float]


@dataclass(frozen=True)
class CapInForce:
    """A cap of one device, as it was read back.

    Attributes:
        device: whose it is.
        cap: in the unit of the result.
        note: what the device, or its driver, said to what was asked for; empty as a rule.
    """

    device: str
    cap: float
    note: str = ""


@dataclass(frozen=True)
class CapProbe:
    """Work measured under one cap; probes stand in the order in which they were measured.

    Attributes:
        asked: the cap that was asked for, in the unit of the result.
        cap: the one that was in force, read back; of several devices the highest.
        start_s: since the search began.
        duration_s: of what was measured.
        steps: done meanwhile.
        seconds_s: of one step.
        energy_j: of one step, all channels of the total.
        power_w: mean.
        role: ``pilot``, ``grid`` or ``adaptive``; a pilot is in no curve.
        note: what the devices said; empty as a rule.
        in_force: of each device.
        channels: joules of each channel in the whole probe.
        clamped: whether a device had another cap than was asked for.
    """

    asked: float
    cap: float
    start_s: float
    duration_s: float
    steps: int
    seconds_s: Figure
    energy_j: Figure
    power_w: Figure
    role: str
    note: str = ""
    in_force: tuple[CapInForce, ...] = ()
    channels: tuple[ChannelJoules, ...] = ()
    clamped: bool = field(init=False)

    def __post_init__(self) -> None:
        caps = [one.cap for one in self.in_force] or [self.cap]
        object.__setattr__(self, "clamped", any(abs(cap - self.asked) >= SAME for cap in caps))


@dataclass(frozen=True)
class CapPoint:
    """What the curves say of one cap.

    Attributes:
        cap: in the unit of the result.
        seconds_s: of one step.
        power_w: mean.
        energy_j: of one step.
        score: the objective over that of the original cap; None where it is too slow.
    """

    cap: float
    seconds_s: float
    power_w: float
    energy_j: float
    score: float | None


@dataclass(frozen=True)
class CapRatio:
    """A figure under the candidate over that under the original, with its 95 % interval."""

    value: float
    low: float
    high: float


@dataclass(frozen=True)
class CapConfirmation:
    """A cap that was measured against the original in turns, beside the candidate.

    Attributes:
        cap: in the unit of the result.
        energy, time, score: of a step under it over those under the original.
        quads: A the original, B this cap.
    """

    cap: float
    energy: CapRatio
    time: CapRatio
    score: CapRatio
    quads: tuple[Quad, ...]


@dataclass(frozen=True)
class CapResult:
    """The best cap, and all that it was found by.

    Attributes:
        devices: that were capped.
        limiter: that capped them.
        unit: of all caps: ``W``, or ``MHz`` where clocks were limited.
        objective: as it is written.
        original: the cap before; it is in force again.
        chosen: the best one; the original where no saving could be shown.
        kept_original: whether it is that.
        reason: in words.
        probes: in the order in which they were measured.
        curve: through the probes; empty where the search ended before there was one.
        pareto: points of the curve that no other beats in both time and energy.
        energy: of a step, candidate over original; None where nothing was confirmed.
        time: likewise.
        score: the objective, likewise.
        quads: of the confirmation: A the original, B the candidate.
        candidate: the cap that was confirmed, or not; None where there was none.
        contains: ids of the channels that the energies add up.
        duration_s: of the whole search.
        complete: False after Ctrl-C or an error.
        warnings: what to know of this result.
        outcome: how the search ended, one of ``OUTCOMES``.
        limits: of each device.
        chosen_point: the curves at the chosen cap; None where there are none.
        by_hand: of a search that was not permitted: what root would have to type to try
            the caps, one after the other.
        command: that was the work; empty for work of a program's own.
        step_pattern: a step of it ended with each line in which this was found; None where
            a step was one run of it.
        others: other caps that were measured against the original, in their order.
        saving: share of the energy of a step that the candidate saves; None if not confirmed.
        slowdown: share by which a step takes longer; None if not confirmed.
    """

    devices: tuple[str, ...]
    limiter: str
    unit: str
    objective: str
    original: float
    chosen: float
    kept_original: bool
    reason: str
    probes: tuple[CapProbe, ...]
    curve: tuple[CapPoint, ...]
    pareto: tuple[CapPoint, ...]
    energy: CapRatio | None
    time: CapRatio | None
    score: CapRatio | None
    quads: tuple[Quad, ...]
    candidate: float | None
    contains: tuple[str, ...]
    duration_s: float
    complete: bool = True
    warnings: tuple[str, ...] = ()
    outcome: str = ""
    limits: tuple[CappedDevice, ...] = ()
    chosen_point: CapPoint | None = None
    by_hand: tuple[str, ...] = ()
    command: tuple[str, ...] = ()
    step_pattern: str | None = None
    others: tuple[CapConfirmation, ...] = ()
    saving: CapRatio | None = field(init=False)
    slowdown: CapRatio | None = field(init=False)

    def __post_init__(self) -> None:
        energy, time = self.energy, self.time
        saving = energy and CapRatio(1 - energy.value, 1 - energy.high, 1 - energy.low)
        slowdown = time and CapRatio(time.value - 1, time.low - 1, time.high - 1)
        object.__setattr__(self, "saving", saving)
        object.__setattr__(self, "slowdown", slowdown)


def at_cap(curve: tuple[CapPoint, ...], cap: float) -> CapPoint | None:
    """The curves at a cap, on the straight line between its neighbours; None without curves.

    Args:
        curve: points by rising caps.
        cap: beyond the ends of the curve it is as at the end.
    """
    if not curve:
        return None
    above = next((i for i, point in enumerate(curve) if point.cap >= cap), len(curve) - 1)
    upper, lower = curve[above], curve[max(above - 1, 0)]
    if upper.cap <= cap or lower.cap >= upper.cap:
        return upper
    share = max((cap - lower.cap) / (upper.cap - lower.cap), 0.0)

    def between(low: float, high: float) -> float:
        return low + share * (high - low)

    known = lower.score is not None and upper.score is not None
    seconds, watts = (
        between(lower.seconds_s, upper.seconds_s),
        between(lower.power_w, upper.power_w),
    )
    return CapPoint(
        cap,
        seconds,
        watts,
        seconds * watts,
        between(lower.score or 0.0, upper.score or 0.0) if known else None,
    )

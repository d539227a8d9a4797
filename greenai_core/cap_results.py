"""What the search for the best cap hands back."""

from __future__ import annotations

from dataclasses import dataclass

from .comparison_results import Quad

SCHEMA_VERSION = 1


@dataclass(frozen=True)
class CapProbe:
    """Work measured under one cap.

    Attributes:
        asked: the cap that was asked for, in the unit of the result.
        cap: the one that was in force.
        start_s: since the search began.
        duration_s: of what was measured.
        steps: done meanwhile.
        seconds_s: of one step.
        energy_j: of one step, all channels of the total.
        power_w: mean.
        role: ``pilot``, ``grid`` or ``adaptive``; a pilot is in no curve.
        note: what the device said; empty as a rule.
    """

    asked: float
    cap: float
    start_s: float
    duration_s: float
    steps: int
    seconds_s: float
    energy_j: float
    power_w: float
    role: str
    note: str = ""


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
    """A figure under the chosen cap over that under the original, with its 95 % interval."""

    value: float
    low: float
    high: float


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
        curve: through the probes.
        pareto: points of the curve that no other beats in both time and energy.
        energy: of a step, chosen over original; None where nothing was confirmed.
        time: likewise.
        score: the objective, likewise.
        quads: of the confirmation: A the original, B the candidate.
        candidate: the cap that was confirmed, or not; None where there was none.
        contains: ids of the channels that the energies add up.
        duration_s: of the whole search.
        complete: False after Ctrl-C.
        warnings: what to know of this result.
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
    schema_version: int = SCHEMA_VERSION

    @property
    def saving(self) -> CapRatio | None:
        """Share of the energy of a step that the chosen cap saves; None if not confirmed."""
        return None if self.energy is None else CapRatio(*_below_one(self.energy))

    @property
    def slowdown(self) -> CapRatio | None:
        """Share by which a step takes longer; None if not confirmed."""
        if self.time is None:
            return None
        return CapRatio(self.time.value - 1, self.time.low - 1, self.time.high - 1)


def _below_one(ratio: CapRatio) -> tuple[float, float, float]:
    return 1 - ratio.value, 1 - ratio.high, 1 - ratio.low

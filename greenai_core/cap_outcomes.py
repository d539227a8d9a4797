"""How searches for the best cap end: in full, cut short, or before they began."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from .cap_objectives import Objective
from .cap_results import (
    CONFIRMED,
    DRY_RUN,
    INTERRUPTED,
    LOST,
    NO_SAVING,
    TOO_SLOW,
    UNBOUND,
    UNCONFIRMED,
    UNDECIDED,
    CappedDevice,
    CapProbe,
    CapRatio,
    CapResult,
)
from .cap_search import Found, Range, grid
from .knobs import Knob, Setting


def limits_of(settings: Sequence[Setting]) -> tuple[CappedDevice, ...]:
    """What devices were limited to, as a result tells it."""
    return tuple(
        CappedDevice(
            one.device,
            one.label,
            one.index,
            one.current,
            one.default,
            one.low,
            one.high,
            dict(one.also),
        )
        for one in settings
    )


def outcome_of(
    found: Found, score: CapRatio | None, chosen: float, *, quads: int, interrupted: bool
) -> str:
    """How a search ended, one of ``OUTCOMES``.

    Args:
        found: by the probes.
        score: the objective in the confirmation, candidate over original; None without one.
        chosen: the cap.
        quads: that were asked for.
        interrupted: whether the confirmation was.
    """
    if found.candidate is None:
        return NO_SAVING if found.curves is not None else UNBOUND
    if interrupted:
        return INTERRUPTED
    if not quads:
        return UNCONFIRMED
    if score is None:
        return LOST
    if chosen == found.candidate:
        return CONFIRMED
    return TOO_SLOW if score.high < 1 else UNDECIDED


def original_of(settings: Sequence[Setting]) -> float:
    """The cap in force: of several devices the lowest; of a free clock the highest that it has."""
    return min(one.high if one.current is None else one.current for one in settings)


def cut_short(
    knob: Knob,
    settings: Sequence[Setting],
    objective: Objective,
    probes: Sequence[CapProbe],
    contains: Sequence[str],
    *,
    outcome: str,
    reason: str,
    original: float | None = None,
    candidate: float | None = None,
    duration_s: float | None = None,
    warnings: Sequence[str] = (),
) -> CapResult:
    """What is known of a search that did not come to its end: its probes, and no choice.

    Args:
        knob: that set the caps.
        settings: of each device, as they were before.
        objective: what was to be small.
        probes: that were measured.
        contains: ids of the channels of the total.
        outcome: one of ``OUTCOMES``.
        reason: in words.
        original: the cap before; None for what the settings say.
        candidate: that was to be confirmed.
        duration_s: of the search; None for what the probes say.
        warnings: what to know of it.
    """
    if original is None:
        original = original_of(settings)
    if duration_s is None:
        duration_s = max((one.start_s + one.duration_s for one in probes), default=0.0)
    return CapResult(
        devices=tuple(one.device for one in settings),
        limiter=knob.limiter.name,
        unit=knob.unit,
        objective=objective.name,
        original=original,
        chosen=original,
        kept_original=True,
        reason=reason,
        probes=tuple(probes),
        curve=(),
        pareto=(),
        energy=None,
        time=None,
        score=None,
        quads=(),
        candidate=candidate,
        contains=tuple(contains),
        duration_s=duration_s,
        complete=False,
        warnings=tuple(warnings),
        outcome=outcome,
        limits=limits_of(settings),
    )


def dry_run(
    knob: Knob, settings: Sequence[Setting], objective: Objective, caps: int, reason: str
) -> CapResult:
    """What a search that is not permitted would begin with, and how root would do it by hand.

    Args:
        knob: that would set the caps.
        settings: of each device.
        objective: what would be small.
        caps: of the first round.
        reason: why it is not permitted.
    """
    original = original_of(settings)
    low = max(one.low for one in settings)
    tried = grid(Range(low, original), None, caps) if low < original else [original]
    lines = (
        knob.limiter.by_hand(one.device, min(max(cap, one.low), one.high))
        for cap in tried
        for one in settings
    )
    made = cut_short(knob, settings, objective, (), (), outcome=DRY_RUN, reason=reason)
    return replace(made, by_hand=tuple(filter(None, lines)), complete=True)

"""How much of its power range a run uses: a diagnosis (``util/1``), not a grade."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

from .errors import GradeError
from .figures import Figure

SCALE = "util/1"


@dataclass(frozen=True)
class Diagnosis:
    """Where the power of a run lies between idle and full power.

    Attributes:
        scale: ``util/1``.
        utilisation: (P_run − P_idle) / (P_max − P_idle) with its interval, not cut at 0
            or 1: what lies outside tells that a power is wrong.
        idle_share: share of the energy that idling would have cost.
        reasons: in words.
        full_power_w: that was taken.
        source: who tells it.
        channels: that it is of; empty when nobody said.
    """

    scale: str
    utilisation: Figure
    idle_share: float | None
    reasons: tuple[str, ...]
    full_power_w: float
    source: str
    channels: tuple[str, ...] = ()


def diagnose(
    run_w: Figure, idle_w: Figure, full_w: float, source: str, *, channels: Sequence[str] = ()
) -> Diagnosis:
    """Utilisation of the power range and the idle share.

    Power of the run and of idle are by the same sensors, whose gain scales both, so it
    is counted once; ``full_w`` is taken as it is.

    Args:
        run_w: mean power of the run, W.
        idle_w: idle power of the same channels, W.
        full_w: power of the same parts at full load, W.
        source: where ``full_w`` is from: a limit in force, a datasheet.
        channels: ids of those that the powers are of.

    Raises:
        GradeError: a power is no number, or full power is not above idle.
    """
    if not all(map(math.isfinite, (run_w.value, idle_w.value, full_w))):
        raise GradeError("utilisation needs three powers that are numbers")
    span = full_w - idle_w.value
    if span <= 0:
        raise GradeError(
            f"full power of {full_w:.3g} W ({source}) is not above the idle power of "
            f"{idle_w.value:.3g} W: they are not of the same parts"
        )
    above = run_w.value - idle_w.value
    half = math.hypot(_half(run_w), _half(idle_w) * (1 - above / span))
    share, repeat = above / span, half / span
    total = math.hypot(repeat, _relative_gain(run_w) * share * full_w / span)
    figure = Figure(
        share,
        share - total,
        share + total,
        share - repeat,
        share + repeat,
        run_w.method,
        f"(P_run − P_idle) / (P_max − P_idle), P_max {full_w:.4g} W: {source}",
    )
    idle_share = idle_w.value / run_w.value if run_w.value > 0 else None
    reasons = _reasons(figure, idle_share, full_w, source)
    return Diagnosis(SCALE, figure, idle_share, reasons, full_w, source, tuple(channels))


def _half(figure: Figure) -> float:
    return (figure.repeat_high - figure.repeat_low) / 2


def _relative_gain(figure: Figure) -> float:
    """95 % half-width by the sensor's gain: the total one without repeatability."""
    total = (figure.high - figure.low) / 2
    half = math.sqrt(max(total**2 - _half(figure) ** 2, 0.0))
    return half / abs(figure.value) if figure.value else 0.0


def _reasons(
    figure: Figure, idle_share: float | None, full_w: float, source: str
) -> tuple[str, ...]:
    reasons = [
        f"the run used {figure.value:.0%} ({figure.low:.0%} to {figure.high:.0%}) of the range "
        f"from idle to {full_w:.3g} W ({source})"
    ]
    if figure.low > 1:
        reasons.append("more than full power: the limit that was given is not that of these parts")
    if figure.high < 0:
        reasons.append("less than idle: the machine did more before and after than in the run")
    if idle_share is not None:
        reasons.append(f"idling alone would have cost {min(idle_share, 1):.0%} of its energy")
    reasons.append("a diagnosis, not a grade: a busy machine may still waste its work")
    return tuple(reasons)

"""What a probe says of one step: time, energy and power, with their intervals."""

from __future__ import annotations

import math
from collections.abc import Sequence

from .budget import Budget, Term, scaled
from .figures import Figure
from .results import WindowResult
from .statistics import Vector, batch_means, expanded

CLOCK = "clock"


def probe_figures(
    window: WindowResult, step_times: Sequence[float] | Vector
) -> tuple[Figure, Figure, Figure]:
    """Seconds and joules of one step, and the mean power, of a window full of steps.

    The repeatability of the joules holds what the reading of the sensors is not sure of, and
    how the *times* of the steps differ. How their power differs no counter of this pace tells.

    Args:
        window: that was measured; its energy is known.
        step_times: s, of each step in it.
    """
    steps, length = len(step_times), window.duration_s
    assert window.energy_j is not None
    mean = length / steps
    interval = batch_means(step_times)
    times: Budget = ()
    told = "one step: how steps differ is not known"
    if math.isfinite(interval.half):
        told = f"mean of {steps} steps"
        detail = f"{steps} steps, of their times; r = {interval.correlation:.2f}"
        share = interval.u / interval.mean if interval.mean > 0 else 0.0
        times = (Term("repetition", share * mean, interval.nu, True, detail, interval.blocks),)
    names = " + ".join(window.contains)
    joules = window.energy_j / steps
    of_steps = scaled(times, joules / mean) if mean > 0 else ()
    energy: Budget = (*scaled(window.budget, 1 / steps), *of_steps)
    return (
        with_budget(mean, times, CLOCK, f"{told} on the monotonic clock"),
        with_budget(joules, energy, window.method, f"{names}; {told}"),
        with_budget(
            window.energy_j / length, scaled(window.budget, 1 / length), window.method, names
        ),
    )


def with_budget(value: float, budget: Budget, method: str, provenance: str) -> Figure:
    """A figure whose intervals are those that its budget gives."""
    repeat = _half([term for term in budget if term.repeats])
    total = max(_half(budget), repeat)
    floor = min(value, 0.0)
    return Figure(
        value,
        max(value - total, floor),
        value + total,
        max(value - repeat, floor),
        value + repeat,
        method,
        provenance,
        budget,
    )


def _half(terms: Sequence[Term]) -> float:
    return expanded([(t.u, math.inf if t.nu is None else t.nu) for t in terms if t.u])

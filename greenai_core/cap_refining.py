"""Which cap to confirm next, where work may be only so much slower. Pure functions.

The probes know the slowdown at a cap to half a percent; quads know it several times better.
So the first cap that was confirmed shows where on the curves the limit really is.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np

from .cap_curves import Curves
from .cap_objectives import Objective
from .cap_probing import Confirmed
from .cap_search import Range, steps
from .statistics import Vector

LOOKS = 3
"""Caps that are confirmed at most: the chance that one of them seems to keep the limit and
does not stays below 3 × 2.5 %, and in simulation far below 5 %."""

LONGER = 2.0
"""The pieces of all but the first confirmation are so much longer, as little is left to tell."""

MARGINS = (1.2, 2.0)
"""What is left of the limit for the second and third confirmation, over the half-width of the
one before. Its own half-width is that over √2, where its pieces are longer, and one standard
uncertainty of both together is left for their difference (of six quads t is 2.6); a bit more
for the third, which is the last."""

FURTHER = 0.02
"""Where a cap keeps the limit already, another one must promise to save so much more: to
confirm it takes a minute and a half."""

LEAST_S = 1e-4
"""A slowdown below this share is none."""


def next_cap(
    curves: Curves,
    within: Range,
    objective: Objective,
    tried: Sequence[tuple[float, Confirmed]],
    least_saving: float,
) -> float | None:
    """The cap to confirm after some others; None where that is not worth its time.

    Args:
        curves: through the probes.
        within: where to search.
        objective: with or without a limit to the slowdown.
        tried: each cap that was confirmed, and what that said.
        least_saving: share of the energy that it must promise to save; of what another cap
            needs, where that keeps the limit already, ``FURTHER``.
    """
    cap, sure = tried[-1]
    if objective.slowdown is None or len(tried) >= LOOKS or sure.score.high >= 1:
        return None
    caps = steps(curves, within)
    joules = curves.seconds(caps) * curves.watts(caps)
    half = math.log(sure.time.high / sure.time.value)
    allowed = math.log1p(objective.slowdown) - MARGINS[len(tried) - 1] * half
    fast = _slowdowns(curves, within, caps, cap, math.log(sure.time.value)) <= allowed
    scores = np.where(fast, joules, np.inf)
    best = len(scores) - 1 - int(np.argmin(scores[::-1]))
    kept = [one for one, said in tried if said.holds(objective)]
    worth = FURTHER if kept else least_saving
    least = min(joules[np.argmin(np.abs(caps - one))] for one in kept or [within.original])
    if not scores[best] < least * (1 - worth):
        return None
    return float(caps[best])


def _slowdowns(
    curves: Curves, within: Range, caps: Vector, known: float, measured: float
) -> Vector:
    """Logarithms of the time of a step over that under the original cap.

    Args:
        curves: through the probes.
        within: where to search.
        caps: for which.
        known: a cap that was confirmed.
        measured: the same for that.
    """
    there, original = curves.seconds(np.array([known, within.original]))
    found = np.log(curves.seconds(caps) / original)
    guessed = math.log(there / original)
    if min(guessed, measured) < LEAST_S:
        return np.asarray(found + measured - guessed)
    return np.asarray(found * (measured / guessed))

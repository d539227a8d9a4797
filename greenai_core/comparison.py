"""A against B: from differences to a ratio with an interval and a verdict. Pure functions.

The design, and what it holds in simulation, is explained in ``docs/method.md``.
Ratios are compared as logarithms, so that A over B and B over A say the same.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from .comparison_results import EnergyRatio
from .statistics import Vector, coverage_factor, effective_nu, two_sided_p

BETTER = "better"
WORSE = "worse"
EQUIVALENT = "equivalent"
UNDECIDED = "undecided"

ALPHA = 0.05
"""Chance of calling two models of equal energy different, of any of them where there are
several, over all looks."""

FIRST_LOOK_QUADS = 6
"""The least that gives a verdict; after them the number still needed is planned."""

SECOND_LOOK_QUADS = 12
"""Fewer in all would be planned on too little: six say the spread to ±30 %."""

FIRST_LOOK_SHARE = 0.2
"""Part of ``ALPHA`` that the first of two looks may use up. The rest is for the second,
so that both together stay below ``ALPHA`` whatever their correlation (Bonferroni)."""

MOST_QUADS = 10_000
MOST_EXPONENT = 700.0
"""Largest argument of exp that is a finite number."""


@dataclass(frozen=True)
class LogRatio:
    """Logarithm of an energy ratio.

    Attributes:
        mean: the estimate.
        u: its standard uncertainty.
        nu: degrees of freedom of ``u``.
    """

    mean: float
    u: float
    nu: float

    @property
    def p_different(self) -> float:
        """Two-sided p of the ratio being 1."""
        return two_sided_p(_over(self.mean, self.u), self.nu)

    def p_beyond(self, bound: float) -> float:
        """One-sided p of the ratio lying at or beyond ±``bound`` (two one-sided tests)."""
        t = _over(bound - abs(self.mean), self.u)
        tail = two_sided_p(t, self.nu) / 2
        return tail if t > 0 else 1 - tail

    def half(self, alpha: float) -> float:
        """Half-width of the interval that leaves out ``alpha``."""
        return coverage_factor(self.nu, 1 - alpha) * self.u if self.u else 0.0


@dataclass(frozen=True)
class Estimate:
    """A positive figure: value, standard uncertainty, degrees of freedom of it."""

    value: float
    u: float
    nu: float


def _over(distance: float, u: float) -> float:
    """``distance`` in standard uncertainties."""
    if u > 0:
        return distance / u
    return math.copysign(math.inf, distance) if distance else 0.0


def quad_differences(first: Vector, other: Vector) -> Vector:
    """Difference of the logarithms in each quad, so that a steady drift drops out.

    Args:
        first: energies of the two pieces of the first model; a row each quad.
        other: likewise of the other one.
    """
    return np.asarray(np.log(other).mean(axis=1) - np.log(first).mean(axis=1))


def paired(differences: Vector) -> LogRatio:
    """The ratio from the differences of quads measured side by side.

    Raises:
        ValueError: there are fewer than two.
    """
    n = len(differences)
    if n < 2:
        raise ValueError(f"{n} quads give no interval: it takes two at least")
    spread = float(np.std(differences, ddof=1))
    return LogRatio(float(np.mean(differences)), spread / math.sqrt(n), float(n - 1))


def unpaired(first: Estimate, other: Estimate) -> LogRatio:
    """The ratio of two figures found apart (Welch)."""
    parts = [(e.u / e.value, e.nu) for e in (first, other)]
    u = math.hypot(*(part for part, _ in parts))
    return LogRatio(math.log(other.value / first.value), u, effective_nu(parts) if u else math.inf)


def judge(
    ratios: Sequence[tuple[str, LogRatio]], margin: float, alpha: float = ALPHA
) -> tuple[EnergyRatio, ...]:
    """A verdict on each ratio, and the intervals that agree with it.

    *Equivalent* goes first: the interval of equivalence lies within the margin. Then
    *better* or *worse*, if the other interval leaves out 1. Else *undecided*. Several
    ratios share ``alpha`` by Holm's method, once for differences and once for
    equivalence; each interval is as wide as the step at which it was tested.

    Args:
        ratios: label and logarithm of each, all against the same or another first.
        margin: relative, 0.02 for 1/1.02 to 1.02; 0 for never equivalent.
        alpha: chance of an error, shared by all.
    """
    bound = math.log1p(margin)
    different = holm([ratio.p_different for _, ratio in ratios], alpha)
    alike = holm([ratio.p_beyond(bound) for _, ratio in ratios], alpha)
    return tuple(
        _judged(label, ratio, bound, level, one_sided)
        for (label, ratio), level, one_sided in zip(ratios, different, alike, strict=True)
    )


def _judged(
    label: str, ratio: LogRatio, bound: float, level: float, one_sided: float
) -> EnergyRatio:
    half, narrow = ratio.half(level), ratio.half(2 * one_sided)
    if bound > 0 and abs(ratio.mean) + narrow <= bound:
        verdict = EQUIVALENT
    elif abs(ratio.mean) > half:
        verdict = BETTER if ratio.mean < 0 else WORSE
    else:
        verdict = UNDECIDED
    return EnergyRatio(
        label,
        _exp(ratio.mean),
        _exp(ratio.mean - half),
        _exp(ratio.mean + half),
        1 - level,
        _exp(ratio.mean - narrow),
        _exp(ratio.mean + narrow),
        1 - 2 * one_sided,
        verdict,
    )


def _exp(logarithm: float) -> float:
    return math.exp(min(max(logarithm, -MOST_EXPONENT), MOST_EXPONENT))


def holm(ps: Sequence[float], alpha: float) -> list[float]:
    """The level at which each of several tests is made (Holm 1979).

    The smallest p is tested at alpha/m, the next at alpha/(m−1), …; from the first
    that fails on, all others fail with it, and its level is theirs.

    Args:
        ps: of the tests.
        alpha: chance that any of them errs.

    Returns:
        In the order of ``ps``; a test succeeds where its p is at most its level.
    """
    levels = [alpha] * len(ps)
    failed: float | None = None
    for rank, index in enumerate(sorted(range(len(ps)), key=ps.__getitem__)):
        level = alpha / (len(ps) - rank)
        if failed is None and ps[index] > level:
            failed = level
        levels[index] = level if failed is None else failed
    return levels


def first_look(ratios: Sequence[LogRatio], margin: float, precision: float) -> int:
    """How many quads are to be measured in all, planned on the first few.

    Enough for intervals as narrow as ``precision``, and for a ratio that is not
    decided yet as narrow as half the margin, which tells *equivalent* from *different*.

    Args:
        ratios: after ``FIRST_LOOK_QUADS``.
        margin: as in ``judge``.
        precision: relative half-width that the intervals shall have.

    Returns:
        ``FIRST_LOOK_QUADS`` where every ratio is decided and known well enough.
    """
    alpha = ALPHA * FIRST_LOOK_SHARE
    judged = judge([("", ratio) for ratio in ratios], margin, alpha)
    needed = FIRST_LOOK_QUADS
    for ratio, said in zip(ratios, judged, strict=True):
        decided = said.verdict != UNDECIDED
        aim = math.log1p(precision)
        if decided and ratio.half(1 - said.confidence) <= aim:
            continue
        if not decided and margin > 0:
            aim = min(aim, math.log1p(margin) / 2)
        spread = ratio.u * math.sqrt(FIRST_LOOK_QUADS)
        needed = max(needed, quads_needed(spread, aim, len(ratios)))
    return needed


def quads_needed(spread: float, half: float, ratios: int = 1) -> int:
    """Quads in all for intervals of this half-width at the second look.

    Args:
        spread: standard deviation of the differences of quads.
        half: of the interval, as a logarithm.
        ratios: how many share the chance of an error.
    """
    confidence = 1 - ALPHA * (1 - FIRST_LOOK_SHARE) / ratios
    # Student's t is wider than the normal distribution, so this is not too many.
    least = (coverage_factor(math.inf, confidence) * spread / half) ** 2
    quads = max(SECOND_LOOK_QUADS, math.ceil(min(least, MOST_QUADS)))
    while quads < MOST_QUADS:
        if coverage_factor(quads - 1, confidence) * spread <= half * math.sqrt(quads):
            return quads
        quads = math.ceil(quads * 1.02)
    return MOST_QUADS

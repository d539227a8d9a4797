"""From readings to joules with an error bar: pure functions.

The method, with the sources of its constants, is explained in
``docs/method.md``. Energies are joules, powers watts, times seconds; every ``u``
is a standard uncertainty (k = 1), every interval holds 95 % unless it says
otherwise.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache
from statistics import NormalDist

import numpy as np
import numpy.typing as npt

Vector = npt.NDArray[np.float64]
Indices = npt.NDArray[np.intp]

CONFIDENCE = 0.95

FIRST_LOOK = 64
"""Blocks before the first test of the stopping rule: looking earlier, at
correlated blocks, ends runs on a lucky interval (coverage 0.77-0.92 from 10)."""

LOOK_GROWTH = 1.5
MAX_CORRELATION = 0.2
HIGHEST_CORRELATION = 0.8
CAUTION = 0.5
"""Standard errors added to a correlation. Without it the interval on which a run of
correlated blocks stops covers 0.90-0.93 of the time."""

MIN_BLOCKS = 8


# Quantiles


def _beta_fraction(a: float, b: float, x: float) -> float:
    """Continued fraction of the incomplete beta function (Lentz's method)."""
    tiny = 1e-300
    c = 1.0
    d = 1.0 / max(1.0 - (a + b) * x / (a + 1.0), tiny)
    total = d
    for m in range(1, 500):
        even = m * (b - m) * x / ((a + 2 * m - 1.0) * (a + 2 * m))
        odd = -(a + m) * (a + b + m) * x / ((a + 2 * m) * (a + 2 * m + 1.0))
        for term in (even, odd):
            d = 1.0 + term * d
            d = 1.0 / (d if abs(d) > tiny else tiny)
            c = 1.0 + term / c
            c = c if abs(c) > tiny else tiny
            total *= d * c
        if abs(d * c - 1.0) < 1e-15:
            break
    return total


def _t_tail(t: float, nu: float) -> float:
    """P(T > t) for t ≥ 0, by the regularised incomplete beta function."""
    x = nu / (nu + t * t)
    rest = t * t / (nu + t * t)  # 1 − x, which would round to 0 for small t
    if rest == 0.0:
        return 0.5
    a, b = 0.5 * nu, 0.5
    front = math.exp(
        math.lgamma(a + b) - math.lgamma(a) - math.lgamma(b) + a * math.log(x) + b * math.log(rest)
    )
    if x < (a + 1.0) / (a + b + 2.0):
        return 0.5 * front * _beta_fraction(a, b, x) / a
    return 0.5 * (1.0 - front * _beta_fraction(b, a, rest) / b)


@lru_cache(maxsize=4096)
def t_quantile(probability: float, nu: float) -> float:
    """Quantile of Student's t.

    Args:
        probability: between 0 and 1, both excluded.
        nu: degrees of freedom, any positive real number; infinity is the
            normal distribution.

    Raises:
        ValueError: an argument is out of its range.
    """
    if not 0.0 < probability < 1.0 or not nu > 0.0:
        raise ValueError(f"no t quantile at probability {probability} with {nu} degrees of freedom")
    if nu > 1e7:
        return NormalDist().inv_cdf(probability)
    tail = min(probability, 1.0 - probability)
    if tail == 0.5:
        return 0.0
    low, high = 0.0, 1.0
    while _t_tail(high, nu) > tail:
        low, high = high, high * 2.0
    for _ in range(200):
        middle = 0.5 * (low + high)
        if not low < middle < high:
            break
        if _t_tail(middle, nu) > tail:
            low = middle
        else:
            high = middle
    return math.copysign(0.5 * (low + high), probability - 0.5)


def two_sided_p(t: float, nu: float) -> float:
    """Probability that Student's t is at least this far from 0 on either side.

    Args:
        t: the statistic; infinite is allowed.
        nu: degrees of freedom, as in ``t_quantile``.
    """
    if math.isinf(t):
        return 0.0
    if nu > 1e7:
        return 2 * NormalDist().cdf(-abs(t))
    return min(2 * _t_tail(abs(t), nu), 1.0)


def coverage_factor(nu: float = math.inf, confidence: float = CONFIDENCE) -> float:
    """Half-width of a two-sided interval in standard uncertainties."""
    return t_quantile(0.5 + confidence / 2, nu)


# One window on a counter


def latch_term(power_w: float | None, mean_power_w: float, period_s: float) -> tuple[float, float]:
    """Energy that a counter has not shown yet at the instant of a read.

    The value read was latched an age a ~ U(0, period) ago, so P·a is missing.

    Args:
        power_w: the power just before the read; None where it is not known, and
            then it is taken as either 0 or twice the mean: a load that swings
            all the way, the worst that the mean allows a load busy half the time.
        mean_power_w: mean power of the window, or a bound of it.
        period_s: the update period of the counter.

    Returns:
        Mean and variance of the missing energy, in J and J².
    """
    if power_w is not None:
        # It was read at one instant; within the period before it may have been like the mean.
        drift = (power_w - mean_power_w) * period_s
        return power_w * period_s / 2, (power_w * period_s) ** 2 / 12 + drift**2 / 6
    # E[P²]·E[a²] − (E[P]·E[a])² with P ∈ {0, 2·mean} and a ~ U(0, period)
    scale = (mean_power_w * period_s) ** 2
    return mean_power_w * period_s / 2, scale * (2 / 3 - 1 / 4)


def latch_window(
    counted_j: float,
    duration_s: float,
    period_s: float,
    resolution_j: float,
    power_before_w: float | None = None,
    power_end_w: float | None = None,
) -> tuple[float, float]:
    """Energy of a window that happened once, from one counter read at each end.

    Args:
        counted_j: difference of the two reads.
        duration_s: time between the reads.
        period_s: update period of the counter.
        resolution_j: one unit of the counter.
        power_before_w: power just before the window began, if known.
        power_end_w: power just before it ended, if known.

    Returns:
        Energy and its standard uncertainty, J.
    """
    energy, parts = latch_parts(
        counted_j, duration_s, period_s, resolution_j, power_before_w, power_end_w
    )
    return energy, math.hypot(*parts)


def latch_parts(
    counted_j: float,
    duration_s: float,
    period_s: float,
    resolution_j: float,
    power_before_w: float | None = None,
    power_end_w: float | None = None,
) -> tuple[float, tuple[float, float, float]]:
    """Energy of a window and what its uncertainty is made of; arguments as ``latch_window``.

    Returns:
        Energy, and the standard uncertainties of what the counter had not shown
        yet before the window and at its end, and of its resolution, J.
    """
    # What is counted may lack one period of the window: the mean power must not.
    mean = max(counted_j, 0.0) / max(duration_s - period_s, duration_s / 2, 1e-12)
    before, variance_before = latch_term(power_before_w, mean, period_s)
    end, variance_end = latch_term(power_end_w, mean, period_s)
    parts = (math.sqrt(variance_before), math.sqrt(variance_end), resolution_j / math.sqrt(6))
    return counted_j + end - before, parts


# A counter read again and again


@dataclass(frozen=True)
class EdgeSeries:
    """The instants at which a counter was seen to move, and where it stood then.

    Attributes:
        times: estimates of the instants, s, increasing.
        joules: what the counter had counted at them.
        u_times: standard uncertainty of each instant, s.
    """

    times: Vector
    joules: Vector
    u_times: Vector

    def at(self, instants: Vector) -> Vector:
        """Energy counted at each instant, J, linear between edges and beyond the last."""
        inside = np.interp(instants, self.times, self.joules)
        head = (self.joules[1] - self.joules[0]) / (self.times[1] - self.times[0])
        tail = (self.joules[-1] - self.joules[-2]) / (self.times[-1] - self.times[-2])
        return np.where(
            instants < self.times[0],
            self.joules[0] + (instants - self.times[0]) * head,
            np.where(
                instants > self.times[-1],
                self.joules[-1] + (instants - self.times[-1]) * tail,
                inside,
            ),
        )


def edges(times: Vector, joules: Vector, period_s: float) -> EdgeSeries | None:
    """Where a counter moved, from reads at ``times``.

    A change seen at one read happened after the read before it, and not earlier
    than one update period ago: the middle of what is left is the estimate.

    Returns:
        None when fewer than two changes were seen.
    """
    moved = np.flatnonzero(np.diff(joules) != 0) + 1
    if len(moved) < 2:
        return None
    slack = np.minimum(times[moved] - times[moved - 1], period_s)
    return EdgeSeries(times[moved] - slack / 2, joules[moved], slack / math.sqrt(12))


# Sampled power


def trapezoid_variance(before_w: float, after_w: float, step_s: float) -> float:
    """Variance of one trapezoid's energy, J², for power free to jump in between."""
    return ((after_w - before_w) * step_s) ** 2 / 12


# Repetition


@dataclass(frozen=True)
class Interval:
    """A mean with its 95 % half-width and how it was found.

    Attributes:
        mean: of the blocks.
        half: half-width of the interval; infinite when there are too few blocks.
        nu: degrees of freedom.
        blocks: blocks left after merging.
        correlation: of neighbouring blocks, as used.
    """

    mean: float
    half: float
    nu: float
    blocks: int
    correlation: float

    @property
    def u(self) -> float:
        """Standard uncertainty of the mean."""
        if math.isinf(self.half):
            return math.inf
        return self.half / coverage_factor(self.nu)


def correlation(values: Vector) -> float:
    """Correlation of neighbours, corrected for its bias, kept within [0, 0.8]."""
    return min(max(_signed_correlation(values), 0.0), HIGHEST_CORRELATION)


def _signed_correlation(values: Vector) -> float:
    n = len(values)
    centred = values - values.mean()
    power = float(centred @ centred)
    if n < 3 or power == 0.0:
        return 0.0
    return float(centred[1:] @ centred[:-1]) / power + 1 / n


def _cautious_correlation(blocks: Vector, merged: Vector) -> float:
    """Correlation of merged blocks and half of its standard error, where there is one at all.

    A run stops when its interval happens to be narrow, and so more often when the
    correlation is found too small.
    """
    r = correlation(merged)
    error = math.sqrt((1 - r * r) / len(merged))
    plain = correlation(blocks) if len(merged) < len(blocks) else r
    return min(r + CAUTION * error * min(1.0, max(plain, r) / error), HIGHEST_CORRELATION)


def batch_means(values: Sequence[float] | Vector) -> Interval:
    """Mean of correlated blocks and an interval that allows for the correlation.

    Neighbours are merged while their correlation exceeds 0.2 and at least 8
    blocks remain; what correlation is left widens the interval by
    √((1+r)/(1−r)), r being half a standard error above its estimate. They are merged
    as well while their correlation is below −0.2: what one block has too much because
    its border was misplaced its neighbour lacks, and together they are right.
    ``docs/method.md`` tells the coverage that was found in simulation.
    """
    blocks = np.asarray(values, dtype=np.float64)
    if len(blocks) == 0:
        raise ValueError("no blocks to average")
    mean = float(blocks.mean())
    merged = blocks
    while abs(_signed_correlation(merged)) > MAX_CORRELATION and len(merged) // 2 >= MIN_BLOCKS:
        even = merged[len(merged) % 2 :]
        merged = (even[0::2] + even[1::2]) / 2
    n = len(merged)
    r = _cautious_correlation(blocks, merged)
    if n < 2:
        return Interval(mean, math.inf, 1.0, n, r)
    spread = float(merged.std(ddof=1))
    half = coverage_factor(n - 1) * spread * math.sqrt((1 + r) / ((1 - r) * n))
    return Interval(mean, half, float(n - 1), n, r)


def next_look(blocks: int) -> int:
    """Number of blocks at which to test the stopping rule next."""
    return max(FIRST_LOOK, math.ceil(blocks * LOOK_GROWTH))


def warm_up_length(values: Sequence[float] | Vector, batch: int = 5) -> int:
    """Blocks to drop at the start, by MSER-5.

    The cut minimises the squared standard error of what is left, over cuts in
    the first half (White, Cobb and Spratt 2000).
    """
    blocks = np.asarray(values, dtype=np.float64)
    usable = len(blocks) // batch
    if usable < 4:
        return 0
    means = blocks[: usable * batch].reshape(usable, batch).mean(axis=1)
    scores = [float(means[cut:].var()) / (usable - cut) for cut in range(usable // 2 + 1)]
    return batch * int(np.argmin(scores))


def is_steady(values: Sequence[float] | Vector, target: float) -> bool:
    """Whether a run has no trend that matters.

    Not steady when the drift over the whole run exceeds half the target *and*
    the slope is significant at 95 %.
    """
    blocks = np.asarray(values, dtype=np.float64)
    n = len(blocks)
    if n < MIN_BLOCKS:
        return True
    x = np.arange(n) - (n - 1) / 2
    slope = float(x @ blocks) / float(x @ x)
    drift = abs(slope) * n / abs(float(blocks.mean())) if blocks.mean() else 0.0
    if drift < target / 2:
        return True
    residual = blocks - blocks.mean() - slope * x
    r = correlation(residual)
    u_slope = math.sqrt(float(residual @ residual) / (n - 2) / float(x @ x) * (1 + r) / (1 - r))
    return abs(slope) <= coverage_factor(n - 2) * u_slope


# Putting together


def add_gains(terms: Sequence[tuple[str, float]]) -> float:
    """Standard uncertainty of a sum from the gains of its sensors, J.

    Args:
        terms: method of each channel and its energy × relative gain
            uncertainty. Within one method all sensors err alike, so terms add
            linearly; between methods they are independent.
    """
    by_method: dict[str, float] = {}
    for method, u in terms:
        by_method[method] = by_method.get(method, 0.0) + u
    return math.sqrt(sum(u * u for u in by_method.values()))


def effective_nu(parts: Sequence[tuple[float, float]]) -> float:
    """Degrees of freedom of a combined uncertainty (Welch–Satterthwaite).

    Args:
        parts: standard uncertainty and degrees of freedom of each term.
    """
    total = sum(u * u for u, _ in parts)
    spread = sum(u**4 / nu for u, nu in parts if u and not math.isinf(nu))
    return total * total / spread if spread else math.inf


def expanded(parts: Sequence[tuple[float, float]]) -> float:
    """95 % half-width of independent terms, each (standard uncertainty, degrees of freedom)."""
    u = math.sqrt(sum(part * part for part, _ in parts))
    return coverage_factor(effective_nu(parts)) * u if u else 0.0


def idle_bracket(
    before_w: float, after_w: float, u_before_w: float, u_after_w: float
) -> tuple[float, float]:
    """Idle power during a run, from idle measured before and after it.

    Returns:
        The mean of both, and its standard uncertainty with the drift between
        them taken as a uniform error of the mean.
    """
    variance = (u_before_w**2 + u_after_w**2) / 4 + (after_w - before_w) ** 2 / 12
    return (before_w + after_w) / 2, math.sqrt(variance)

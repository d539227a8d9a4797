"""Time and power against the cap, through a few probes that are not exact. Pure functions.

Work never gets slower, nor its power lower, when a cap is raised: isotonic regression
(the pool-adjacent-violators algorithm, Barlow et al. 1972) takes that out of the noise. In
between goes PCHIP, the cubic that keeps the order of its points (Fritsch and Butland 1984).
Both work on logarithms, since errors are shares.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from .statistics import Vector


def isotonic(values: Vector, weights: Vector) -> Vector:
    """The sequence that never falls and is nearest to the values (weighted squares).

    Args:
        values: in the order of what they are functions of.
        weights: of each, above 0.
    """
    levels: list[tuple[float, float, int]] = []  # mean, weight, how many
    for value, weight in zip(values, weights, strict=True):
        levels.append((float(value), float(weight), 1))
        while len(levels) > 1 and levels[-2][0] > levels[-1][0]:
            (a, wa, na), (b, wb, nb) = levels[-2:]
            levels[-2:] = [((a * wa + b * wb) / (wa + wb), wa + wb, na + nb)]
    return np.repeat([level[0] for level in levels], [level[2] for level in levels])


def pchip(x: Vector, y: Vector, at: Vector) -> Vector:
    """The monotone cubic through points, as SciPy's ``PchipInterpolator`` has it.

    Args:
        x: rising, without equal ones.
        y: at each of them.
        at: where to work it out; beyond the ends it stays what it is there.
    """
    at = np.clip(at, x[0], x[-1])
    if len(x) == 1:
        return np.full(len(at), y[0])
    h, slope = np.diff(x), np.diff(y) / np.diff(x)
    d = _derivatives(h, slope)
    i = np.clip(np.searchsorted(x, at, side="right") - 1, 0, len(h) - 1)
    t = (at - x[i]) / h[i]
    cubic = (
        (1 + 2 * t) * (1 - t) ** 2 * y[i]
        + t * (1 - t) ** 2 * h[i] * d[i]
        + t**2 * (3 - 2 * t) * y[i + 1]
        + t**2 * (t - 1) * h[i] * d[i + 1]
    )
    return np.asarray(cubic)


def _derivatives(h: Vector, slope: Vector) -> Vector:
    """At each point: 0 where the slope changes its sign, else a weighted harmonic mean."""
    if len(slope) == 1:
        return np.repeat(slope, 2)
    d = np.zeros(len(h) + 1)
    same = slope[:-1] * slope[1:] > 0
    w1, w2 = 2 * h[1:] + h[:-1], h[1:] + 2 * h[:-1]
    before, after = slope[:-1][same], slope[1:][same]
    d[1:-1][same] = (w1 + w2)[same] / (w1[same] / before + w2[same] / after)
    d[0] = _end(h[0], h[1], slope[0], slope[1])
    d[-1] = _end(h[-1], h[-2], slope[-1], slope[-2])
    return d


def _end(h0: float, h1: float, near: float, far: float) -> float:
    """The derivative at an end, from three points, held back so that the order is kept."""
    d = ((2 * h0 + h1) * near - h0 * far) / (h0 + h1)
    if d * near <= 0:
        return 0.0
    if near * far < 0 and abs(d) > 3 * abs(near):
        return 3 * near
    return float(d)


@dataclass(frozen=True)
class Curves:
    """Time and power of one step against the cap.

    Attributes:
        caps: where probes were, rising, each once.
        log_seconds: never rising.
        log_watts: never falling.
    """

    caps: Vector
    log_seconds: Vector
    log_watts: Vector

    def seconds(self, caps: Vector) -> Vector:
        """Seconds of one step."""
        return np.exp(pchip(self.caps, self.log_seconds, caps))

    def watts(self, caps: Vector) -> Vector:
        """Mean power, W."""
        return np.exp(pchip(self.caps, self.log_watts, caps))


def fitted(caps: Sequence[float], seconds: Sequence[float], watts: Sequence[float]) -> Curves:
    """The curves through some probes.

    Args:
        caps: of the probes, in any order; several may have the same.
        seconds: of one step.
        watts: mean power meanwhile.
    """
    places, index, counts = np.unique(
        np.asarray(caps, dtype=np.float64), return_inverse=True, return_counts=True
    )
    weights = counts.astype(np.float64)

    def means(values: Sequence[float]) -> Vector:
        sums = np.bincount(index, np.log(np.asarray(values, dtype=np.float64)), len(places))
        return np.asarray(sums / weights)

    return Curves(places, -isotonic(-means(seconds), weights), isotonic(means(watts), weights))

"""Which values of a run lie far from the others, and which of its conditions differ.

Pure functions over values in the order of time. A trend is no outlier, so it is
taken off first; everything is estimated by medians, which up to a quarter of
disturbed values do not move.
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from .statistics import Vector

Flags = npt.NDArray[np.bool_]

FAR = 3.5
"""Robust standard deviations beyond which a value is an outlier (Iglewicz and Hoaglin 1993)."""

FEWEST = 8
"""Fewer values do not tell what is usual."""

MAD_TO_SIGMA = 1.4826
"""Median absolute deviation to standard deviation, of a normal distribution."""

MEAN_TO_SIGMA = 1.2533
"""The same of the mean absolute deviation, used where more than half of all values are equal."""

SAME = 1e-9
"""Relative; differences smaller than this are those of rounding."""

SLOPE_POINTS = 128
"""The slopes of all pairs of so many points at most are looked at."""


def trend(values: Vector) -> Vector:
    """The straight line through values that outliers do not turn (Theil 1950, Sen 1968)."""
    n = len(values)
    points = min(n, SLOPE_POINTS)
    at = np.arange(n, dtype=np.float64)
    chunks = np.array_split(np.arange(n), points)
    x = np.array([at[chunk].mean() for chunk in chunks])
    y = np.array([np.median(values[chunk]) for chunk in chunks])
    first, second = np.triu_indices(points, 1)
    slope = float(np.median((y[second] - y[first]) / (x[second] - x[first]))) if points > 1 else 0.0
    return np.asarray(slope * at + float(np.median(values - slope * at)))


def mad_z(values: Vector) -> Vector:
    """Distance of each value from the trend, in robust standard deviations, with its sign.

    Where more than half of the values are equal the mean absolute deviation
    stands in for the median one; where all are equal, every distance is 0.
    """
    residuals = values - trend(values)
    sizes = np.abs(residuals)
    rounding = SAME * float(np.max(np.abs(values), initial=0.0))
    scale = MAD_TO_SIGMA * float(np.median(sizes))
    if scale <= rounding:
        scale = MEAN_TO_SIGMA * float(np.mean(np.where(sizes > rounding, sizes, 0.0)))
    if scale <= rounding / len(values):
        return np.zeros(len(values))
    return np.asarray(residuals / scale)


def outliers(values: Vector) -> Flags:
    """Which values are further than 3.5 robust standard deviations from the trend."""
    if len(values) < FEWEST:
        return np.zeros(len(values), dtype=np.bool_)
    return np.asarray(np.abs(mad_z(values)) > FAR)


def unusual(values: Vector, least: float, relative: bool = False) -> Flags:
    """Which values differ clearly from what is usual in the run.

    Both sides count: a run in which another process is always busy is disturbed
    when it pauses. So what is removed for it is not chosen by its sign.

    Args:
        values: of one condition, one for each time that it was looked at.
        least: a smaller difference from the median is never clear.
        relative: whether ``least`` is a share of the median.
    """
    usual = float(np.median(values))
    apart = np.abs(values - usual)
    spread = MAD_TO_SIGMA * float(np.median(apart))
    needed = least * abs(usual) if relative else least
    return np.asarray((apart >= needed) & (apart > FAR * spread))

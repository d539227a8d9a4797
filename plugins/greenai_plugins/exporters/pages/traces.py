"""Power over time, in no more points than paper can show."""

from __future__ import annotations

import math
from collections.abc import Sequence

from greenai_plugins.exporters.pictures.chart import Point, Series
from greenai_plugins.exporters.quantities import Quantity, short, written

MOST = 240
"""Points of a line; more than these no picture of this size shows."""


def power_series(
    name: str, times: Sequence[float], watts: Sequence[float], *, modelled: bool
) -> Series:
    """A line of mean power; where points had to be joined, a band from the least to the most.

    Args:
        name: of the line.
        times: s, rising.
        watts: of each; NaN where not known.
        modelled: whether they were computed.
    """
    known = [(t, w) for t, w in zip(times, watts, strict=True) if math.isfinite(w)]
    each = max(1, math.ceil(len(known) / MOST))
    groups = [known[i : i + each] for i in range(0, len(known), each)]
    points, area = [], []
    for group in groups:
        t = sum(t for t, _ in group) / len(group)
        found = [w for _, w in group]
        mean, least, most = sum(found) / len(found), min(found), max(found)
        tip = f"{name}\nafter {short(t, 4)} s: {written(Quantity(mean, unit='W'))}"
        if each > 1:
            ends = f"{short(least)} … {short(most)} W"
            tip += f"\nmean of {len(found)} readings, {ends}"
            area.append((t, least, most))
        points.append(Point(t, mean, tip + ("\nmodelled" if modelled else ""), modelled=modelled))
    return Series(name, tuple(points), area=tuple(area), dense=True)

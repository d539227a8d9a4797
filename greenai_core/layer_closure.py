"""Parts that were measured one by one, made to add up to the whole."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

MOST_RESIDUAL = 0.05
"""Share of the whole above which what is left over is flagged."""

SIGNIFICANT = 2.0
"""Standard uncertainties above which it is."""


@dataclass(frozen=True)
class Closure:
    """Parts before and after closing.

    Attributes:
        residual: the whole less all parts.
        u_residual: its standard uncertainty.
        share: of the whole; None for a whole of nothing.
        flagged: whether it is above 5 %, or above twice its uncertainty.
        parts: as they add up to the whole.
        u_parts: standard uncertainty of each.
    """

    residual: float
    u_residual: float
    share: float | None
    flagged: bool
    parts: tuple[float, ...]
    u_parts: tuple[float, ...]


def _taken(
    residual: float, parts: Sequence[float], u_parts: Sequence[float]
) -> tuple[list[float], list[float]]:
    """What each part takes of the residual, and its weight among those that are free to take.

    A part that would end below nothing ends at nothing, and the others take the rest.
    """
    free = set(range(len(parts)))
    taken, shares = [0.0] * len(parts), [0.0] * len(parts)
    left = residual
    while True:
        weights = {at: u_parts[at] ** 2 for at in free}
        if math.fsum(weights.values()) == 0.0:
            weights = {at: abs(parts[at]) for at in free}
        scale = math.fsum(weights.values())
        if scale == 0.0:
            weights, scale = dict.fromkeys(free, 1.0), float(len(free))
        below = [at for at in free if parts[at] + left * weights[at] / scale < 0]
        if not below or len(below) == len(free):
            for at in free:
                shares[at] = weights[at] / scale
                taken[at] = left * shares[at]
            return taken, shares
        for at in below:
            taken[at] = -parts[at]
            left += parts[at]
            free.remove(at)


def close(
    whole: float, u_whole: float, parts: Sequence[float], u_parts: Sequence[float]
) -> Closure:
    """Spread what is left over by the variances of the parts.

    This is the least-squares adjustment of independent parts under the condition that they
    add up to the whole (Lira, *Evaluating the Measurement Uncertainty*, 2002, ch. 6); the
    whole keeps its value. What was added to a part is in its uncertainty, so that a residual
    that is no noise makes the figures wider and not merely different. Parts without any
    uncertainty share by their size. No part ends below nothing, not even one that was measured
    there by chance, unless the whole does.

    Args:
        whole: measured by itself; its unit is that of all others.
        u_whole: standard uncertainty.
        parts: each measured by itself; at least one.
        u_parts: theirs.

    Raises:
        ValueError: no parts, or not as many uncertainties.
    """
    if not parts or len(parts) != len(u_parts):
        raise ValueError(f"{len(parts)} parts with {len(u_parts)} uncertainties")
    residual = whole - math.fsum(parts)
    taken, shares = _taken(residual, parts, u_parts)
    u_residual = math.sqrt(math.fsum(u * u for u in u_parts) + u_whole * u_whole)
    # What an adjustment by least squares leaves: the part's own variance less what the
    # condition tells of it, its share of the variance of the whole, and what it took.
    u_closed = [
        math.sqrt(u * u * (1.0 - share) + (share * u_whole) ** 2 + took**2)
        for u, share, took in zip(u_parts, shares, taken, strict=True)
    ]
    share_of_whole = residual / whole if whole else None
    return Closure(
        residual=residual,
        u_residual=u_residual,
        share=share_of_whole,
        flagged=abs(residual) > SIGNIFICANT * u_residual
        or share_of_whole is None
        or abs(share_of_whole) > MOST_RESIDUAL,
        parts=tuple(part + took for part, took in zip(parts, taken, strict=True)),
        u_parts=tuple(u_closed),
    )

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


def _weights(
    free: Sequence[int], parts: Sequence[float], own: Sequence[float], common: Sequence[float]
) -> dict[int, float]:
    """What each takes of a residual, before that is scaled to one.

    The covariance with the sum of all of them; the size where nothing is uncertain.
    """
    together = math.fsum(common[at] for at in free)
    weights = {at: own[at] + common[at] * together for at in free}
    if not any(weights.values()):
        weights = {at: abs(parts[at]) for at in free}
    return weights if any(weights.values()) else dict.fromkeys(free, 1.0)


def _taken(
    residual: float, parts: Sequence[float], own: Sequence[float], common: Sequence[float]
) -> tuple[list[float], list[float], list[float]]:
    """What each part takes of the residual, its share, and what its variance loses by that.

    A part that would end below nothing ends at nothing, and the others take the rest.
    """
    free = list(range(len(parts)))
    taken, shares, known = ([0.0] * len(parts) for _ in range(3))
    left = residual
    while True:
        weights = _weights(free, parts, own, common)
        scale = math.fsum(weights.values())
        below = [at for at in free if parts[at] + left * weights[at] / scale < 0]
        if not below or len(below) == len(free):
            for at in free:
                shares[at] = weights[at] / scale
                taken[at] = left * shares[at]
                known[at] = shares[at] * weights[at]
            return taken, shares, known
        for at in below:
            taken[at] = -parts[at]
            left += parts[at]
        free = [at for at in free if at not in below]


def close(
    whole: float,
    u_whole: float,
    parts: Sequence[float],
    u_parts: Sequence[float],
    common: Sequence[float] | None = None,
) -> Closure:
    """Spread what is left over by the covariances of the parts.

    This is the least-squares adjustment of the parts under the condition that they
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
        common: what of each of these is one error of all parts together, such as a power
            that is none of theirs; None for independent parts.

    Raises:
        ValueError: no parts, or not as many uncertainties.
    """
    common = [0.0] * len(parts) if common is None else common
    if not parts or len(parts) != len(u_parts) or len(parts) != len(common):
        raise ValueError(f"{len(parts)} parts with {len(u_parts)} uncertainties")
    residual = whole - math.fsum(parts)
    own = [max(u * u - c * c, 0.0) for u, c in zip(u_parts, common, strict=True)]
    taken, shares, known = _taken(residual, parts, own, common)
    u_residual = math.sqrt(math.fsum(own) + math.fsum(common) ** 2 + u_whole * u_whole)
    # What an adjustment by least squares leaves: the part's own variance less what the
    # condition tells of it, its share of the variance of the whole, and what it took.
    u_closed = [
        math.sqrt(max(u * u - told, 0.0) + (share * u_whole) ** 2 + took**2)
        for u, told, share, took in zip(u_parts, known, shares, taken, strict=True)
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

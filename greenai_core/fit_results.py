"""What a fit over sizes gives. ``fits`` hands these on; import them from there."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

BEND_NAME, JUMP_NAME = "bend", "jump"


@dataclass(frozen=True)
class FitBreak:
    """Where a curve bends or jumps.

    Attributes:
        kind: ``bend`` (the slope changes) or ``jump``.
        at: the size; of a jump the first size after it.
        low, high: 95 %; of a jump the last size before it and the first one after it that are
            possible.
        change: of a jump, in the unit of the values; of a bend, of the slope.
    """

    kind: str
    at: float
    low: float
    high: float
    change: float


@dataclass(frozen=True)
class FitScore:
    """How well one shape predicts sizes that it has not seen.

    Attributes:
        shape: such as ``linear``.
        parameters: that it has.
        error: root mean square of the left-out errors, as a share of the values.
    """

    shape: str
    parameters: int
    error: float


@dataclass(frozen=True)
class FitResult:
    """The curve that was chosen.

    Attributes:
        shape: such as ``constant then linear with a jump``.
        sentence: what it says, in words.
        coefficients: ``level``, ``slope`` (per unit of size, beyond a bend where the part before
            it is constant), ``exponent``, ``square`` (per size squared), ``even`` (the size
            at which a constant part and that of the square are equal); with 95 % intervals in
            ``intervals``.
        intervals: (low, high) by name.
        breaks: in the order of sizes.
        curve: fitted value at each size.
        sizes, values: that were fitted.
        scores: of all shapes that could be tried, from the simplest on.
        p_break: chance of a break this clear where there is none; None where none was chosen.
        relative_scatter: standard deviation of the values about the curve, as a share.
    """

    shape: str
    sentence: str
    coefficients: Mapping[str, float]
    intervals: Mapping[str, tuple[float, float]]
    breaks: tuple[FitBreak, ...]
    curve: tuple[float, ...]
    sizes: tuple[float, ...]
    values: tuple[float, ...]
    scores: tuple[FitScore, ...]
    p_break: float | None
    relative_scatter: float

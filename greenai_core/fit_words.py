"""What a fitted curve says, in a sentence whose numbers come from the data."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np

from . import fit_candidates as shapes
from .fit_results import BEND_NAME, JUMP_NAME, FitBreak
from .statistics import Vector

FLAT = ("constant", "no growth is seen over these sizes")


def sentence_of(
    shape: str,
    coefficients: Mapping[str, float],
    intervals: Mapping[str, tuple[float, float]],
    breaks: Sequence[FitBreak],
    sizes: Vector,
    curve: Vector,
) -> str:
    """``"constant up to 672, then linear; a jump (+38 %) at 1792"``."""
    if shape == shapes.CONSTANT:
        return f"constant: {FLAT[1]}"
    if shape == shapes.POWER:
        low, high = intervals["exponent"]
        return (
            f"grows with the size to the power {coefficients['exponent']:.2f} "
            f"(95 %: {low:.2f} to {high:.2f})"
        )
    if shape == shapes.SQUARE:
        return _square(coefficients, intervals)
    bends = [one for one in breaks if one.kind == BEND_NAME]
    jumps = [one for one in breaks if one.kind == JUMP_NAME]
    if shape == shapes.STEP:
        begin = "constant"
    elif bends and shape == shapes.BEND:
        begin = _bend(bends[0], coefficients["slope"])
    elif bends:
        way = "" if bends[0].change > 0 else ", falling"
        begin = f"constant up to {_place(bends[0])}, then linear{way}"
    else:
        begin = "linear" if coefficients["slope"] > 0 else "linear, falling"
    order = ("a jump", "a second jump")
    told = [
        f"{order[min(n + len(bends), 1)] if len(breaks) > 1 else order[0]} "
        f"({_change(one, sizes, curve)}) at {_jump(one, sizes)}"
        for n, one in enumerate(jumps)
    ]
    return "; ".join([begin, *told])


def _square(coefficients: Mapping[str, float], intervals: Mapping[str, tuple[float, float]]) -> str:
    """With the size from which on the part that grows is the larger one."""
    part = "a part that grows with the square of the size"
    if coefficients["square"] < 0:
        return f"a constant less {part}"
    if coefficients["level"] < 0:
        return f"{part}, less a constant"
    if "even" not in coefficients:
        return f"a constant plus {part}"
    low, high = intervals["even"]
    return (
        f"a constant plus {part}, which is the larger from {coefficients['even']:.0f} on "
        f"(95 %: {low:.0f} to {high:.0f})"
    )


def _bend(bend: FitBreak, slope: float) -> str:
    after = slope + bend.change
    ways = ["grows" if one > 0 else "falls" for one in (slope, after)]
    if ways[0] != ways[1]:
        return f"{ways[0]} linearly up to {_place(bend)}, then {ways[1]}"
    steeper = "more" if abs(after) > abs(slope) else "less"
    return f"{ways[0]} linearly, from {_place(bend)} on {steeper} steeply"


def _place(one: FitBreak) -> str:
    return f"{one.at:.0f} (95 %: {one.low:.0f} to {one.high:.0f})"


def _jump(one: FitBreak, sizes: Vector) -> str:
    before = float(sizes[sizes < one.at].max())
    if (one.low, one.high) == (before, one.at):
        return f"{one.at:.0f} (after {before:.0f})"
    return f"{one.at:.0f} (95 %: between {one.low:.0f} and {one.high:.0f})"


def _change(one: FitBreak, sizes: Vector, curve: Vector) -> str:
    """In percent of the curve just before the jump."""
    before = float(curve[int(np.flatnonzero(sizes < one.at)[-1])])
    return f"{100 * one.change / before:+.0f} %" if before > 0 else f"{one.change:+.3g}"

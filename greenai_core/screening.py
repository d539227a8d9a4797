"""Outliers among the blocks of a run: flagged, and left out where a cause was seen."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, replace

import numpy as np
import numpy.typing as npt

from .blocks import Blocks
from .conditions import Conditions
from .outliers import Flags, outliers
from .statistics import Vector

MOST_REMOVED = 0.1
"""Share of the blocks. Where more are disturbed, what is usual is not known any more."""

UNEXPLAINED = "outlier, no cause seen"


@dataclass(frozen=True)
class Screening:
    """What was found in the blocks of a run.

    Attributes:
        flags: of each block that is left; empty for what is no outlier.
        removed: blocks that were left out; None for none.
        causes: of each of them.
        disturbed: share of the blocks that are outliers with a cause, where that is
            too many to leave them out; else 0.
    """

    flags: tuple[str, ...] = ()
    removed: Blocks | None = None
    causes: tuple[str, ...] = ()
    disturbed: float = 0.0

    def without_first(self, count: int) -> Screening:
        """The same without the first blocks that are left."""
        return replace(self, flags=self.flags[count:])

    def told(self) -> tuple[str, ...]:
        """What readers of the figures must know."""
        if self.disturbed:
            kinds = ", ".join(dict.fromkeys(f for f in self.flags if f not in ("", UNEXPLAINED)))
            return (
                f"disturbed: {self.disturbed:.0%} of the run by {kinds}, too much to leave out. "
                "Close other programs and repeat",
            )
        if self.removed is None:
            return ()
        count = len(self.causes) + len(self.flags)
        kinds = ", ".join(f"{cause} ({n})" for cause, n in Counter(self.causes).most_common())
        return (
            f"{len(self.causes)} of {count} blocks are outliers and were left out: {kinds}. "
            "A quiet machine keeps them",
        )


NOTHING_FOUND = Screening()


def screened(
    blocks: Blocks, values: Vector, conditions: Conditions | None, begun_s: float
) -> tuple[Blocks, Screening]:
    """The blocks that are left, and what was found.

    An outlier on either side is left out where the conditions in it differ
    clearly from the usual ones of the run. Without that it stays: the work may
    be like that.

    Args:
        blocks: of the run.
        values: of each block, what must become precise.
        conditions: seen meanwhile; None where nobody looked.
        begun_s: when the first block began, on the clock of the conditions.
    """
    far = outliers(values)
    flags = np.where(far, UNEXPLAINED, "").astype(object)
    if not far.any() or conditions is None:
        return blocks, Screening(tuple(flags))
    starts = begun_s + blocks.starts
    causes = np.array(conditions.causes(starts, starts + blocks.durations), dtype=object)
    causes = _spread(causes, far)
    explained = far & (causes != "")
    flags[explained] = causes[explained]
    share = float(explained.mean())
    if share > MOST_REMOVED:
        return blocks, Screening(tuple(flags), disturbed=share)
    if not explained.any():
        return blocks, Screening(tuple(flags))
    out, left = np.flatnonzero(explained), np.flatnonzero(~explained)
    return blocks.only(left), Screening(
        tuple(flags[left]), blocks.only(out), tuple(causes[explained])
    )


def _spread(causes: npt.NDArray[np.object_], far: Flags) -> npt.NDArray[np.object_]:
    """Causes of outliers, handed on to outliers beside them.

    A disturbance begins and ends within looks of which it fills too little to
    be clear; the blocks there are disturbed by it all the same.
    """
    spread = np.where(far, causes, "").astype(object)
    for order in (range(1, len(far)), range(len(far) - 2, -1, -1)):
        step = order.step
        for index in order:
            if far[index] and not spread[index]:
                spread[index] = spread[index - step]
    return spread

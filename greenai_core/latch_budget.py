"""What makes the energy of one window on a counter uncertain, term by term."""

from __future__ import annotations

from .budget import Budget, Term
from .statistics import latch_parts


def latch_budget(
    counted_j: float,
    duration_s: float,
    period_s: float,
    resolution_j: float,
    power_before_w: float | None = None,
    power_end_w: float | None = None,
) -> Budget:
    """The terms of ``latch_window``, whose arguments these are."""
    _, (before, end, resolution) = latch_parts(
        counted_j, duration_s, period_s, resolution_j, power_before_w, power_end_w
    )
    age = f"what it shows is up to {period_s:.3g} s old"
    return (
        Term("latch before", before, detail=age),
        Term("latch at end", end, detail=age),
        Term("resolution", resolution),
    )

"""What a benchmark found."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Outcome:
    """One figure and the bound that it must keep.

    Attributes:
        name: what was measured.
        measured: the figure, in ``unit``.
        unit: ``ms``, ``s``, ``MiB``, ``%``, or ``×`` for a ratio to bare reads.
        bound: the most that is allowed; None for a figure that is only told.
        detail: what stands behind the figure, with what was simulated.
    """

    name: str
    measured: float
    unit: str
    bound: float | None
    detail: str = ""

    @property
    def ratio(self) -> float | None:
        """The share of the bound that is used."""
        return None if self.bound is None else self.measured / self.bound

    @property
    def ok(self) -> bool | None:
        """Whether the bound is kept; a figure that is not a number keeps none."""
        return None if self.bound is None else self.measured <= self.bound

"""How strongly the metrics of a study go together: Pearson and Spearman, with intervals."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from .statistics import Vector
from .study_results import StudyResult, StudyRow

PEARSON = "pearson"
SPEARMAN = "spearman"
KINDS = (PEARSON, SPEARMAN)

LEAST = 3
"""Rows that a coefficient needs: through two points goes a line."""

NORMAL = 1.959963984540054


@dataclass(frozen=True)
class Correlation:
    """One coefficient.

    Attributes:
        value: −1 to 1.
        low, high: 95 %, by Fisher's z (of Spearman's with the variance of Bonett and Wright
            2000); None below 5 rows, where it says nothing.
        n: rows in which both are known.
    """

    value: float
    low: float | None
    high: float | None
    n: int


@dataclass(frozen=True)
class CorrelationMatrix:
    """The coefficients of all pairs.

    Attributes:
        kind: ``pearson`` or ``spearman``.
        names: of the metrics.
        table: a row each; None where one of the two does not change, or is known too seldom.
    """

    kind: str
    names: tuple[str, ...]
    table: tuple[tuple[Correlation | None, ...], ...]

    def between(self, one: str, other: str) -> Correlation | None:
        """The coefficient of two metrics; None where there is none."""
        if one not in self.names or other not in self.names:
            return None
        return self.table[self.names.index(one)][self.names.index(other)]


def correlate(columns: Mapping[str, Sequence[float | None]], kind: str) -> CorrelationMatrix:
    """The matrix of named columns.

    Args:
        columns: of equal length; None or NaN where a value is not known. Those that never
            change are left out: nothing goes together with what does not move.
        kind: ``pearson`` or ``spearman``.

    Raises:
        ValueError: the kind is another, or lengths differ.
    """
    if kind not in KINDS:
        raise ValueError(f"no correlation is called {kind!r}: there are {', '.join(KINDS)}")
    if len({len(column) for column in columns.values()}) > 1:
        raise ValueError("columns of different lengths cannot be correlated")
    known = {
        name: np.array([math.nan if v is None else v for v in column], dtype=float)
        for name, column in columns.items()
    }
    moving = {name: column for name, column in known.items() if _moves(column)}
    names = tuple(moving)
    table = tuple(
        tuple(_coefficient(moving[one], moving[other], kind) for other in names) for one in names
    )
    return CorrelationMatrix(kind, names, table)


def correlations_of(study: StudyResult, kind: str, model: str | None = None) -> CorrelationMatrix:
    """The matrix of all metrics over the rows of a study, with the size as one of them.

    Args:
        study: whose rows count once each: their medians, not their runs, so that many runs of
            one size do not look like many sizes.
        kind: ``pearson`` or ``spearman``.
        model: only its rows; None for all.
    """
    rows = [row for row in study.rows if model is None or row.model == model]
    return correlate(columns_of(rows), kind)


def columns_of(rows: Sequence[StudyRow]) -> dict[str, list[float | None]]:
    """The metrics of rows as columns; ``size`` and ``batch_size`` first."""
    names = dict.fromkeys(metric.name for row in rows for metric in row.metrics)
    values = [{metric.name: metric.value for metric in row.metrics} for row in rows]
    columns: dict[str, list[float | None]] = {
        "size": [float(row.size) for row in rows],
        "batch_size": [float(row.batch_size) for row in rows],
    }
    return columns | {name: [one.get(name) for one in values] for name in names}


def ranks(values: Vector) -> Vector:
    """Ranks from 1; equal values share the mean of theirs."""
    _, inverse, counts = np.unique(values, return_inverse=True, return_counts=True)
    ends = np.cumsum(counts)
    return np.asarray((ends - (counts - 1) / 2)[inverse], dtype=float)


def _moves(column: Vector) -> bool:
    inside = column[np.isfinite(column)]
    return len(inside) >= LEAST and bool(inside.min() < inside.max())


def _coefficient(one: Vector, other: Vector, kind: str) -> Correlation | None:
    both = np.isfinite(one) & np.isfinite(other)
    x, y = one[both], other[both]
    n = len(x)
    if n < LEAST or x.min() == x.max() or y.min() == y.max():
        return None
    if kind == SPEARMAN:
        x, y = ranks(x), ranks(y)
    # Scaled first: squares of very small or large numbers leave the range of floats.
    x, y = (x - x.mean()) / np.abs(x - x.mean()).max(), (y - y.mean()) / np.abs(y - y.mean()).max()
    r = float(x @ y) / math.sqrt(float(x @ x) * float(y @ y))
    r = min(max(r, -1.0), 1.0)
    low, high = _interval(r, n, kind)
    return Correlation(r, low, high, n)


def _interval(r: float, n: int, kind: str) -> tuple[float | None, float | None]:
    if n < 5:
        return None, None
    if abs(r) == 1.0:
        return r, r
    variance = (1 + r * r / 2 if kind == SPEARMAN else 1.0) / (n - 3)
    half = NORMAL * math.sqrt(variance)
    return math.tanh(math.atanh(r) - half), math.tanh(math.atanh(r) + half)

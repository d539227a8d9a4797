"""Which metrics of a study go together: Pearson and Spearman."""

from __future__ import annotations

from collections.abc import Sequence

from greenai_core import Correlation, CorrelationMatrix, correlations_of
from greenai_plugins.exporters.pictures.matrix import matrix
from greenai_plugins.exporters.pictures.picture import Picture
from greenai_plugins.exporters.quantities import fixed, signed

from .blocks import Block, Cell, Notes, Pictures, Table
from .study_rows import Study, words

KINDS = {"pearson": "Pearson", "spearman": "Spearman"}

EXPLAINED = (
    "1: both grow together; −1: one falls as the other grows; 0: neither. Pearson is of straight "
    "lines, Spearman of any growth. The rows count, medians over runs; that two go together does "
    "not say that one causes the other."
)

LEAST = 3
"""Metrics; fewer need no picture."""


def matrices(found: Sequence[Study]) -> tuple[Block, ...]:
    """Heat maps of each study."""
    pictures = []
    for one in found:
        for kind, title in KINDS.items():
            made = correlations_of(one.result, kind)
            if len(made.names) >= LEAST:
                more = f": {one.source}" if one.many else ""
                pictures.append(_picture(made, kind, f"{title} correlation{more}"))
    return (Pictures(tuple(pictures)), Notes((EXPLAINED,))) if pictures else ()


def _picture(made: CorrelationMatrix, kind: str, title: str) -> Picture:
    names = [words(name) for name in made.names]
    values = [[None if c is None else c.value for c in row] for row in made.table]
    tips = [
        [_tip(names[i], names[j], c) for j, c in enumerate(row)] for i, row in enumerate(made.table)
    ]
    rows: tuple[tuple[Cell, ...], ...] = tuple(
        (name, *map(_shown, row)) for name, row in zip(names, made.table, strict=True)
    )
    table = Table(title, ("", *names), rows)
    return matrix((kind, title, _strongest(made, names)), names, values, tips, table)


def _tip(one: str, other: str, found: Correlation | None) -> str:
    if found is None:
        return f"{one} and {other}\nunknown"
    return f"{one} and {other}\n{_shown(found)}\n{found.n} rows"


def _shown(found: Correlation | None) -> str:
    if found is None:
        return "unknown"
    if found.low is None or found.high is None:
        return signed(f"{found.value:.2f}")
    half = max((found.high - found.low) / 2, 0.002)
    value, low, high = (fixed(v, half) for v in (found.value, found.low, found.high))
    return f"{value} ({low} … {high})"


def _strongest(made: CorrelationMatrix, names: Sequence[str]) -> str:
    pairs = [
        (abs(c.value), i, j)
        for i, row in enumerate(made.table)
        for j, c in enumerate(row)
        if c is not None and i < j
    ]
    if not pairs:
        return "No two metrics can be related."
    _, i, j = min(pairs)
    weakest = made.table[i][j]
    return f"Weakest: {names[i]} and {names[j]}, {_shown(weakest)}."

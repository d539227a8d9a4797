"""Columns of tables: one unit for all figures of a column, where one suits."""

from __future__ import annotations

from greenai_plugins.exporters.quantities import PREFIXES, Quantity, exponent

from .blocks import Table

WIDEST = 300.0
"""Figures that differ by more have each a unit of its own."""


def powers(table: Table) -> list[int | None]:
    """For each column the power of ten of its unit's prefix; None where cells have their own."""
    return [_power(table, column) for column in range(len(table.head))]


def _power(table: Table, column: int) -> int | None:
    cells = [row[column] for row in table.rows]
    figures = [cell for cell in cells if isinstance(cell, Quantity)]
    known = [abs(cell.value) for cell in figures if cell.value]
    if not known or len({cell.unit for cell in figures}) > 1 or max(known) > WIDEST * min(known):
        return None
    return exponent(known, figures[0].unit)


def head(table: Table, column: int, power: int | None) -> str:
    """Name of a column, with the unit where all of it has one."""
    name = table.head[column]
    if power is None:
        return name
    unit = next(row[column].unit for row in table.rows if isinstance(row[column], Quantity))  # type: ignore[union-attr]  # the guard is on the same cell
    return f"{name}, {PREFIXES[power]}{unit}" if unit else name


def modelled(table: Table, column: int) -> bool:
    """Whether all figures of a column are modelled, so that its head can say it for them."""
    cells = [row[column] for row in table.rows]
    known = [cell for cell in cells if isinstance(cell, Quantity) and cell.value is not None]
    return bool(known) and all(cell.modelled for cell in known)

"""What comes after the joules in the Markdown of a report: grades and footprints."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from decimal import Decimal

from greenai_core import CommandResult, Figure, Grade, InferenceResult, Report

HEAD = ("of", "carbon", "above idle", "of one unit", "cost", "by")

Quantity = Callable[[float | None, float | None, float | None, str], str]

CO2 = "g CO₂e"


def footprint_cells(report: Report, quantity: Quantity) -> Iterator[list[str]]:
    """A row for each result with a footprint, without its name: that comes first.

    Args:
        report: of commands or models.
        quantity: writes a number with its interval and unit.
    """
    for index, result in enumerate(report.results):
        if not isinstance(result, (CommandResult, InferenceResult)) or result.footprint is None:
            continue
        made = result.footprint
        cost = "–" if made.cost is None else f"{_plain(made.cost.value)} {made.currency}"
        yield [
            str(index),
            _grams(made.emissions_gco2e, quantity),
            _grams(made.net_emissions_gco2e, quantity),
            _grams(made.sci_gco2e_per_unit, quantity),
            cost,
            f"{made.gco2e_per_kwh:.4g} gCO₂e/kWh ({made.region}"
            + (", assumed" if made.region_assumed else "")
            + f"), PUE {made.pue:g}",
        ]


def footprint_notes(report: Report) -> list[str]:
    """What has to be said beside them, each sentence once."""
    said = [
        text
        for result in report.results
        if isinstance(result, (CommandResult, InferenceResult)) and result.footprint is not None
        for text in result.footprint.statements
    ]
    return list(dict.fromkeys(said))


def grade_notes(grade: Grade | None) -> list[str]:
    """Reasons, and what the next letter takes."""
    return [] if grade is None else [text for text in (*grade.reasons, grade.next_step) if text]


def _grams(figure: Figure | None, quantity: Quantity) -> str:
    return "–" if figure is None else quantity(figure.value, figure.low, figure.high, CO2)


def _plain(value: float) -> str:
    """Three digits that count, without powers of ten."""
    return format(Decimal(f"{value:.3g}"), "f")

"""What becomes of a result: kept in the report, told, shown."""

from __future__ import annotations

from typing import TYPE_CHECKING

from greenai_core.results import Result

from . import costs, exit_codes, output
from .faults import Faults
from .reports import ReportFile

if TYPE_CHECKING:
    from greenai_core.kept_runs import Kept


def keep(report: ReportFile, result: Result, faults: Faults, kept: Kept | None = None) -> None:
    """Add a result; when it cannot be written it is still shown at the end.

    Args:
        report: that it is added to.
        result: the result.
        faults: told what cannot be written.
        kept: its raw readings, if they are kept.
    """
    try:
        report.add(result, kept)
    except output.OutputError as error:
        faults.add(error)


def finish(report: ReportFile, faults: Faults) -> None:
    """Close the report."""
    report.warnings = tuple(faults.told)
    try:
        report.finish()
    except output.OutputError as error:
        if not faults.told or str(error) not in faults.told:
            faults.add(error)


def tell(cost: costs.Cost, faults: Faults) -> None:
    """Warnings of a result, and why it has no total."""
    for warning in cost.warnings:
        output.warn(f"{cost.model}: {warning}")
    if cost.shortfall:
        faults.tell(f"{cost.model}: {cost.shortfall}", exit_codes.MEASUREMENT)


def show(report: ReportFile, as_json: bool) -> None:
    """The results on stdout, and where the report is."""
    if as_json:
        output.emit_bytes(report.content())
    else:
        output.emit(costs.text(report.report))
    if report.written:
        output.note(f"greenai: report written to {report.path}")

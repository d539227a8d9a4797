"""Whether two studies were measured on one machine, as far as their reports tell."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from .compared_reports import MACHINE
from .errors import SchemaError
from .report_files import read_report
from .results import Report
from .study_files import REPORT
from .study_results import StudyResult


def one_machine(first: Path, other: Path) -> bool:
    """Whether both reports describe one machine and the same sensors' calibrations.

    Where a report is missing, as in folders of AIPowerMeter, it is not known, and so taken for no:
    that makes intervals wider, never narrower.
    """
    try:
        return same_machine(*(read_report(folder / REPORT) for folder in (first, other)))
    except (OSError, SchemaError):
        return False


def same_machine(first: Report, other: Report) -> bool:
    """The same of reports that were read."""
    found = []
    for report in (first, other):
        facts = [_fact(report.environment, key) for key in MACHINE]
        gpus = report.environment.get("nvidia_driver")
        found.append((facts, gpus is not None, report.calibrations, _sensors(report)))
    known = all(_fact_known(facts) for facts, *_ in found)
    return known and found[0] == found[1]


def _sensors(report: Report) -> frozenset[str]:
    """Channels of the totals; boards have names of their own, so two like machines differ."""
    studies = (result for result in report.results if isinstance(result, StudyResult))
    return frozenset(id for study in studies for row in study.rows for id in row.contains)


def _fact(environment: Any, key: str) -> Any:
    value = environment
    for part in key.split("."):
        value = value.get(part) if isinstance(value, dict) else None
    return value


def _fact_known(facts: list[Any]) -> bool:
    return bool(facts[MACHINE.index("cpu.model")])

"""Lines on how far fresh processes differed."""

from __future__ import annotations

from pathlib import Path

from greenai_core.results import InferenceResult, Report

from . import figures, output


def text(report: Report) -> list[str]:
    """One paragraph for each model that was measured in several processes."""
    parts = []
    for result in report.results:
        if isinstance(result, InferenceResult) and result.processes:
            parts.append(output.paragraph(_line(result)))
    return parts


def _line(result: InferenceResult) -> str:
    name = Path(result.model.path).name or result.model.path
    line = f"{name}: mean of {len(result.processes)} fresh processes"
    spread = result.process_spread
    if spread is None:
        return f"{line}."
    known = f"one process by itself is known to {figures.percent(spread.within)}"
    if spread.between == 0:
        return f"{line}. They differ by no more than each is uncertain by itself: {known}."
    return (
        f"{line}. From one to the next it varies by {figures.percent(spread.between)} (standard "
        f"deviation); {known}."
    )

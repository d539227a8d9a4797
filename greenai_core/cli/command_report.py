"""What ``measure`` and ``grade`` tell of a program that they ran."""

from __future__ import annotations

import contextlib
from pathlib import Path
from typing import Any

from greenai_core.above_idle import below_floor
from greenai_core.calibration import applied
from greenai_core.channels import MODELLED
from greenai_core.kept_windows import KeptWindows
from greenai_core.results import CommandResult, Grade, Report, WindowResult
from greenai_core.session import Session

from . import beside, figures, output, own_costs, process_table
from .config import Settings
from .reports import ReportFile
from .sensors import NO_SENSOR, for_report


def deliver(
    kind: str,
    result: CommandResult,
    settings: Settings,
    more: dict[str, Any],
    as_json: bool,
    out: Path | None,
    session: Session,
    kept: KeptWindows | None = None,
    text: str | None = None,
) -> Report:
    """Summary to stderr; JSON to the file, or to stdout where none was given or it is full.

    Args:
        kind: of the report.
        result: to be told.
        settings: of the command.
        more: settings of this command alone.
        as_json: whether JSON takes the place of the summary.
        out: where the report goes.
        session: the sensors.
        kept: raw readings.
        text: summary; None for the usual one.

    Returns:
        The report.

    Raises:
        OutputError: the JSON cannot be written.
    """
    report = ReportFile(kind, {**for_report(settings), **more}, out)
    report.skipped = session.skipped
    report.calibrations = tuple(map(applied, session.calibrations))
    if out or not as_json:
        output.note(summary(result) if text is None else text)
    try:
        report.add(result, kept)
        report.finish()
    except output.OutputError:
        with contextlib.suppress(output.OutputError):
            report.finish()
        output.emit_bytes(report.content())
        raise
    if as_json and not out:
        output.emit_bytes(report.content())
    return report.report


def summary(result: CommandResult) -> str:
    """A few lines for people."""
    gross = result.gross
    lines = [f"greenai: {_energy(gross)} in {figures.quantity(gross.duration_s, 's')}"]
    lines += [
        f"  {c.id}: {figures.with_ends(c.energy_j, c.low_j, c.high_j, 'J')}, {c.method}"
        + ("" if c.in_total else ", not in the total")
        for c in gross.channels
    ]
    lines += [f"  {m.id}: {figures.UNKNOWN}: {output.one_line(m.reason)}" for m in gross.missing]
    if gross.method == MODELLED:
        lines.append(output.paragraph(NO_SENSOR, "  "))
    elif MODELLED in gross.method.split("+"):
        lines.append("  The total is modelled in part: it is no pure measurement.")
    lines += _idle(result)
    lines += [f"  {line}" for line in beside.table(gross.observations).splitlines()]
    lines += process_table.text(gross.by_process)
    if result.grade is not None:
        lines += _grade(result.grade)
    if result.self_cost is not None and result.self_cost.share > own_costs.NOTICEABLE:
        lines.append(output.paragraph(own_costs.sentence(result.self_cost, "the command"), "  "))
    lines += [f"greenai: warning: {output.one_line(text)}" for text in result.warnings]
    return "\n".join(lines)


def _energy(gross: WindowResult) -> str:
    if gross.energy_j is None or gross.low_j is None or gross.high_j is None:
        return "energy unknown"
    watts = gross.energy_j / gross.duration_s if gross.duration_s > 0 else None
    return (
        f"{figures.with_ends(gross.energy_j, gross.low_j, gross.high_j, 'J')}, {gross.method}, "
        f"{figures.quantity(watts, 'W')}"
    )


def _idle(result: CommandResult) -> list[str]:
    lines = []
    net = result.net_energy_j
    if result.idle_power_w is not None:
        lines.append(f"  idle power: {figures.spread(result.idle_power_w, 'W')}")
    if net is not None:
        floor = ": below the noise floor" if below_floor(net) else ""
        shown = figures.with_ends(net.value, net.low, net.high, "J")
        lines.append(f"  above idle: {shown}{floor}")
    if result.idle_share is not None:
        lines.append(f"  idle share: {figures.percent(result.idle_share)} of the energy")
    if result.utilisation_percent is not None:
        lines.append(f"  CPU utilisation of the machine: {result.utilisation_percent:.0f} %")
    return lines


def _grade(grade: Grade) -> list[str]:
    reasons = "; ".join(reason.removeprefix("ungraded: ") for reason in grade.reasons)
    if grade.letter is None:
        return [output.paragraph(f"ungraded: {reasons}", "  ")]
    letter = grade.letter
    if grade.best_letter and grade.best_letter != letter:
        letter = f"{letter} ({grade.best_letter}–{letter})"
    provisional = ", provisional" if grade.provisional else ""
    lines = [f"  grade {letter}{provisional}, {grade.tier}, on {grade.scale}: {reasons}"]
    return lines + ([f"  {grade.next_step}"] if grade.next_step else [])

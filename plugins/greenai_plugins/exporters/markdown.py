"""Reports as Markdown tables, for a README, a merge request or a wiki."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from typing import ClassVar

from greenai_core import (
    CommandResult,
    Exporter,
    InferenceResult,
    Report,
    ReportSource,
    TrainingResult,
)

from .after_joules import HEAD, footprint_cells, footprint_notes, grade_notes
from .markdown_text import code, plain
from .pages.markdown import rendered
from .pages.page import page_of
from .quantities import PREFIXES
from .rows import Row, command_line, rows

TITLES = {
    "bench": "Energy of one inference",
    "train": "Energy of one training step",
    "measure": "Energy of commands",
    "grade": "Grades",
    "compare": "Energy compared",
}

LEGEND = (
    "Ranges are 95 % intervals with the uncertainty of the sensors. *Repeatability* is the "
    "range without it: use that to compare figures of one machine."
)


class MarkdownExporter(Exporter):
    """Tables for people: totals, channels, and what to know of them."""

    name: ClassVar[str] = "markdown"
    suffix: ClassVar[str] = ".md"

    def export(self, report: Report) -> bytes:
        """The report as Markdown in UTF-8.

        Raises:
            SchemaError: a result is of no known kind.
        """
        if report.kind in ("study", "layers", "powercap"):
            return self.export_several([ReportSource(report.kind, report)])
        lines = [f"# {TITLES.get(report.kind, report.kind)}", ""]
        all_rows = list(rows(report))
        lines += _notes(report)
        if report.kind in ("bench", "train"):
            lines += _table(MODEL_HEAD, (_model_cells(all_rows, row) for row in _totals(all_rows)))
        elif report.kind == "compare":
            lines += _table(COMPARED_HEAD, map(_compared_cells, _totals(all_rows)))
        else:
            lines += _table(COMMAND_HEAD, map(_command_cells, _commands(report)))
        lines += _epochs(all_rows)
        lines += _channels(all_rows)
        lines += _footprints(report)
        lines += _advice(report)
        text = "\n".join([*lines, LEGEND, ""])
        # A file name that is no UTF-8 has characters that no encoder takes.
        return text.encode(errors="backslashreplace")

    def export_several(self, sources: Sequence[ReportSource]) -> bytes:
        """The page that `html` makes of these, as Markdown.

        Raises:
            SchemaError: one is of no known kind.
        """
        return rendered(page_of(sources))


MODEL_HEAD = ("model", "device", "energy", "repeatability", "per sample", "time", "power", "target")
COMMAND_HEAD = ("command", "exit code", "time", "gross energy", "net energy", "idle share", "grade")
COMPARED_HEAD = (
    "model",
    "device",
    "energy",
    "repeatability",
    "time",
    "against the first",
    "verdict",
)
EPOCH_HEAD = (
    "of", "epoch", "energy", "repeatability", "waiting for data", "compute", "loss", "accuracy"
)  # fmt: skip
CHANNEL_HEAD = ("of", "channel", "method", "in total", "energy", "repeatability")


def _totals(all_rows: Sequence[Row]) -> list[Row]:
    return [
        row
        for row in all_rows
        if row.row == "total" and (row.per != "sample" or row.report_kind == "compare")
    ]


def _commands(report: Report) -> list[CommandResult]:
    return [result for result in report.results if isinstance(result, CommandResult)]


def _model_cells(all_rows: Sequence[Row], total: Row) -> list[str]:
    sample = next(r for r in all_rows if r.result == total.result and r.per == "sample")
    return [
        code(total.name),
        f"{total.device}, batch {total.batch_size}",
        _energy(total) + f" per {total.per}",
        _span(total.repeat_low_j, total.repeat_high_j, "J"),
        _energy(sample),
        quantity(total.duration_s, total.duration_low_s, total.duration_high_s, "s"),
        quantity(total.power_w, total.power_low_w, total.power_high_w, "W"),
        "met" if total.target_met else "**not met**",
    ]


def _compared_cells(row: Row) -> list[str]:
    if row.ratio is None or row.ratio_low is None or row.ratio_high is None:
        against = "–"
    else:
        low, high = row.ratio_low, row.ratio_high
        digits = _digits(row.ratio, (high - low) / 2)
        against = f"{row.ratio:.{digits}f} times ({low:.{digits}f} to {high:.{digits}f})"
    return [
        code(row.name),
        f"{row.device}, batch {row.batch_size}",
        _energy(row) + f" per {row.per}",
        _span(row.repeat_low_j, row.repeat_high_j, "J"),
        quantity(row.duration_s, row.duration_low_s, row.duration_high_s, "s"),
        against,
        row.verdict or "–",
    ]


def _command_cells(result: CommandResult) -> list[str]:
    gross, net = result.gross, result.net_energy_j
    grade = result.grade
    return [
        code(command_line(result)),
        str(result.exit_code),
        quantity(gross.duration_s, None, None, "s"),
        quantity(gross.energy_j, gross.low_j, gross.high_j, "J") + _modelled(gross.method),
        "unknown: idle was not measured"
        if net is None
        else quantity(net.value, net.low, net.high, "J") + _modelled(net.method),
        "unknown" if result.idle_share is None else f"{result.idle_share:.0%}",
        "–" if grade is None else _letters(grade.letter, grade.best_letter),
    ]


def _letters(letter: str | None, best: str | None) -> str:
    if letter is None:
        return "ungraded"
    return letter if best in (None, letter) else f"{letter} ({best}–{letter})"


def _channels(all_rows: Sequence[Row]) -> list[str]:
    found = [row for row in all_rows if row.row in ("channel", "missing")]
    if not found:
        return []
    return ["## By channel", "", *_table(CHANNEL_HEAD, map(_channel_cells, found))]


def _channel_cells(row: Row) -> list[str]:
    if row.row == "missing":
        return [code(row.name), code(row.channel or ""), "missing", "", plain(row.reason), ""]
    return [
        code(row.name),
        code(row.channel or ""),
        row.method or "",
        "yes" if row.in_total else "no",
        _energy(row),
        _span(row.repeat_low_j, row.repeat_high_j, "J"),
    ]


def _epochs(all_rows: Sequence[Row]) -> list[str]:
    found = [row for row in all_rows if row.row in ("epoch", "validation", "wait")]
    if not found:
        return []
    return ["## By epoch", "", *_table(EPOCH_HEAD, map(_epoch_cells, found))]


def _epoch_cells(row: Row) -> list[str]:
    if row.row == "wait":
        energy = quantity(row.energy_j, None, None, "J")
        waited = quantity(row.wait_s, None, None, "s")
        estimate = f"about {energy}" if row.energy_j is not None else energy
        return [code(row.name), "all: waiting for data", estimate, "", waited, "", "", ""]
    what = f"{row.epoch}" + ("" if row.complete else " (part)")
    trained = row.row == "epoch"
    return [
        code(row.name),
        what if trained else f"{what}: validation",
        _energy(row),
        _span(row.repeat_low_j, row.repeat_high_j, "J"),
        quantity(row.wait_s, None, None, "s") if trained else "",
        quantity(row.compute_s if trained else row.duration_s, None, None, "s"),
        "unknown" if row.loss is None else f"{row.loss:.4g}",
        "unknown" if row.accuracy is None else f"{row.accuracy:.1%}",
    ]


def _notes(report: Report) -> list[str]:
    cpu = report.environment.get("cpu")
    model = cpu.get("model") if isinstance(cpu, dict) else None
    where = f" on {plain(model)}" if model else ""
    lines = [f"Measured {plain(report.created)}{where}.", ""]
    if not report.complete:
        lines += ["**Incomplete**: the run was interrupted, or was not over yet.", ""]
    return lines


def _advice(report: Report) -> list[str]:
    advice = [*report.warnings]
    for result in report.results:
        name = _name(result)
        advice += [f"{name}: {warning}" for warning in result.warnings]
        if isinstance(result, (CommandResult, InferenceResult)):
            told = grade_notes(result.grade) + grade_notes(result.against_baseline)
            advice += [f"{name}: {text}" for text in told]
    advice += [
        f"the profiler {skip.profiler} was left out: {skip.reason}. {skip.hint}".rstrip()
        for skip in report.skipped
    ]
    if not advice:
        return []
    return ["## To know", "", *(f"- {plain(line)}" for line in advice), ""]


def _footprints(report: Report) -> list[str]:
    cells = [
        [code(_name(report.results[int(index)])), *map(plain, row)]
        for index, *row in footprint_cells(report, quantity)
    ]
    if not cells:
        return []
    notes = [f"- {plain(line)}" for line in footprint_notes(report)]
    return ["## Carbon and cost", "", *_table(HEAD, cells), *notes, ""]


def _name(result: object) -> str:
    if isinstance(result, CommandResult):
        return command_line(result)
    return (
        result.model.path if isinstance(result, InferenceResult | TrainingResult) else "comparison"
    )


def _table(head: Sequence[str], body: Iterator[list[str]] | Sequence[list[str]]) -> list[str]:
    lines = [head, ["---"] * len(head), *body]
    return [*("| " + " | ".join(cells) + " |" for cells in lines), ""]


def _energy(row: Row) -> str:
    return quantity(row.energy_j, row.low_j, row.high_j, "J") + _modelled(row.method)


def _modelled(method: str | None) -> str:
    return " *(modelled)*" if method and "modelled" in method else ""


def _span(low: float | None, high: float | None, unit: str) -> str:
    if low is None or high is None:
        return "unknown"
    scale, prefix = _scale(max(abs(low), abs(high)))
    digits = _digits((low + high) / 2 / scale, (high - low) / 2 / scale)
    return f"{low / scale:.{digits}f} to {high / scale:.{digits}f} {prefix}{unit}"


def quantity(value: float | None, low: float | None, high: float | None, unit: str) -> str:
    """A value with its interval, in a unit that keeps the numbers short."""
    if value is None:
        return "unknown"
    scale, prefix = _scale(abs(value))
    if low is None or high is None:
        return f"{value / scale:.{_digits(value / scale, 0)}f} {prefix}{unit}"
    digits = _digits(value / scale, (high - low) / 2 / scale)
    span = f"{low / scale:.{digits}f} to {high / scale:.{digits}f}"
    return f"{value / scale:.{digits}f} {prefix}{unit} ({span})"


def _scale(size: float) -> tuple[float, str]:
    power = 3 * math.floor(math.log10(size) / 3) if size > 0 else 0
    power = min(max(power, min(PREFIXES)), max(PREFIXES))
    return 10.0**power, PREFIXES[power]


def _digits(value: float, half: float) -> int:
    """Decimals that show two digits of the half-width, or three of the value."""
    if half > 0:
        wanted = 1 - math.floor(math.log10(half))
    elif value:
        wanted = 2 - math.floor(math.log10(abs(value)))
    else:
        wanted = 0
    return min(max(wanted, 0), 9)

"""What a label and a badge tell of a result."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import PurePath

from greenai_core import (
    CommandResult,
    Figure,
    Grade,
    InferenceResult,
    Report,
    SchemaError,
    program_name,
)

from .quantities import PREFIXES

ESTIMATED = "estimated"
"""The tier of what is modelled."""

DISCLAIMER = "self-declared, not an official EU label"

COLOURS = {
    "A": "#35a85a",
    "B": "#6cbb4a",
    "C": "#b8d140",
    "D": "#f4e04a",
    "E": "#f3b63a",
    "F": "#ea8540",
    "G": "#e46450",
}
"""All light enough for dark letters: contrast above 5:1."""


@dataclass(frozen=True)
class Facts:
    """What a label tells.

    Attributes:
        subject: what was measured: a model's file, a command.
        grade: None where nobody graded.
        energy: of one unit, J; None where it is not known.
        unit: what one is.
        kind: ``above idle`` or ``gross``, of ``energy``.
        gross: energy as measured of ``of``, J; None likewise.
        of: ``one inference`` or ``the whole run``.
        channels: in the total, by kind.
        hardware: class that the scale is for, or the processor.
        date: of the measurement.
        against: the grade against a baseline; None where nobody asked for one.
    """

    subject: str
    grade: Grade | None
    energy: Figure | None
    unit: str
    kind: str
    gross: float | None
    of: str
    channels: tuple[str, ...]
    hardware: str
    date: str
    against: Grade | None = None

    @property
    def letter(self) -> str | None:
        """The letter; None when ungraded."""
        return self.grade.letter if self.grade else None

    @property
    def letters(self) -> str:
        """``B``, ``C (B–C)`` or ``ungraded``."""
        grade = self.grade
        if grade is None or grade.letter is None:
            return "ungraded"
        if grade.best_letter in (None, grade.letter):
            return grade.letter
        return f"{grade.letter} ({grade.best_letter}–{grade.letter})"

    @property
    def change(self) -> str:
        """Against a baseline, with its interval; empty where that is not known."""
        graded = (self.grade, self.against)
        share = next((grade.change for grade in graded if grade and grade.change), None)
        if share is None:
            return ""
        ends = f"{percent(share.low)} to {percent(share.high)}"
        return f"{percent(share.value)} ({ends}) against a baseline"

    @property
    def verdict(self) -> str:
        """The letters; without any the change against a baseline, if that is known."""
        change = self.grade.change if self.grade else None
        if self.letter is None and change is not None:
            return f"{percent(change.value)} against a baseline"
        return self.letters

    @property
    def tier(self) -> str:
        """``measured``, or ``estimated`` where a part is modelled."""
        if self.grade is not None:
            return self.grade.tier
        return ESTIMATED if self.energy and "modelled" in self.energy.method else "measured"

    @property
    def about(self) -> str:
        """A sign before what is an estimate."""
        return "≈ " if self.tier == ESTIMATED else ""

    @property
    def headline(self) -> str:
        """Joules of one unit."""
        if self.energy is None:
            return "energy not known"
        return f"{self.about}{joules(self.energy.value)} per {self.unit}"

    @property
    def interval(self) -> str:
        """95 % interval, and what the energy is."""
        if self.energy is None:
            return ""
        return f"{span(self.energy.low, self.energy.high)} (95 %), {self.kind}"

    @property
    def in_words(self) -> str:
        """Everything, for those who do not see the picture."""
        grade = self.grade
        gross = "unknown" if self.gross is None else f"{self.gross:.6g} J"
        parts = [
            f"{self.subject}: {self.verdict}",
            f"{self.headline}, {self.interval}" if self.energy else self.headline,
            f"Gross energy of {self.of}: {gross}",
            f"Channels: {', '.join(self.channels) or 'unknown'}",
            f"Hardware: {self.hardware}",
            f"Scale: {grade.scale if grade and grade.scale else 'none'}",
            f"Date: {self.date}",
            self.tier,
            *filter(None, [self.change]),
            *(grade.reasons if grade else ()),
            DISCLAIMER,
        ]
        return ". ".join(parts) + "."


def all_facts(report: Report) -> list[Facts]:
    """What to tell of each result.

    Raises:
        SchemaError: the report holds nothing that a label is of.
    """
    if report.kind not in ("bench", "measure", "grade"):
        raise SchemaError(f"there is no label for a report of {report.kind}: give one of grade")
    if not report.results:
        raise SchemaError("the report holds no result to make a label of")
    return [_facts(report, result) for result in report.results]


def _facts(report: Report, result: object) -> Facts:
    if isinstance(result, CommandResult):
        return _of_command(report, result)
    if isinstance(result, InferenceResult):
        return _of_inference(report, result)
    raise SchemaError(f"there is no label for a {type(result).__name__}")


def _of_command(report: Report, result: CommandResult) -> Facts:
    grade, gross = result.grade, result.gross
    energy, unit = result.net_energy_j, "run"
    if grade is not None and grade.per_unit_j is not None and grade.unit:
        energy, unit = grade.per_unit_j, grade.unit
    return Facts(
        subject=program_name(result.command),
        grade=grade,
        energy=energy,
        unit=unit,
        kind=_kind(grade),
        gross=gross.energy_j,
        of="the whole run",
        channels=_kinds((c.component, c.method) for c in gross.channels if c.in_total),
        hardware=_hardware(report, grade),
        date=report.created[:10],
        against=result.against_baseline,
    )


def _kinds(channels: Iterable[tuple[str, str]]) -> tuple[str, ...]:
    """What the total is of, and how it is known; the names of boards and meters are private.

    Args:
        channels: component and method of each.
    """
    counted = Counter(f"{component} ({method})" for component, method in channels)
    return tuple(f"{n} × {kind}" if n > 1 else kind for kind, n in counted.items())


def _of_inference(report: Report, result: InferenceResult) -> Facts:
    grade, gross = result.grade, result.energy_per_inference_j
    net = result.net_energy_per_inference_j
    energy, unit, kind = (net, "inference", _kind(grade)) if net else (gross, "inference", "gross")
    if grade is not None and grade.per_unit_j is not None and grade.unit:
        energy, unit, kind = grade.per_unit_j, grade.unit, _kind(grade)
    return Facts(
        subject=PurePath(result.model.path).name,
        grade=grade,
        energy=energy,
        unit=unit,
        kind=kind,
        gross=gross.value if gross else None,
        of="one inference",
        channels=_kinds((c.component, c.method) for c in result.channels if c.in_total),
        hardware=_hardware(report, grade),
        date=report.created[:10],
        against=result.against_baseline,
    )


def _kind(grade: Grade | None) -> str:
    if grade is None or grade.pue in (None, 1.0):
        return "above idle"
    return f"above idle × PUE {grade.pue:g}"


def _hardware(report: Report, grade: Grade | None) -> str:
    if grade is not None and grade.hardware_class:
        return grade.hardware_class
    cpu = report.environment.get("cpu")
    model = cpu.get("model") if isinstance(cpu, dict) else cpu
    return str(model) if model else "unknown"


def joules(value: float) -> str:
    """Three digits and a unit that keeps them short."""
    size, prefix = _scale(abs(_three(value)))
    return f"{_digits(value / size)} {prefix}J".replace("-", "−")


def span(low: float, high: float) -> str:
    """Both ends in one unit."""
    size, prefix = _scale(_three(max(abs(low), abs(high))))
    return f"{_digits(low / size)} to {_digits(high / size)} {prefix}J".replace("-", "−")


def percent(share: float) -> str:
    """A change, with its sign."""
    return f"{100 * share:+.1f} %".replace("-", "−")


def _scale(size: float) -> tuple[float, str]:
    power = 3 * math.floor(math.log10(size) / 3) if size > 0 else 0
    power = min(max(power, min(PREFIXES)), max(PREFIXES))
    return 10.0**power, PREFIXES[power]


def _three(value: float) -> float:
    """Three digits that count: 999.7 mJ is 1.00 J."""
    return float(f"{value:.3g}")


def _digits(value: float) -> str:
    value = _three(value)
    if value == 0:
        return "0"
    return f"{value:.{min(max(2 - math.floor(math.log10(abs(value))), 0), 9)}f}"

"""A scale from reports: the median of their energies per unit is the reference."""

from __future__ import annotations

import dataclasses
import statistics
from collections.abc import Iterator, Sequence
from pathlib import PurePath
from typing import Any

from .errors import GradeError
from .gradables import gradable
from .grading import Gradable
from .program_names import program_name
from .results import (
    CapResult,
    CommandResult,
    ComparisonResult,
    Figure,
    LayersResult,
    Report,
    Result,
    StudyResult,
)
from .scales import FACTORS, MEASURABLE, read_scale, scale_fingerprint

DIGITS = 6
"""Significant digits of a reference: more than any sensor has."""


@dataclasses.dataclass(frozen=True)
class Member:
    """One result that becomes a reference.

    Attributes:
        name: of the model file, or of the program.
        energy: above idle, of one unit, J.
        components: what it is of.
        processor: it was measured on.
        version: of greenai, that measured it.
        date: of its report.
    """

    name: str
    energy: Figure
    components: tuple[str, ...]
    processor: str
    version: str
    date: str


def build_scale(
    reports: Sequence[Report],
    *,
    id: str,
    unit: str,
    sources: Sequence[str] = (),
    command: str | None = None,
    notes: Sequence[str] = (),
) -> dict[str, Any]:
    """The content of a scale's JSON file.

    Args:
        reports: of ``bench``, ``train``, ``measure`` or ``grade``, with idle measured; each
            result is one reference.
        id: of the scale; ``task/<task>/<hardware class>/<year.n>`` or any other.
        unit: functional unit; of a model one sample of a batch.
        sources: in words, besides which machine and version measured them.
        command: that measures the references again.
        notes: what else to know.

    Raises:
        GradeError: there are no results, or they were not measured the same way: other
            components, other sensors, another processor; or one of them could not
            be graded itself.
    """
    members = sorted(_members(reports, unit), key=lambda member: (member.name, member.date))
    _check_alike(members)
    modelled = "modelled" in members[0].energy.method
    references = [_reference(member) for member in members]
    components = sorted(members[0].components, key=MEASURABLE.index)
    content: dict[str, Any] = {
        "id": id,
        "unit": unit,
        "scope": "+".join(components),
        "reference": statistics.median(reference["energy_j"] for reference in references),
        "n": len(references),
        "sources": [*sources, _source(members)],
        "thresholds": dict(FACTORS),
        "tier": "estimated" if modelled else "measured",
        "origin": "own",
        "references": references,
    }
    content.update(
        {"command": command} if command else {}, **({"notes": [*notes]} if notes else {})
    )
    content["sha256"] = scale_fingerprint(content)
    read_scale(content)
    return content


def _members(reports: Sequence[Report], unit: str) -> Iterator[Member]:
    for report in reports:
        for result in report.results:
            yield _member(report, result, unit)


def _member(report: Report, result: Result, unit: str) -> Member:
    name = _name(result)
    if isinstance(result, CommandResult) and result.unit not in (None, unit):
        raise GradeError(f"{name} was counted by {result.unit}, not by {unit}")
    measured = gradable(result, unit=unit)
    energy = measured.per_unit()
    if energy is None or energy.low <= 0 or measured.missing:
        raise GradeError(f"{name} cannot be a reference: {_why(measured)}")
    cpu = report.environment.get("cpu")
    model = cpu.get("model") if isinstance(cpu, dict) else cpu
    return Member(
        name=name,
        energy=energy,
        components=measured.components,
        processor=str(model or "unknown processor"),
        version=str(report.environment.get("greenai_core") or "unknown"),
        date=report.created[:10],
    )


def _why(measured: Gradable) -> str:
    if measured.missing:
        return f"no figure for {', '.join(measured.missing)}"
    if measured.net_energy_j is None:
        return "no net energy. Measure idle too: bench has --idle, grade --idle-time"
    if measured.units is None:
        return "nobody said how many units it did. Measure it with --units"
    return "its net energy cannot be told from zero. Measure for longer"


def _name(result: Result) -> str:
    """File name of the model or the program: where it lies is nobody's business."""
    if isinstance(result, CommandResult):
        return program_name(result.command)
    if isinstance(result, ComparisonResult):
        raise GradeError("a comparison tells ratios: build the scale from reports of bench")
    if isinstance(result, StudyResult):
        raise GradeError("a study tells medians: build the scale from the reports of its runs")
    if isinstance(result, LayersResult):
        raise GradeError("layers are parts of a model: build the scale from reports of bench")
    if isinstance(result, CapResult):
        raise GradeError("a search for a cap grades nothing: build the scale from reports of bench")
    return PurePath(result.model.path).name


def _check_alike(members: Sequence[Member]) -> None:
    if not members:
        raise GradeError("there is no result to make a scale of: give reports that hold some")
    ways = (
        ("of", ["+".join(sorted(member.components)) for member in members]),
        ("known by", ["+".join(sorted(member.energy.method.split("+"))) for member in members]),
        ("on", [member.processor for member in members]),
    )
    for word, values in ways:
        found = dict(zip(values, (member.name for member in members), strict=True))
        if len(found) > 1:
            told = " and ".join(f"{name} ({word} {value})" for value, name in found.items())
            raise GradeError(f"references are measured the same way, and these are not: {told}")
    names = [member.name for member in members]
    twice = sorted({name for name in names if names.count(name) > 1})
    if twice:
        raise GradeError(f"{', '.join(twice)} would count more than once: give each one result")
    unknown = set(members[0].components) - {*MEASURABLE}
    if unknown or not members[0].components:
        raise GradeError(f"no scale is for energy of {', '.join(sorted(unknown)) or 'nothing'}")


def _reference(member: Member) -> dict[str, Any]:
    energy = member.energy
    return {
        "name": member.name,
        "energy_j": _rounded(energy.value),
        "low_j": _rounded(energy.low),
        "high_j": _rounded(energy.high),
    }


def _rounded(value: float) -> float:
    return float(f"{value:.{DIGITS}g}")


def _source(members: Sequence[Member]) -> str:
    dates = sorted({member.date for member in members})
    when = dates[0] if len(dates) == 1 else f"{dates[0]} to {dates[-1]}"
    versions = ", ".join(sorted({member.version for member in members}))
    results = "1 result" if len(members) == 1 else f"{len(members)} results"
    return f"{results} of greenai-core {versions} on {members[0].processor}, {when}"

"""Two reports, made apart: the ratio of their figures, as far as it can be known."""

from __future__ import annotations

import math
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from .comparison import Estimate, LogRatio, judge, unpaired
from .errors import ComparisonError
from .quads import LABELS
from .report_pairs import Pair, Side, check_pair
from .results import (
    ComparedModel,
    ComparisonResult,
    EnergyRatio,
    Figure,
    InferenceResult,
    Report,
    TrainingResult,
)
from .statistics import coverage_factor

MACHINE = ("architecture", "cpu.model", "cpu.logical_cores", "memory_bytes", "virtualisation")
"""What makes two environments one machine; no report holds the name of its machine."""

CONDITIONS = (
    "cpu.governor", "cpu.turbo", "kernel", "container", "nvidia_driver", "greenai_core", "python",
    "libraries", "git",
)  # fmt: skip
"""What can change a figure on one machine."""

APART = (
    "the reports were made apart: what changed between the two runs (warmth, other load, the "
    "placement of a process) is in the ratio and not in its interval. `greenai compare A B` with "
    "the model files measures them in turn"
)


def compare_reports(
    reports: Sequence[tuple[str, Report]], margin: float = 0.02
) -> tuple[ComparisonResult, ...]:
    """Figures of several reports against those of the first.

    Models are matched by the name of their file, or by their order where each report
    has one. On one machine with the same sensors the interval is that of
    repeatability; otherwise it holds the gains of the sensors too.

    Args:
        reports: name, for messages, and content of each; all of ``bench`` or all of
            ``train``.
        margin: two models are equivalent when their energies differ by less.

    Returns:
        One for each model of the first report that has a counterpart. The chance of
        an error is shared by all of them.

    Raises:
        ComparisonError: the figures mean different things, or nothing matches.
    """
    _check(reports)
    pairs, alone = _match(reports)
    for pair in pairs:
        check_pair(pair)
    known = [pair for pair in pairs if _positive(pair.first) and _positive(pair.other)]
    ratios = judge([(pair.label, _ratio(pair)) for pair in known], margin)
    judged = {id(pair): ratio for pair, ratio in zip(known, ratios, strict=True)}
    groups: dict[int, list[Pair]] = {}
    for pair in pairs:
        groups.setdefault(id(pair.first.result), []).append(pair)
    return tuple(
        _result(members, [judged[id(p)] for p in members if id(p) in judged], margin, alone)
        for members in groups.values()
    )


def _check(reports: Sequence[tuple[str, Report]]) -> None:
    if not 2 <= len(reports) <= len(LABELS):
        raise ComparisonError(
            f"{len(reports)} reports cannot be compared: give two, or up to {len(LABELS)}"
        )
    first, kind = reports[0][0], reports[0][1].kind
    for name, report in reports:
        if report.kind == "compare":
            raise ComparisonError(
                f"{name} is itself a report of `greenai compare`: its ratios are in it. Reports of "
                "bench and of train can be compared"
            )
        if report.kind == "powercap":
            raise ComparisonError(
                f"{name} is a report of `greenai powercap optimise`, which compares caps: saving "
                "and slowdown are in it. Reports of bench and of train can be compared"
            )
        if report.kind not in ("bench", "train"):
            raise ComparisonError(
                f"{name} is a report of `greenai {report.kind}`, which does not tell how its "
                "energy varies from run to run. Reports of bench and of train can be compared"
            )
        if report.kind != kind:
            raise ComparisonError(
                f"{first} is a report of {kind} and {name} one of {report.kind}: an inference "
                "and a training step are different things"
            )
        if not report.results:
            raise ComparisonError(f"{name} holds no results: there is nothing to compare")


# Which with which


def _sides(name: str, report: Report) -> list[Side]:
    return [
        Side(name, report, result)
        for result in report.results
        if isinstance(result, (InferenceResult, TrainingResult))
    ]


def _match(reports: Sequence[tuple[str, Report]]) -> tuple[list[Pair], list[str]]:
    """Counterparts in the order of the first report; and what has none."""
    first, *others = [_sides(name, report) for name, report in reports]
    pairs: list[Pair] = []
    alone: list[str] = []
    for label, sides in zip(LABELS[1:], others, strict=False):
        if len(first) == len(sides) == 1:
            pairs.append(Pair(label, first[0], sides[0]))
            continue
        found = _counterparts(first, sides)
        pairs += [Pair(label, first[i], sides[j]) for i, j in sorted(found.items())]
        alone += [
            f"{one.result.model.path} of {one.name} is not in {sides[0].name}"
            for i, one in enumerate(first)
            if i not in found
        ]
        alone += [
            f"{one.result.model.path} of {one.name} is not in {first[0].name}"
            for j, one in enumerate(sides)
            if j not in found.values()
        ]
    if not pairs:
        names = " and ".join(name for name, _ in reports)
        raise ComparisonError(
            f"no model of {names} has the same file name, so nothing can be matched. Make a report "
            "of one model each, which are matched whatever their names"
        )
    pairs.sort(key=lambda pair: first.index(pair.first))
    return pairs, alone


def _counterparts(first: Sequence[Side], others: Sequence[Side]) -> dict[int, int]:
    """Position -> position of what has the same file name; the likest first."""
    found: dict[int, int] = {}
    for keys in (("path", "inputs"), ("inputs",), ("path",), ()):
        for i, one in enumerate(first):
            if i in found:
                continue
            for j, other in enumerate(others):
                if j not in found.values() and _alike(one, other, keys):
                    found[i] = j
                    break
    return found


def _alike(one: Side, other: Side, keys: Sequence[str]) -> bool:
    a, b = one.result.model, other.result.model
    return Path(a.path).name == Path(b.path).name and all(
        getattr(a, key) == getattr(b, key) for key in keys
    )


# Whether they were measured alike


def _fact(report: Report, key: str) -> Any:
    """``cpu.model`` of the environment; None where it is not known."""
    value: Any = report.environment
    for part in key.split("."):
        value = value.get(part) if isinstance(value, dict) else None
    return value


def _differs(pair: Pair, keys: Sequence[str]) -> list[str]:
    """Facts that both reports hold, and that are not the same."""
    first, other = pair.first.report, pair.other.report
    return [key for key in keys if _fact(first, key) != _fact(other, key)]


def _one_machine(pair: Pair) -> bool:
    """Whether the sensors, and so their gains, are the same ones as far as reports tell."""
    known = all(_fact(s.report, "cpu.model") for s in (pair.first, pair.other))
    return (
        known
        and not _differs(pair, MACHINE)
        and pair.first.sensors == pair.other.sensors
        and pair.first.corrections == pair.other.corrections
    )


# The ratio


def _positive(side: Side) -> bool:
    return side.energy is not None and side.energy.value > 0


def _ratio(pair: Pair) -> LogRatio:
    repeat = _one_machine(pair)
    per_sample = pair.first.batch != pair.other.batch
    first, other = (
        _estimate(side.energy, repeat, side.batch if per_sample else 1)
        for side in (pair.first, pair.other)
        if side.energy is not None
    )
    return unpaired(first, other)


def _estimate(figure: Figure, repeat: bool, samples: int) -> Estimate:
    """A figure as the value of one unit with its standard uncertainty.

    Args:
        figure: of one inference or step.
        repeat: from the interval of repeatability, not from the total one.
        samples: that it is divided by.
    """
    half = (figure.repeat_high if repeat else figure.high) - figure.value
    terms = [term for term in figure.budget if term.repeats and term.nu]
    nu = terms[0].nu or math.inf if repeat and len(terms) == 1 else math.inf
    return Estimate(figure.value / samples, half / coverage_factor(nu) / samples, nu)


# The result


def _result(
    pairs: Sequence[Pair], ratios: Sequence[EnergyRatio], margin: float, alone: Sequence[str]
) -> ComparisonResult:
    first = pairs[0].first
    sides = [("A", first), *((pair.label, pair.other) for pair in pairs)]
    per_sample = len({side.batch for _, side in sides}) > 1
    whole = "inference" if isinstance(first.result, InferenceResult) else "step"
    models = tuple(
        ComparedModel(
            label,
            side.result.model,
            _scaled(side.energy, side.batch if per_sample else 1),
            _scaled(side.seconds, side.batch if per_sample else 1),
            side.name,
        )
        for label, side in sides
    )
    return ComparisonResult(
        unit="sample" if per_sample else whole,
        design="reports",
        models=models,
        ratios=tuple(ratios),
        margin=margin,
        contains=first.result.contains,
        missing=tuple(missing for _, side in sides for missing in side.result.missing),
        quads=(),
        failed=(),
        self_cost_share=None,
        complete=all(side.report.complete for _, side in sides),
        warnings=tuple(dict.fromkeys([*_warnings(pairs, per_sample), *alone])),
    )


def _scaled(figure: Figure | None, samples: int) -> Figure | None:
    return figure if figure is None or samples == 1 else figure.divided(samples)


def _warnings(pairs: Sequence[Pair], per_sample: bool) -> list[str]:
    notes = [APART]
    if per_sample:
        notes.append("the models take different numbers of samples at once: compared per sample")
    for pair in pairs:
        first, other = pair.first, pair.other
        between = f"between {first.name} and {other.name}"
        for side in (first, other):
            if not _positive(side):
                notes.append(f"{side.result.model.path} has no total in {side.name}: no ratio")
        if not _one_machine(pair):
            notes.append(
                f"the machine or its sensors differ {between}: the interval holds the "
                "uncertainty of the sensors too"
            )
        if first.corrections != other.corrections:
            which = {c.channel for c in first.corrections ^ other.corrections}
            notes.append(f"not calibrated alike {between}: {', '.join(sorted(which))}")
        if first.result.contains != other.result.contains:
            notes.append(
                f"the totals add up different channels {between}: "
                f"{', '.join(first.result.contains)} against {', '.join(other.result.contains)}"
            )
        if changed := _differs(pair, CONDITIONS):
            notes.append(f"not the same {between}: {', '.join(changed)}")
        if first.result.model.inputs != other.result.model.inputs:
            notes.append(
                f"not the same inputs {between}: {', '.join(first.result.model.inputs)} against "
                f"{', '.join(other.result.model.inputs)}"
            )
        if first.modelled and other.modelled:
            notes.append(f"modelled, not measured: {first.name} and {other.name}")
        notes += [
            f"the energy of {side.result.model.path} in {side.name} is modelled in part"
            for side in (first, other)
            if side.modelled_in_part
        ]
        notes += [
            f"{side.result.model.path} in {side.name} did not reach its precision"
            for side in (first, other)
            if not side.result.target_met
        ]
    return notes

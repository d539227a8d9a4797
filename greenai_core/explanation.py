"""Where each figure of a report comes from: derived once more, with its error budget."""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass, fields, is_dataclass
from pathlib import Path
from typing import Any

from .budget import Budget, Term
from .cap_checks import check_caps
from .cap_results import CapProbe
from .derivation import derived
from .errors import SchemaError
from .layer_checks import check_layers
from .layer_results import LayerEnergy
from .raw_files import read_raw
from .repetitions import check_repetitions
from .report_files import to_json
from .results import (
    CapResult,
    ChannelEnergy,
    ComparedModel,
    ComparisonResult,
    Figure,
    InferenceResult,
    LayersResult,
    RawFile,
    Report,
    Result,
    SelfCost,
    StudyResult,
    TrainingResult,
    WindowResult,
)
from .statistics import coverage_factor, effective_nu, expanded

SAME = 1e-9
"""Relative; another processor adds numbers up in another order."""

CONSISTENT = 1e-6
"""Relative; a budget is stored as standard uncertainties, an interval as its ends."""

WORDS = frozenset({"warnings", "provenance", "detail", "reason", "derivation", "raw", "by_process"})
"""Keys whose texts may change with every version, and what was split by a model, of which
the sensors tell nothing."""

UNITS = {"j": "J", "s": "s", "w": "W"}


@dataclass(frozen=True)
class ExplainedFigure:
    """One figure of a report, and what makes it uncertain.

    Attributes:
        path: of the figure in the report: ``results[0].latency_s``.
        name: in words.
        unit: of the figure and of its budget.
        value, low, high, repeat_low, repeat_high: see ``Figure``.
        again: the value that follows from the raw readings; None without them.
        budget: of its uncertainty; empty where the report does not tell.
        u: combined standard uncertainty.
        nu: effective degrees of freedom; None for infinity.
        factor: coverage factor of the total interval.
    """

    path: str
    name: str
    unit: str
    value: float
    low: float
    high: float
    repeat_low: float
    repeat_high: float
    again: float | None
    budget: Budget
    u: float
    nu: float | None
    factor: float

    def shares(self) -> tuple[tuple[Term, float], ...]:
        """Each term with its share of the variance, largest first."""
        total = self.u**2
        parts = [(term, term.u**2 / total if total else 0.0) for term in self.budget]
        return tuple(sorted(parts, key=lambda part: -part[1]))


@dataclass(frozen=True)
class ExplainedResult:
    """One result of a report.

    Attributes:
        number: of the result, from 0.
        title: what was measured.
        raw: the file of raw readings that the report names.
        origin: ``raw`` where every figure was derived from raw readings,
            ``repetitions`` where from the blocks in the report, ``report`` where
            only the report's own sums could be checked, ``comparison`` where only
            intervals against their error budgets, ``layers`` where only sums of rows,
            ``caps`` where what a search found was
            derived again from its probes and its quads.
        figures: of the result.
        problems: figures that do not follow from what they should; empty is well.
        notes: what could not be looked at, and why.
    """

    number: int
    title: str
    raw: RawFile | None
    origin: str
    figures: tuple[ExplainedFigure, ...]
    problems: tuple[str, ...]
    notes: tuple[str, ...]


def explain(report: Report, folder: Path) -> tuple[ExplainedResult, ...]:
    """Derive every figure of a report once more.

    Args:
        report: to be explained.
        folder: where it lies; raw readings are looked for there.
    """
    return tuple(_explain(number, result, folder) for number, result in enumerate(report.results))


def _explain(number: int, result: Result, folder: Path) -> ExplainedResult:
    where = f"results[{number}]"
    problems: list[str] = []
    notes: list[str] = []
    raw: RawFile | None = getattr(result, "raw", None)
    again: Result | None = None
    if raw is None:
        # Those of comparisons, studies, layers and caps are never kept: there is nothing to advise.
        if isinstance(result, StudyResult):
            notes.append("its figures are medians over runs: explain the report of a run beside it")
        elif not isinstance(result, CapResult | ComparisonResult | LayersResult):
            notes.append("no raw readings were kept; measure with --raw to keep them")
    elif not (folder / Path(raw.name).name).is_file():
        notes.append(f"the raw readings, {raw.name}, are not beside the report")
    else:
        try:
            if Path(raw.name).name != raw.name:
                raise SchemaError(f"{where}.raw names {raw.name!r}, which is not beside the report")
            again = derived(result, read_raw(folder / raw.name, raw))
            problems += differences(to_json(result), to_json(again), where)
        except (SchemaError, OSError) as error:
            problems.append(str(error))
    origin, checked = ("raw", []) if again is not None else _checked(result)
    problems += [f"{where}.{text}" for text in checked]
    twins = {path: figure.value for path, _, figure in _figures(again, where)} if again else {}
    figures = []
    for path, name, figure in _figures(result, where):
        figures.append(_figure(path, name, figure, twins.get(path)))
        problems += budget_problems(path, figure)
    for path, window in _windows(result, where):
        problems += window_problems(path, window)
    return ExplainedResult(
        number, _title(result), raw, origin, tuple(figures), tuple(problems), tuple(notes)
    )


def _checked(result: Result) -> tuple[str, list[str]]:
    """What follows from the report itself where there are no readings, and what does not."""
    if isinstance(result, (InferenceResult, TrainingResult)):
        by_epochs = isinstance(result, TrainingResult) and result.epochs
        return "report" if by_epochs else "repetitions", check_repetitions(result)
    if isinstance(result, ComparisonResult):
        return "comparison", []
    if isinstance(result, CapResult):
        return "caps", check_caps(result)
    if isinstance(result, LayersResult):
        return "layers", check_layers(result)
    return "report", []


def _title(result: Result) -> str:
    if isinstance(result, ComparisonResult):
        return ", ".join(f"{one.label} {one.model.path}" for one in result.models)
    if isinstance(result, StudyResult):
        return result.name
    if isinstance(result, CapResult):
        return " ".join(result.command) or f"caps of {', '.join(result.devices)}"
    model = getattr(result, "model", None)
    command = getattr(result, "command", ())
    return model.path if model is not None else " ".join(command) or type(result).__name__


# Figures


def _figures(
    value: Any, path: str, name: str = "", owner: str = ""
) -> Iterator[tuple[str, str, Figure]]:
    """Every figure in a result, with its path and its name."""
    if isinstance(value, Figure):
        yield path, f"{owner} {name}".strip(), value
    elif isinstance(value, (WindowResult, ChannelEnergy)):
        figure = _as_figure(value)
        owner = value.name if isinstance(value, WindowResult) else f"{owner} {value.id}".strip()
        if figure is not None:
            yield f"{path}.energy_j", f"{owner} energy_j", figure
        if isinstance(value, WindowResult):
            yield from _figures(value.channels, f"{path}.channels", "", owner)
    elif isinstance(value, tuple):
        for index, item in enumerate(value):
            yield from _figures(item, f"{path}[{index}]", name, owner)
    elif is_dataclass(value):
        owner = _owner(value, owner)
        for field in fields(value):
            yield from _figures(
                getattr(value, field.name), f"{path}.{field.name}", field.name, owner
            )


def _owner(value: Any, owner: str) -> str:
    """Whose the figures in a part of a result are."""
    if isinstance(value, SelfCost):
        return "own cost"
    if isinstance(value, ComparedModel):
        return value.label
    if isinstance(value, CapProbe):
        return f"cap {value.cap:g} ({value.role}):"
    if isinstance(value, LayerEnergy):
        return f"{value.name}:"
    return str(getattr(value, "id", owner))


def _as_figure(value: WindowResult | ChannelEnergy) -> Figure | None:
    if (
        value.energy_j is None
        or value.low_j is None
        or value.high_j is None
        or value.repeat_low_j is None
        or value.repeat_high_j is None
    ):
        return None
    total, repeat = (value.low_j, value.high_j), (value.repeat_low_j, value.repeat_high_j)
    return Figure(value.energy_j, *total, *repeat, value.method, "", value.budget)


def _windows(value: Any, path: str) -> Iterator[tuple[str, WindowResult]]:
    if isinstance(value, WindowResult):
        yield path, value
    elif isinstance(value, tuple):
        for index, item in enumerate(value):
            yield from _windows(item, f"{path}[{index}]")
    elif is_dataclass(value):
        for field in fields(value):
            yield from _windows(getattr(value, field.name), f"{path}.{field.name}")


def _figure(path: str, name: str, figure: Figure, again: float | None) -> ExplainedFigure:
    parts = _parts(figure.budget)
    nu = effective_nu(parts)
    words, _, unit = name.rpartition("_")
    return ExplainedFigure(
        path,
        words.replace("_", " "),
        UNITS.get(unit, unit),
        figure.value,
        figure.low,
        figure.high,
        figure.repeat_low,
        figure.repeat_high,
        again,
        figure.budget,
        math.hypot(*(term.u for term in figure.budget)),
        None if math.isinf(nu) else nu,
        coverage_factor(nu),
    )


def _parts(budget: Budget) -> list[tuple[float, float]]:
    return [(term.u, math.inf if term.nu is None else term.nu) for term in budget]


# What does not fit together


def differences(told: Any, follows: Any, path: str) -> list[str]:
    """Where a result as told and as derived differ, in words; both as JSON."""
    if isinstance(told, dict) and isinstance(follows, dict):
        return [
            text
            for key in follows
            if key not in WORDS
            for text in differences(told.get(key), follows[key], f"{path}.{key}")
        ]
    if isinstance(told, list) and isinstance(follows, list) and len(told) == len(follows):
        return [
            text
            for index, pair in enumerate(zip(told, follows, strict=True))
            for text in differences(*pair, f"{path}[{index}]")
        ]
    if _same(told, follows):
        return []
    return [f"{path} is {_short(told)} in the report; {_short(follows)} follows from the readings"]


def _same(told: Any, follows: Any) -> bool:
    numbers = (int, float)
    if isinstance(told, numbers) and isinstance(follows, numbers):
        return math.isclose(told, follows, rel_tol=SAME)
    return bool(told == follows)


def _short(value: Any) -> str:
    if isinstance(value, list):
        return f"a list of {len(value)}"
    return "an object" if isinstance(value, dict) else repr(value)


def budget_problems(path: str, figure: Figure) -> list[str]:
    """Where the intervals of a figure are not those that its budget gives."""
    if not figure.budget:
        return []
    repeat = expanded(_parts(tuple(term for term in figure.budget if term.repeats)))
    total = max(expanded(_parts(figure.budget)), repeat)
    found = []
    for name, half in (("repeat_high", repeat), ("high", total)):
        told = getattr(figure, name)
        if not math.isclose(told, figure.value + half, rel_tol=CONSISTENT):
            found.append(
                f"{path}: {name} is {told!r}, its error budget gives {figure.value + half!r}"
            )
    for name, half in (("repeat_low", repeat), ("low", total)):
        told = getattr(figure, name)
        low = figure.value - half
        cut = told == min(figure.value, 0.0) and low < told  # energy is never negative
        if not cut and not math.isclose(told, low, rel_tol=CONSISTENT, abs_tol=CONSISTENT * half):
            found.append(f"{path}: {name} is {told!r}, its error budget gives {low!r}")
    return found


def window_problems(path: str, window: WindowResult) -> list[str]:
    """Where the total of a window is not the sum of its channels, or a split not of its shares."""
    parts = [channel.energy_j for channel in window.channels if channel.id in window.contains]
    total = math.fsum(parts)
    found = []
    for index, split in enumerate(window.by_process):
        shared = math.fsum(share.energy_j for share in split.shares)
        if not math.isclose(split.energy_j, shared, rel_tol=SAME):
            found.append(
                f"{path}.by_process[{index}].energy_j is {split.energy_j!r}, its shares add up to "
                f"{shared!r}"
            )
    if window.energy_j is not None and not math.isclose(window.energy_j, total, rel_tol=SAME):
        found.append(f"{path}.energy_j is {window.energy_j!r}, its channels add up to {total!r}")
    return found

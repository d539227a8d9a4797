"""Two studies side by side: which costs less energy, size by size."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache

from .channels import MODELLED
from .comparison import Estimate, LogRatio, judge, unpaired
from .comparison_results import EnergyRatio
from .errors import ComparisonError
from .medians import MEDIAN_COST
from .statistics import coverage_factor, effective_nu
from .study_metrics import PER_SAMPLE, TOTAL
from .study_results import StudyMetric, StudyResult, StudyRow

ONE_MACHINE = "one machine"
TWO_MACHINES = "two machines"


@dataclass(frozen=True)
class ComparedRow:
    """One size in both studies.

    Attributes:
        model: its name; where the two studies call their only model differently, both names.
        size, batch_size: of the input.
        first, other: the metric in each.
        ratio: other over first, with its verdict; None where one is not positive.
    """

    model: str
    size: int
    batch_size: int
    first: StudyMetric
    other: StudyMetric
    ratio: EnergyRatio | None


@dataclass(frozen=True)
class StudyComparison:
    """Two studies side by side.

    Attributes:
        first, other: their names.
        metric: that is compared.
        design: ``one machine`` (the gains of the sensors cancel) or ``two machines`` (they do
            not, so the intervals hold them).
        margin: within which two are equivalent.
        rows: what both have, the chance of an error shared by all (Holm).
        warnings: what to know; what has no counterpart.
    """

    first: str
    other: str
    metric: str
    design: str
    margin: float
    rows: tuple[ComparedRow, ...]
    warnings: tuple[str, ...] = ()


def compare_studies(
    first: StudyResult,
    other: StudyResult,
    *,
    same_machine: bool,
    margin: float = 0.02,
    metric: str = TOTAL,
) -> StudyComparison:
    """A verdict for each model, batch size and input size that both studies have.

    On one machine with the same sensors the gains of these are the same on both sides and cancel,
    so the intervals of repeatability decide. On two machines they do not cancel: the total
    intervals decide, and a difference below the sensors' uncertainty stays undecided however often
    it was measured.

    Args:
        first: what the other one is compared with.
        other: it is ``better`` where it uses less.
        same_machine: whether both were measured there, with the same sensors.
        margin: relative; within it two are equivalent.
        metric: by its name in rows.

    Raises:
        ComparisonError: they have no size in common, or not the metric.
    """
    pairs, alone = _matched(first, other)
    known = [
        (name, a, b, one, two)
        for name, a, b in pairs
        if (one := a.metric(metric)) is not None and (two := b.metric(metric)) is not None
    ]
    if not known:
        raise ComparisonError(
            f"the studies {first.name} and {other.name} have no {metric} at a size, batch size and "
            "model in common: compare studies of the same sizes"
        )
    ratios = [(i, _ratio(one, two, same_machine)) for i, (*_, one, two) in enumerate(known)]
    told = [(i, ratio) for i, ratio in ratios if ratio is not None]
    judged = dict(
        zip(
            (i for i, _ in told),
            judge([(_label(known[i]), ratio) for i, ratio in told], margin),
            strict=True,
        )
    )
    rows = tuple(
        ComparedRow(name, a.size, a.batch_size, one, two, judged.get(i))
        for i, (name, a, b, one, two) in enumerate(known)
    )
    notes = _notes(known, same_machine)
    if all(one.values and one.values == two.values for *_, one, two in known):
        notes.append("both have the same figures to the last digit: is it one study twice?")
    missing = len(pairs) - len(known)
    if missing:
        notes.append(f"{missing} sizes have no {metric} in one of the studies")
    return StudyComparison(
        first.name,
        other.name,
        metric,
        ONE_MACHINE if same_machine else TWO_MACHINES,
        margin,
        rows,
        (*notes, *alone),
    )


Known = tuple[str, StudyRow, StudyRow, StudyMetric, StudyMetric]


def _label(known: Known) -> str:
    name, row, *_ = known
    return f"{name}, size {row.size}, batch {row.batch_size}"


def _matched(
    first: StudyResult, other: StudyResult
) -> tuple[list[tuple[str, StudyRow, StudyRow]], list[str]]:
    ours, theirs = ({row.model for row in study.rows} for study in (first, other))
    # Two folders of one model each are compared whatever the models are called.
    single = len(ours) == len(theirs) == 1
    names = sorted(ours | theirs)
    shared = (names[0] if len(names) == 1 else " / ".join([*ours, *theirs])) if single else ""
    rows = {("" if single else row.model, row.batch_size, row.size): row for row in other.rows}
    pairs, alone = [], []
    for row in first.rows:
        key = ("" if single else row.model, row.batch_size, row.size)
        counterpart = rows.pop(key, None)
        if counterpart is None:
            alone.append(f"{_where(row)} is in {first.name} only")
        elif not row.metrics and not counterpart.metrics:
            alone.append(f"{_where(row)} has figures in neither")
        elif not (row.metrics and counterpart.metrics):
            known = first if row.metrics else other
            alone.append(f"{_where(row)} has figures in {known.name} only")
        else:
            pairs.append((shared or row.model, row, counterpart))
    alone += [f"{_where(row)} is in {other.name} only" for row in rows.values()]
    return pairs, alone


def _where(row: StudyRow) -> str:
    return f"{row.model}, size {row.size}, batch {row.batch_size}"


def _ratio(one: StudyMetric, two: StudyMetric, same_machine: bool) -> LogRatio | None:
    estimates = [_estimate(metric, same_machine) for metric in (one, two)]
    if any(estimate is None for estimate in estimates):
        return None
    first, other = (estimate for estimate in estimates if estimate is not None)
    return unpaired(first, other)


def _estimate(metric: StudyMetric, same_machine: bool) -> Estimate | None:
    """Value and standard uncertainty; None where they are not known."""
    part, whole = metric.repeat_half, metric.half
    if metric.value <= 0 or part is None:
        return None
    u, nu = _repeat_u(metric.values, part)
    if same_machine:
        return Estimate(metric.value, u, nu)
    if whole is None:
        return None
    gain = math.sqrt(max(whole * whole - part * part, 0.0)) / _factor()
    nu = effective_nu([(u, nu), (gain, math.inf)]) if gain or u else math.inf
    return Estimate(metric.value, math.hypot(u, gain), nu)


def _repeat_u(values: Sequence[float], half: float) -> tuple[float, float]:
    """Standard uncertainty from run to run and its degrees of freedom.

    Of several runs the scatter of the values themselves, with what a median loses against a mean;
    never less than half of what the interval says, whose ends may rest on a few runs that agree
    by chance.
    """
    runs = len(values)
    if runs < 2:
        return half / _factor(), math.inf
    mean = sum(values) / runs
    spread = math.sqrt(sum((v - mean) ** 2 for v in values) / (runs - 1))
    cost = 1.0 if runs == 2 else MEDIAN_COST
    u = cost * spread / math.sqrt(runs)
    return max(u, half / _factor(runs - 1) / 2), float(runs - 1)


@lru_cache(maxsize=64)
def _factor(nu: float = math.inf) -> float:
    return coverage_factor(nu)


def _notes(known: Sequence[Known], same_machine: bool) -> list[str]:
    notes = []
    if same_machine:
        notes.append(
            "measured apart on one machine: what changed between the two studies (warmth, other "
            "load) is in the ratios and not in their intervals"
        )
    else:
        notes.append(
            "two machines, or it is not known that it was one: the gains of their sensors do not "
            "cancel, so the intervals hold them"
        )
    methods = {part for *_, one, two in known for m in (one, two) for part in m.method.split("+")}
    if methods == {MODELLED}:
        notes.append("modelled, not measured: every joule of both")
    elif MODELLED in methods:
        notes.append("some joules are modelled, not measured")
    if any(set(a.contains) != set(b.contains) for _, a, b, *_ in known) and any(
        one.name in (TOTAL, PER_SAMPLE) for *_, one, _ in known
    ):
        pairs = {(a.contains, b.contains) for _, a, b, *_ in known if a.contains != b.contains}
        a, b = sorted(pairs)[0]
        notes.append(f"the totals add up different channels: {', '.join(a)} against {', '.join(b)}")
    return notes

"""Comparisons in words: a table, and a sentence for each model."""

from __future__ import annotations

import math
from collections.abc import Sequence

from greenai_core.channels import MODELLED
from greenai_core.comparison import BETTER, EQUIVALENT, WORSE
from greenai_core.results import ComparedModel, ComparisonResult, EnergyRatio, Report

from . import figures, output
from .costs import short_names
from .sensors import NO_SENSOR

TIMES = 3.0
"""From here on, people say "3 times as much", not "200 % more"."""


def text(report: Report) -> str:
    """The tables and sentences of a report of comparisons."""
    results = [result for result in report.results if isinstance(result, ComparisonResult)]
    if not results:
        return "No models were compared."
    parts = [part for result in results for part in (_table(result), *_sentences(result))]
    if all(modelled(one) for result in results for one in result.models):
        parts.append(output.paragraph(NO_SENSOR))
    parts.append(output.paragraph(_legend(results)))
    return "\n\n".join(parts)


def modelled(one: ComparedModel) -> bool:
    """Whether every joule of it is computed, none measured."""
    return one.energy_j is not None and one.energy_j.method == MODELLED


def _label(one: ComparedModel) -> str:
    if modelled(one):
        return "\nmodelled"
    partly = one.energy_j is not None and MODELLED in one.energy_j.method
    return "\nmodelled in part" if partly else ""


def _table(result: ComparisonResult) -> str:
    names = short_names([one.model.path for one in result.models])
    ratios = {ratio.label: ratio for ratio in result.ratios}
    rows = []
    for name, one in zip(names, result.models, strict=True):
        ratio = ratios.get(one.label)
        rows.append(
            (
                one.label,
                f"{name}\n{one.report}" if one.report else name,
                figures.spread(one.energy_j, "J") + _label(one),
                figures.quantity(one.seconds_s.value if one.seconds_s else None, "s"),
                difference(ratio) if ratio else "",
                ratio.verdict if ratio else _without(one, result),
            )
        )
    return output.table(("", "model", f"one {result.unit}", "time", "against A", "verdict"), rows)


def _without(one: ComparedModel, result: ComparisonResult) -> str:
    """What stands for a verdict where there is none."""
    if one.label == "A":
        return ""
    return "failed" if any(f.path == one.model.path for f in result.failed) else "unknown"


def difference(ratio: EnergyRatio) -> str:
    """``"12 % less"``, ``"8 % more"``, ``"3.2 times"``."""
    half = (ratio.high - ratio.low) / 2
    if ratio.value >= TIMES:
        return f"{_rounded(ratio.value, half)} times"
    return f"{_percent(ratio.value, half)} {_more(ratio.value)}"


def _sentences(result: ComparisonResult) -> list[str]:
    names = short_names([one.model.path for one in result.models])
    if len(set(names)) < len(names):  # one file against itself, or one file of two reports
        names = [""] * len(names)
    full = {
        one.label: f"{one.label} ({name})" if name else one.label
        for one, name in zip(result.models, names, strict=True)
    }
    return [
        output.paragraph(sentence(ratio, full[ratio.label], full["A"], result.margin))
        for ratio in result.ratios
    ]


def sentence(ratio: EnergyRatio, name: str, first: str, margin: float) -> str:
    """What a ratio says, for people.

    Args:
        ratio: of the model against the first.
        name: of the model.
        first: name of the first.
        margin: within which two are equivalent.
    """
    low, high = ratio.low, ratio.high
    half = (high - low) / 2
    level = figures.percent(ratio.confidence)
    if ratio.verdict == EQUIVALENT:
        ends = _between(ratio.equivalence_low, ratio.equivalence_high)
        return (
            f"{name} and {first} are equivalent: {name} uses {ends}, and "
            f"{figures.percent(margin)} is what was taken for the same."
        )
    if ratio.verdict not in (BETTER, WORSE):
        return f"Undecided: {name} uses {_between(low, high)} energy than {first} ({level})."
    if ratio.value >= TIMES:
        return (
            f"{name} uses {difference(ratio)} as much as {first} "
            f"({_rounded(low, half)} to {_rounded(high, half)} times)."
        )
    places = _places(half * 100)
    distances = sorted((abs(low - 1), abs(high - 1)))
    span = " to ".join(f"{distance * 100:.{places}f}" for distance in distances)
    return f"{name} uses {difference(ratio)} energy than {first} ({span} % {_more(low)})."


def _more(ratio: float) -> str:
    return "less" if ratio < 1 else "more"


def _between(low: float, high: float) -> str:
    half = (high - low) / 2
    ends = [f"{_percent(end, half)} {_more(end)}" for end in (low, high)]
    return f"between {ends[0]} and {ends[1]}"


def _percent(ratio: float, half: float) -> str:
    """How far a ratio is from 1, as precisely as it is known."""
    return f"{abs(ratio - 1) * 100:.{_places(half * 100)}f} %"


def _rounded(value: float, half: float) -> str:
    return f"{value:.{_places(half)}f}"


def _places(half: float) -> int:
    """Decimals that show one digit of a half-width; three at most."""
    return min(max(-math.floor(math.log10(half)), 0), 3) if half > 0 else 3


def _legend(results: Sequence[ComparisonResult]) -> str:
    count = sum(len(result.ratios) for result in results)
    shared = f", shared by the {count} of them" if count > 1 else ""
    return (
        "± is repeatability of each figure. The differences come from the models' turns side by "
        f"side; equal models are called different in 5 % of cases{shared}."
        if results[0].design == "interleaved"
        else "± is repeatability of each figure. Equal models are called different in 5 % of "
        f"cases{shared}, if nothing changed between the runs."
    )

"""Models against the first of them: reports of compare, and several reports at once."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import PurePath

from greenai_core import (
    ComparisonError,
    ComparisonResult,
    EnergyRatio,
    Report,
    ReportSource,
    compare_reports,
)
from greenai_plugins.exporters.pictures.picture import Picture
from greenai_plugins.exporters.pictures.ranking import Item, Ranking, ranked
from greenai_plugins.exporters.quantities import (
    MODELLED,
    Quantity,
    fixed,
    of_figure,
    percent,
    repeatable,
)

from .blocks import Cell, Code, Notes, Pictures, Section, Table, Tag

HEAD = ("model", "device", "energy", "repeatability", "time", "times the first", "verdict")

TONES = {"better": "good", "worse": "bad", "equivalent": "plain", "undecided": "doubt"}

EXPLAINED = (
    "better: uses less energy than the first, the interval leaves out 1. worse: uses more. "
    "equivalent: differs by less than the margin. undecided: neither can be told."
)


def comparisons(sources: Sequence[ReportSource]) -> list[ComparisonResult]:
    """The comparisons that are in reports."""
    return [
        result
        for source in sources
        if isinstance(source.content, Report)
        for result in source.content.results
        if isinstance(result, ComparisonResult)
    ]


def between(sources: Sequence[ReportSource], margin: float) -> tuple[list[ComparisonResult], str]:
    """Comparisons of reports of one kind with the first of them, or why there are none.

    Args:
        sources: all that are shown.
        margin: two models are equivalent when their energies differ by less.
    """
    reports = [
        (source.name, source.content)
        for source in sources
        if isinstance(source.content, Report) and source.content.kind in ("bench", "train")
    ]
    if len(reports) < 2:
        return [], ""
    try:
        return list(compare_reports(reports, margin)), ""
    except ComparisonError as error:
        return [], str(error)


def finding(results: Sequence[ComparisonResult]) -> str:
    """The main thing about them in a sentence."""
    result = results[0]
    if not result.ratios:
        return "No ratio is known: the table says which energy is missing."
    said = [_said(ratio, result) for ratio in result.ratios]
    more = f" {len(results) - 1} more below." if len(results) > 1 else ""
    if result.ratios[0].verdict == "undecided":  # others begin with a name, which stays as it is
        said[0] = "W" + said[0][1:]
    return "; ".join(said) + "." + more


def _said(ratio: EnergyRatio, result: ComparisonResult) -> str:
    name, first = _name(ratio.label, result), _name(result.models[0].label, result)
    ends = sorted((abs(ratio.low - 1), abs(ratio.high - 1)))
    change = f"{percent(abs(ratio.value - 1))} ({percent(ends[0])} … {percent(ends[1])})"
    if ratio.verdict == "worse" and ratio.value >= 2:
        return f"{name} uses {times(ratio)} times the energy of {first}"
    if ratio.verdict == "better":
        return f"{name} uses {change} less energy than {first}"
    if ratio.verdict == "worse":
        return f"{name} uses {change} more energy than {first}"
    if ratio.verdict == "equivalent":
        return f"{name} and {first} use the same energy, within {percent(result.margin)}"
    return f"whether {name} or {first} uses less energy is undecided"


def _name(label: str, result: ComparisonResult) -> str:
    model = next(m for m in result.models if m.label == label)
    name = PurePath(model.model.path).name or model.model.path
    alike = sum(PurePath(m.model.path).name == name for m in result.models) > 1
    if model.report:
        return f"{name} of {model.report}"
    return f"{label} ({name})" if alike else name


def sections(results: Sequence[ComparisonResult]) -> list[Section]:
    """Everything about them, in the order of reading."""
    made = []
    for index, result in enumerate(results):
        title = "Compared" if len(results) == 1 else f"Compared: {_name('A', result)}"
        blocks: list[Table | Pictures | Notes] = [_table(result)]
        if result.ratios:
            blocks.append(Pictures((_picture(result, index),)))
        failed = [f"{one.path} could not be compared: {one.reason}" for one in result.failed]
        missing = [f"{one.id} is missing: {one.reason}" for one in result.missing]
        if failed or missing:
            blocks.append(Notes((*failed, *missing), "warning"))
        blocks.append(Notes((EXPLAINED,)))
        made.append(Section(title, tuple(blocks)))
    return made


def _table(result: ComparisonResult) -> Table:
    ratios = {ratio.label: ratio for ratio in result.ratios}
    rows: list[tuple[Cell, ...]] = []
    for one in result.models:
        ratio = ratios.get(one.label)
        verdict: Cell = "the first" if one.label == result.models[0].label else "unknown"
        shown: Cell = ""
        if ratio is not None:
            shown = times(ratio)
            verdict = Tag(ratio.verdict, TONES.get(ratio.verdict, "plain"))
        rows.append(
            (
                Code(_name(one.label, result)),
                f"{one.model.device}, batch {one.model.batch_size}",
                of_figure(one.energy_j, "J"),
                repeatable(one.energy_j, "J"),
                of_figure(one.seconds_s, "s"),
                shown,
                verdict,
            )
        )
    design = "measured in turn" if result.design == "interleaved" else "from reports made apart"
    return Table(f"Of one {result.unit}, {design}", HEAD, tuple(rows))


def times(ratio: EnergyRatio) -> str:
    """``0.93 (0.91 … 0.95)``."""
    half = (ratio.high - ratio.low) / 2
    value, low, high = (fixed(v, half) for v in (ratio.value, ratio.low, ratio.high))
    return f"{value} ({low} … {high})"


def _picture(result: ComparisonResult, index: int) -> Picture:
    items = []
    modelled = any(m.energy_j and MODELLED in m.energy_j.method for m in result.models)
    for ratio in result.ratios:
        name = _name(ratio.label, result)
        tip = f"{name}\n{times(ratio)} times the first\n{ratio.verdict}"
        items.append(Item(name, ratio.value, ratio.low, ratio.high, tip, 0, modelled))
    rows = tuple((Code(item.name), Quantity(item.value, item.low, item.high, "")) for item in items)
    about = (
        f"Energy divided by that of the first; the band is the margin of {percent(result.margin)}."
    )
    return ranked(
        Ranking(
            "ratios" if index == 0 else f"ratios-{index + 1}",
            f"Against {_name('A', result)}",
            about,
            "times the energy of the first",
            "",
            tuple(items),
            zero=False,
            reference=(1.0, 1 - result.margin, 1 + result.margin),
            table=Table("Ratios", ("model", "ratio"), rows),
        )
    )


def warnings(results: Sequence[ComparisonResult]) -> list[str]:
    """What to know of comparisons that are in no report."""
    return [warning for result in results for warning in result.warnings]

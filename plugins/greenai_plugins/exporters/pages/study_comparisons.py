"""Studies against the first of them: a verdict at each size."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence

from greenai_core import (
    ComparedRow,
    ComparisonError,
    Report,
    ReportSource,
    StudyComparison,
    StudyResult,
    compare_studies,
    same_machine,
)
from greenai_plugins.exporters.pictures.chart import Break, Chart, Point, Scaled, Series, drawn
from greenai_plugins.exporters.pictures.picture import Picture
from greenai_plugins.exporters.quantities import MODELLED, percent

from .blocks import Block, Cell, Code, Notes, Pictures, Section, Table, Tag
from .comparisons import EXPLAINED, TONES, times
from .study_rows import quantity


def compared(
    sources: Sequence[ReportSource], margin: float
) -> tuple[list[tuple[str, StudyComparison]], list[str]]:
    """Each study against the first, by its name; and why some cannot be compared.

    Args:
        sources: all that are shown.
        margin: two are equivalent when their energies differ by less.
    """
    found = [
        (source.name, source.content, result.bounded())
        for source in sources
        if isinstance(source.content, Report)
        for result in source.content.results
        if isinstance(result, StudyResult)
    ]
    made: list[tuple[str, StudyComparison]] = []
    refused: list[str] = []
    for name, report, study in found[1:]:
        first_name, first_report, first = found[0]
        alike = same_machine(first_report, report)
        try:
            one = compare_studies(first, study, same_machine=alike, margin=margin)
        except ComparisonError as error:
            refused.append(str(error))
        else:
            made.append((f"{name} against {first_name}", one))
    return made, refused


def finding(found: Sequence[tuple[str, StudyComparison]]) -> str:
    """The main thing about them in a sentence."""
    said = []
    for name, one in found:
        counts = Counter(row.ratio.verdict for row in one.rows if row.ratio is not None)
        told = ", ".join(f"{verdict} at {count}" for verdict, count in counts.most_common())
        said.append(f"{name}: {told or 'no verdict'} of {len(one.rows)} sizes")
    return "; ".join(said) + "."


def sections(found: Sequence[tuple[str, StudyComparison]]) -> list[Section]:
    """A section for each."""
    return [
        Section(f"Compared: {name}", _blocks(name, one, index))
        for index, (name, one) in enumerate(found)
    ]


def warnings(found: Sequence[tuple[str, StudyComparison]]) -> list[str]:
    """What to know of them."""
    return [text for _, one in found for text in one.warnings]


def _blocks(name: str, one: StudyComparison, index: int) -> tuple[Block, ...]:
    table = _table(one)
    blocks: list[Block] = []
    known = [row for row in one.rows if row.ratio is not None]
    if len(known) > 1:
        blocks.append(Pictures((_picture(name, one, known, table, index),)))
    else:
        blocks.append(table)
    return (*blocks, Notes((EXPLAINED,)))


def _label(row: ComparedRow, batches: bool) -> str:
    return f"{row.model}, batch {row.batch_size}" if batches else row.model


def _several(one: StudyComparison) -> bool:
    return len({row.batch_size for row in one.rows}) > 1


def _table(one: StudyComparison) -> Table:
    batches = _several(one)
    rows: list[tuple[Cell, ...]] = []
    for row in one.rows:
        verdict: Cell = "unknown"
        shown = ""
        if row.ratio is not None:
            shown = times(row.ratio)
            verdict = Tag(row.ratio.verdict, TONES.get(row.ratio.verdict, "plain"))
        rows.append(
            (
                Code(_label(row, batches)),
                str(row.size),
                quantity(row.first, one.metric),
                quantity(row.other, one.metric),
                shown,
                verdict,
            )
        )
    head = ("model", "size", "first", "other", "times the first", "verdict")
    return Table(f"Energy of one inference, measured on {one.design}", head, tuple(rows))


def _picture(
    name: str, one: StudyComparison, known: Sequence[ComparedRow], table: Table, index: int
) -> Picture:
    groups: dict[str, list[Point]] = {}
    for row in known:
        groups.setdefault(_label(row, _several(one)), []).append(_point(row))
    series = tuple(Series(label, tuple(points)) for label, points in groups.items())
    chart = Chart(
        "ratios" if index == 0 else f"ratios-{index + 1}",
        f"Energy of {name}",
        f"Below 1 the other needs less than the first; the band is the margin of "
        f"{percent(one.margin)}. Measured on {one.design}.",
        Scaled("size", zero=False),
        Scaled("times the energy of the first", zero=False),
        series,
        level=Break(1.0, 1 - one.margin, 1 + one.margin, "the same energy"),
        table=table,
    )
    return drawn(chart)


def _point(row: ComparedRow) -> Point:
    assert row.ratio is not None
    ratio = row.ratio
    tip = f"{row.model}, {row.size}\n{times(ratio)} times the first\n{ratio.verdict}"
    modelled = MODELLED in row.first.method + row.other.method
    return Point(row.size, ratio.value, tip, ratio.low, ratio.high, modelled=modelled)

"""Reports of measure and of grade."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from greenai_core import (
    CommandResult,
    Grade,
    InferenceResult,
    Report,
    ReportSource,
    WindowResult,
)
from greenai_plugins.exporters.after_joules import HEAD as FOOTPRINT_HEAD
from greenai_plugins.exporters.after_joules import footprint_cells, footprint_notes, grade_notes
from greenai_plugins.exporters.pictures.picture import Key, Picture
from greenai_plugins.exporters.pictures.ranking import Item, Ranking, ranked
from greenai_plugins.exporters.pictures.stack import Bar, Part, stacked
from greenai_plugins.exporters.quantities import MODELLED, Quantity, of_figure, percent, written
from greenai_plugins.exporters.rows import command_line

from .blocks import Cell, Code, Letters, Notes, Pictures, Section, Table
from .machine import subject

HEAD = ("command", "exit code", "time", "energy", "above idle", "idle share", "grade")


@dataclass(frozen=True)
class Ran:
    """A command in a report, with a name that tells it from the others."""

    source: str
    name: str
    result: CommandResult


def ran(sources: Sequence[ReportSource]) -> list[Ran]:
    """The commands of all reports."""
    found = [
        (source.name, result)
        for source in sources
        if isinstance(source.content, Report)
        for result in source.content.results
        if isinstance(result, CommandResult)
    ]
    many = len({source for source, _ in found}) > 1
    return [
        Ran(source, command_line(result) + (f" · {source}" if many else ""), result)
        for source, result in found
    ]


def finding(commands: Sequence[Ran]) -> str:
    """The main thing about them in a sentence."""
    first = commands[0]
    grade, energy = first.result.grade, of_window(first.result.gross)
    if energy.value is None:
        return "The energy is not known: the table says which channel failed, and why."
    said = f"{written(energy)} in {written(Quantity(first.result.gross.duration_s, unit='s'))}"
    said += ", modelled" if energy.modelled else ""
    if len(commands) > 1:
        return f"{len(commands)} commands; the first took {said}."
    if grade is not None and grade.letter is not None:
        return f"Grade {letters(grade)}: {said}."
    return f"The command took {said}."


def letters(grade: Grade | None) -> str:
    """``B``, ``C (B–C)``, ``ungraded``; a dash where nobody asked."""
    if grade is None:
        return "–"
    if grade.letter is None:
        return "ungraded"
    best = grade.best_letter
    return (
        grade.letter if best in (None, grade.letter) else f"{grade.letter} ({best}–{grade.letter})"
    )


def of_window(window: WindowResult) -> Quantity:
    """Its energy with the total uncertainty."""
    return Quantity(window.energy_j, window.low_j, window.high_j, "J", window.method)


def sections(commands: Sequence[Ran]) -> list[Section]:
    """Everything about them, in the order of reading."""
    if not commands:
        return []
    made = []
    graded = tuple(letter for one in commands for letter in _letters(one.name, one.result))
    if graded:
        made.append(Section("Grade", graded))
    made.append(Section("Summary", (summary(commands),)))
    used = tuple(
        f"{one.name}: {reason}" if len(commands) > 1 else reason
        for one in commands
        if one.result.diagnosis is not None
        for reason in one.result.diagnosis.reasons
    )
    if used:
        made.append(Section("How much of its power was used", (Notes(used),)))
    found = pictures(commands)
    if found:
        made.append(Section("Pictures", (Pictures(tuple(found)),)))
    made.append(Section("By channel", (_channels(commands),)))
    split = [table for one in commands for table in _by_process(one)]
    if split:
        made.append(Section("By process, modelled", tuple(split), folded=True))
    return made


def grades_of_models(sources: Sequence[ReportSource]) -> list[Section]:
    """Letters that models of bench reports got."""
    found = tuple(
        letter
        for source in sources
        if isinstance(source.content, Report)
        for result in source.content.results
        if isinstance(result, InferenceResult)
        for letter in _letters(result.model.path, result)
    )
    return [Section("Grade", found)] if found else []


def _letters(name: str, result: CommandResult | InferenceResult) -> list[Letters]:
    made = []
    for grade in (result.grade, result.against_baseline):
        if grade is not None:
            said = tuple(grade_notes(grade))
            made.append(Letters(name, grade.letter, grade.best_letter, said))
    return made


def summary(commands: Sequence[Ran]) -> Table:
    """A row for each command."""
    rows: tuple[tuple[Cell, ...], ...] = tuple(
        (
            Code(one.name),
            str(one.result.exit_code),
            Quantity(one.result.gross.duration_s, unit="s"),
            of_window(one.result.gross),
            of_figure(one.result.net_energy_j, "J"),
            "unknown" if one.result.idle_share is None else percent(one.result.idle_share),
            letters(one.result.grade),
        )
        for one in commands
    )
    return Table("Of the whole run, with 95 % intervals", HEAD, rows)


def _channels(commands: Sequence[Ran]) -> Table:
    rows: list[tuple[Cell, ...]] = []
    for one in commands:
        for c in one.result.gross.channels:
            energy = Quantity(c.energy_j, c.low_j, c.high_j, "J", c.method)
            again = Quantity(c.energy_j, c.repeat_low_j, c.repeat_high_j, "J", c.method)
            inside = "yes" if c.in_total else "no"
            rows.append((Code(one.name), Code(c.id), c.method, inside, energy, again))
        rows += [
            (Code(one.name), Code(missing.id), f"missing: {missing.reason}", "", Quantity(None), "")
            for missing in one.result.gross.missing
        ]
    head = ("command", "channel", "method", "in total", "energy", "repeatability")
    return Table("Where the joules are", head, tuple(rows))


def _by_process(one: Ran) -> list[Table]:
    made = []
    for split in one.result.gross.by_process:
        rows = tuple(
            (
                Code(share.command or share.name or share.kind),
                "" if share.pid is None else str(share.pid),
                Quantity(share.energy_j, share.low_j, share.high_j, "J", share.method),
                Quantity(share.busy_s, unit="s"),
            )
            for share in split.shares
        )
        head = ("process", "pid", "energy", "busy")
        made.append(Table(f"{split.component} of {one.name}: {split.basis}", head, rows))
    return made


def pictures(commands: Sequence[Ran]) -> list[Picture]:
    """What can be drawn of them."""
    made = []
    known = [one for one in commands if one.result.gross.energy_j is not None]
    if len(known) > 1:
        made.append(_energy(known))
    parts = [one for one in known if sum(c.in_total for c in one.result.gross.channels) > 1]
    if parts:
        made.append(_by_channel(parts))
    return made


def _energy(commands: Sequence[Ran]) -> Picture:
    items, rows = [], []
    for one in commands:
        energy = of_window(one.result.gross)
        assert energy.value is not None
        tip = f"{one.name}\n{written(energy)}" + ("\nmodelled" * energy.modelled)
        items.append(Item(one.name, energy.value, energy.low, energy.high, tip, 0, energy.modelled))
        rows.append((Code(one.name), energy))
    return ranked(
        Ranking(
            "energy", "Energy of each command", finding(commands), "energy", "J", tuple(items),
            table=Table("Energy", ("command", "energy"), tuple(rows)),
        )
    )  # fmt: skip


def _by_channel(commands: Sequence[Ran]) -> Picture:
    ids = list(
        dict.fromkeys(c.id for one in commands for c in one.result.gross.channels if c.in_total)
    )
    bars, rows = [], []
    for one in commands:
        parts = []
        for c in one.result.gross.channels:
            if c.in_total:
                energy = Quantity(c.energy_j, c.low_j, c.high_j, "J", c.method)
                tip = f"{one.name}\n{c.id}: {written(energy)}\n{c.method}"
                parts.append(Part(ids.index(c.id), c.energy_j, tip, MODELLED in c.method))
                rows.append((Code(one.name), Code(c.id), energy))
        bars.append(Bar(one.name, tuple(parts)))
    about = "What the channels of each total add to it; parts that are modelled are pale."
    return stacked(
        ("channels", "What the total is made of", about),
        "energy",
        tuple(bars),
        tuple(Key(id, i) for i, id in enumerate(ids)),
        Table("Channels of the totals", ("command", "channel", "energy"), tuple(rows)),
    )


def footprints(sources: Sequence[ReportSource]) -> list[Section]:
    """Carbon and cost, after the joules."""
    rows: list[tuple[Cell, ...]] = []
    notes: list[str] = []
    for source in sources:
        report = source.content
        if not isinstance(report, Report):
            continue
        for index, *cells in footprint_cells(report, _quantity):
            rows.append((Code(subject(report.results[int(index)])), *cells))
        notes += footprint_notes(report)
    if not rows:
        return []
    table = Table("Worked out from the joules", FOOTPRINT_HEAD, tuple(rows))
    said = Notes(tuple(dict.fromkeys(notes)))
    return [Section("Carbon and cost", (table, said))]


def _quantity(value: float | None, low: float | None, high: float | None, unit: str) -> str:
    return written(Quantity(value, low, high, unit))

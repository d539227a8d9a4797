"""Studies: how energy grows with the input."""

from __future__ import annotations

import re
from collections.abc import Sequence

from greenai_core import StudyRow
from greenai_plugins.exporters.pictures.picture import Picture
from greenai_plugins.exporters.quantities import MODELLED, Quantity, written

from .blocks import Cell, Code, Facts, Notes, Pictures, Section, Table, Tag
from .study_findings import Growth, growth
from .study_matrices import matrices
from .study_pictures import pictures
from .study_rows import LATENCY, POWER, SAMPLE, TOTAL, Study, metric_names, quantity, words

NUMBER = re.compile(r"\d+(?:\.\d+)?")

MOST_FITS = 24
"""Curves that are fitted; each takes some tenths of a second."""


def finding(found: Sequence[Study]) -> str:
    """The main thing about them in a sentence."""
    said = [_grows(name, rows, one.result.size_name) for one in found for name, rows in one.groups]
    told = [text for text in said if text]
    if not told:
        return "No energy is known yet: the table says what failed, and why."
    rest = len(told) - 1
    grown = grown_of(found) if not rest else []
    more = f" Over size: {grown[0].sentence}." if grown else ""
    return told[0] + more + (f" {rest} more below." if rest else "")


def _grows(name: str, rows: Sequence[StudyRow], size_name: str) -> str:
    known = [(row, metric) for row in rows if (metric := row.metric(TOTAL)) is not None]
    if not known:
        return ""
    (first, least), (last, most) = known[0], known[-1]
    modelled = ", modelled" if MODELLED in least.method + most.method else ""
    unit = "" if size_name == "size" else f" {size_name}"
    at = "at size" if size_name == "size" else "at"
    start = f"{written(quantity(least))} {at} {first.size}"
    if len(known) == 1:
        return f"One inference of {name} takes {start}{unit}{modelled}."
    return (
        f"One inference of {name} takes {start} and {written(quantity(most))} at {last.size}"
        f"{unit}{modelled}."
    )


def grown_of(found: Sequence[Study]) -> list[Growth]:
    """The fits of all of them."""
    whole = [
        (one, name, rows[0].model, rows[0].batch_size) for one in found for name, rows in one.groups
    ]
    fits = [growth(name, one.result, model, batch) for one, name, model, batch in whole[:MOST_FITS]]
    return [fit for fit in fits if fit is not None]


def sections(found: Sequence[Study], power: Sequence[Picture] = ()) -> list[Section]:
    """Everything about them, in the order of reading.

    Args:
        found: the studies.
        power: pictures of power over time, of runs behind them.
    """
    if not found:
        return []
    grown = grown_of(found)
    made = [Section("Summary", (_short(found),))]
    made += _fits(grown)
    drawn = [*pictures(found, grown), *power]
    if drawn:
        made.append(Section("Pictures", (Pictures(tuple(drawn)),)))
    related = matrices(found)
    if related:
        made.append(Section("What goes together", related))
    made.append(Section("Every row", (_rows(found),), folded=True))
    failures = _failures(found)
    if failures:
        made.append(Section("Cells without figures", (failures,)))
    made.append(Section("Models", tuple(_models(found))))
    return made


def _short(found: Sequence[Study]) -> Table:
    """A row for each model and batch size, at its largest size."""
    names = [TOTAL, SAMPLE, LATENCY, POWER, "sm_percent", "gpu_memory_b"]
    names = [name for name in names if name in metric_names(found)]
    rows: list[tuple[Cell, ...]] = []
    for one in found:
        for name, members in one.groups:
            known = [row for row in members if row.metrics] or members[:1]
            for row in known[:1] + known[1:][-1:]:
                figures = (quantity(row.metric(metric), metric) for metric in names)
                rows.append((Code(name), str(row.size), str(row.batch_size), *figures))
    sizes = " or ".join(dict.fromkeys(one.result.size_name for one in found))
    head = ("model", sizes, "batch", *map(words, names))
    return Table("Smallest and largest input; medians over runs", head, tuple(rows))


def _rows(found: Sequence[Study]) -> Table:
    names = metric_names(found)
    rows: list[tuple[Cell, ...]] = []
    for one in found:
        for name, members in one.groups:
            for row in members:
                met = {True: Tag("reached", "good"), False: Tag("not reached", "doubt")}
                precision: Cell = "" if row.target_met is None else met[row.target_met]
                figures = (quantity(row.metric(metric), metric) for metric in names)
                runs = str(row.runs)
                rows.append((Code(name), str(row.size), runs, precision, *figures))
    head = ("model", "size", "runs", "precision", *map(words, names))
    return Table("Medians over runs, with 95 % intervals; of one inference", head, tuple(rows))


def _fits(grown: Sequence[Growth]) -> list[Section]:
    lines = tuple(f"{one.name}: {one.sentence}" for one in grown)
    return [Section("How it grows", (Notes(lines),))] if lines else []


def _failures(found: Sequence[Study]) -> Table | None:
    rows: list[tuple[Cell, ...]] = [
        (Code(name), str(row.size), str(failure.run), failure.reason)
        for one in found
        for name, members in one.groups
        for row in members
        for failure in row.failures
    ]
    if not rows:
        return None
    return Table("Runs that failed", ("model", "size", "run", "why"), tuple(rows))


def _models(found: Sequence[Study]) -> list[Facts]:
    made = []
    for one in found:
        rows = []
        for model in one.result.models:
            told = [model.note] if model.note else []
            if model.model is not None:
                told.append(f"{model.model.path}, {model.model.format}, {model.model.device}")
            if model.parameters is not None:
                told.append(f"{model.parameters.total:,} parameters".replace(",", "\N{THIN SPACE}"))
            if model.macs is not None:
                macs = written(Quantity(float(model.macs), unit="MAC"))
                told.append(f"{macs} at the smallest size")
            rows.append((model.name, "; ".join(told) or "nothing else is known of it"))
        left = one.result.missing_cells
        cells = f"{one.result.cells} cells" + (f", {left} of them not measured yet" if left else "")
        rows.append(("plan", f"{cells}; written by {one.result.source}"))
        made.append(Facts(tuple(rows)))
    return made


def warnings(found: Sequence[Study]) -> list[str]:
    """What the rows warn of; those that differ in numbers only are told once.

    Warnings of the report and of the study as a whole come from elsewhere.
    """
    alike: dict[tuple[str, str], list[tuple[int, str]]] = {}
    for one in found:
        for name, members in one.groups:
            for row in members:
                for text in row.warnings:
                    key = (name, NUMBER.sub("#", text))
                    alike.setdefault(key, []).append((row.size, text))
    return [_told(name, told) for (name, _), told in alike.items()]


def _told(name: str, told: Sequence[tuple[int, str]]) -> str:
    sizes = list(dict.fromkeys(str(size) for size, _ in told))
    first = told[0][1]
    more = len({text for _, text in told}) > 1
    return f"{name}, {', '.join(sizes)}: {first}" + (" (the first of some alike)" if more else "")

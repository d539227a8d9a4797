"""Studies in words: the table of rows, the overview of models, figures with their spread."""

from __future__ import annotations

import re
from collections.abc import Sequence

from greenai_core.channels import MODELLED
from greenai_core.study_metrics import (
    GPU_MEMORY,
    LATENCY,
    PER_SAMPLE,
    POWER,
    SM,
    TOTAL,
    in_order,
)
from greenai_core.study_results import StudyMetric, StudyResult, StudyRow

from . import figures, output

UNITS = {"j": "J", "s": "s", "w": "W", "b": "B", "percent": "%", "c": "°C", "mhz": "MHz"}
MOST_FAILURES = 10
MOST_WARNINGS = 15
NUMBER = re.compile(r"\d+(?:\.\d+)?")


def text(study: StudyResult) -> str:
    """The tables of one study, what failed, and what to know."""
    parts = [_title(study)]
    if study.rows:
        parts += [_main(study), *_parts(study)]
    parts += _failures(study.rows)
    if any(MODELLED in _method(row) for row in study.rows):
        parts.append(
            output.paragraph(
                "modelled: computed from a model of the hardware, not measured by a sensor."
            )
        )
    legend = (
        "± is the 95 % interval from run to run; the sensor's own error comes on top (CSV, JSON)."
    )
    if any(m.repeat_low == 0 < m.value for row in study.rows for m in row.metrics):
        legend += " Where it reaches 0, which these cannot be below, its ends are told."
    parts.append(output.paragraph(f"Medians over the runs. {legend}"))
    return "\n\n".join(parts)


def warnings_of(study: StudyResult) -> list[str]:
    """What to know, each once, with the sizes it is about."""
    found: dict[str, dict[str, list[str]]] = {}
    for row in study.rows:
        for warning in row.warnings:
            alike = found.setdefault(NUMBER.sub("#", warning), {})
            alike.setdefault(warning, []).append(str(row.size))
    notes = [*study.warnings]
    for alike in found.values():
        where = list(dict.fromkeys(size for sizes in alike.values() for size in sizes))
        text = next(iter(alike))
        if len(alike) > 1:
            text += f" ({len(alike)} such warnings, with other numbers)"
        every = len(where) == len({row.size for row in study.rows})
        notes.append(text if every else f"{_some(where)}: {text}")
    if len(notes) > MOST_WARNINGS:
        more = len(notes) - MOST_WARNINGS
        notes = [*notes[:MOST_WARNINGS], f"{more} more warnings; --json tells them all"]
    return notes


def _some(sizes: Sequence[str]) -> str:
    word = "size" if len(sizes) == 1 else "sizes"
    return f"{word} {', '.join(sizes[:6])}{' …' if len(sizes) > 6 else ''}"


def _title(study: StudyResult) -> str:
    ended = study.cells - study.missing_cells
    cells = f"{ended} cells" if not study.missing_cells else f"{ended} of {study.cells} cells"
    source = "" if study.source == "greenai" else f", recorded by {study.source}"
    return output.heading(f"{study.name}: {cells}{source}")


def _identity(study: StudyResult) -> list[str]:
    """Which of model and batch size must be told in every row."""
    found = []
    if len({row.model for row in study.rows}) > 1:
        found.append("model")
    if len({row.batch_size for row in study.rows}) > 1:
        found.append("batch")
    return found


def _head(row: StudyRow, identity: Sequence[str]) -> list[str]:
    told = {"model": row.model, "batch": str(row.batch_size)}
    return [*(told[name] for name in identity), str(row.size)]


def _main(study: StudyResult) -> str:
    identity = _identity(study)
    columns = [(TOTAL, "energy"), (LATENCY, "time"), (POWER, "power"), (SM, "SM")]
    columns.append((GPU_MEMORY, "memory"))
    shown = [(n, word) for n, word in columns if any(row.metric(n) for row in study.rows)]
    headers = [*identity, study.size_name, "runs", *(word for _, word in shown)]
    rows = []
    for row in study.rows:
        runs = f"{row.runs}" if not row.failures else f"{row.runs}, {len(row.failures)} failed"
        cells = [_cell(row.metric(name), name == TOTAL) for name, _ in shown]
        rows.append([*_head(row, identity), runs, *cells])
    return output.table(headers, rows, right=(len(identity),))


def _parts(study: StudyResult) -> list[str]:
    """Where the energy goes, and what a wattmeter saw."""
    names = in_order(list({m.name for row in study.rows for m in row.metrics}))
    shown = [
        name
        for name in names
        if name.startswith("energy_") and name not in (TOTAL, PER_SAMPLE, "energy_net_j")
    ]
    if len(shown) < 2:
        return []
    if any(row.batch_size > 1 for row in study.rows):
        shown = [PER_SAMPLE, *shown]
    identity = _identity(study)
    room = 6 - len(identity)
    shown = shown[:room]
    modelled = {m.name for row in study.rows for m in row.metrics if MODELLED in m.method}
    words = [
        name.removeprefix("energy_").removesuffix("_j").replace("_", " ")
        + ("\n(modelled)" if name in modelled else "")
        for name in shown
    ]
    rows = [
        [*_head(row, identity), *(_value(row.metric(name)) for name in shown)] for row in study.rows
    ]
    return [output.table([*identity, study.size_name, *words], rows, right=(len(identity),))]


def _failures(rows: Sequence[StudyRow]) -> list[str]:
    told = [
        f"failed: {row.model}, size {row.size}, batch {row.batch_size}, run {one.run}: {one.reason}"
        for row in rows
        for one in row.failures
    ]
    if not told:
        return []
    lines = [output.paragraph(output.one_line(line)) for line in told[:MOST_FAILURES]]
    if len(told) > MOST_FAILURES:
        lines.append(f"{len(told) - MOST_FAILURES} more failed; --json tells them all")
    return ["\n".join(lines)]


def _method(row: StudyRow) -> str:
    total = row.metric(TOTAL)
    return total.method if total else ""


def _cell(metric: StudyMetric | None, label: bool) -> str:
    if metric is None:
        return figures.UNKNOWN if label else ""
    return labelled(metric) if label else _value(metric)


def labelled(metric: StudyMetric) -> str:
    """Value and spread, with what was modelled called so."""
    if metric.method == MODELLED:
        return f"{spread(metric)}\nmodelled"
    return f"{spread(metric)}\nmodelled in part" if MODELLED in metric.method else spread(metric)


def _value(metric: StudyMetric | None) -> str:
    return "" if metric is None else figures.quantity(metric.value, unit_of(metric.name))


def unit_of(name: str) -> str:
    """``latency_s`` -> ``s``."""
    return UNITS.get(name.rpartition("_")[2], "")


def spread(metric: StudyMetric) -> str:
    """``"12.3 mJ ± 1.4 %"``, ``"2.0 J (0 to 9.1)"``; no interval where it is not known."""
    unit, half = unit_of(metric.name), metric.repeat_half
    value = figures.quantity(metric.value, unit, 4)
    if metric.repeat_low is None or metric.repeat_high is None or half is None or not metric.value:
        return value
    if metric.repeat_low == 0:
        return figures.with_ends(metric.value, metric.repeat_low, metric.repeat_high, unit)
    return f"{value} ± {figures.percent(half / abs(metric.value))}"


def overview(studies: Sequence[StudyResult], size: int | None) -> str:
    """A column for each model: joules, batch size, SM utilisation, memory.

    Args:
        studies: their models stand side by side.
        size: of which rows are taken; None for the largest of each model. Of several batch
            sizes that with the least joules of a sample is taken.
    """
    columns = [
        (study, row)
        for study in studies
        for model in dict.fromkeys(row.model for row in study.rows)
        if (row := _chosen([r for r in study.rows if r.model == model], size)) is not None
    ]
    blocks = [_block(columns[i : i + 4]) for i in range(0, len(columns), 4)]
    shown = {(id(study), row.model) for study, row in columns}
    blank = [
        f"{model.name} ({study.name})" if len(studies) > 1 else model.name
        for study in studies
        for model in study.models
        if (id(study), model.name) not in shown
    ]
    if blank:
        where = "" if size is None else f" at size {size}"
        blocks.append(output.paragraph(f"No figures{where}: {', '.join(blank)}."))
    return "\n\n".join(blocks)


def _chosen(rows: Sequence[StudyRow], size: int | None) -> StudyRow | None:
    known = [row for row in rows if row.metrics and (size is None or row.size == size)]
    if not known:
        return None
    largest = max(row.size for row in known)
    return min(
        (row for row in known if row.size == largest),
        key=lambda row: found.value if (found := row.metric(PER_SAMPLE)) else float("inf"),
    )


def _block(columns: Sequence[tuple[StudyResult, StudyRow]]) -> str:
    names = [row.model for _, row in columns]
    if len(set(names)) < len(names):
        names = [f"{row.model}\n({study.name})" for study, row in columns]
    every = [row for _, row in columns]
    lines = [
        ["joules of one sample", *(_cell(row.metric(PER_SAMPLE), True) for row in every)],
        ["joules of a batch", *(_cell(row.metric(TOTAL), True) for row in every)],
        ["batch size", *(str(row.batch_size) for row in every)],
        ["input size", *(f"{row.size} {_counted(study)}" for study, row in columns)],
        ["time of a batch", *(_value(row.metric(LATENCY)) or "-" for row in every)],
        ["% GPU SM used", *(_percent(row.metric(SM)) for row in every)],
        ["GPU memory used", *(_value(row.metric(GPU_MEMORY)) or "-" for row in every)],
        ["runs", *(str(row.runs) for row in every)],
    ]
    return output.table(["", *names], lines)


def _counted(study: StudyResult) -> str:
    return "" if study.size_name == "size" else study.size_name


def _percent(metric: StudyMetric | None) -> str:
    return "-" if metric is None else f"{metric.value:.0f} %"

"""The rows of a study: what its cells come to, one row for each model, batch and input size."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence

from .medians import median_of_runs
from .study_cells import CellKey, CellRecord
from .study_metrics import CellMetric, gpu_numbers, gpus_of, in_order, metrics_of
from .study_results import StudyFailure, StudyMetric, StudyRow

MOST_WARNINGS = 20
"""Of one row; a thousand runs may warn of a thousand instants."""


def rows_of(cells: Iterable[CellRecord], models: Sequence[str] = ()) -> tuple[StudyRow, ...]:
    """One row for each model, batch size and input size; the median of its runs.

    A cell that is there twice counts once: the last one that was measured, else the last one.

    Args:
        cells: in any order.
        models: names in the order in which their rows shall stand; others follow by name.
    """
    groups = _grouped(cells)
    order = {name: place for place, name in enumerate(models)}
    gpus = gpu_numbers(
        sorted({id for runs in groups.values() for run in runs.values() for id in gpus_of(run)})
    )
    ordered = sorted(groups, key=lambda key: (order.get(key[0], len(order)), *key))
    return tuple(_row(key, groups[key], gpus) for key in ordered)


def _grouped(
    cells: Iterable[CellRecord],
) -> dict[tuple[str, int, int], dict[int, CellRecord]]:
    groups: dict[tuple[str, int, int], dict[int, CellRecord]] = {}
    for cell in cells:
        key: CellKey = cell.key
        runs = groups.setdefault((key.model, key.batch_size, key.size), {})
        before = runs.get(key.run)
        if before is None or cell.done or not before.done:
            runs[key.run] = cell
    return groups


def _row(
    key: tuple[str, int, int], runs: Mapping[int, CellRecord], gpus: Mapping[str, int]
) -> StudyRow:
    model, batch_size, size = key
    ordered = [runs[run] for run in sorted(runs)]
    done = [cell for cell in ordered if cell.done]
    asked = [cell.target_met for cell in done if cell.target_met is not None]
    contains = _contains(done)
    return StudyRow(
        model=model,
        size=size,
        batch_size=batch_size,
        runs=len(done),
        target_met=all(asked) if asked else None,
        contains=contains[0] if contains else (),
        metrics=_metrics([metrics_of(cell, gpus) for cell in done]),
        failures=tuple(
            StudyFailure(cell.key.run, cell.reason) for cell in ordered if not cell.done
        ),
        warnings=_warnings(done, contains),
    )


def _contains(done: Sequence[CellRecord]) -> list[tuple[str, ...]]:
    """What the totals of the runs add up, each way once, the commonest first."""
    seen = [cell.contains for cell in done if cell.energy_per_inference_j is not None]
    return sorted(dict.fromkeys(seen), key=seen.count, reverse=True)


def _metrics(cells: Sequence[Mapping[str, CellMetric]]) -> tuple[StudyMetric, ...]:
    names = in_order(list(dict.fromkeys(name for cell in cells for name in cell)))
    return tuple(_median(name, [cell[name] for cell in cells if name in cell]) for name in names)


def _median(name: str, runs: Sequence[CellMetric]) -> StudyMetric:
    found = median_of_runs([one.run for one in runs])
    parts = {part for one in runs for part in one.method.split("+")}
    return StudyMetric(
        name,
        found.value,
        found.low,
        found.high,
        found.repeat_low,
        found.repeat_high,
        "+".join(sorted(parts)),
        len(runs),
        tuple(one.run.value for one in runs),
    ).bounded()


def _warnings(done: Sequence[CellRecord], contains: Sequence[tuple[str, ...]]) -> tuple[str, ...]:
    notes = []
    if len(contains) > 1:
        ways = "; ".join(", ".join(one) for one in contains)
        notes.append(f"the totals of the runs add up different channels: {ways}")
    notes += [f"{one.id} is missing: {one.reason}" for cell in done for one in cell.missing]
    notes += [text for cell in done for text in cell.warnings]
    each = tuple(dict.fromkeys(notes))
    if len(each) <= MOST_WARNINGS:
        return each
    return (*each[:MOST_WARNINGS], f"{len(each) - MOST_WARNINGS} more warnings of single runs")

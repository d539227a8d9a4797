"""Pictures of studies: energy against size, CPU against GPU, latency against energy."""

from __future__ import annotations

import re
from collections.abc import Sequence

from greenai_core import StudyMetric, StudyRow
from greenai_plugins.exporters.pictures.chart import Chart, Point, Scaled, Series, drawn
from greenai_plugins.exporters.pictures.picture import Picture
from greenai_plugins.exporters.quantities import MODELLED, written

from .blocks import Cell, Code, Table
from .study_findings import Growth
from .study_rows import LATENCY, TOTAL, Study, metric_names, quantity, unit_of, words

GPU = re.compile(r"energy_gpu\d*_j")
CPU = ("energy_package_j", "energy_cpu_j")

AGAINST_SIZE = (LATENCY, "power_w", "sm_percent", "gpu_memory_b")
"""Metrics that get a picture over the size beside energy."""

MOST_RUNS = 30
"""More single runs than these beside each other would be a smear."""

FEW = 2
"""Breaks of more curves than these would hide each other."""

MOST_TABLED = 100
"""Larger studies have their figures in one table, not again behind each picture."""

MOST_ROWS = 250
"""Larger studies have fewer pictures."""

Groups = Sequence[tuple[str, Sequence[StudyRow]]]


def pictures(found: Sequence[Study], grown: Sequence[Growth]) -> list[Picture]:
    """What can be drawn of them."""
    groups = [group for one in found for group in one.groups]
    sizes = " or ".join(dict.fromkeys(one.result.size_name for one in found))
    names = metric_names(found)
    made = _against_size(groups, sizes, TOTAL, "energy", grown)
    made += _channels(groups, sizes, names)
    made += _cpu_gpu(groups, names)
    made += _latency(groups)
    if sum(len(rows) for _, rows in groups) > MOST_ROWS:
        return made
    for metric in AGAINST_SIZE:
        if metric in names:
            made += _against_size(groups, sizes, metric, f"size-{metric.partition('_')[0]}", ())
    return made


def _against_size(
    groups: Groups, sizes: str, metric: str, name: str, grown: Sequence[Growth]
) -> list[Picture]:
    fits = {one.name: one for one in grown}
    series = []
    for group, rows in groups:
        points = tuple(
            _point(group, row, figure, metric) for row in rows if (figure := row.metric(metric))
        )
        if points:
            curves = fits[group].curves if group in fits else ()
            series.append(Series(group, points, fits=curves))
    if not any(len(one.points) > 1 for one in series):
        return []
    dots = "; faint dots are single runs" if any(p.runs for s in series for p in s.points) else ""
    about = (
        f"The median over runs at each size, with its 95 % interval where that is known{dots}. "
        f"{' '.join(f'{one.name}: {one.sentence}.' for one in grown if len(grown) <= FEW)}"
    ).strip()
    label = words(metric)
    chart = Chart(
        name,
        f"{label[:1].upper()}{label[1:]} against size"
        if metric != TOTAL
        else "Energy against size",
        about,
        Scaled(_of_size(sizes), zero=False),
        Scaled("energy of one inference" if metric == TOTAL else label, unit_of(metric)),
        tuple(series),
        tuple(mark for one in grown for mark in one.breaks) if len(grown) <= FEW else (),
        _table(groups, [metric]),
    )
    return [drawn(chart)]


def _point(group: str, row: StudyRow, figure: StudyMetric, metric: str) -> Point:
    shown = quantity(figure, metric)
    tip = f"{group}, {row.size}\n{written(shown)}\n{_runs(figure.runs)}"
    if shown.modelled:
        tip += "\nmodelled"
    return Point(
        row.size, figure.value, tip, figure.low, figure.high,
        runs=figure.values if 1 < len(figure.values) <= MOST_RUNS else (), modelled=shown.modelled,
    )  # fmt: skip


def _of_size(sizes: str) -> str:
    """Label of an axis; what AIPowerMeter's sizes count is not known."""
    return sizes if sizes == "size" else f"size, {sizes}"


def _runs(count: int) -> str:
    return "1 run" if count == 1 else f"median of {count} runs"


def _channels(groups: Groups, sizes: str, names: Sequence[str]) -> list[Picture]:
    """Energy of each channel; of one group, or the picture would be a thicket."""
    parts = [n for n in names if n.startswith("energy_") and n.endswith("_j")]
    parts = [n for n in parts if n not in (TOTAL, "energy_per_sample_j", "energy_net_j")]
    if len(parts) < 2:
        return []
    group, rows = max(groups, key=lambda one: len(one[1]))
    series = []
    for name in parts:
        points = tuple(
            _point(f"{group}, {words(name)}", row, figure, name)
            for row in rows
            if (figure := row.metric(name))
        )
        if len(points) > 1:
            series.append(
                Series(words(name).removeprefix("energy of ").removeprefix("energy "), points)
            )
    if len(series) < 2:
        return []
    chart = Chart(
        "channels",
        f"Energy by channel: {group}" if len(groups) > 1 else "Energy by channel",
        "What each channel adds at each size, median over runs with its 95 % interval.",
        Scaled(_of_size(sizes), zero=False),
        Scaled("energy of one inference", "J"),
        tuple(series),
        table=_table([(group, rows)], parts),
    )
    return [drawn(chart)]


def _cpu_gpu(groups: Groups, names: Sequence[str]) -> list[Picture]:
    gpu = next((name for name in names if GPU.fullmatch(name)), None)
    cpu = next((name for name in CPU if name in names), None)
    if gpu is None or cpu is None:
        return []
    return _pair(
        groups, (gpu, cpu), ("cpu-gpu", "CPU against GPU"),
        "Each size at what the GPU and the CPU took of one inference.",
    )  # fmt: skip


def _latency(groups: Groups) -> list[Picture]:
    return _pair(
        groups, (LATENCY, TOTAL), ("latency", "Latency against energy"),
        "Each size at its latency and its energy; where power is constant, this is a line.",
    )  # fmt: skip


def _pair(
    groups: Groups, metrics: tuple[str, str], heading: tuple[str, str], about: str
) -> list[Picture]:
    across, up = metrics
    series = []
    for group, rows in groups:
        points = []
        for row in rows:
            x, y = row.metric(across), row.metric(up)
            if x is None or y is None:
                continue
            tip = (
                f"{group}, {row.size}\n{words(across)}: {written(quantity(x, across))}\n"
                f"{words(up)}: {written(quantity(y, up))}"
            )
            modelled = MODELLED in x.method + y.method
            tip += "\nmodelled" * modelled
            points.append(
                Point(x.value, y.value, tip, y.low, y.high, x.low, x.high, modelled=modelled)
            )
        if points:
            series.append(Series(group, tuple(points)))
    if not any(len(one.points) > 1 for one in series):
        return []
    chart = Chart(
        heading[0],
        heading[1],
        about,
        Scaled(words(across), unit_of(across)),
        Scaled(words(up), unit_of(up)),
        tuple(series),
        table=_table(groups, [across, up]),
    )
    return [drawn(chart)]


def _table(groups: Groups, metrics: Sequence[str]) -> Table | None:
    if sum(len(members) for _, members in groups) > MOST_TABLED:
        return None
    rows: list[tuple[Cell, ...]] = [
        (Code(group), str(row.size), *(quantity(row.metric(m), m) for m in metrics))
        for group, members in groups
        for row in members
    ]
    return Table("Medians over runs", ("model", "size", *map(words, metrics)), tuple(rows))

"""The rows of studies, and what their metrics are called."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property

from greenai_core import Report, ReportSource, StudyMetric, StudyResult, StudyRow
from greenai_plugins.exporters.quantities import Quantity

TOTAL = "energy_total_j"
SAMPLE = "energy_per_sample_j"
LATENCY = "latency_s"
POWER = "power_w"

UNITS = {"_j": "J", "_s": "s", "_w": "W", "_percent": "%", "_b": "B", "_hz": "Hz", "_c": "°C"}
"""End of a metric's name -> its unit."""


@dataclass(frozen=True)
class Study:
    """A study in a report.

    Attributes:
        source: name of the report.
        many: there are several studies.
        result: the study.
    """

    source: str
    many: bool
    result: StudyResult

    def label(self, model: str, batch_size: int) -> str:
        """A name for the rows of one model and batch size."""
        batches = {row.batch_size for row in self.result.rows}
        text = f"{model}, batch {batch_size}" if len(batches) > 1 else model
        return f"{text} · {self.source}" if self.many else text

    @cached_property
    def groups(self) -> list[tuple[str, list[StudyRow]]]:
        """The rows of each model and batch size, by size."""
        found: dict[str, list[StudyRow]] = {}
        for row in self.result.rows:
            found.setdefault(self.label(row.model, row.batch_size), []).append(row)
        return [(name, sorted(rows, key=lambda row: row.size)) for name, rows in found.items()]


def studies(sources: Sequence[ReportSource]) -> list[Study]:
    """The studies of all reports."""
    found = [
        (source.name, result.bounded())
        for source in sources
        if isinstance(source.content, Report)
        for result in source.content.results
        if isinstance(result, StudyResult)
    ]
    return [Study(source, len(found) > 1, result) for source, result in found]


def quantity(metric: StudyMetric | None, name: str = TOTAL) -> Quantity:
    """A metric with its total uncertainty."""
    unit = unit_of(name)
    if metric is None:
        return Quantity(None, unit=unit)
    return Quantity(metric.value, metric.low, metric.high, unit, metric.method)


def unit_of(name: str) -> str:
    """The unit that a metric's name ends in; empty where it is none of ours."""
    return next((unit for end, unit in UNITS.items() if name.endswith(end)), "")


WORDS = {
    TOTAL: "energy",
    SAMPLE: "energy per sample",
    "energy_package_j": "energy of CPU",
    "energy_dram_j": "energy of DRAM",
    "energy_wall_j": "energy at the wall",
    "sm_percent": "SM utilisation",
    "gpu_memory_b": "GPU memory",
}


def words(name: str) -> str:
    """A metric's name for people: ``energy_gpu0_j`` -> ``energy of GPU 0``."""
    if name in WORDS:
        return WORDS[name]
    if board := re.fullmatch(r"energy_gpu(\d*)_j", name):
        return f"energy of GPU {board[1]}".rstrip()
    end = next((end for end in UNITS if name.endswith(end)), "")
    return name.removesuffix(end).replace("_", " ")


def metric_names(found: Sequence[Study]) -> list[str]:
    """All metrics, in the order in which rows have them."""
    return list(
        dict.fromkeys(m.name for one in found for row in one.result.rows for m in row.metrics)
    )

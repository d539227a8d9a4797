"""What a study hands back: one row for each model, input size and batch size.

A study measures cells: one model × input size × batch size × run. Rows are what its runs
come to. A figure that is not known is absent, never zero.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

from .figures import ModelSummary
from .parameters import ParameterCount

SIGNED = ("energy_net_j", "gpu_temperature_c", "cpu_temperature_c")
"""Metrics that may be below 0: work that took less than idle does, frost."""


@dataclass(frozen=True)
class StudyMetric:
    """One quantity of one row: the median over its runs.

    Attributes:
        name: what it is, its unit at the end: ``energy_total_j``, ``energy_package_j``,
            ``energy_dram_j``, ``energy_gpu0_j`` …, ``energy_wall_j`` (each of one inference of
            the whole batch), ``energy_per_sample_j``, ``latency_s``, ``power_w``,
            ``sm_percent``, ``gpu_memory_b``, and others that a source knows.
        value: the median of the runs.
        low, high: 95 %, total uncertainty; None where it is not known. What cannot be negative,
            as energies, times and power, has no negative ``low``.
        repeat_low, repeat_high: 95 %, from run to run; None likewise.
        method: as in ``Figure``: ``counter``, ``sampled``, ``modelled``, ``clock``, …
        runs: how many runs knew it.
        values: what each of them gave, in the order of the runs.
    """

    name: str
    value: float
    low: float | None
    high: float | None
    repeat_low: float | None
    repeat_high: float | None
    method: str
    runs: int
    values: tuple[float, ...] = ()

    def bounded(self) -> StudyMetric:
        """With no end below 0 where the truth cannot be: an interval holds it as often so.

        Summaries have such intervals; reports of before may not.
        """
        if self.name in SIGNED or self.value < 0:
            return self
        low, repeat_low = (end and max(end, 0.0) for end in (self.low, self.repeat_low))
        if (low, repeat_low) == (self.low, self.repeat_low):
            return self
        return replace(self, low=low, repeat_low=repeat_low)

    @property
    def half(self) -> float | None:
        """Half-width of the total interval; that above where it ends at 0."""
        return _half(self.value, self.low, self.high)

    @property
    def repeat_half(self) -> float | None:
        """Half-width from run to run; that above where it ends at 0."""
        return _half(self.value, self.repeat_low, self.repeat_high)


def _half(value: float, low: float | None, high: float | None) -> float | None:
    """What an interval that was cut at 0 tells of the scatter is above the value."""
    if low is None or high is None:
        return None
    return high - value if low <= 0 <= value else (high - low) / 2


@dataclass(frozen=True)
class StudyFailure:
    """A cell that has no figures, and why (out of memory at size 2240, say)."""

    run: int
    reason: str


@dataclass(frozen=True)
class StudyRow:
    """What one model costs at one input size and batch size.

    Attributes:
        model: its name in the study.
        size: of the input, in what ``StudyResult.size_name`` says.
        batch_size: samples in one inference.
        runs: that have figures.
        target_met: whether every run became as precise as asked; None where nothing was asked.
        contains: the channels that ``energy_total_j`` is the sum of.
        metrics: in a fixed order, each name once.
        failures: the runs without figures.
        warnings: what the runs warned of, each once.
    """

    model: str
    size: int
    batch_size: int
    runs: int
    target_met: bool | None
    contains: tuple[str, ...]
    metrics: tuple[StudyMetric, ...]
    failures: tuple[StudyFailure, ...] = ()
    warnings: tuple[str, ...] = ()

    def metric(self, name: str) -> StudyMetric | None:
        """The metric of that name; None where it is not known."""
        return next((metric for metric in self.metrics if metric.name == name), None)


@dataclass(frozen=True)
class StudiedModel:
    """A model of a study.

    Attributes:
        name: in the study.
        model: its file, format and device; None where it is a Python callable or unknown.
        parameters, macs: of it; None where not counted (``macs`` at the smallest size).
        note: in words, such as "random weights".
    """

    name: str
    model: ModelSummary | None = None
    parameters: ParameterCount | None = None
    macs: int | None = None
    note: str = ""


@dataclass(frozen=True)
class StudyResult:
    """A study as a table.

    Attributes:
        name: of the study.
        size_name: what ``size`` counts: ``pixels`` (of the side of an image), ``tokens``, …
        models: each once.
        rows: by model, batch size and size.
        source: ``greenai``, or ``AIPowerMeter`` for folders that it wrote; both where both did.
        cells, missing_cells: of the whole plan, and those not measured yet.
        warnings: about the study as a whole.
    """

    name: str
    size_name: str
    models: tuple[StudiedModel, ...]
    rows: tuple[StudyRow, ...]
    source: str
    cells: int
    missing_cells: int
    warnings: tuple[str, ...] = ()

    def bounded(self) -> StudyResult:
        """With the intervals that ``StudyMetric.bounded`` gives."""
        rows = tuple(
            replace(row, metrics=tuple(metric.bounded() for metric in row.metrics))
            for row in self.rows
        )
        return replace(self, rows=rows)

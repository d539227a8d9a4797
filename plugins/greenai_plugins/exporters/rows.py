"""A report laid out as rows: one for each total and each channel of each result."""

from __future__ import annotations

import shlex
from collections.abc import Iterator
from dataclasses import dataclass, fields, replace
from typing import Any

from greenai_core import (
    CommandResult,
    Figure,
    InferenceResult,
    Report,
    SchemaError,
    TrainingResult,
)


@dataclass(frozen=True)
class Row:
    """One energy of a report. None is a figure that is not known.

    Attributes:
        report_kind: ``bench``, ``train``, ``measure`` or ``grade``.
        result: index of the result in the report.
        name: the model's path, or the command.
        row: ``total``, ``net`` (above idle), ``channel`` or ``missing``.
        per: what the energy is of: ``inference``, ``step``, ``sample``, ``run``.
        low_j, high_j: 95 %, total uncertainty.
        repeat_low_j, repeat_high_j: 95 %, repeatability.
        duration_s: of one inference, step or run; ``power_w``: mean during it.
        count: inferences or steps that were measured.
        reason: why a channel is missing.
    """

    report_kind: str
    result: int
    name: str
    format: str | None = None
    device: str | None = None
    batch_size: int | None = None
    row: str = "total"
    channel: str | None = None
    component: str | None = None
    method: str | None = None
    profiler: str | None = None
    in_total: bool | None = None
    per: str | None = None
    energy_j: float | None = None
    low_j: float | None = None
    high_j: float | None = None
    repeat_low_j: float | None = None
    repeat_high_j: float | None = None
    duration_s: float | None = None
    duration_low_s: float | None = None
    duration_high_s: float | None = None
    power_w: float | None = None
    power_low_w: float | None = None
    power_high_w: float | None = None
    count: int | None = None
    target_met: bool | None = None
    exit_code: int | None = None
    grade: str | None = None
    reason: str | None = None


KINDS = ("bench", "train", "measure", "grade")

COLUMNS = tuple(field.name for field in fields(Row))


def rows(report: Report) -> Iterator[Row]:
    """All rows of a report, result by result.

    Raises:
        SchemaError: the report or one of its results is of no known kind.
    """
    if report.kind not in KINDS:
        raise SchemaError(f"a report of the unknown kind {report.kind!r} has no table")
    for index, result in enumerate(report.results):
        if isinstance(result, CommandResult):
            yield from _command(report.kind, index, result)
        else:
            yield from _model(report.kind, index, result)


def command_line(result: CommandResult) -> str:
    """The command as it would be typed."""
    return shlex.join(result.command)


def _model(kind: str, index: int, result: InferenceResult | TrainingResult) -> Iterator[Row]:
    model = result.model
    channels: list[tuple[Any, Figure]]  # of two classes that differ in one field's name
    base = Row(kind, index, model.path, model.format, model.device, model.batch_size)
    if isinstance(result, InferenceResult):
        per, energy, seconds = "inference", result.energy_per_inference_j, result.latency_s
        count = result.inferences
        channels = [(channel, channel.energy_per_inference_j) for channel in result.channels]
    else:
        per, energy, seconds = "step", result.energy_per_step_j, result.step_s
        count = result.steps
        channels = [(channel, channel.energy_per_step_j) for channel in result.channels]
    base = replace(base, per=per)
    total = replace(
        base,
        duration_s=seconds.value,
        duration_low_s=seconds.low,
        duration_high_s=seconds.high,
        count=count,
        target_met=result.target_met,
    )
    if result.power_w is not None:
        power = result.power_w
        total = replace(total, power_w=power.value, power_low_w=power.low, power_high_w=power.high)
    yield _with_energy(total, energy)
    yield _with_energy(replace(base, per="sample"), result.energy_per_sample_j)
    for channel, figure in channels:
        row = replace(
            base,
            row="channel",
            channel=channel.id,
            component=channel.component,
            profiler=channel.profiler,
            in_total=channel.in_total,
        )
        yield replace(_with_energy(row, figure), method=channel.method)
    for missing in result.missing:
        yield replace(base, row="missing", channel=missing.id, reason=missing.reason)


def _command(kind: str, index: int, result: CommandResult) -> Iterator[Row]:
    window = result.gross
    base = Row(kind, index, command_line(result), per="run")
    yield replace(
        base,
        method=window.method,
        energy_j=window.energy_j,
        low_j=window.low_j,
        high_j=window.high_j,
        repeat_low_j=window.repeat_low_j,
        repeat_high_j=window.repeat_high_j,
        duration_s=window.duration_s,
        power_w=_over(window.energy_j, window.duration_s),
        power_low_w=_over(window.low_j, window.duration_s),
        power_high_w=_over(window.high_j, window.duration_s),
        exit_code=result.exit_code,
        grade=result.grade.letter if result.grade else None,
    )
    if result.net_energy_j is not None:
        yield _with_energy(replace(base, row="net"), result.net_energy_j)
    for channel in window.channels:
        yield replace(
            base,
            row="channel",
            channel=channel.id,
            component=channel.component,
            method=channel.method,
            profiler=channel.profiler,
            in_total=channel.in_total,
            energy_j=channel.energy_j,
            low_j=channel.low_j,
            high_j=channel.high_j,
            repeat_low_j=channel.repeat_low_j,
            repeat_high_j=channel.repeat_high_j,
        )
    for missing in window.missing:
        yield replace(base, row="missing", channel=missing.id, reason=missing.reason)


def _with_energy(row: Row, figure: Figure | None) -> Row:
    if figure is None:
        return row
    return replace(
        row,
        method=figure.method,
        energy_j=figure.value,
        low_j=figure.low,
        high_j=figure.high,
        repeat_low_j=figure.repeat_low,
        repeat_high_j=figure.repeat_high,
    )


def _over(energy_j: float | None, seconds: float) -> float | None:
    return energy_j / seconds if energy_j is not None and seconds > 0 else None
